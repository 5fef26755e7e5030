"""Stochastic gradient descent."""

from optloom.spec import Hyper, Option, Peer, Rule, Slot, Value, where


class SGD(Rule):
    """Stochastic gradient descent with momentum (Polyak 1964; Sutskever et al. 2013, equations 3 and 4).

    The velocity carries the learning rate, as in Keras.
    """

    learning_rate = Hyper(0.01, ge=0)
    momentum = Hyper(0.0, ge=0, le=1, off=0, doc="decay rate of the velocity; 0 for none")
    nesterov = Option(False, doc="step ahead along the velocity")

    m = Slot("velocity", when=momentum.given)

    peers = (
        Peer(
            "torch.optim.SGD",
            arguments=("lr", "momentum", "dampening", "weight_decay", "nesterov"),
            slots={"m": "momentum_buffer"},
            defaults={"learning_rate": 0.001},
            differs=("the velocity carries the learning rate", "weight decay is decoupled"),
            dialect={"decoupled_weight_decay": False},
        ),
        Peer("keras.optimizers.SGD", slots={"m": "momentum"}),
        Peer("optax.sgd", slots={"m": "trace"}, differs=("the velocity carries the learning rate",)),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.momentum * self.m - self.learning_rate * g
        plain = w - self.learning_rate * g
        ahead = w + self.momentum * self.m - self.learning_rate * g
        return where(self.momentum.given, where(self.nesterov, ahead, w + self.m), plain)
