"""Adagrad."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, sqrt


class Adagrad(Rule):
    """Adaptive subgradient method (Duchi, Hazan & Singer 2011, figure 1, diagonal matrices)."""

    learning_rate = Hyper(0.001, ge=0)
    initial_accumulator_value = Hyper(0.1, ge=0, doc="what the sum of squares starts from")
    epsilon = Hyper(1e-7, ge=0, doc="added to the sum of squares, inside the root")

    accumulator = Slot("sum of squared gradients", init=initial_accumulator_value)

    peers = (
        Peer(
            "torch.optim.Adagrad",
            arguments=("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"),
            slots={"accumulator": "sum"},
            defaults={"learning_rate": 0.01, "initial_accumulator_value": 0.0, "epsilon": 1e-10},
            differs=("epsilon is inside the root", "weight decay is decoupled"),
            dialect={"decoupled_weight_decay": False},
        ),
        Peer("keras.optimizers.Adagrad", slots={"accumulator": "accumulator"}),
        Peer("optax.adagrad", slots={"accumulator": "sum_of_squares"}),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.accumulator = self.accumulator + g**2
        return w - self.learning_rate * g / sqrt(self.accumulator + self.epsilon)
