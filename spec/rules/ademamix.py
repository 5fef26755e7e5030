"""AdEMAMix."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, sqrt


class AdEMAMix(Rule):
    """Adam with a second, slow average of the gradient (Pagliardini et al. 2024, algorithm 1)."""

    learning_rate = Hyper(0.001, ge=0)
    beta_1 = Hyper(0.9, ge=0, lt=1, doc="decay rate of the fast average")
    beta_2 = Hyper(0.999, ge=0, lt=1, doc="decay rate of the second moment")
    beta_3 = Hyper(0.9999, ge=0, lt=1, doc="decay rate of the slow average")
    alpha = Hyper(5.0, ge=0, doc="weight of the slow average")
    epsilon = Hyper(1e-8, ge=0, doc="added to the root of the second moment")
    epsilon_root = Hyper(0.0, ge=0, doc="added to the second moment")

    fast = Slot("fast average of the gradient")
    slow = Slot("slow average of the gradient")
    v = Slot("second moment")

    peers = (
        Peer(
            "optax.contrib.ademamix",
            names={"epsilon_root": "eps_root"},
            slots={"fast": "m1", "slow": "m2", "v": "nu"},
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.fast = self.beta_1 * self.fast + (1 - self.beta_1) * g
        self.slow = self.beta_3 * self.slow + (1 - self.beta_3) * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g**2
        self.mixture = self.fast / (1 - self.beta_1**t) + self.alpha * self.slow
        self.size = sqrt(self.v / (1 - self.beta_2**t) + self.epsilon_root) + self.epsilon
        return w - self.learning_rate * self.mixture / self.size
