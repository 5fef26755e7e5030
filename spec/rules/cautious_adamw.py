"""Cautious AdamW."""

from optloom.spec.modifiers import Cautious

from .adamw import AdamW


class CautiousAdamW(Cautious, AdamW):
    """AdamW that moves only where the gradient agrees (Liang et al. 2024, algorithm 2)."""

    peers = ()  # type: ignore[assignment]
