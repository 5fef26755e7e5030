"""Conditions on the step and on the data."""

from optloom.spec import Hyper, Rule, Slot, Value, sign, where


class SignFirst(Rule):
    """Signs of gradients in the first steps, momentum later; where a gradient turned nothing moves."""

    learning_rate = Hyper(0.01, ge=0)
    beta = Hyper(0.9, ge=0, lt=1, doc="decay rate of the momentum")
    first_steps = Hyper(3, ge=1, integer=True, doc="steps by signs alone")

    m = Slot("momentum")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta * self.m + g
        self.direction = where(t <= self.first_steps, sign(g), self.m)
        return w - self.learning_rate * where(g * self.direction < 0, 0, self.direction)
