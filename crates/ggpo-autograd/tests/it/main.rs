//! The tape and its operations, from outside.
//!
//! One program for all files: every test program is linked on its own, which
//! takes longer than most tests.

#[path = "../../../ggpo-tensor/tests/it/dual/number.rs"]
mod dual;
mod hessian;
mod reference;
mod tape;
