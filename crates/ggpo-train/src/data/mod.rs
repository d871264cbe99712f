//! From files to batches of token ids.
//!
//! * [`table`]: labelled texts in tab-separated files.
//! * [`tokenizer`]: texts to token ids and back.
//! * [`text`]: long texts in blocks for language modelling.
//! * [`bucket`]: which rows go into which batch of an epoch.

use std::ops::Range;

use ggpo_tensor::random::Stream;
use ndarray::Array2;

pub mod bucket;
pub mod table;
pub mod text;
pub mod tokenizer;

/// A tokenised text and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Token ids, special tokens included.
    pub ids: Vec<usize>,
    /// The class.
    pub label: usize,
}

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

/// A batch whose targets are the classes of its rows.
pub fn collate_classification(examples: &[&Example], pad_id: usize) -> Batch {
    let sequences: Vec<&[usize]> = examples.iter().map(|row| row.ids.as_slice()).collect();
    let mut batch = Batch::padded(&sequences, pad_id);
    batch.targets = examples.iter().map(|row| Some(row.label)).collect();
    batch
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

/// Of the targets of BERT's pre-training, the share replaced by the mask token.
const REPLACED_BY_MASK: f64 = 0.8;
/// Of these, the share that is replaced by any token; the rest stays.
const REPLACED_BY_ANY: f64 = 0.1;

/// A batch of BERT's pre-training (Devlin and others 2019): of the tokens in
/// `ordinary`, which special tokens are not, the share `masked` (15 % in the
/// paper) becomes targets; of these 80 %
/// are replaced by `mask_id`, 10 % by a token drawn from `ordinary`, and 10 %
/// stay. At least one token becomes a target if there is an ordinary one.
///
/// The same stream makes the same batch.
pub fn collate_masked(
    sequences: &[&[usize]],
    pad_id: usize,
    mask_id: usize,
    ordinary: Range<usize>,
    masked: f64,
    stream: Stream,
) -> Batch {
    let mut batch = Batch::padded(sequences, pad_id);
    batch.targets = vec![None; batch.ids.len()];
    let is_token = batch.attention.iter().zip(&batch.ids);
    let candidates: Vec<usize> = is_token
        .enumerate()
        .filter(|(_, (token, id))| **token && ordinary.contains(id))
        .map(|(position, _)| position)
        .collect();
    let mut chosen: Vec<usize> = candidates
        .iter()
        .copied()
        .filter(|&position| stream.uniform(2 * position as u64) < masked)
        .collect();
    if chosen.is_empty() && !candidates.is_empty() {
        let index = stream.below(batch.ids.len() as u64, candidates.len() as u64);
        chosen.push(candidates[index as usize]);
    }
    for position in chosen {
        let id = &mut batch.ids[position];
        batch.targets[position] = Some(*id);
        let fate = stream.uniform(2 * position as u64 + 1);
        if fate < REPLACED_BY_MASK {
            *id = mask_id;
        } else if fate < REPLACED_BY_MASK + REPLACED_BY_ANY {
            let any = stream.below(position as u64, ordinary.len() as u64);
            *id = ordinary.start + any as usize;
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use ggpo_tensor::random::Purpose;
    use ndarray::array;

    use super::*;

    const PAD: usize = 0;
    const MASK: usize = 4;

    #[test]
    fn classification_pads_on_the_right() {
        let short = Example {
            ids: vec![2, 9, 3],
            label: 1,
        };
        let long = Example {
            ids: vec![2, 8, 7, 6, 3],
            label: 0,
        };
        let batch = collate_classification(&[&short, &long], PAD);
        assert_eq!(batch.shape, [2, 5]);
        assert_eq!(batch.ids, [2, 9, 3, PAD, PAD, 2, 8, 7, 6, 3]);
        assert_eq!(batch.token_types, [0; 10]);
        let (yes, no) = (true, false);
        assert_eq!(
            batch.attention,
            array![[yes, yes, yes, no, no], [yes, yes, yes, yes, yes]]
        );
        assert_eq!(batch.targets, [Some(1), Some(0)]);
        assert_eq!(batch.tokens(), 8);
    }

    #[test]
    fn causal_targets_are_the_next_tokens() {
        let batch = collate_causal(&[&[5, 6, 7], &[8, 9]], PAD);
        assert_eq!(batch.ids, [5, 6, 7, 8, 9, PAD]);
        let expected = [Some(6), Some(7), None, Some(9), None, None];
        assert_eq!(batch.targets, expected);
    }

    fn masked(sequences: &[&[usize]], step: u32) -> Batch {
        let stream = Stream::new(7, Purpose::Masking, step, 0);
        collate_masked(sequences, PAD, MASK, 5..105, 0.15, stream)
    }

    #[test]
    fn masking_follows_the_shares_of_bert() {
        let rows: Vec<Vec<usize>> = (0..64)
            .map(|row| (0..200).map(|t| 5 + (row * 13 + t * 7) % 100).collect())
            .collect();
        let sequences: Vec<&[usize]> = rows.iter().map(Vec::as_slice).collect();
        let batch = masked(&sequences, 0);
        let original = rows.concat();
        let (mut targets, mut masks, mut changed, mut kept) = (0.0, 0.0, 0.0, 0.0);
        for (position, target) in batch.targets.iter().enumerate() {
            let id = batch.ids[position];
            match target {
                None => assert_eq!(id, original[position]),
                Some(target) => {
                    assert_eq!(*target, original[position]);
                    targets += 1.0;
                    match id {
                        MASK => masks += 1.0,
                        id if id == *target => kept += 1.0,
                        id => {
                            assert!((5..105).contains(&id));
                            changed += 1.0;
                        }
                    }
                }
            }
        }
        // Four standard deviations of binomial shares of 12,800 and about 1,920;
        // a replacement is by chance the same token once in a hundred times.
        assert!((targets / original.len() as f64 - 0.15_f64).abs() < 0.013);
        assert!((masks / targets - 0.8_f64).abs() < 0.037);
        assert!((changed / targets - 0.099_f64).abs() < 0.028);
        assert!((kept / targets - 0.101_f64).abs() < 0.028);
    }

    #[test]
    fn masking_leaves_special_tokens_and_padding() {
        for step in 0..200 {
            let batch = masked(&[&[2, 50, 51, 3], &[2, 3]], step);
            for position in [0, 3, 4, 5, 6, 7] {
                assert_eq!(batch.targets[position], None);
            }
            assert_eq!(batch.ids[4..], [2, 3, PAD, PAD]);
            assert!(batch.targets.iter().flatten().count() >= 1);
        }
        assert!(masked(&[&[2, 3]], 0).targets.iter().all(Option::is_none));
    }

    #[test]
    fn masking_depends_on_the_stream_alone() {
        let sequence: Vec<usize> = (5..105).collect();
        assert_eq!(masked(&[&sequence], 3), masked(&[&sequence], 3));
        assert_ne!(masked(&[&sequence], 3), masked(&[&sequence], 4));
    }
}
