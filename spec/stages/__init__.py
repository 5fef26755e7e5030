"""What surrounds a rule in one training step, outermost first.

A stage that comes after the rule (the average) stands before those whose result it takes.
"""

from .accumulate import Accumulate
from .average import Average
from .clip import ClipByGlobalNorm, ClipByNorm, ClipByValue
from .decay import Decay
from .skip import SkipNonfinite
from .unscale import Unscale

PIPELINE = (SkipNonfinite, Average, Unscale, Accumulate, ClipByValue, ClipByNorm, ClipByGlobalNorm, Decay)
