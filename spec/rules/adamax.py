"""Adamax."""

from optloom.spec import Hyper, Option, Peer, Rule, Slot, Value, maximum, where


class Adamax(Rule):
    """Adam on the infinity norm (Kingma & Ba 2015, section 7.1)."""

    learning_rate = Hyper(0.001, ge=0)
    beta_1 = Hyper(0.9, ge=0, lt=1, doc="decay rate of the first moment")
    beta_2 = Hyper(0.999, ge=0, lt=1, doc="decay rate of the infinity norm")
    epsilon = Hyper(1e-7, ge=0, doc="added to the infinity norm")
    epsilon_in_maximum = Option(False, convention=True, doc="epsilon is added to |g| before the maximum is taken")

    m = Slot("first moment")
    u = Slot("infinity norm")

    peers = (
        Peer(
            "torch.optim.Adamax",
            arguments=("lr", "betas", "eps", "weight_decay"),
            slots={"m": "exp_avg", "u": "exp_inf"},
            defaults={"learning_rate": 0.002, "epsilon": 1e-8},
            dialect={"epsilon_in_maximum": True, "decoupled_weight_decay": False},
            differs=("epsilon is added to the norm, not inside the maximum", "weight decay is decoupled"),
        ),
        Peer("keras.optimizers.Adamax", slots={"m": "momentum", "u": "norm"}),
        Peer(
            "optax.adamax",
            slots={"m": "mu", "u": "nu"},
            defaults={"epsilon": 1e-8},
            dialect={"epsilon_in_maximum": True},
            differs=("epsilon is added to the norm, not inside the maximum",),
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        size = where(self.epsilon_in_maximum, abs(g) + self.epsilon, abs(g))
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.u = maximum(self.beta_2 * self.u, size)
        self.rate = self.learning_rate / (1 - self.beta_1**t)
        return w - self.rate * self.m / where(self.epsilon_in_maximum, self.u, self.u + self.epsilon)
