"""Cautious Lion."""

from optloom.spec.modifiers import Cautious

from .lion import Lion


class CautiousLion(Cautious, Lion):
    """Lion that moves only where the gradient agrees (Liang et al. 2024, algorithm 1)."""

    peers = ()  # type: ignore[assignment]
