"""RMSprop."""

from optloom.spec import Hyper, Option, Peer, Rule, Slot, Value, sqrt, where


class RMSprop(Rule):
    """Steps divided by a moving root mean square of the gradient (Hinton 2012, lecture 6e).

    Centered: the variance takes the place of the mean square (Graves 2013, equations 38 to 45).
    """

    learning_rate = Hyper(0.001, ge=0)
    rho = Hyper(0.9, ge=0, lt=1, doc="decay rate of the mean square")
    momentum = Hyper(0.0, ge=0, le=1, off=0, doc="decay rate of the velocity; 0 for none")
    epsilon = Hyper(1e-7, ge=0, doc="added to the mean square")
    centered = Option(False, doc="divide by the root of the variance")
    epsilon_in_root = Option(True, convention=True, doc="epsilon is added to the mean square, else to its root")
    rate_in_momentum = Option(True, convention=True, doc="the velocity carries the learning rate, else its steps do")
    downhill_momentum = Option(False, convention=True, doc="the velocity points the way that the weights move")

    v = Slot("mean square of the gradient")
    m = Slot("velocity", when=momentum.given)
    mean = Slot("mean of the gradient", when=centered)

    peers = (
        Peer(
            "torch.optim.RMSprop", ("lr", "alpha", "eps", "weight_decay", "momentum", "centered"), {"rho": "alpha"},
            slots={"v": "square_avg", "m": "momentum_buffer", "mean": "grad_avg"},
            defaults={"learning_rate": 0.01, "rho": 0.99, "epsilon": 1e-8},
            dialect={"epsilon_in_root": False, "rate_in_momentum": False, "decoupled_weight_decay": False},
            differs=("epsilon is inside the root", "the velocity carries the rate", "weight decay is decoupled"),
        ),
        Peer("keras.optimizers.RMSprop", slots={"v": "velocity", "m": "momentum", "mean": "average_gradient"}),
        Peer(
            "optax.rmsprop", ("learning_rate", "decay", "eps"), {"rho": "decay"},
            slots={"v": "nu", "m": "trace", "mean": "mu"}, defaults={"epsilon": 1e-8},
            dialect={"downhill_momentum": True},
        ),
    )  # fmt: skip

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.v = self.rho * self.v + (1 - self.rho) * g**2
        self.mean = self.rho * self.mean + (1 - self.rho) * g
        self.square = where(self.centered, self.v - self.mean**2, self.v)
        inside, outside = sqrt(self.square + self.epsilon), sqrt(self.square) + self.epsilon
        root = where(self.epsilon_in_root, inside, outside)
        self.change = where(self.rate_in_momentum, self.learning_rate * g, g) / root
        added, taken = self.momentum * self.m + self.change, self.momentum * self.m - self.change
        self.m = where(self.downhill_momentum, taken, added)
        moved = where(self.rate_in_momentum, self.m, self.learning_rate * self.m)
        plain = w - where(self.rate_in_momentum, self.change, self.learning_rate * self.change)
        return where(self.momentum.given, where(self.downhill_momentum, w + moved, w - moved), plain)
