"""Schedule-Free SGD."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, where


class ScheduleFreeSGD(Rule):
    """SGD that averages its iterates instead of following a schedule (Defazio et al. 2024, equations 2 to 4).

    The parameter is y, where gradients are taken; what to evaluate is x = (y - (1 - beta_1) z) / beta_1.
    """

    learning_rate = Hyper(1.0, ge=0)
    beta_1 = Hyper(0.9, gt=0, lt=1, doc="share of the average in the point where gradients are taken")
    weight_decay = Hyper(0.0, ge=0, doc="decay at y, within the step of z")

    z = Slot("the iterate that gradients move", init="parameter")
    weight_sum = Slot("sum of squared learning rates", shape="scalar")

    peers = (
        Peer(
            "optax.contrib.schedule_free_sgd",
            slots={"z": "z", "weight_sum": "weight_sum"},
            otherwise={"step": "iterates weigh as the largest rate so far, squared; decay is outside the rate"},
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.weight_sum = self.weight_sum + self.learning_rate**2
        self.share = where(self.weight_sum > 0, self.learning_rate**2 / self.weight_sum, 0)
        self.x = (w - (1 - self.beta_1) * self.z) / self.beta_1
        self.z = self.z - self.learning_rate * (g + self.weight_decay * w)
        self.average = (1 - self.share) * self.x + self.share * self.z
        return (1 - self.beta_1) * self.z + self.beta_1 * self.average
