"""DoG."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, maximum, norm, sqrt, total, where


class DoG(Rule):
    """SGD whose step is the distance gone over the gradients met (Ivgi, Hinder & Carmon 2023, equation 2)."""

    learning_rate = Hyper(1.0, ge=0, doc="factor on the step size")
    first_step = Hyper(1e-6, gt=0, doc="least distance, in lengths of 1 and the weights at the start")
    epsilon = Hyper(1e-8, ge=0, doc="added to the sum of the gradients' squared norms")

    start = Slot("the parameter at the start", init="parameter")
    distance = Slot("greatest distance from the start so far", shape="scalar")
    squares = Slot("sum of the gradients' squared norms", shape="scalar")

    peers = (
        Peer(
            "optax.contrib.dog",
            slots={"start": "init_params", "distance": "max_dist", "squares": "sum_sq_norm_grads"},
            dialect={"decoupled_weight_decay": False},
            differs=("weight decay is decoupled",),
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.least = where(t > 1, 0, self.first_step) * (1 + norm(w, over="tensors"))
        self.gone = maximum(norm(w - self.start, over="tensors"), self.least)
        self.distance = maximum(self.distance, self.gone)
        self.squares = self.squares + total(g**2, over="tensors")
        return w - self.learning_rate * self.distance / sqrt(self.squares + self.epsilon) * g
