"""What surrounds a rule in one training step, outermost first."""

from .accumulate import Accumulate
from .decay import Decay

PIPELINE = (Accumulate, Decay)
