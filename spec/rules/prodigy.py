"""Prodigy."""

from optloom.spec import Hyper, Rule, Slot, Value, maximum, sqrt, total, where


class Prodigy(Rule):
    """Adam that estimates its step size (Mishchenko & Defazio 2024, algorithm 4)."""

    learning_rate = Hyper(1.0, ge=0, doc="factor on the estimated step size")
    beta_1 = Hyper(0.9, ge=0, lt=1, doc="decay rate of the first moment")
    beta_2 = Hyper(0.999, ge=0, lt=1, doc="decay rate of the second moment")
    epsilon = Hyper(1e-8, ge=0, doc="added to the root of the second moment, in units of the estimate")
    d_0 = Hyper(1e-6, gt=0, doc="the estimate at the start")

    m = Slot("first moment")
    v = Slot("second moment")
    s = Slot("weighted sum of the gradients")
    start = Slot("the parameter at the start", init="parameter")
    d = Slot("estimated distance to the solution", init=d_0, shape="scalar")
    r = Slot("weighted sum of inner products with the way gone", shape="scalar")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * self.d * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * self.d**2 * g**2
        self.decay = sqrt(self.beta_2)
        self.weight = (1 - self.decay) * self.learning_rate * self.d**2
        self.s = self.decay * self.s + self.weight * g
        self.r = self.decay * self.r + self.weight * total(g * (self.start - w), over="tensors")
        stepped = w - self.learning_rate * self.d * self.m / (sqrt(self.v) + self.d * self.epsilon)
        self.size = total(abs(self.s), over="tensors")
        self.d = where(self.size > 0, maximum(self.d, self.r / self.size), self.d)
        return stepped
