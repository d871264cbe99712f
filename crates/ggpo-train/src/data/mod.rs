//! From files to batches of token ids.
//!
//! * [`config`] and [`layout`]: what a task is, and where its files keep it.
//! * [`table`]: rows of TSV, CSV and JSONL files.
//! * [`tokenizer`] and [`frame`]: texts to token ids and back, and the special
//!   tokens around them.
//! * [`text`]: long texts in blocks for language modelling.
//! * [`encode`]: rows to token ids, as every kind of task wants them.
//! * [`dataset`]: all of these together: a file to examples.
//! * [`bucket`] and [`mod@collate`]: which rows go into which batch, and the batch.

use ndarray::Array2;

mod answers;
pub mod bucket;
pub mod collate;
pub mod config;
pub mod dataset;
pub mod encode;
pub mod frame;
pub mod layout;
pub mod table;
pub mod text;
pub mod tokenizer;

pub use collate::{Answer, Example, Fill, collate, collate_causal, collate_masked};
pub use config::{ScoredRows, TaskConfig, TaskKind};
pub use dataset::{Dataset, FileNotes};

/// Sequences of token ids, padded on the right to one length, and what is to be
/// predicted from them.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Number of sequences, and their padded length.
    pub shape: [usize; 2],
    /// Token ids, batch x time.
    pub ids: Vec<usize>,
    /// Segment of every token, batch x time.
    pub token_types: Vec<usize>,
    /// Which positions hold a token rather than padding, batch x time.
    pub attention: Array2<bool>,
    /// The right answers, aligned with the logits: one per sequence for a
    /// classification, else one per position. `None` does not count.
    pub targets: Vec<Option<usize>>,
    /// The right answers of a regression, one per sequence; else empty.
    pub values: Vec<f64>,
    /// What the decoder of an encoder-decoder model reads; the targets are then
    /// aligned with its positions.
    pub decoder: Option<DecoderInput>,
}

/// The input of a decoder beside an encoder: sequences of token ids, padded on
/// the right to one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoderInput {
    /// Number of sequences, and their padded length.
    pub shape: [usize; 2],
    /// Token ids, batch x time: the start token, then the targets but the last.
    pub ids: Vec<usize>,
}

impl Batch {
    /// Number of right answers that count.
    pub fn target_count(&self) -> usize {
        self.targets.iter().flatten().count() + self.values.len()
    }

    /// Number of tokens, padding not counted.
    pub fn tokens(&self) -> usize {
        self.attention.iter().filter(|&&token| token).count()
    }

    /// Pads the sequences on the right; `targets` is still empty.
    fn padded(sequences: &[&[usize]], pad_id: usize) -> Self {
        let time = sequences.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let shape = [sequences.len(), time];
        let mut ids = Vec::with_capacity(shape[0] * time);
        for (row, sequence) in sequences.iter().enumerate() {
            ids.extend_from_slice(sequence);
            ids.resize((row + 1) * time, pad_id);
        }
        Batch {
            shape,
            token_types: vec![0; ids.len()],
            ids,
            attention: Array2::from_shape_fn(shape, |(row, t)| t < sequences[row].len()),
            targets: Vec::new(),
            values: Vec::new(),
            decoder: None,
        }
    }
}
