"""A sum over each tensor."""

from optloom.spec import Hyper, Rule, Slot, Value, norm


class Normed(Rule):
    """Momentum of unit length (Cutkosky & Mehta 2020, algorithm 1)."""

    learning_rate = Hyper(0.01, ge=0)
    beta = Hyper(0.9, ge=0, lt=1, doc="decay rate of the momentum")
    epsilon = Hyper(1e-8, gt=0, doc="added to the momentum's norm")

    m = Slot("momentum")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta * self.m + (1 - self.beta) * g
        self.size = norm(self.m) + self.epsilon
        return w - self.learning_rate / self.size * self.m
