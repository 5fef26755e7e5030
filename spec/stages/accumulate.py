"""Gradient accumulation."""

from optloom.spec import Every, Hyper, Slot, Stage, Value


class Accumulate(Stage):
    """One update for several calls, by the mean of their gradients."""

    gradient_accumulation_steps = Hyper(None, ge=2, integer=True, doc="calls per update; None for one")
    accumulated_gradient = Slot("sum of the gradients since the last update", when=gradient_accumulation_steps.given)

    when = "gradient_accumulation_steps"
    is_of_optimizer = True
    region = Every("is_update", "gradient_accumulation_steps")

    def every_call(self, w: Value, g: Value) -> None:
        self.accumulated_gradient = self.accumulated_gradient + g

    def step(self, w: Value, g: Value, t: Value) -> Value:
        mean_gradient = self.accumulated_gradient / self.gradient_accumulation_steps
        w = self.inner(w, mean_gradient, t)
        self.accumulated_gradient = 0
        return w
