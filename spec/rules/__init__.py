"""One file per update rule."""
