//! Which rows go into which batch: random, but of similar lengths.

use ggpo_model::batch::Batch;
use ggpo_model::tokenizer::Tokenizer;
use ggpo_tensor::random::{Purpose, Stream};

use super::{Example, Fill, TaskConfig, TaskKind, collate};

/// Batches that are sorted by length together. More save more padding; fewer
/// leave more to chance.
const POOL: usize = 32;

/// The batches of one epoch, as row numbers: all rows in random order, sorted by
/// length within pools of 32 batches, cut into batches, which are put in random
/// order. One batch is smaller if the rows do not divide evenly.
///
/// The order depends on nothing but the arguments.
///
/// # Panics
/// If `batch_size` is 0.
pub fn epoch_batches(
    lengths: &[usize],
    batch_size: usize,
    seed: u64,
    epoch: u32,
) -> Vec<Vec<usize>> {
    assert!(batch_size > 0, "a batch has at least one row");
    let mut rows: Vec<usize> = (0..lengths.len()).collect();
    Stream::new(seed, Purpose::Shuffle, epoch, 0).shuffle(&mut rows);
    for pool in rows.chunks_mut(POOL.saturating_mul(batch_size)) {
        pool.sort_by_key(|&row| lengths[row]);
    }
    let mut batches: Vec<Vec<usize>> = rows.chunks(batch_size).map(<[usize]>::to_vec).collect();
    Stream::new(seed, Purpose::Shuffle, epoch, 1).shuffle(&mut batches);
    batches
}

/// Most rows of a batch that is scored.
const SCORED_ROWS: usize = 64;
/// Most positions of a batch that is scored, padding included.
const SCORED_POSITIONS: usize = 1 << 13;
/// Most outputs of a batch that is scored: 64 MiB in single precision.
const SCORED_OUTPUTS: usize = 1 << 24;

/// Batches for scoring, as row numbers: similar lengths together, in an order
/// that depends on the lengths alone, and no larger than memory should bear. A
/// model gives `outputs` numbers at every position.
///
/// A row that is too long by itself is a batch by itself.
pub fn scoring_batches(lengths: &[usize], outputs: usize) -> Vec<Vec<usize>> {
    let mut rows: Vec<usize> = (0..lengths.len()).collect();
    rows.sort_by_key(|&row| lengths[row]);
    let positions = SCORED_POSITIONS.min(SCORED_OUTPUTS / outputs.max(1));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for row in rows {
        // The rows come by length, so the new one decides the padded length.
        let fits = |batch: &&mut Vec<usize>| {
            batch.len() < SCORED_ROWS && (batch.len() + 1) * lengths[row] <= positions
        };
        match batches.last_mut().filter(fits) {
            Some(batch) => batch.push(row),
            None => batches.push(vec![row]),
        }
    }
    batches
}

/// The examples of a task with this number of classes in batches for scoring, each
/// with the numbers of its rows.
pub fn scored_batches(
    examples: &[Example],
    task: &TaskConfig,
    tokenizer: &Tokenizer,
    classes: usize,
) -> Vec<(Vec<usize>, Batch)> {
    let lengths: Vec<usize> = examples.iter().map(Example::length).collect();
    let outputs = match task.kind {
        TaskKind::Classification | TaskKind::Regression => 1,
        _ => tokenizer.vocabulary(),
    };
    let fill = Fill::of(task, tokenizer, classes);
    let batch = |rows: Vec<usize>| {
        let examples: Vec<&Example> = rows.iter().map(|&row| &examples[row]).collect();
        let batch = collate(&examples, fill);
        (rows, batch)
    };
    let batches = scoring_batches(&lengths, outputs).into_iter();
    batches.map(batch).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Positions that a batch takes with its padding, over all batches.
    fn padded(batches: &[Vec<usize>], lengths: &[usize]) -> usize {
        let longest = |batch: &Vec<usize>| batch.iter().map(|&row| lengths[row]).max();
        let sizes = batches
            .iter()
            .map(|batch| batch.len() * longest(batch).unwrap_or(0));
        sizes.sum()
    }

    #[test]
    fn sorting_saves_most_of_the_padding() {
        let stream = Stream::new(1, Purpose::Data, 0, 0);
        let lengths: Vec<usize> = (0..4096)
            .map(|i| 8 + stream.below(i, 120) as usize)
            .collect();
        let tokens: usize = lengths.iter().sum();
        let bucketed = padded(&epoch_batches(&lengths, 16, 1, 0), &lengths);
        let plain: Vec<usize> = (0..4096).collect();
        let plain: Vec<Vec<usize>> = plain.chunks(16).map(<[usize]>::to_vec).collect();
        let unsorted = padded(&plain, &lengths);
        assert!(10 * (bucketed - tokens) < unsorted - tokens);
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let lengths = vec![10; 100];
        let first = epoch_batches(&lengths, 8, 1, 0);
        assert_eq!(first, epoch_batches(&lengths, 8, 1, 0));
        assert_ne!(first, epoch_batches(&lengths, 8, 1, 1));
        assert_ne!(first, epoch_batches(&lengths, 8, 2, 0));
    }

    proptest! {
        #[test]
        fn scored_batches_are_bounded_and_whole(
            lengths in prop::collection::vec(1usize..3000, 0..200),
            outputs in 1usize..60_000,
        ) {
            let batches = scoring_batches(&lengths, outputs);
            for batch in &batches {
                let longest = batch.iter().map(|&row| lengths[row]).max().unwrap_or(0);
                let positions = batch.len() * longest;
                prop_assert!(batch.len() <= SCORED_ROWS);
                prop_assert!(batch.len() == 1 || positions <= SCORED_POSITIONS);
                prop_assert!(batch.len() == 1 || positions * outputs <= SCORED_OUTPUTS);
            }
            let mut rows = batches.concat();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..lengths.len()).collect::<Vec<_>>());
        }

        #[test]
        fn every_row_is_in_exactly_one_batch(
            lengths in prop::collection::vec(0usize..50, 0..300),
            batch_size in 1usize..20,
            seed: u64,
            epoch in 0u32..5,
        ) {
            let batches = epoch_batches(&lengths, batch_size, seed, epoch);
            prop_assert_eq!(batches.len(), lengths.len().div_ceil(batch_size));
            let smaller = batches.iter().filter(|batch| batch.len() < batch_size).count();
            prop_assert!(smaller <= 1);
            let mut rows = batches.concat();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..lengths.len()).collect::<Vec<_>>());
        }
    }
}
