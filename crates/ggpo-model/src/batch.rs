//! What a model reads, and what it should predict.

use ndarray::Array2;

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
    /// The right answers of a regression, one per sequence; of a classification by
    /// least squares, one per sequence and class, beside the targets; else empty.
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
        match self.targets.is_empty() {
            true => self.values.len(),
            false => self.targets.iter().flatten().count(),
        }
    }

    /// Number of tokens, padding not counted.
    pub fn tokens(&self) -> usize {
        self.attention.iter().filter(|&&token| token).count()
    }

    /// Pads the sequences on the right; `targets` is still empty.
    pub fn padded(sequences: &[&[usize]], pad_id: usize) -> Self {
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

/// A batch where every token is to be predicted from those before it: the
/// target at t is the token at t + 1, and there is none at the last token.
pub fn collate_causal(sequences: &[&[usize]], pad_id: usize) -> Batch {
    let mut batch = Batch::padded(sequences, pad_id);
    let time = batch.shape[1];
    let next = |sequence| (1..=time).map(move |t| <[usize]>::get(sequence, t).copied());
    batch.targets = sequences.iter().copied().flat_map(next).collect();
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causal_targets_are_the_next_tokens() {
        let batch = collate_causal(&[&[5, 6, 7], &[8, 9]], 0);
        assert_eq!(batch.ids, [5, 6, 7, 8, 9, 0]);
        let expected = [Some(6), Some(7), None, Some(9), None, None];
        assert_eq!(batch.targets, expected);
    }
}
