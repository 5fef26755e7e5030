"""Adagrad."""

from optloom.spec import Hyper, Option, Peer, Rule, Slot, Value, sqrt, where


class Adagrad(Rule):
    """Adaptive subgradient method (Duchi, Hazan & Singer 2011, figure 1, diagonal matrices)."""

    learning_rate = Hyper(0.001, ge=0)
    initial_accumulator_value = Hyper(0.1, ge=0, doc="what the sum of squares starts from")
    epsilon = Hyper(1e-7, ge=0, doc="added to the sum of squares")
    learning_rate_decay = Hyper(0.0, ge=0, off=0, convention=True, doc="the rate is divided by 1 + (t - 1) of it")
    epsilon_in_root = Option(True, convention=True, doc="epsilon is added to the sum, else to its root")

    accumulator = Slot("sum of squared gradients", init=initial_accumulator_value)

    peers = (
        Peer(
            "torch.optim.Adagrad",
            arguments=("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"),
            names={"learning_rate_decay": "lr_decay"},
            slots={"accumulator": "sum"},
            defaults={"learning_rate": 0.01, "initial_accumulator_value": 0.0, "epsilon": 1e-10},
            dialect={"epsilon_in_root": False, "decoupled_weight_decay": False},
            differs=("epsilon is inside the root", "weight decay is decoupled"),
        ),
        Peer("keras.optimizers.Adagrad", slots={"accumulator": "accumulator"}),
        Peer("optax.adagrad", slots={"accumulator": "sum_of_squares"}),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        decayed = self.learning_rate / (1 + (t - 1) * self.learning_rate_decay)
        self.rate = where(self.learning_rate_decay.given, decayed, self.learning_rate)
        self.accumulator = self.accumulator + g**2
        inside, outside = sqrt(self.accumulator + self.epsilon), sqrt(self.accumulator) + self.epsilon
        return w - self.rate * g / where(self.epsilon_in_root, inside, outside)
