"""Weights that are kept more precisely than the model has them."""

from optloom.spec import Narrow, Option, Slot, Stage, Value, where

NARROW = Narrow()


class MasterWeights(Stage):
    """A parameter of float16 or bfloat16 is the rounded copy of a weight in the dtype of its arithmetic, which all
    updates work on (Micikevicius et al. 2018, section 3.1). Others are their own.
    """

    master_weights = Option(False, doc="keep float32 weights, of which float16 and bfloat16 parameters are copies")
    master_weight = Slot("the weights, unrounded", init="parameter", when=(master_weights, NARROW))

    name = "master"
    when = "master_weights"
    is_of_optimizer = True
    reads_result = True

    def step(self, w: Value, g: Value, t: Value) -> Value:
        new = self.inner(where(NARROW, self.master_weight, w), g, t)
        self.master_weight = new
        return new
