//! The program, from outside.
//!
//! One program for all files: every test program is linked on its own, which
//! takes longer than most tests.

mod audit;
mod book;
mod bounds;
mod chats;
mod checkpoints;
#[path = "../../../ggpo-train/tests/it/common.rs"]
mod common;
mod compare;
mod estimate;
mod fetch;
mod generates;
mod going_on;
mod hostile_files;
mod hostile_hub;
mod levels;
mod merges;
mod methods;
mod outputs;
mod program;
mod refusals;
mod runner;
mod runs_end_well;
mod security;
mod sharpness;
