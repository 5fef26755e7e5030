"""LARS."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, both, norm, where


class Lars(Rule):
    """Layerwise adaptive rates (You, Gitman & Ginsburg 2017, algorithm 1); the trust ratio is 1 where a norm is 0."""

    learning_rate = Hyper(0.1, ge=0)
    momentum = Hyper(0.9, ge=0, lt=1, doc="decay rate of the velocity")
    weight_decay = Hyper(0.0, ge=0, doc="decay, a part of the gradient whose norm is taken")
    trust_coefficient = Hyper(0.001, ge=0, doc="length of a step, in lengths of the weights")
    epsilon = Hyper(0.0, ge=0, doc="added to the gradient's norm")

    m = Slot("velocity, which carries the learning rate")

    peers = (Peer("optax.lars", ("learning_rate", "weight_decay"), slots={"m": "trace"}),)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.decayed = g + self.weight_decay * w
        self.w_norm = norm(w)
        self.g_norm = norm(self.decayed)
        ratio = self.trust_coefficient * self.w_norm / (self.g_norm + self.epsilon)
        self.trust = where(both(self.w_norm > 0, self.g_norm > 0), ratio, 1)
        self.m = self.momentum * self.m - self.learning_rate * self.trust * self.decayed
        return w + self.m
