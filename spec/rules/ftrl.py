"""Ftrl."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, maximum, minimum, sqrt, where


class Ftrl(Rule):
    """Follow the regularized leader, per coordinate (McMahan et al. 2013, algorithm 1).

    Shrinkage adds to the gradient alone, not to its square: an l2 penalty that does not slow learning down.
    """

    learning_rate = Hyper(0.001, gt=0)
    learning_rate_power = Hyper(-0.5, le=0, off=-0.5, doc="exponent of the sum in the step size; -0.5 for its root")
    initial_accumulator_value = Hyper(0.1, ge=0, doc="where the sum of squared gradients starts")
    l1_regularization_strength = Hyper(0.0, ge=0, doc="weights are 0 until their sum is larger")
    l2_regularization_strength = Hyper(0.0, ge=0, doc="penalty on squared weights")
    l2_shrinkage_regularization_strength = Hyper(0.0, ge=0, doc="the same penalty, on the gradient alone")
    beta = Hyper(0.0, ge=0, doc="added to the root of the sum of squares")

    accumulator = Slot("sum of squared gradients", init=initial_accumulator_value)
    linear = Slot("sum of the gradients, as seen from the weights so far")

    peers = (Peer("keras.optimizers.Ftrl", slots={"accumulator": "accumulator", "linear": "linear"}),)

    def size(self, total: Value) -> Value:
        return where(self.learning_rate_power.given, total**-self.learning_rate_power, sqrt(total))

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.l2 = self.l2_regularization_strength + self.beta / (2 * self.learning_rate)
        self.shrunk = g + 2 * self.l2_shrinkage_regularization_strength * w
        self.size_before = self.size(self.accumulator)
        self.accumulator = self.accumulator + g**2
        self.size_now = self.size(self.accumulator)
        self.linear = self.linear + (self.shrunk - (self.size_now - self.size_before) / self.learning_rate * w)
        self.quadratic = self.size_now / self.learning_rate + 2 * self.l2
        l1 = self.l1_regularization_strength
        return (maximum(minimum(self.linear, l1), -l1) - self.linear) / self.quadratic
