//! Adapters and perturbations, from outside.
//!
//! One program for all files: every test program is linked on its own, which
//! takes longer than most tests.

mod adapter;
mod common;
mod laws;
mod methods;
mod norms;
mod peft;
mod peft_forms;
mod perturbation;
mod theory;
