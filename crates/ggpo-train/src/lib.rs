//! Where everything meets: transformers, their files, data, the optimiser, the
//! trainer, and the experiments.
//!
//! * [`model`]: the transformers, as plain functions of parameters.
//! * [`data`]: tokens, tables and batches.
//! * [`base`]: base models, as folders or GGUF files.
//! * [`gguf`]: models in GGUF files, whose quantised weights stay in their blocks.
//! * [`trainer`]: one optimiser step, from token ids to changed adapters.
//! * [`fetch`]: models from package registries and from a hub.
//! * [`assembled`]: base, adapter and tokenizer, put together for use.
//! * [`prediction`] and [`generate`]: what a model says of rows, and how it goes
//!   on with texts.
//! * [`run`]: one training run, described by a TOML file, in a folder.
//! * [`parity`]: everything against values calculated elsewhere.
//! * [`bench`](mod@bench): how long training steps take, and how much memory.
//! * [`repro`]: the experiments, many runs, and their report.

pub mod assembled;
pub mod base;
pub mod bench;
pub mod checkpoint;
pub mod data;
pub mod error;
pub mod evaluation;
pub mod fetch;
pub mod generate;
pub mod gguf;
pub mod method;
pub mod metrics;
pub mod model;
pub mod optimizer;
pub mod parameters;
pub mod parity;
pub mod prediction;
pub mod pretrain;
pub mod progress;
pub mod repro;
pub mod run;
pub mod schedule;
pub mod statistics;
pub mod trainer;
pub mod weights;

pub use error::{Error, Result};
