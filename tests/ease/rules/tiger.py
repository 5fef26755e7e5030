"""Elementwise."""

from optloom.spec import Hyper, Rule, Slot, Value, sign


class Tiger(Rule):
    """Steps by the sign of the momentum (Su 2023)."""

    learning_rate = Hyper(1e-3, ge=0)
    beta = Hyper(0.965, ge=0, lt=1, doc="decay rate of the momentum")

    m = Slot("momentum")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta * self.m + (1 - self.beta) * g
        return w - self.learning_rate * sign(self.m)
