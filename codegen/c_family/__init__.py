"""What the C++ and the CUDA target share: one formula, one interface, one double-word arithmetic."""
