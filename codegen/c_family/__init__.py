"""What C++ and CUDA share: the interface, the formulas and the functions of their kernels."""

from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"
"""Also those of what frameworks need to call them."""
