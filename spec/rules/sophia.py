"""Sophia."""

from optloom.spec import Hyper, Input, Rule, Slot, Value, equal, maximum, minimum, remainder, where


class Sophia(Rule):
    """Momentum over a Hessian diagonal, each element clipped (Liu et al. 2023, algorithm 3)."""

    learning_rate = Hyper(1e-4, ge=0)
    beta_1 = Hyper(0.965, ge=0, lt=1, doc="decay rate of the momentum")
    beta_2 = Hyper(0.99, ge=0, lt=1, doc="decay rate of the Hessian diagonal")
    gamma = Hyper(0.01, gt=0, doc="factor on the Hessian diagonal; how many elements are clipped")
    epsilon = Hyper(1e-12, gt=0, doc="least size of the scaled Hessian diagonal")
    update_interval = Hyper(10, ge=2, integer=True, doc="steps from one Hessian diagonal that counts to the next")

    m = Slot("momentum")
    h = Slot("mean of the Hessian diagonal")

    hessian = Input("estimate of the Hessian's diagonal, read in the steps 1, 1 + interval, ...", shape="parameter")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.renews = equal(remainder(t, self.update_interval), 1)
        self.h = where(self.renews, self.beta_2 * self.h + (1 - self.beta_2) * self.hessian, self.h)
        self.ratio = self.m / maximum(self.gamma * self.h, self.epsilon)
        return w - self.learning_rate * maximum(minimum(self.ratio, 1), -1)
