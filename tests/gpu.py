"""Conformance on a CUDA device: `make test-gpu`. Without one everything is counted as skipped, and nothing fails.

The cells are those of the suite for the CUDA target, in the mode `device`; the reference's bits are asked for. Prints a
table, writes benchmarks/results/conformance-gpu.json, and runs the tests of PyTorch's classes on CUDA tensors.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from optloom.codegen.conformance import conform
from optloom.codegen.conformance.protocol import DTYPES
from optloom.codegen.discovery import discover
from optloom.codegen.doctor import machine
from optloom.codegen.targets.cuda import runner

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "conformance-gpu.json"
TESTS = "tests/targets/pytorch/test_pytorch_fused_devices.py"


def main() -> int:
    if not runner.has_device():
        count = len(discover()) * len(DTYPES)
        print(json.dumps({"gpu": None, "passed": 0, "skipped": count}))
        print(f"no CUDA device: 0 passed, {count} skipped ({len(discover())} rules in {len(DTYPES)} dtypes)")
        return 0
    report = conform(discover(), ["cuda"], extent="quick")
    found = {"gpu": list(machine().gpus), **report.as_json()}
    found["cells"] = [cell for cell in found["cells"] if f"/{runner.ON_DEVICE.name}/" in cell["id"]]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    for row in report.table():
        if row.mode == runner.ON_DEVICE.name:
            kinds = ", ".join(f"{count} {kind}" for kind, count in row.kinds.items())
            print(f"{row.rule:<22}{row.dtype:<10}{kinds:<24}{row.ratio:7.3f} of the bound  {row.note}")
    command = [sys.executable, "-m", "pytest", "-q", "-k", "cuda", TESTS]
    return subprocess.run(command, cwd=ROOT, env=os.environ).returncode or int(not report.passed)


if __name__ == "__main__":
    sys.exit(main())
