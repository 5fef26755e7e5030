"""An extra input."""

from optloom.spec import Hyper, Input, Rule, Value, minimum


class ByLoss(Rule):
    """SGD whose rate falls with the loss."""

    learning_rate = Hyper(0.01, ge=0)
    full_rate = Hyper(1.0, gt=0, doc="loss from which on the rate is whole")

    loss = Input("the loss at the parameters")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.share = minimum(self.loss / self.full_rate, 1)
        return w - self.learning_rate * self.share * g
