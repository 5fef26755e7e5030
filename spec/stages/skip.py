"""Gradients that are not finite."""

from optloom.spec import AllFinite, Option, Stage, Value


class SkipNonfinite(Stage):
    """A call with a gradient that is not finite in some element changes nothing but the count of such calls: what is
    left is as if it had not been made (Micikevicius et al. 2018, section 3.2: steps with an overflow are skipped).
    """

    skip_nonfinite = Option(False, doc="a call with a gradient that is not finite changes nothing, and is counted")

    name = "skip"
    when = "skip_nonfinite"
    is_of_optimizer = True
    region = AllFinite("all_finite")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        return self.inner(w, g, t)
