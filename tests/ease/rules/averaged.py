"""A wrapper of another rule, with weights for evaluation."""

from optloom.spec import Hyper, Rule, Slot, Value
from optloom.spec.rules.adam import Adam


class Averaged(Rule):
    """Adam, and the mean of its iterates with a growing weight (Shamir & Zhang 2013)."""

    eta = Hyper(3.0, ge=0, doc="how much later iterates outweigh earlier ones")

    mean_weights = Slot("mean of the iterates", init="parameter", for_evaluation=True)

    wraps = Adam

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.new = self.inner(w, g, t)
        self.share = (self.eta + 1) / (t + self.eta)
        self.mean_weights = self.mean_weights + self.share * (self.new - self.mean_weights)
        return self.new
