"""The runs of `landscapes` as one SVG: paths over contours, and the values step by step below.

Colours are those of the page around it (classes `rule`, `beside-0`, `beside-1`); without a style sheet they have their
own. Nothing in it depends on the machine: the same runs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import contourpy
import numpy as np

from .landscapes import STEPS, Landscape, Point, Run

WIDTH, GAP, MARGIN = 330, 50, 8
MAP, CURVES = 300, 130
TOP, BETWEEN, BOTTOM = 26, 34, 30
GRID = 65
CLASSES = ("rule", "beside-0", "beside-1")
STYLE = (
    ".landscapes{font:12px system-ui,sans-serif;fill:currentColor;max-width:100%;height:auto}"
    ".landscapes path{fill:none;stroke-width:1.6;stroke-linejoin:round}"
    ".landscapes .contour{stroke:currentColor;stroke-width:.6;opacity:.28}"
    ".landscapes .frame{stroke:currentColor;stroke-width:.8;opacity:.5}"
    ".landscapes .rule{stroke:#c2410c;stroke-width:2.2}.landscapes circle.rule{fill:#c2410c}"
    ".landscapes .beside-0{stroke:#4b7bb5}.landscapes circle.beside-0{fill:#4b7bb5}"
    ".landscapes .beside-1{stroke:#3f9142;stroke-dasharray:5 3}.landscapes circle.beside-1{fill:#3f9142}"
)


def figure(rows: Sequence[tuple[Landscape, Sequence[Run]]], title: str) -> str:
    """One column per landscape. The first run of each is the rule's own, and drawn last, above the others."""
    height = TOP + MAP + BETWEEN + CURVES + BOTTOM
    width = MARGIN + len(rows) * (WIDTH + GAP)
    parts = [
        f'<svg class="landscapes" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(title)}"><style>{STYLE}</style>'
    ]
    for column, (landscape, runs) in enumerate(rows):
        left = MARGIN + GAP - 14 + column * (WIDTH + GAP)
        parts.append(f'<g transform="translate({left} {TOP})">')
        parts.append(f'<text x="0" y="-9" font-weight="600">{escape(landscape.name)}</text>')
        parts += _map(landscape, runs, f"box-{column}")
        parts.append(f'<g transform="translate(0 {MAP + BETWEEN})">')
        parts += _curves(landscape, runs)
        parts.append("</g></g>")
    return "".join([*parts, "</svg>"])


def legend(run: Run, number: int) -> str:
    """The mark of a run and its words, as HTML: what it is, and at which learning rate."""
    rate = "" if run.rate is None else f", learning rate {run.rate:.2g}"
    return f'<span class="{CLASSES[number]}">{escape(run.rule)}</span>{rate}'


def _map(landscape: Landscape, runs: Sequence[Run], clip: str) -> Iterator[str]:
    (x0, x1), (y0, y1) = landscape.box

    def place(points: Point) -> Point:
        """In the drawing's units; what left the box far behind stays at a number that all browsers can draw."""
        inside = np.clip(np.nan_to_num(points, nan=x0, posinf=1e3, neginf=-1e3), -1e3, 1e3)
        return np.column_stack([(inside[:, 0] - x0) / (x1 - x0) * WIDTH, (y1 - inside[:, 1]) / (y1 - y0) * MAP])

    xs, ys = np.linspace(x0, x1, GRID), np.linspace(y0, y1, GRID)
    lines = contourpy.contour_generator(xs, ys, landscape.value(xs[None, :], ys[:, None]))
    yield f'<clipPath id="{clip}"><rect width="{WIDTH}" height="{MAP}"/></clipPath><g clip-path="url(#{clip})">'
    for level in landscape.levels:
        drawn = "".join(_line(place(np.asarray(line))) for line in lines.lines(level))
        yield f'<path class="contour" d="{drawn}"/>'
    for number, run in reversed(list(enumerate(runs))):
        yield f'<path class="{CLASSES[number]}" d="{"".join(_line(place(path)) for path in run.paths)}"/>'
        for path in run.paths:
            x, y = place(path[-1:])[0]
            yield f'<circle class="{CLASSES[number]}" cx="{_short(x)}" cy="{_short(y)}" r="3.2"/>'
    for x, y in (place(path[:1])[0] for path in runs[0].paths):
        yield f'<circle class="frame" cx="{_short(x)}" cy="{_short(y)}" r="4" fill="none"/>'
    x, y = place(np.array([landscape.lowest]))[0]
    yield f'<text x="{_short(x)}" y="{_short(y + 4.5)}" text-anchor="middle" font-size="15">✕</text></g>'
    yield f'<rect class="frame" width="{WIDTH}" height="{MAP}" fill="none"/>'
    yield from _ticks((x0, x1), (y0, y1))


def _ticks(across: tuple[float, float], up: tuple[float, float]) -> Iterator[str]:
    for value, at, anchor in ((across[0], 0, "start"), (across[1], WIDTH, "end")):
        yield f'<text x="{at}" y="{MAP + 14}" text-anchor="{anchor}">{value:g}</text>'
    for value, at in ((up[1], 10), (up[0], MAP)):
        yield f'<text x="-5" y="{at}" text-anchor="end">{value:g}</text>'


def _curves(landscape: Landscape, runs: Sequence[Run]) -> Iterator[str]:
    low, high = -4.0, 4.0

    def place(values: Point) -> Point:
        logs = np.log10(np.clip(np.nan_to_num(values, nan=10**high, posinf=10**high), 10**low, 10**high))
        steps = np.arange(len(values)) / STEPS * WIDTH
        return np.column_stack([steps, (high - logs) / (high - low) * CURVES])

    for number, run in reversed(list(enumerate(runs))):
        drawn = "".join(_line(place(values)) for values in run.values(landscape))
        yield f'<path class="{CLASSES[number]}" d="{drawn}"/>'
    yield f'<rect class="frame" width="{WIDTH}" height="{CURVES}" fill="none"/>'
    for power in (4, 0, -4):
        at = (high - power) / (high - low) * CURVES
        text = "1" if power == 0 else f'10<tspan dy="-4" font-size="9">{str(power).replace("-", "−")}</tspan>'  # noqa: RUF001
        yield f'<text x="-5" y="{_short(at + 4)}" text-anchor="end">{text}</text>'
    yield f'<text x="0" y="{CURVES + 16}">0</text>'
    yield f'<text x="{WIDTH}" y="{CURVES + 16}" text-anchor="end">{STEPS} steps</text>'
    yield f'<text x="{WIDTH / 2:g}" y="{CURVES + 16}" text-anchor="middle">value above the lowest</text>'


def _line(points: Point) -> str:
    return "M" + "L".join(f"{_short(x)} {_short(y)}" for x, y in points)


def _short(number: float) -> str:
    return f"{number:.1f}".rstrip("0").rstrip(".")
