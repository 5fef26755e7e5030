"""NovoGrad."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, sqrt, total, where


class NovoGrad(Rule):
    """Momentum of gradients that are divided by their tensor's own norm (Ginsburg et al. 2019, algorithm 1)."""

    learning_rate = Hyper(0.01, ge=0)
    beta_1 = Hyper(0.9, ge=0, lt=1, doc="decay rate of the momentum")
    beta_2 = Hyper(0.25, ge=0, lt=1, doc="decay rate of the squared norm")
    epsilon = Hyper(1e-6, ge=0, doc="added to the root of the squared norm")
    weight_decay = Hyper(0.0, ge=0, doc="decay, a part of what the momentum sums up")

    m = Slot("momentum")
    v = Slot("mean of the tensor's squared norm", shape="tensor")

    peers = (Peer("optax.novograd", ("learning_rate", "b1", "b2", "eps"), slots={"m": "mu", "v": "nu"}),)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.v = self.beta_2 * self.v + where(t > 1, 1 - self.beta_2, 1) * total(g**2)
        self.m = self.beta_1 * self.m + (g / (sqrt(self.v) + self.epsilon) + self.weight_decay * w)
        return w - self.learning_rate * self.m
