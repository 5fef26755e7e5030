"""What surrounds a rule in one training step, outermost first.

A stage that comes after the rule (the average) stands before those whose result it takes.
"""

from .accumulate import Accumulate
from .average import Average
from .clip import ClipByGlobalNorm, ClipByNorm, ClipByValue
from .decay import Decay
from .master import MasterWeights
from .rounding import StochasticRounding
from .skip import SkipNonfinite
from .unscale import Unscale

PIPELINE = (
    SkipNonfinite, StochasticRounding, MasterWeights, Average, Unscale, Accumulate, ClipByValue, ClipByNorm,
    ClipByGlobalNorm, Decay,
)  # fmt: skip
