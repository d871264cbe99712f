//! What judges a method, from outside.
//!
//! One program for all files: every test program is linked on its own, which
//! takes longer than most tests.

mod audit;
#[path = "../../../ggpo-train/tests/it/common.rs"]
mod common;
mod experiments;
mod made_up;
mod reference;
mod rule;
mod sharpness;
