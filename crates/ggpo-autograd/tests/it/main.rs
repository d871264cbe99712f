//! The tape and its operations, from outside.
//!
//! One program for all files: every test program is linked on its own, which
//! takes longer than most tests.

mod hessian;
mod reference;
mod tape;
