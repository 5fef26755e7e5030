"""Signum."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, sign


class Signum(Rule):
    """The sign of the momentum (Bernstein et al. 2018, algorithm 2)."""

    learning_rate = Hyper(0.001, ge=0)
    beta = Hyper(0.9, ge=0, lt=1, doc="decay rate of the momentum")

    m = Slot("momentum")

    peers = (Peer("optax.signum", slots={"m": "ema"}),)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta * self.m + (1 - self.beta) * g
        return w - self.learning_rate * sign(self.m)
