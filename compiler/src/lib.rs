//! qcc turns a quantized neural network into native integer code.
