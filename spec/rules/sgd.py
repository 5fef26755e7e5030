"""Stochastic gradient descent."""

from optloom.spec import Hyper, Option, Peer, Rule, Slot, Value, where


class SGD(Rule):
    """Stochastic gradient descent with momentum (Polyak 1964; Sutskever et al. 2013, equations 3 and 4)."""

    learning_rate = Hyper(0.01, ge=0)
    momentum = Hyper(0.0, ge=0, le=1, off=0, doc="decay rate of the velocity; 0 for none")
    dampening = Hyper(0.0, ge=0, le=1, off=0, convention=True, doc="share of later gradients left out of the velocity")
    nesterov = Option(False, doc="step ahead along the velocity")
    rate_in_momentum = Option(True, convention=True, doc="the velocity carries the learning rate, else its steps do")

    m = Slot("velocity", when=momentum.given)

    peers = (
        Peer(
            "torch.optim.SGD",
            arguments=("lr", "momentum", "dampening", "weight_decay", "nesterov"),
            slots={"m": "momentum_buffer"},
            defaults={"learning_rate": 0.001},
            dialect={"rate_in_momentum": False, "decoupled_weight_decay": False},
            differs=("the velocity carries the learning rate", "weight decay is decoupled"),
        ),
        Peer("keras.optimizers.SGD", slots={"m": "momentum"}),
        Peer(
            "optax.sgd",
            slots={"m": "trace"},
            dialect={"rate_in_momentum": False},
            differs=("the velocity carries the learning rate",),
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.share = where(t > 1, 1 - self.dampening, 1)
        self.taken = where(self.dampening.given, self.share * g, g)
        descent = self.momentum * self.m - self.learning_rate * self.taken
        self.m = where(self.rate_in_momentum, descent, self.momentum * self.m + self.taken)
        inside = where(self.nesterov, w + self.momentum * self.m - self.learning_rate * g, w + self.m)
        outside = w - self.learning_rate * where(self.nesterov, g + self.momentum * self.m, self.m)
        moved = where(self.rate_in_momentum, inside, outside)
        return where(self.momentum.given, moved, w - self.learning_rate * g)
