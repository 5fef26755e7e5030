"""One run in three frameworks: stays in one, or moves from TensorFlow to PyTorch to JAX at thirds.

With a recorded sequence of gradients all of them end in the same bits; with each framework's own gradients training
goes on across the moves. Writes results.md and results.json beside this file, or into --out. See README.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import report
from optloom.codegen import api
from safetensors.numpy import load_file, save_file
from task import FRAMEWORKS, RULES, STEPS, class_of, digest, start

HERE = Path(__file__).parent


@dataclass
class Journey:
    """The frameworks that a run goes through, each for as many steps; recorded gradients or each framework's own."""

    name: str
    route: tuple[str, ...]
    gradients: str
    folder: Path
    rules: list[str]
    losses: dict[str, list[float]] = field(default_factory=dict)

    def run(self, optimizers: Path) -> None:
        for rule in self.rules:
            (self.folder / rule).mkdir(parents=True)
            save_file(start(), self.folder / rule / "weights.safetensors")
        steps = STEPS // len(self.route)
        for index, framework in enumerate(self.route):
            if index:
                self._convert(self.route[index - 1], framework)
            found = _python(
                str(HERE / "leg.py"), framework, self.gradients, str(index * steps), str(steps), str(optimizers),
                str(self.folder),
            )  # fmt: skip
            for rule, losses in json.loads(found.splitlines()[-1]).items():
                self.losses.setdefault(rule, []).extend(losses)
        if self.route[-1] == "pytorch":
            self._convert("pytorch", "the others")

    def _convert(self, before: str, after: str) -> None:
        """The states, as the next framework names them and lays them out."""
        if "pytorch" not in (before, after):
            return
        moves = HERE / ("to_pytorch.toml" if after == "pytorch" else "from_pytorch.toml")
        for rule in self.rules:
            state = str(self.folder / rule / "state.safetensors")
            _python("-m", "optloom.codegen", "convert", state, state, "--map", str(moves))

    def digests(self) -> dict[str, str]:
        """By rule: of weights, slots and counters at the end."""
        return {
            rule: digest({**load_file(folder / "weights.safetensors"), **load_file(folder / "state.safetensors")})
            for rule in self.rules
            for folder in [self.folder / rule]
        }


def _python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with status {done.returncode}\n{done.stderr}")
    return done.stdout


def travel(rules: list[str], folder: Path) -> dict[str, Any]:
    """All journeys; what `report` shows."""
    optimizers = folder / "optimizers"
    files = list(dict.fromkeys(class_of(rule).lower() for rule in rules))
    api.generate(api.Selection(rules=files, targets=FRAMEWORKS, numerics="strict"), optimizers)
    routes = {f"stays in {name}": (name,) for name in FRAMEWORKS} | {"moves at thirds": FRAMEWORKS}
    results: dict[str, Any] = {"digests": {}, "losses": {}}
    for kind in ("recorded", "own"):
        for name, route in routes.items():
            journey = Journey(name, route, kind, folder / kind / name, rules)
            journey.run(optimizers)
            if kind == "recorded":
                results["digests"][name] = journey.digests()
            else:
                results["losses"][name] = journey.losses
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE, help="where the results go")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES), metavar="NAME")
    arguments = parser.parse_args()
    out: Path = arguments.out
    with tempfile.TemporaryDirectory() as folder:
        results = travel(arguments.rules, Path(folder))
    text = report.markdown(results)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "results.md").write_text(text)
    print(text)
    return 0 if report.is_one(results) else 1


if __name__ == "__main__":
    sys.exit(main())
