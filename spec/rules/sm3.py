"""SM3."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, has_axes, largest, minimum, negation, sqrt, where

MATRICES = has_axes(2)


class SM3(Rule):
    """Adagrad with one accumulator for each row and column (Anil et al. 2019, algorithm SM3-II, with momentum).

    The cover of a tensor with more than two axes is the rows and columns of its matrices, the last two
    axes. With fewer, each element has its own accumulator, as in Adagrad.
    """

    learning_rate = Hyper(0.1, ge=0)
    momentum = Hyper(0.9, ge=0, lt=1, off=0, doc="decay rate of the mean of the scaled gradients")
    epsilon = Hyper(1e-8, ge=0, doc="added to the accumulator; where that is 0, so is the update")

    r = Slot("row accumulators", shape="rows", when=MATRICES)
    c = Slot("column accumulators", shape="columns", when=MATRICES)
    v = Slot("sum of squared gradients", when=negation(MATRICES))
    m = Slot("mean of the scaled gradients", when=momentum.given)

    peers = (Peer(
        "optax.sm3", arguments=("learning_rate", "momentum"), slots={"m": "nu"},
        differs=("more than two axes are taken as matrices, whose rows and columns have accumulators, not each axis",),
    ),)  # fmt: skip

    def step(self, w: Value, g: Value, t: Value) -> Value:
        known = self.branch(MATRICES, lambda: minimum(self.r, self.c), lambda: self.v)
        self.bound = known + g**2
        self.r = largest(self.bound, axis=-1)
        self.c = largest(self.bound, axis=-2)
        self.v = self.bound
        self.direction = where(self.bound > 0, g / sqrt(self.bound + self.epsilon), 0)
        self.m = self.momentum * self.m + (1 - self.momentum) * self.direction
        return w - self.learning_rate * where(self.momentum.given, self.m, self.direction)
