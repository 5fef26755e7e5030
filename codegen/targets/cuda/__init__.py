"""CUDA: one file of fused multi-tensor kernels for each rule, without includes, with a C interface."""
