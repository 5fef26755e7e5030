"""Schedule-Free AdamW."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, sqrt, where


class ScheduleFreeAdamW(Rule):
    """AdamW that averages its iterates instead of following a schedule (Defazio et al. 2024, algorithm 1).

    The parameter is y, where gradients are taken; what to evaluate is x = (y - (1 - beta_1) z) / beta_1.
    """

    learning_rate = Hyper(0.0025, ge=0)
    beta_1 = Hyper(0.9, gt=0, lt=1, doc="share of the average in the point where gradients are taken")
    beta_2 = Hyper(0.999, ge=0, lt=1, doc="decay rate of the second moment")
    epsilon = Hyper(1e-8, ge=0, doc="added to the root of the corrected second moment")
    weight_decay = Hyper(0.0, ge=0, doc="decay at y, within the step of z")

    z = Slot("the iterate that gradients move", init="parameter")
    v = Slot("second moment")
    weight_sum = Slot("sum of squared learning rates", shape="scalar")

    peers = (
        Peer(
            "keras.optimizers.ScheduleFreeAdamW",
            slots={"z": "momentum", "v": "velocity"},
            otherwise={"step": "the average is recovered with the new z, and decay is outside it"},
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.weight_sum = self.weight_sum + self.learning_rate**2
        self.share = where(self.weight_sum > 0, self.learning_rate**2 / self.weight_sum, 0)
        self.x = (w - (1 - self.beta_1) * self.z) / self.beta_1
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g**2
        self.direction = g / (sqrt(self.v / (1 - self.beta_2**t)) + self.epsilon) + self.weight_decay * w
        self.z = self.z - self.learning_rate * self.direction
        self.average = (1 - self.share) * self.x + self.share * self.z
        return (1 - self.beta_1) * self.z + self.beta_1 * self.average
