"""How exact and how fast generated optimizers are, beside their peers, on this machine."""

from .measure import Accuracy, Benchmark, Speed, bench

__all__ = ["Accuracy", "Benchmark", "Speed", "bench"]
