//! Data, training and runs, from outside.
//!
//! One program for all files: every test program is linked on its own, which
//! takes longer than most tests.

mod common;
mod data;
mod features;
mod gguf;
mod optimizer;
mod ranks;
mod runs;
mod tasks;
