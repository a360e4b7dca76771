//! From quantized types to the integer parameters of an op, per numerics profile.
