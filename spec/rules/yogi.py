"""Yogi."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, sign, sqrt


class Yogi(Rule):
    """Adam whose second moment grows and falls by as much as the squared gradient (Zaheer et al. 2018, algorithm 2).

    The moments' biases are corrected, which the paper leaves out.
    """

    learning_rate = Hyper(0.01, ge=0)
    beta_1 = Hyper(0.9, ge=0, lt=1, doc="decay rate of the first moment")
    beta_2 = Hyper(0.999, ge=0, lt=1, doc="decay rate of the second moment")
    epsilon = Hyper(1e-3, ge=0, doc="added to the root of the second moment")
    initial_accumulator_value = Hyper(1e-6, ge=0, doc="where both moments start")

    m = Slot("first moment", init=initial_accumulator_value)
    v = Slot("second moment", init=initial_accumulator_value)

    peers = (Peer("optax.yogi", ("learning_rate", "b1", "b2", "eps"), slots={"m": "mu", "v": "nu"}),)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.square = g**2
        self.v = self.v - (1 - self.beta_2) * sign(self.v - self.square) * self.square
        self.m_hat = self.m / (1 - self.beta_1**t)
        self.v_hat = self.v / (1 - self.beta_2**t)
        return w - self.learning_rate * self.m_hat / (sqrt(self.v_hat) + self.epsilon)
