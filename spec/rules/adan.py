"""Adan."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, sqrt, where


class Adan(Rule):
    """Adaptive Nesterov momentum (Xie et al. 2022, algorithm 1); betas are decay rates, 1 less the paper's."""

    learning_rate = Hyper(0.001, ge=0)
    beta_1 = Hyper(0.98, ge=0, lt=1, doc="decay rate of the first moment")
    beta_2 = Hyper(0.92, ge=0, lt=1, doc="decay rate of the gradient's differences, and their share in a step")
    beta_3 = Hyper(0.99, ge=0, lt=1, doc="decay rate of the second moment")
    epsilon = Hyper(1e-8, ge=0, doc="added to the root of the second moment")
    epsilon_root = Hyper(0.0, ge=0, doc="added to the second moment")

    m = Slot("first moment")
    v = Slot("mean of the gradient's differences")
    n = Slot("second moment of the gradient, a step ahead")
    previous = Slot("the last gradient")

    peers = (
        Peer(
            "optax.adan",
            names={"epsilon_root": "eps_root"},
            slots={"m": "m", "v": "v", "n": "n", "previous": "g"},
            defaults={"epsilon_root": 1e-8},
            otherwise={"step": "differences weigh 1 - beta_2 instead of beta_2 (optax 0.2.8, pull request 1715)"},
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.difference = where(t > 1, g - self.previous, 0)
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * self.difference
        self.ahead = g + self.beta_2 * self.difference
        self.n = self.beta_3 * self.n + (1 - self.beta_3) * self.ahead**2
        self.previous = g
        self.direction = self.m / (1 - self.beta_1**t) + self.beta_2 / (1 - self.beta_2**t) * self.v
        self.size = sqrt(self.n / (1 - self.beta_3**t) + self.epsilon_root) + self.epsilon
        return w - self.learning_rate * self.direction / self.size
