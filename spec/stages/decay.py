"""Weight decay."""

from optloom.spec import Hyper, Option, Stage, Value, where


class Decay(Stage):
    """Weights shrink by a share of themselves before the rule (Loshchilov & Hutter 2019).

    Coupled decay, the older form, adds the gradient of a squared norm to the gradient instead.
    """

    weight_decay = Hyper(None, ge=0, doc="share of the weights, times the learning rate, taken off; None for none")
    decoupled_weight_decay = Option(
        True, convention=True, doc="weights shrink by themselves; else weight_decay * w is added to the gradient"
    )

    when = "weight_decay"
    needs = ("learning_rate",)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        shrunk = w - self.weight_decay * self.learning_rate * w
        coupled = g + self.weight_decay * w
        w_given = where(self.decoupled_weight_decay, shrunk, w)
        return self.inner(w_given, where(self.decoupled_weight_decay, g, coupled), t)
