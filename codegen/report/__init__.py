"""The suite's JSON as a page to look at, as Markdown for a pull request, as JUnit's XML, as a badge, and in short."""

from .data import Cell, Conformance, ReportError, load
from .page import html
from .texts import badge, junit, markdown, summary

__all__ = ["Cell", "Conformance", "ReportError", "badge", "html", "junit", "load", "markdown", "summary"]
