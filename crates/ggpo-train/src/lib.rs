//! Where everything meets: transformers, their files, data, the optimiser, the
//! trainer, and the experiments.
//!
//! * [`model`]: the transformers, as plain functions of parameters.
//! * [`data`]: tokens, tables and batches.
//! * [`gguf`]: models in GGUF files, whose quantised weights stay in their blocks.
//! * [`trainer`]: one optimiser step, from token ids to changed adapters.
//! * [`run`]: one training run, described by a TOML file, in a folder.
//! * [`repro`]: the experiments, many runs, and their report.

pub mod checkpoint;
pub mod data;
pub mod error;
pub mod evaluation;
pub mod gguf;
pub mod method;
pub mod metrics;
pub mod model;
pub mod optimizer;
pub mod parameters;
pub mod pretrain;
pub mod progress;
pub mod repro;
pub mod run;
pub mod schedule;
pub mod statistics;
pub mod trainer;
pub mod weights;

pub use error::{Error, Result};
