"""The documentation: a page per rule, made from its spec and from what was measured."""
