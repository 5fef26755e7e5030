"""A rule of the tests' own: what no shipped rule has."""

from optloom.spec import Hyper, Option, Rule, Slot, Value, sqrt, total, where


class Probe(Rule):
    """Momentum, and by option the mean of the squared norm, one number for each tensor."""

    learning_rate = Hyper(0.01, ge=0)
    beta = Hyper(0.25, ge=0, lt=1, doc="decay rate")
    normed = Option(False, doc="divide by the norm")

    m = Slot("momentum")
    v = Slot("mean of the squared norm", shape="tensor", when=normed)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.v = self.beta * self.v + total(g**2)
        self.m = self.beta * self.m + where(self.normed, g / (sqrt(self.v) + 1e-3), g)
        return w - self.learning_rate * self.m
