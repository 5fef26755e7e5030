"""A sum over all tensors, and a recurrence of numbers."""

from optloom.spec import Hyper, Rule, Slot, Value, sqrt, total


class GlobalNorm(Rule):
    """AdaGrad-Norm over the whole model (Ward, Wu & Bottou 2019, algorithm 1)."""

    learning_rate = Hyper(0.1, ge=0)
    start = Hyper(0.01, gt=0, doc="the sum of squares at the start")

    squares = Slot("sum of all gradients' squared norms", init=start, shape="scalar")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.squares = self.squares + total(g**2, over="tensors")
        return w - self.learning_rate / sqrt(self.squares) * g
