//! What the kernels promise, from outside.
//!
//! One program for all files: every test program is linked on its own, which
//! takes longer than most tests.

mod attention;
mod dual;
mod math;
mod matmul;
mod quantize;
mod quantized;
mod random;
