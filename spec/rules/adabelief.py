"""AdaBelief."""

from optloom.spec import Hyper, Option, Peer, Rule, Slot, Value, sqrt, where


class AdaBelief(Rule):
    """Adam whose second moment is that of the gradient's surprise (Zhuang et al. 2020, algorithm 2)."""

    learning_rate = Hyper(0.001, ge=0)
    beta_1 = Hyper(0.9, ge=0, lt=1, doc="decay rate of the first moment")
    beta_2 = Hyper(0.999, ge=0, lt=1, doc="decay rate of the squared surprise")
    epsilon = Hyper(1e-8, ge=0, doc="added to the root of the squared surprise")
    epsilon_root = Hyper(1e-8, ge=0, doc="added to the squared surprise in each step")
    nesterov = Option(False, doc="step ahead along the first moment")

    m = Slot("first moment")
    s = Slot("mean of the squared surprise")

    peers = (
        Peer(
            "optax.adabelief",
            names={"epsilon_root": "eps_root"},
            slots={"m": "mu", "s": "nu"},
            defaults={"epsilon": 1e-16, "epsilon_root": 1e-16},
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.s = self.beta_2 * self.s + (1 - self.beta_2) * (g - self.m) ** 2 + self.epsilon_root
        bias, bias_next = 1 - self.beta_1**t, 1 - self.beta_1 * self.beta_1**t
        ahead = self.beta_1 / bias_next * self.m + (1 - self.beta_1) / bias * g
        self.m_hat = where(self.nesterov, ahead, self.m / bias)
        return w - self.learning_rate * self.m_hat / (sqrt(self.s / (1 - self.beta_2**t)) + self.epsilon)
