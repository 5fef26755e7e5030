"""SGD with Polyak's step size."""

from optloom.spec import Hyper, Input, Peer, Rule, Value, minimum, total, where


class PolyakSGD(Rule):
    """SGD whose step the loss decides (Loizou et al. 2021, equation 4; Berrada, Zisserman & Kumar 2020)."""

    learning_rate = Hyper(1.0, gt=0, doc="greatest step size")
    scaling = Hyper(1.0, ge=0, doc="factor on the step size")
    f_min = Hyper(0.0, doc="the least that the loss can be")
    epsilon = Hyper(0.0, ge=0, doc="added to the gradient's squared norm")

    loss = Input("the loss at the parameters")

    peers = (
        Peer(
            "optax.polyak_sgd",
            arguments=("max_learning_rate", "scaling", "f_min", "eps"),
            names={"learning_rate": "max_learning_rate", "loss": "value"},
            otherwise={"scaling": "the gradient is scaled before its norm is taken"},
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.square = total(g**2, over="tensors") + self.epsilon
        self.gap = self.loss - self.f_min
        self.rate = where(self.square > 0, minimum(self.gap / self.square, self.learning_rate), 0)
        return w - self.scaling * self.rate * g
