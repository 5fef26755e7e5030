"""Rectified Adam."""

from optloom.spec import Hyper, Option, Peer, Rule, Slot, Value, sqrt, where


class RAdam(Rule):
    """Rectified Adam (Liu et al. 2020, algorithm 2), rectified once the moving average is longer than 5 steps."""

    learning_rate = Hyper(0.001, ge=0)
    beta_1 = Hyper(0.9, ge=0, lt=1, doc="decay rate of the first moment")
    beta_2 = Hyper(0.999, gt=0, lt=1, doc="decay rate of the second moment")
    epsilon = Hyper(1e-7, ge=0, doc="added to the root of the second moment")
    epsilon_hat = Option(False, convention=True, doc="epsilon is added before the moment's bias is corrected")

    m = Slot("first moment")
    v = Slot("second moment")

    peers = (
        Peer(
            "torch.optim.RAdam",
            ("lr", "betas", "eps", "weight_decay"),
            slots={"m": "exp_avg", "v": "exp_avg_sq"},
            dialect={"epsilon_hat": True, "decoupled_weight_decay": False},
        ),
        Peer("optax.radam", slots={"m": "mu", "v": "nu"}),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g**2
        self.rho_inf = 2 / (1 - self.beta_2) - 1
        self.rho = self.rho_inf - 2 * t * self.beta_2**t / (1 - self.beta_2**t)
        self.numerator = (self.rho - 4) * (self.rho - 2) * self.rho_inf
        self.denominator = (self.rho_inf - 4) * (self.rho_inf - 2) * self.rho
        self.rectification = sqrt(self.numerator / self.denominator)
        self.m_hat = self.m / (1 - self.beta_1**t)
        self.v_hat = self.v / (1 - self.beta_2**t)
        self.added = where(self.epsilon_hat, self.epsilon / sqrt(1 - self.beta_2**t), self.epsilon)
        self.adaptive = self.rectification * self.m_hat / (sqrt(self.v_hat) + self.added)
        return w - self.learning_rate * where(self.rho > 5, self.adaptive, self.m_hat)
