"""The pytest plugin: the conformance cells of a project's own rules, as tests. See optloom.codegen.pytest_plugin."""

from optloom.codegen.pytest_plugin import *  # noqa: F403
