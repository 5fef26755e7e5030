"""One product that feeds one sum."""

from optloom.spec import Hyper, Rule, Value


class Descent(Rule):
    """Is the product rounded before the difference is taken, and is a subnormal result kept?"""

    learning_rate = Hyper(0.1, ge=0)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        return w - self.learning_rate * g
