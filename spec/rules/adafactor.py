"""Adafactor."""

from optloom.spec import Hyper, Option, Peer, Rule, Slot, Value, has_axes, maximum, mean, minimum, negation, sqrt, where

FACTORED = has_axes(2)


class Adafactor(Rule):
    """Adam with a second moment factored into rows and columns (Shazeer & Stern 2018, algorithms 4 and 5)."""

    learning_rate = Hyper(0.001, ge=0)
    beta_2_decay = Hyper(-0.8, lt=0, doc="exponent of the step in the second moment's decay rate")
    epsilon_1 = Hyper(1e-30, ge=0, doc="added to the squared gradient")
    epsilon_2 = Hyper(1e-3, ge=0, doc="least size that a parameter is taken to have")
    clip_threshold = Hyper(1.0, gt=0, doc="root mean square above which an update is scaled down")
    relative_step = Option(True, doc="let the learning rate fall as 1/sqrt(t)")
    epsilon_as_floor = Option(False, convention=True, doc="epsilon_1 is the least root and mean, instead of added")

    r = Slot("row means of the second moment", shape="rows", when=FACTORED)
    c = Slot("column means of the second moment", shape="columns", when=FACTORED)
    v = Slot("second moment", when=negation(FACTORED))

    peers = (Peer(
        "torch.optim.Adafactor", ("lr", "beta2_decay", "eps", "d", "weight_decay"),
        {"beta_2_decay": "beta2_decay", "clip_threshold": "d"}, {"r": "row_var", "c": "col_var", "v": "variance"},
        ("epsilon_1 is added to squared gradients; there it is a floor, by default the dtype's epsilon",),
        {"learning_rate": 0.01}, {"epsilon_as_floor": True}, machine_epsilon=("epsilon_1",),
        otherwise={"weight_decay": "the size of a parameter is taken before it decays"},
    ), Peer("keras.optimizers.Adafactor", slots={"r": "r", "c": "c", "v": "velocity"}), Peer(
        "optax.adafactor", ("learning_rate",), {"epsilon_1": "eps", "clip_threshold": "clipping_threshold"},
        {"r": "v_row", "c": "v_col", "v": "v"}, ("decay_rate is -beta_2_decay", "small matrices are factored too"),
        dialect={"relative_step": False}, settings={"min_dim_size_to_factor": 1}, in_float32=True,
    ))  # fmt: skip

    def factors(self) -> Value:
        self.level = mean(self.r, axis=-2)
        self.floored = where(self.epsilon_as_floor, maximum(self.level, self.epsilon_1), self.level)
        return sqrt(self.r / self.floored) * sqrt(self.c)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.fresh = t**self.beta_2_decay
        self.squares = where(self.epsilon_as_floor, g**2, g**2 + self.epsilon_1)
        self.r = (1 - self.fresh) * self.r + self.fresh * mean(self.squares, axis=-1)
        self.c = (1 - self.fresh) * self.c + self.fresh * mean(self.squares, axis=-2)
        self.v = (1 - self.fresh) * self.v + self.fresh * self.squares
        self.root = self.branch(FACTORED, self.factors, lambda: sqrt(self.v))
        self.direction = g / where(self.epsilon_as_floor, maximum(self.root, self.epsilon_1), self.root)
        self.excess = maximum(1, sqrt(mean(self.direction**2)) / self.clip_threshold)
        self.size = maximum(self.epsilon_2, sqrt(mean(w**2)))
        self.rate = where(self.relative_step, minimum(self.learning_rate, 1 / sqrt(t)), self.learning_rate)
        return w - self.size * self.rate / self.excess * self.direction
