"""What the suite is worth: the share that it catches of wrong versions made mechanically from each rule's program.

Prints, per rule, how many wrong versions are caught, those that are missed, and the share caught of programs in which
one operation is off by a factor of 1 + 16, and 1 + 64, units of roundoff.
Run: `python benchmarks/wrong_versions.py [RULE ...]`.
"""

from __future__ import annotations

import sys

from optloom.codegen.compiler import discover
from optloom.codegen.conformance.wrong_versions import scaled_versions, tried, wrong_versions
from rich.console import Console
from rich.table import Table


def main(names: list[str]) -> None:
    table = Table("rule", "wrong versions", "caught", "off by 16", "caught", "by 64", "missed", show_lines=True)
    for name, rule in discover().items():
        if names and name not in names:
            continue
        wrong, scaled = tried(rule, name, wrong_versions(rule)), tried(rule, name, scaled_versions(rule))
        further = tried(rule, name, scaled_versions(rule, 64))
        cells = []
        for found in (wrong, scaled):
            cells += [str(len(found.caught) + len(found.missed)), f"{found.share():.1%}"]
        table.add_row(name, *cells, f"{further.share():.1%}", "\n".join((*wrong.missed, *scaled.missed)))
    Console(width=150).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
