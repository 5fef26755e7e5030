"""Matrix products, and another way for parameters of other shapes."""

from optloom.spec import Hyper, Rule, Slot, Value, has_axes, matmul, norm, sign, transpose

MATRIX = has_axes(2, exactly=True)


class OneNewton(Rule):
    """Momentum after one Newton-Schulz step for matrices, signs for the rest."""

    learning_rate = Hyper(0.01, ge=0)
    beta = Hyper(0.9, ge=0, lt=1, doc="decay rate of the momentum")
    epsilon = Hyper(1e-7, gt=0, doc="added to a matrix's norm")

    m = Slot("momentum")

    def nearer(self) -> Value:
        self.size = norm(self.m) + self.epsilon
        self.x = self.m / self.size
        return 1.5 * self.x - 0.5 * matmul(matmul(self.x, transpose(self.x)), self.x)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta * self.m + g
        return w - self.learning_rate * self.branch(MATRIX, self.nearer, lambda: sign(self.m))
