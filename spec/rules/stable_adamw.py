"""StableAdamW."""

from optloom.spec import Hyper, Rule, Slot, Value, maximum, mean, sqrt


class StableAdamW(Rule):
    """AdamW whose rate falls where the second moment lags behind (Wortsman et al. 2023, algorithm 2)."""

    stage_defaults = {"weight_decay": 0.01}

    learning_rate = Hyper(0.001, ge=0)
    beta_1 = Hyper(0.9, ge=0, lt=1, doc="decay rate of the first moment")
    beta_2 = Hyper(0.99, ge=0, lt=1, doc="decay rate of the second moment")
    epsilon = Hyper(1e-8, gt=0, doc="added to the root of the corrected second moment; its square is the least moment")

    m = Slot("first moment")
    v = Slot("second moment")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g**2
        self.v_hat = self.v / (1 - self.beta_2**t)
        self.excess = sqrt(mean(g**2 / maximum(self.v_hat, self.epsilon**2)))
        self.rate = self.learning_rate / maximum(1, self.excess) / (1 - self.beta_1**t)
        return w - self.rate * self.m / (sqrt(self.v_hat) + self.epsilon)
