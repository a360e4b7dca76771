//! Native code for loop-level kernels: Cranelift JIT and objects.
