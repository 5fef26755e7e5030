"""ADOPT."""

from optloom.spec import Hyper, Option, Peer, Rule, Slot, Value, maximum, minimum, sqrt, where


class Adopt(Rule):
    """Adam that converges with any beta_2 (Taniguchi et al. 2024, algorithm 2).

    Gradients are divided by the second moment of the steps before; the first one only starts that moment.
    """

    learning_rate = Hyper(0.001, ge=0)
    beta_1 = Hyper(0.9, ge=0, lt=1, doc="decay rate of the first moment")
    beta_2 = Hyper(0.9999, ge=0, lt=1, doc="decay rate of the second moment")
    epsilon = Hyper(1e-6, gt=0, doc="least root of the second moment")
    clipping = Option(True, doc="limit what is averaged to the fourth root of the steps so far")

    m = Slot("first moment of what the gradients are scaled to")
    v = Slot("second moment")

    peers = (Peer("optax.contrib.adopt", names={"clipping": "use_clipping"}, slots={"m": "mu", "v": "nu"}),)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.scaled = g / maximum(sqrt(self.v), self.epsilon)
        self.limit = sqrt(sqrt(t - 1))
        clipped = maximum(minimum(self.scaled, self.limit), -self.limit)
        self.m = self.beta_1 * self.m + where(t > 1, 1 - self.beta_1, 0) * where(self.clipping, clipped, self.scaled)
        self.v = self.beta_2 * self.v + where(t > 1, 1 - self.beta_2, 1) * g**2
        return w - self.learning_rate * self.m
