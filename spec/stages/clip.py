"""Clipping of gradients: by value, by the norm of a tensor, by the norm of all tensors. At most one may be set.

What is within its limit is multiplied by 1, and so keeps its bits.
"""

from optloom.spec import Hyper, Stage, Value, maximum, minimum, norm, where


class ClipByValue(Stage):
    """Every element of the gradient is kept within limits."""

    clipvalue = Hyper(None, gt=0, doc="largest size of a gradient's element; None for any")

    name = "clip"
    when = "clipvalue"

    def step(self, w: Value, g: Value, t: Value) -> Value:
        return self.inner(w, minimum(maximum(g, -self.clipvalue), self.clipvalue), t)


class ClipByNorm(Stage):
    """Every gradient that is too long is scaled down."""

    clipnorm = Hyper(None, gt=0, doc="largest norm of a parameter's gradient; None for any")

    name = "clip"
    when = "clipnorm"

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.gradient_norm = norm(g)
        self.clip_scale = where(self.clipnorm < self.gradient_norm, self.clipnorm / self.gradient_norm, 1)
        return self.inner(w, g * self.clip_scale, t)


class ClipByGlobalNorm(Stage):
    """All gradients are scaled down alike, where together they are too long (Pascanu, Mikolov & Bengio 2013)."""

    global_clipnorm = Hyper(None, gt=0, doc="largest norm of all gradients together; None for any")

    name = "clip"
    when = "global_clipnorm"
    is_of_optimizer = True

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.global_norm = norm(g, over="tensors")
        self.global_scale = where(self.global_clipnorm < self.global_norm, self.global_clipnorm / self.global_norm, 1)
        return self.inner(w, g * self.global_scale, t)
