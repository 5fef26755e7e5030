"""Averages of the weights."""

from optloom.spec import Hyper, Option, Slot, Stage, Value, equal, remainder, where


class Average(Stage):
    """A moving average of the weights (Polyak & Juditsky 1992). It starts as the weights after the first update and
    moves once per update; every so many updates the weights may be overwritten by it.
    """

    use_ema = Option(False, doc="keep a moving average of the weights")
    ema_momentum = Hyper(0.99, ge=0, le=1, doc="decay rate of the average of the weights")
    ema_overwrite_frequency = Hyper(
        None, ge=1, integer=True, doc="updates between overwritings by the average; None for never"
    )
    weight_average = Slot("moving average of the weights", when=use_ema, for_evaluation=True)

    name = "ema"
    when = "use_ema"
    is_of_optimizer = True
    reads_result = True

    def step(self, w: Value, g: Value, t: Value) -> Value:
        new = self.inner(w, g, t)
        self.kept_average = where(equal(t, 1), 0, self.ema_momentum)
        self.weight_average = self.kept_average * self.weight_average + (1 - self.kept_average) * new

        def overwritten() -> Value:
            self.is_overwrite = equal(remainder(t, self.ema_overwrite_frequency), 0)
            return where(self.is_overwrite, self.weight_average, new)

        return self.branch(self.ema_overwrite_frequency.given, overwritten, lambda: new)
