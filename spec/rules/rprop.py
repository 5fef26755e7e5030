"""Rprop."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, maximum, minimum, sign, where


class Rprop(Rule):
    """Steps by the gradient's sign, longer while it holds (Igel & Huesken 2000, iRprop-; for whole batches)."""

    learning_rate = Hyper(0.01, gt=0, doc="size of the first step")
    eta_minus = Hyper(0.5, gt=0, lt=1, doc="factor on a step size whose gradient turned")
    eta_plus = Hyper(1.2, gt=1, doc="factor on a step size whose gradient did not")
    step_size_min = Hyper(1e-6, ge=0, doc="least step size")
    step_size_max = Hyper(50.0, gt=0, doc="greatest step size")

    previous = Slot("the last gradient; 0 where it turned")
    step_size = Slot("size of the last step", init=learning_rate)

    peers = (
        Peer(
            "torch.optim.Rprop",
            arguments=("lr", "etas", "step_sizes"),
            slots={"previous": "prev", "step_size": "step_size"},
        ),
        Peer(
            "optax.rprop",
            arguments=("learning_rate", "eta_minus", "eta_plus", "min_step_size", "max_step_size"),
            names={"step_size_min": "min_step_size", "step_size_max": "max_step_size"},
            slots={"step_size": "step_sizes"},
            otherwise={"step": "weights move by the step before, and the update is kept instead of the gradient"},
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.agreement = sign(g) * sign(self.previous)
        self.factor = where(self.agreement > 0, self.eta_plus, where(self.agreement < 0, self.eta_minus, 1))
        least = maximum(self.step_size * self.factor, self.step_size_min)
        self.step_size = minimum(least, self.step_size_max)
        self.previous = where(self.agreement < 0, 0, g)
        return w - sign(self.previous) * self.step_size
