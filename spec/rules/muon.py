"""Muon."""

from optloom.spec import (  # noqa: I001
    Hyper, Option, Peer, Rule, Slot, Value, bfloat16, has_axes, length, matmul, maximum, negation, norm, sqrt,
    transpose, where,
)  # fmt: skip

MATRIX = has_axes(2, exactly=True)
A, B, C = 3.4445, -4.775, 2.0315


class Muon(Rule):
    """Orthogonalised momentum for matrices (Jordan et al. 2024), Adam for parameters of other shapes."""

    learning_rate = Hyper(0.001, ge=0)
    momentum = Hyper(0.95, ge=0, lt=1, doc="decay rate of a matrix's momentum")
    rms_rate = Hyper(0.2, ge=0, doc="root mean square of a matrix's update, in learning rates")
    beta_1 = Hyper(0.9, ge=0, lt=1, doc="decay rate of the first moment of other parameters")
    beta_2 = Hyper(0.999, ge=0, lt=1, doc="decay rate of their second moment")
    epsilon = Hyper(1e-7, ge=0, doc="added to norms and to the root of the second moment")
    nesterov = Option(True, doc="step ahead along the momentum")
    in_bfloat16 = Option(False, doc="Newton-Schulz iterations are in bfloat16, as in torch.optim.Muon")

    m = Slot("momentum")
    v = Slot("second moment", when=negation(MATRIX))

    peers = (Peer(
        "keras.optimizers.Muon", slots={"m": "momentum", "v": "velocity"},
        otherwise={"step": "vectors have a decay of their own; what is added to a matrix's norm is always 1e-7"},
    ),)  # fmt: skip

    def kept(self, x: Value) -> Value:
        return where(self.in_bfloat16, bfloat16(x), x)

    def orthogonal(self, g: Value) -> Value:
        self.ahead = where(self.nesterov, g + self.momentum * self.m, self.m)
        self.size = norm(self.ahead) + self.epsilon
        self.x = self.kept(self.ahead / self.size)
        for _ in range(5):
            self.gram = self.kept(matmul(self.x, transpose(self.x)))
            self.slope = self.kept(B * self.gram + C * matmul(self.gram, self.gram))
            self.x = self.kept(A * self.x + matmul(self.slope, self.x))
        self.scale = sqrt(maximum(length(self.m, -2), length(self.m, -1))) * self.rms_rate
        return self.scale * self.x

    def adam(self, t: Value) -> Value:
        self.alpha = sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        return self.alpha * self.m / (sqrt(self.v) + self.epsilon)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = where(MATRIX, self.momentum * self.m + g, self.beta_1 * self.m + (1 - self.beta_1) * g)
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g**2
        return w - self.learning_rate * self.branch(MATRIX, lambda: self.orthogonal(g), lambda: self.adam(t))
