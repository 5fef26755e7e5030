"""The losses, and how far the frameworks are apart, as a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from report import TITLES, Results
from task import FRAMEWORKS, SETTINGS, VARIANTS

# Colour, width and dashes: of lines that coincide, each still shows.
LINES = {
    ("pytorch", True): ("#a9cdfb", 8.0, "-"),
    ("tensorflow", True): ("#4c8de8", 4.5, "-"),
    ("jax", True): ("#0b2f6b", 1.4, "-"),
    ("pytorch", False): ("#f08c00", 2.6, "-"),
    ("tensorflow", False): ("#37b24d", 1.8, (0, (2, 6))),
    ("jax", False): ("#9c1fc4", 1.4, (0, (4, 4))),
}
SPREADS = {
    "generated": "#1c5fc4",
    "generated, as shipped": "#74a9f7",
    "peers": "#c2255c",
    "peers, as shipped": "#f783ac",
}
ROUNDOFF = 2.0**-24


def draw(results: Results, path: Path) -> None:
    """Writes a PNG: a column per optimizer, its losses above, the frameworks' distance below."""
    columns = len(results.optimizers)
    shared = {"sharex": True, "sharey": "row", "squeeze": False}
    figure, axes = plt.subplots(2, columns, figsize=(2.8 + 3.4 * columns, 7), layout="constrained", **shared)
    for column, name in enumerate(results.optimizers):
        draw_losses(axes[0, column], results, name)
        draw_spreads(axes[1, column], results, name)
    axes[0, 0].set_ylabel("loss over all images")
    axes[1, 0].set_ylabel("distance between the frameworks\n(greatest - least) / mean")
    for row in axes:
        row[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, handlelength=3)
    figure.suptitle(
        "The same network, weights and batches in PyTorch, TensorFlow and JAX:\n"
        "generated optimizers coincide, peers of the same name and settings part"
    )
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)


def draw_losses(axes: Axes, results: Results, name: str) -> None:
    """With all settings given: the generated optimizers' lines, over each other, and their peers'."""
    for variant in (variant for variant in VARIANTS if variant.all_settings):
        for framework, losses in zip(FRAMEWORKS, results.losses[name, variant.label], strict=True):
            colour, width, dashes = LINES[framework, variant.generated]
            title = TITLES[framework, variant.generated]
            axes.plot(losses, color=colour, linewidth=width, linestyle=dashes, label=title)
    axes.set_title(f"{name}, epsilon {SETTINGS[name]['epsilon']:g}")
    axes.set_yscale("log")
    axes.grid(alpha=0.25)


def draw_spreads(axes: Axes, results: Results, name: str) -> None:
    for variant in VARIANTS:
        spread = results.spread(name, variant).clip(ROUNDOFF)  # equal losses, too, have a place on the scale
        axes.plot(spread, color=SPREADS[variant.label], linewidth=1.6, label=variant.label)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.grid(alpha=0.25)
