"""Nadam."""

from optloom.spec import Hyper, Option, Peer, Rule, Slot, Value, sqrt, where


class Nadam(Rule):
    """Adam with Nesterov momentum (Dozat 2016, algorithm 2), whose momentum grows step by step."""

    learning_rate = Hyper(0.001, ge=0)
    beta_1 = Hyper(0.9, ge=0, lt=1, doc="decay rate of the first moment")
    beta_2 = Hyper(0.999, ge=0, lt=1, doc="decay rate of the second moment")
    epsilon = Hyper(1e-7, ge=0, doc="added to the root of the corrected second moment")
    momentum_decay = Hyper(None, gt=0, convention=True, doc="how fast momentum grows; None is as fast as 1")
    growing_momentum = Option(True, convention=True, doc="momentum grows towards beta_1, else it is beta_1")

    m = Slot("first moment")
    v = Slot("second moment")
    product = Slot("product of the momenta so far", init=1, shape="scalar", when=growing_momentum)

    peers = (
        Peer(
            "torch.optim.NAdam",
            arguments=("lr", "betas", "eps", "weight_decay", "momentum_decay", "decoupled_weight_decay"),
            slots={"m": "exp_avg", "v": "exp_avg_sq", "product": "mu_product"},
            defaults={"learning_rate": 0.002, "epsilon": 1e-8, "momentum_decay": 4e-3},
            dialect={"decoupled_weight_decay": False},
            differs=("momentum grows as with momentum_decay=1", "weight decay is decoupled"),
        ),
        Peer("keras.optimizers.Nadam", slots={"m": "momentum", "v": "velocity"}),
        Peer(
            "optax.nadam", slots={"m": "mu", "v": "nu"}, defaults={"epsilon": 1e-8}, dialect={"growing_momentum": False}
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        psi = self.momentum_decay
        self.decay = where(psi.given, 0.96 ** (t * psi), 0.96**t)
        self.decay_next = where(psi.given, 0.96 ** ((t + 1) * psi), 0.96 * self.decay)
        self.mu_now = where(self.growing_momentum, self.beta_1 * (1 - 0.5 * self.decay), self.beta_1)
        self.mu_next = where(self.growing_momentum, self.beta_1 * (1 - 0.5 * self.decay_next), self.beta_1)
        self.product = self.product * self.mu_now
        bias = where(self.growing_momentum, 1 - self.product, 1 - self.beta_1**t)
        bias_next = where(self.growing_momentum, 1 - self.product * self.mu_next, 1 - self.beta_1 * self.beta_1**t)
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g**2
        self.m_hat = self.mu_next / bias_next * self.m + (1 - self.mu_now) / bias * g
        self.v_hat = self.v / (1 - self.beta_2**t)
        return w - self.learning_rate * self.m_hat / (sqrt(self.v_hat) + self.epsilon)
