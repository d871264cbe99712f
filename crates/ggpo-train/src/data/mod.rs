//! From files to batches of token ids.
//!
//! * [`config`] and [`layout`]: what a task is, and where its files keep it.
//! * [`table`]: rows of TSV, CSV and JSONL files.
//! * [`text`]: long texts in blocks for language modelling.
//! * [`encode`]: rows to token ids, as every kind of task wants them.
//! * [`dataset`]: all of these together: a file to examples.
//! * [`bucket`] and [`mod@collate`]: which rows go into which batch, and the batch.

mod answers;
pub mod bucket;
pub mod collate;
pub mod config;
pub mod dataset;
pub mod encode;
pub mod layout;
pub mod table;
pub mod text;

pub use collate::{Answer, Example, Fill, collate, collate_masked, indicators};
pub use config::{ClassLoss, ScoredRows, TaskConfig, TaskKind, TrainOn};
pub use dataset::{Dataset, FileNotes};
pub use table::holds_chats;
