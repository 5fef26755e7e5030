"""Stochastic rounding."""

from optloom.spec import Option, Stage, Value, stochastically_rounded


class StochasticRounding(Stage):
    """Weights of low precision are rounded up or down by chance, so that they are right on average: steps of less than
    half a unit in the last place add up, which rounding to nearest would lose (Gupta, Agrawal, Gopalakrishnan &
    Narayanan 2015).
    """

    stochastic_rounding = Option(False, doc="round float16 and bfloat16 weights up or down by chance, repeatably")

    name = "rounding"
    when = "stochastic_rounding"
    is_of_optimizer = True
    reads_result = True

    def step(self, w: Value, g: Value, t: Value) -> Value:
        return stochastically_rounded(self.inner(w, g, t), t)
