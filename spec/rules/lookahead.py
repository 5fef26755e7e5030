"""Lookahead."""

from optloom.spec import Hyper, Peer, Rule, Slot, Value, equal, remainder, where

from .adam import Adam


class Lookahead(Rule):
    """Slow weights that follow another rule's, here Adam's, every few steps (Zhang et al. 2019, algorithm 1)."""

    slow_step_size = Hyper(0.5, ge=0, le=1, doc="share of the way that the slow weights go")
    sync_period = Hyper(6, ge=1, integer=True, doc="steps between two synchronisations")

    slow = Slot("slow weights", init="parameter")

    wraps = Adam
    peers = (
        Peer(
            "optax.lookahead",
            slots={"slow": "slow"},
            otherwise={"step": "it wraps any optimizer, and parameters are pairs"},
        ),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.fast = self.inner(w, g, t)
        self.synchronise = equal(remainder(t, self.sync_period), 0)
        self.slow = where(self.synchronise, self.slow + self.slow_step_size * (self.fast - self.slow), self.slow)
        return where(self.synchronise, self.slow, self.fast)
