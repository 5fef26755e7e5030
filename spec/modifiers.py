"""Modifiers of rules: bases that stand before a rule in the list of a class's bases, and change what its step gives."""

from __future__ import annotations

from .declarations import Value
from .functions import maximum, mean, where
from .rule import Rule


class Cautious(Rule):
    """Any rule, moving only where the gradient agrees, and further there (Liang et al. 2024, algorithm 1, line 7)."""

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.bold = super().step(w, g, t)
        self.move = self.bold - w
        self.agreeing = where(self.move * g < 0, 1, 0)
        self.share = maximum(mean(self.agreeing), 1e-3)
        return w + self.move * self.agreeing / self.share
