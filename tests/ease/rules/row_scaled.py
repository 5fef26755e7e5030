"""Sums along an axis, and a slot of another shape."""

from optloom.spec import Hyper, Rule, Slot, Value, has_axes, mean, negation, sqrt, where

ROWS = has_axes(2)


class RowScaled(Rule):
    """RMSprop with one second moment for each row of a matrix."""

    learning_rate = Hyper(1e-3, ge=0)
    rho = Hyper(0.99, ge=0, lt=1, doc="decay rate of the second moments")
    epsilon = Hyper(1e-8, gt=0, doc="added to the root of the second moment")

    r = Slot("second moment of each row", shape="rows", when=ROWS)
    v = Slot("second moment", when=negation(ROWS))

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.r = self.rho * self.r + (1 - self.rho) * mean(g**2, axis=-1)
        self.v = self.rho * self.v + (1 - self.rho) * g**2
        return w - self.learning_rate * g / (sqrt(where(ROWS, self.r, self.v)) + self.epsilon)
