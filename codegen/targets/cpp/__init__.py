"""C++: one file of fused multi-tensor kernels for each rule, with a C interface."""
