"""One square root."""

from optloom.spec import Hyper, Rule, Value, sqrt


class Root(Rule):
    """Is the square root rounded correctly?"""

    learning_rate = Hyper(1.0, ge=0)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        return w - self.learning_rate * sqrt(g)
