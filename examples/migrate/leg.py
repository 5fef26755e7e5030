"""One process of the journey: takes weights and states from a folder, trains some steps, and leaves them there.

`python leg.py FRAMEWORK recorded|own FIRST STEPS OPTIMIZERS FOLDER`: for each rule that has a folder in FOLDER, its
weights.safetensors and state.safetensors (none before the first step). Prints the losses of each rule as JSON;
recorded gradients have none.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file
from task import RULES, batches, class_of, recorded


def generated(folder: Path, framework: str, rule: str) -> Any:
    """The optimizer's module, from the folder that it was generated into."""
    sys.path.insert(0, str(folder.parent))
    try:
        return importlib.import_module(f"{folder.name}.{framework}.{rule.lower()}")
    finally:
        sys.path.remove(str(folder.parent))


def main(framework: str, gradients: str, first: int, steps: int, optimizers: Path, folder: Path) -> None:
    kind_of_leg = importlib.import_module(f"{framework}_leg").Leg
    data, record = batches(), recorded() if gradients == "recorded" else None
    losses: dict[str, list[float]] = {}
    for rule in sorted(path.name for path in folder.iterdir()):
        weights, state = (folder / rule / f"{name}.safetensors" for name in ("weights", "state"))
        module = generated(optimizers, framework, class_of(rule))
        kept = load_file(state) if state.exists() else None
        leg = kind_of_leg(module, class_of(rule), RULES[rule], load_file(weights), kept)
        losses[rule] = []
        for step in range(first, first + steps):
            if record is None:
                loss, found = leg.gradients(*data[step])
                losses[rule].append(loss)
            else:
                found = record[step]
            leg.step(found)
        save_file(leg.weights(), weights)
        save_file(leg.state(), state)
    print(json.dumps(losses))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]), Path(sys.argv[6]))
