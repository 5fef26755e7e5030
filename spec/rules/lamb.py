"""LAMB."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, both, norm, sqrt, where


class Lamb(Rule):
    """Layerwise adaptive moments (You et al. 2020, algorithm 2); the trust ratio is 1 where a norm is 0."""

    learning_rate = Hyper(0.001, ge=0)
    beta_1 = Hyper(0.9, ge=0, lt=1, doc="decay rate of the first moment")
    beta_2 = Hyper(0.999, ge=0, lt=1, doc="decay rate of the second moment")
    epsilon = Hyper(1e-7, ge=0, doc="added to the root of the corrected second moment")

    m = Slot("first moment")
    v = Slot("second moment")

    peers = (
        Peer("keras.optimizers.Lamb", slots={"m": "momentum", "v": "velocity"}),
        Peer(
            "optax.lamb",
            slots={"m": "mu", "v": "nu"},
            defaults={"epsilon": 1e-6},
            differs=("weight decay is not a part of what the trust ratio measures",),
            otherwise={"weight_decay": "it is a part of the direction whose norm is taken"},
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g**2
        self.direction = self.m / (1 - self.beta_1**t) / (sqrt(self.v / (1 - self.beta_2**t)) + self.epsilon)
        self.w_norm = norm(w)
        self.direction_norm = norm(self.direction)
        self.trust = where(both(self.w_norm > 0, self.direction_norm > 0), self.w_norm / self.direction_norm, 1)
        return w - self.learning_rate * self.trust * self.direction
