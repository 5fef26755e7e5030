"""Averaged SGD."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, maximum


class ASGD(Rule):
    """SGD with an average of its weights (Polyak & Juditsky 1992; Xu 2011, section 3.2).

    `average` is what to evaluate; it is the weights until step `t_0`, and their mean from there on.
    """

    learning_rate = Hyper(0.01, ge=0)
    decay = Hyper(1e-4, ge=0, doc="decay of the weights, and of the rate")
    alpha = Hyper(0.75, ge=0, doc="exponent of the rate's decay")
    t_0 = Hyper(1e6, ge=0, doc="step at which averaging starts")

    eta = Slot("rate of the next step", init=learning_rate, shape="scalar")
    mu = Slot("share of the next weights in the average", init=1, shape="scalar")
    average = Slot("average of the weights")

    peers = (
        Peer(
            "torch.optim.ASGD",
            arguments=("lr", "lambd", "alpha", "t0", "weight_decay"),
            names={"decay": "lambd", "t_0": "t0"},
            slots={"eta": "eta", "mu": "mu", "average": "ax"},
            dialect={"decoupled_weight_decay": False},
            differs=("weight decay is decoupled",),
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.moved = w * (1 - self.decay * self.eta) - self.eta * g
        self.average = self.average + self.mu * (self.moved - self.average)
        self.eta = self.learning_rate / (1 + self.decay * self.learning_rate * t) ** self.alpha
        self.mu = 1 / maximum(1, t - self.t_0)
        return self.moved
