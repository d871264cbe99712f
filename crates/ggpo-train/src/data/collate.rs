//! From examples to batches.

use std::ops::Range;

use ggpo_model::batch::{Batch, DecoderInput};
use ggpo_model::tokenizer::Tokenizer;
use ggpo_tensor::random::Stream;

use super::{ClassLoss, TaskConfig, TaskKind};

/// A tokenised row and its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Token ids, special tokens included.
    pub ids: Vec<usize>,
    /// Segment of every token; empty if all are of the first.
    pub token_types: Vec<usize>,
    /// What is to be predicted.
    pub answer: Answer,
}

/// What is to be predicted from a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Not known: the row is there to be predicted.
    Unknown,
    /// A class.
    Class(usize),
    /// A number.
    Value(f64),
    /// The row's own tokens from this position on, each from those before it.
    Tokens {
        /// Position of the first token to be predicted; 0 is as good as 1.
        from: usize,
    },
    /// Those of the row's own tokens that are marked, each from all before it.
    Marked(Vec<bool>),
    /// Another sequence, its end-of-text token included, from a decoder.
    Sequence(Vec<usize>),
}

impl Example {
    /// A row without second segment.
    pub fn new(ids: Vec<usize>, answer: Answer) -> Self {
        Example {
            ids,
            token_types: Vec::new(),
            answer,
        }
    }

    /// Tokens that are read, those of a decoder included.
    pub fn length(&self) -> usize {
        match &self.answer {
            Answer::Sequence(target) => self.ids.len() + target.len(),
            _ => self.ids.len(),
        }
    }
}

/// The ids that batches are filled up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// After the end of a short sequence.
    pub padding: usize,
    /// Before the target of a decoder; none if the model has no decoder beside
    /// an encoder.
    pub decoder_start: Option<usize>,
    /// The number of classes, where they are fitted by least squares.
    pub indicators: Option<usize>,
}

impl Fill {
    /// The ids of a task with this number of classes and a model's tokenizer.
    pub fn of(task: &TaskConfig, tokenizer: &Tokenizer, classes: usize) -> Self {
        let decoder = task.kind == TaskKind::TextToText;
        Fill {
            padding: tokenizer.padding(),
            decoder_start: decoder.then(|| tokenizer.decoder_start()),
            indicators: (task.loss == ClassLoss::LeastSquares).then_some(classes),
        }
    }
}

/// A batch of rows whose answers are of one kind. A row whose answer is not
/// known has no target.
///
/// With a decoder, its input is the target shifted by one: position 0 reads the
/// start token and predicts target 0, position t reads target t - 1 and predicts
/// target t. A row whose target is not known has the start token alone.
pub fn collate(examples: &[&Example], fill: Fill) -> Batch {
    let sequences: Vec<&[usize]> = examples.iter().map(|row| row.ids.as_slice()).collect();
    let mut batch = Batch::padded(&sequences, fill.padding);
    let time = batch.shape[1];
    for (row, example) in examples.iter().enumerate() {
        let segments = &example.token_types;
        batch.token_types[row * time..][..segments.len()].copy_from_slice(segments);
    }
    if let Some(start) = fill.decoder_start {
        add_decoder(&mut batch, examples, start, fill.padding);
        return batch;
    }
    for example in examples {
        match &example.answer {
            Answer::Unknown | Answer::Sequence(_) => batch.targets.push(None),
            &Answer::Class(class) => {
                batch.targets.push(Some(class));
                if let Some(classes) = fill.indicators {
                    batch.values.extend(indicators(class, classes));
                }
            }
            &Answer::Value(value) => batch.values.push(value),
            Answer::Marked(marks) => {
                let next = (1..=time).map(|t| {
                    let marked = marks.get(t).copied().unwrap_or(false);
                    example.ids.get(t).copied().filter(|_| marked)
                });
                batch.targets.extend(next);
            }
            &Answer::Tokens { from } => {
                let next = (1..=time).map(|t| example.ids.get(t).copied().filter(|_| t >= from));
                batch.targets.extend(next);
            }
        }
    }
    batch
}

/// 1 for the class and 0 for the others, less their mean.
pub fn indicators(class: usize, classes: usize) -> impl Iterator<Item = f64> {
    (0..classes).map(move |it| f64::from(u8::from(it == class)) - 1.0 / classes as f64)
}

