"""Writes recording.txt: the gradients of a run of the generated Adam in PyTorch, exactly."""

from __future__ import annotations

import pytorch_leg
from optloom.generated.pytorch import adam
from task import RECORDING, RULES, Arrays, batches, recording_of, start


def main() -> None:
    leg = pytorch_leg.Leg(adam, "Adam", RULES["Adam"], start(), None)
    steps: list[Arrays] = []
    for images, labels in batches():
        steps.append(leg.gradients(images, labels)[1])
        leg.step(steps[-1])
    RECORDING.write_text("\n".join(recording_of(steps)) + "\n")


if __name__ == "__main__":
    main()
