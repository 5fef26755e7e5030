"""Loss scaling, undone."""

from optloom.spec import Hyper, Stage, Value


class Unscale(Stage):
    """Gradients of a loss that was multiplied by a number are divided by it, before anything else sees them."""

    loss_scale_factor = Hyper(None, gt=0, doc="what the loss was multiplied by; None for nothing")

    when = "loss_scale_factor"
    is_of_optimizer = True

    def step(self, w: Value, g: Value, t: Value) -> Value:
        return self.inner(w, g / self.loss_scale_factor, t)