fn add_decoder(batch: &mut Batch, examples: &[&Example], start: usize, padding: usize) {
    let target = |example: &Example| match &example.answer {
        Answer::Sequence(target) => target.clone(),
        _ => Vec::new(),
    };
    let targets: Vec<Vec<usize>> = examples.iter().map(|example| target(example)).collect();
    let time = targets.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let mut ids = Vec::with_capacity(targets.len() * time);
    for (row, target) in targets.iter().enumerate() {
        ids.push(start);
        ids.extend(target.iter().take(target.len().saturating_sub(1)));
        ids.resize((row + 1) * time, padding);
        batch
            .targets
            .extend((0..time).map(|t| target.get(t).copied()));
    }
    batch.decoder = Some(DecoderInput {
        shape: [targets.len(), time],
        ids,
    });
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
    use ggpo_model::batch::collate_causal;
    use ggpo_tensor::random::Purpose;
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;

    const PAD: usize = 0;
    const MASK: usize = 4;
    const FILL: Fill = Fill {
        padding: PAD,
        decoder_start: None,
        indicators: None,
    };

    #[test]
    fn classification_pads_on_the_right() {
        let short = Example::new(vec![2, 9, 3], Answer::Class(1));
        let long = Example::new(vec![2, 8, 7, 6, 3], Answer::Class(0));
        let batch = collate(&[&short, &long], FILL);
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
    fn segments_are_padded_with_the_first() {
        let pair = Example {
            ids: vec![2, 9, 3, 8, 3],
            token_types: vec![0, 0, 0, 1, 1],
            answer: Answer::Value(2.5),
        };
        let single = Example::new(vec![2, 9, 3, 8, 7, 3], Answer::Value(-1.0));
        let batch = collate(&[&pair, &single], FILL);
        assert_eq!(batch.token_types, [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(batch.values, [2.5, -1.0]);
        assert_eq!((batch.targets.len(), batch.target_count()), (0, 2));
    }

    #[test]
    fn completions_are_predicted_from_their_first_token_on() {
        let row = Example::new(vec![5, 6, 7, 8], Answer::Tokens { from: 2 });
        let long = Example::new(vec![5, 6, 7, 8, 9], Answer::Tokens { from: 4 });
        let batch = collate(&[&row, &long], FILL);
        let no = None;
        assert_eq!(batch.targets[..5], [no, Some(7), Some(8), no, no]);
        assert_eq!(batch.targets[5..], [no, no, no, Some(9), no]);
    }

    #[test]
    fn marked_tokens_are_predicted_wherever_they_stand() {
        let marks = vec![true, false, true, false];
        let row = Example::new(vec![5, 6, 7, 8], Answer::Marked(marks));
        let long = Example::new(vec![4, 3, 2, 1, 9], Answer::Marked(vec![true; 5]));
        let batch = collate(&[&row, &long], FILL);
        let no = None;
        assert_eq!(batch.targets[..5], [no, Some(7), no, no, no]);
        assert_eq!(batch.targets[5..], [Some(3), Some(2), Some(1), Some(9), no]);
    }

    #[test]
    fn the_decoder_reads_the_target_shifted_by_one() {
        let fill = Fill {
            decoder_start: Some(1),
            ..FILL
        };
        let row = Example::new(vec![5, 6, 3], Answer::Sequence(vec![7, 8, 3]));
        let short = Example::new(vec![5, 3], Answer::Sequence(vec![3]));
        let batch = collate(&[&row, &short], fill);
        assert_eq!(batch.ids, [5, 6, 3, 5, 3, PAD]);
        let decoder = batch.decoder.as_ref().expect("a decoder's input");
        assert_eq!(decoder.shape, [2, 3]);
        assert_eq!(decoder.ids, [1, 7, 8, 1, PAD, PAD]);
        let expected = [Some(7), Some(8), Some(3), Some(3), None, None];
        assert_eq!(batch.targets, expected);
        let unknown = Example::new(vec![5, 3], Answer::Unknown);
        let batch = collate(&[&unknown], fill);
        assert_eq!(batch.decoder.expect("a decoder's input").ids, [1]);
        assert_eq!(batch.targets, [None]);
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

    fn sequences(shortest: usize) -> impl Strategy<Value = Vec<Vec<usize>>> {
        prop::collection::vec(prop::collection::vec(2usize..50, shortest..12), 1..8)
    }

    proptest! {
        /// Padding is behind every row, nowhere else, and nobody's target.
        #[test]
        fn padding_fills_rows_to_the_longest(rows in sequences(1)) {
            let answer = Answer::Tokens { from: 1 };
            let examples: Vec<Example> = rows.iter()
                .map(|ids| Example::new(ids.clone(), answer.clone()))
                .collect();
            let batch = collate(&examples.iter().collect::<Vec<_>>(), FILL);
            let time = rows.iter().map(Vec::len).max().unwrap_or(0);
            prop_assert_eq!(batch.shape, [rows.len(), time]);
            for (row, ids) in rows.iter().enumerate() {
                let padded = &batch.ids[row * time..(row + 1) * time];
                prop_assert_eq!(&padded[..ids.len()], ids.as_slice());
                prop_assert!(padded[ids.len()..].iter().all(|&id| id == PAD));
                let kept = batch.attention.row(row);
                prop_assert!(kept.iter().enumerate().all(|(t, &kept)| kept == (t < ids.len())));
                let targets = &batch.targets[row * time..(row + 1) * time];
                let found: Vec<usize> = targets.iter().flatten().copied().collect();
                prop_assert_eq!(found.as_slice(), &ids[1..]);
            }
            prop_assert_eq!(batch.tokens(), rows.iter().map(Vec::len).sum::<usize>());
            let causal = collate_causal(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), PAD);
            prop_assert_eq!(batch, causal);
        }

        /// What a decoder reads at t + 1 is what it should have written at t.
        #[test]
        fn shifting_loses_and_adds_no_target(rows in sequences(1)) {
            let fill = Fill { decoder_start: Some(1), ..FILL };
            let examples: Vec<Example> = rows.iter()
                .map(|target| Example::new(vec![5, 3], Answer::Sequence(target.clone())))
                .collect();
            let batch = collate(&examples.iter().collect::<Vec<_>>(), fill);
            let decoder = batch.decoder.expect("a decoder's input");
            let [count, time] = decoder.shape;
            prop_assert_eq!((count, batch.targets.len()), (rows.len(), count * time));
            for (row, target) in rows.iter().enumerate() {
                let at = |t: usize| row * time + t;
                prop_assert_eq!(decoder.ids[at(0)], 1);
                for t in 0..time {
                    let expected = target.get(t).copied();
                    prop_assert_eq!(batch.targets[at(t)], expected);
                    if t + 1 < target.len() {
                        prop_assert_eq!(Some(decoder.ids[at(t + 1)]), expected);
                    } else if t + 1 < time {
                        prop_assert_eq!(decoder.ids[at(t + 1)], PAD);
                    }
                }
            }
        }
    }
}
