"""MkDocs: the pages that are made from the specs join those that are written by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
INDEX = "rules/index.md"
sys.path.insert(0, str(ROOT / ".ci" / "importroot"))

from optloom.codegen.api import rules_named  # noqa: E402
from optloom.codegen.pages.site import documents  # noqa: E402


def on_config(config: Any) -> Any:
    """The rules' pages stand under the heading that the configuration has for them."""
    pages = [{rule.__name__: f"rules/{name}.md"} for name, rule in rules_named().items()]
    config.nav = [{"Rules": [INDEX, *pages]} if entry == {"Rules": INDEX} else entry for entry in config.nav]
    return config


def on_files(files: Files, *, config: Any) -> Files:
    for path, text in documents().items():
        files.append(File.generated(config, path, content=text))
    return files
