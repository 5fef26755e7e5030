"""The reference of the command line, made from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import typer

from .rule import table

HEAD = """\
# The command line

`optloom` and `python -m optloom` are the same. All that list or judge take `--json`; colours and progress bars are for
terminals alone. `optloom --install-completion` sets up completion for your shell.

| exit status | |
|---|---|
| 0 | all is well |
| 1 | something was judged and found wanting: files differ, a cell fails, an edit is in the way, conflicts are left |
| 2 | the input is wrong: the message names it, and nothing was written |
| 130 | interrupted (Ctrl-C): files are as they were |

Each command is a thin caller of a function in `optloom.codegen` (`api`, `show`, `compare`, `explain`, `doctor`,
`bench`, `vendor`, `convert`), which returns what the command prints and raises what it says.
"""


def reference() -> str:
    """Markdown: every command with its arguments and options."""
    from ..cli.app import app

    root = typer.main.get_command(app)
    return "\n\n".join([HEAD.rstrip(), *_commands(root, "optloom")]) + "\n"


def _commands(group: object, prefix: str) -> Iterator[str]:
    for name, command in getattr(group, "commands", {}).items():
        if hasattr(command, "commands"):
            yield f"## `{prefix} {name}`"
            yield str(command.help)
            yield from _commands(command, f"{prefix} {name}")
            continue
        level = "##" if prefix.count(" ") == 0 else "###"
        yield f"{level} `{prefix} {name}`"
        yield escape(str(command.help))
        rows = [(_spelled(one), escape(_help(one))) for one in command.params if one.name != "help"]
        yield table(("argument", "what it is"), rows)


def _spelled(one: object) -> str:
    opts = [*getattr(one, "opts", ()), *getattr(one, "secondary_opts", ())]
    if getattr(one, "param_type_name", "") == "argument":
        return f"`{getattr(one, 'metavar', None) or str(getattr(one, 'name', '')).upper()}`"
    return ", ".join(f"`{opt}`" for opt in opts)


def _help(one: object) -> str:
    return str(getattr(one, "help", None) or "")
