"""The command `optloom`: each command a thin caller of a plain function."""

from .app import main

__all__ = ["main"]
