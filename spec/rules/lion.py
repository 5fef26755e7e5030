"""Lion."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, sign


class Lion(Rule):
    """The sign of interpolated momentum (Chen et al. 2023, algorithm 2)."""

    learning_rate = Hyper(0.001, ge=0)
    beta_1 = Hyper(0.9, ge=0, le=1, doc="share of the moment in the direction")
    beta_2 = Hyper(0.99, ge=0, le=1, doc="decay rate of the moment")

    m = Slot("moment")

    peers = (
        Peer("keras.optimizers.Lion", slots={"m": "momentum"}),
        Peer("optax.lion", slots={"m": "mu"}, defaults={"weight_decay": 1e-3}),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.direction = sign(self.beta_1 * self.m + (1 - self.beta_1) * g)
        self.m = self.beta_2 * self.m + (1 - self.beta_2) * g
        return w - self.learning_rate * self.direction
