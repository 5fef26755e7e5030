"""Adam."""

from optloom.spec import Hyper, Option, Peer, Rule, Slot, Value, maximum, sqrt, where


class Adam(Rule):
    """Adaptive moment estimation (Kingma & Ba 2015, the form before section 2.1).

    AMSGrad: Reddi, Kale & Kumar 2018, algorithm 2.
    """

    learning_rate = Hyper(0.001, ge=0)
    beta_1 = Hyper(0.9, ge=0, lt=1, doc="decay rate of the first moment")
    beta_2 = Hyper(0.999, ge=0, lt=1, doc="decay rate of the second moment")
    epsilon = Hyper(1e-7, ge=0, doc="added to the root of the second moment")
    amsgrad = Option(False, doc="divide by the largest second moment so far")
    epsilon_hat = Option(True, convention=True, doc="epsilon is added before the moment's bias is corrected")
    corrected_amsgrad = Option(False, convention=True, doc="the largest is taken of moments whose bias is corrected")

    m = Slot("first moment")
    v = Slot("second moment")
    v_hat = Slot("largest second moment so far", when=amsgrad)

    peers: tuple[Peer, ...] = (
        Peer(
            "torch.optim.Adam",
            arguments=("lr", "betas", "eps", "weight_decay", "amsgrad"),
            slots={"m": "exp_avg", "v": "exp_avg_sq", "v_hat": "max_exp_avg_sq"},
            defaults={"epsilon": 1e-8},
            dialect={"epsilon_hat": False, "decoupled_weight_decay": False},
            differs=("epsilon is added before the second moment's bias is corrected", "weight decay is decoupled"),
        ),
        Peer("keras.optimizers.Adam", slots={"m": "momentum", "v": "velocity", "v_hat": "velocity_hat"}),
        Peer(
            "optax.adam",
            slots={"m": "mu", "v": "nu", "v_hat": "nu_max"},
            defaults={"epsilon": 1e-8},
            dialect={"epsilon_hat": False},
            differs=("epsilon is added before the second moment's bias is corrected",),
        ),
        Peer("optax.amsgrad", dialect={"amsgrad": True, "epsilon_hat": False, "corrected_amsgrad": True}),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        bias = 1 - self.beta_2**t
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g**2
        self.v_hat = maximum(self.v_hat, where(self.corrected_amsgrad, self.v / bias, self.v))
        self.alpha = self.learning_rate * sqrt(bias) / (1 - self.beta_1**t)
        root = sqrt(where(self.amsgrad, where(self.corrected_amsgrad, self.v_hat * bias, self.v_hat), self.v))
        self.added = where(self.epsilon_hat, self.epsilon, self.epsilon * sqrt(bias))
        return w - self.alpha * self.m / (root + self.added)
