"""Decoupled weight decay."""

from optloom.spec import Hyper, Stage, Value


class Decay(Stage):
    """Weights shrink by a share of themselves before the rule (Loshchilov & Hutter 2019)."""

    weight_decay = Hyper(None, ge=0, doc="share of the weights, times the learning rate, taken off; None for none")

    when = "weight_decay"
    needs = ("learning_rate",)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        return self.inner(w - self.weight_decay * self.learning_rate * w, g, t)
