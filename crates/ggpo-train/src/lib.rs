//! What trains a model: data, method, optimiser, trainer, checkpoints, runs.
//! Nothing here knows of experiments.
//!
//! * [`data`]: tables and texts to examples and batches.
//! * [`method`]: what is trained, under which noise.
//! * [`optimizer`] and [`schedule`]: how gradients change parameters.
//! * [`trainer`]: one optimiser step, from token ids to changed adapters.
//! * [`checkpoint`]: the state of a run in a file.
//! * [`run`]: one training run, described by a TOML file, in a folder.
//! * [`interrupt`]: a signal that ends a run between two steps.
//! * [`ranks`]: the processes that share a training.
//! * [`features`]: the states of a model as a model of one layer.
//! * [`evaluation`], [`metrics`] and [`prediction`]: how good a model is, and what
//!   it says of rows.

pub mod checkpoint;
pub mod data;
pub mod error;
pub mod evaluation;
pub mod features;
mod head;
pub mod interrupt;
pub mod method;
pub mod metrics;
pub mod optimizer;
pub mod prediction;
pub mod ranks;
pub mod run;
pub mod schedule;
pub mod trainer;

pub use error::{Error, Result};
