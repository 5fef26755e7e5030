"""QHAdam."""

from optloom.spec import Hyper, Rule, Slot, Value, sqrt


class QHAdam(Rule):
    """Quasi-hyperbolic Adam (Ma & Yarats 2019, section 4.2): moments mixed with the gradient itself."""

    learning_rate = Hyper(0.001, ge=0)
    beta_1 = Hyper(0.995, ge=0, lt=1, doc="decay rate of the first moment")
    beta_2 = Hyper(0.999, ge=0, lt=1, doc="decay rate of the second moment")
    nu_1 = Hyper(0.7, ge=0, le=1, doc="share of the first moment in the direction")
    nu_2 = Hyper(1.0, ge=0, le=1, doc="share of the second moment in the square that it is divided by")
    epsilon = Hyper(1e-8, ge=0, doc="added to the root of that square")

    m = Slot("first moment")
    v = Slot("second moment")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g**2
        self.direction = (1 - self.nu_1) * g + self.nu_1 / (1 - self.beta_1**t) * self.m
        self.square = (1 - self.nu_2) * g**2 + self.nu_2 / (1 - self.beta_2**t) * self.v
        return w - self.learning_rate * self.direction / (sqrt(self.square) + self.epsilon)
