"""Adadelta."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, sqrt


class Adadelta(Rule):
    """Steps as large as the last ones were, in units of the gradient (Zeiler 2012, algorithm 1)."""

    learning_rate = Hyper(0.001, ge=0)
    rho = Hyper(0.95, ge=0, lt=1, doc="decay rate of both mean squares")
    epsilon = Hyper(1e-7, ge=0, doc="added to both mean squares")

    v = Slot("mean square of the gradient")
    d = Slot("mean square of the steps")

    peers = (
        Peer(
            "torch.optim.Adadelta",
            arguments=("lr", "rho", "eps", "weight_decay"),
            slots={"v": "square_avg", "d": "acc_delta"},
            defaults={"learning_rate": 1.0, "rho": 0.9, "epsilon": 1e-6},
            dialect={"decoupled_weight_decay": False},
            differs=("weight decay is decoupled",),
        ),
        Peer("keras.optimizers.Adadelta", slots={"v": "accumulated_grad", "d": "accumulated_delta_var"}),
        Peer(
            "optax.adadelta",
            slots={"v": "e_g", "d": "e_x"},
            defaults={"rho": 0.9, "epsilon": 1e-6},
            dialect={"decoupled_weight_decay": False},
            differs=("weight decay is decoupled",),
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.v = self.rho * self.v + (1 - self.rho) * g**2
        self.change = sqrt(self.d + self.epsilon) / sqrt(self.v + self.epsilon) * g
        self.d = self.rho * self.d + (1 - self.rho) * self.change**2
        return w - self.learning_rate * self.change
