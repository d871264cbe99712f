//! Scores of a model on held-out batches, without noise.

use ggpo_model::batch::Batch;
use ggpo_model::logits::largest;
use ggpo_model::{Adapters, Head, Model, Number, Parameters};
use ggpo_tensor::softmax::log_sum_exp;
use ggpo_tensor::view2;
use serde::{Deserialize, Serialize};

use crate::metrics::{Scores, class_scores, regression_scores};
use crate::ranks::{Ranks, share};

/// Scores over all targets of `batches`; targets that are `None` do not count. The
/// batches are shared by all `ranks`, each of which gets the scores.
///
/// # Panics
/// If there is no target at all.
pub fn evaluate<T: Number>(
    model: &Model,
    parameters: &Parameters<T>,
    adapters: &Adapters<T>,
    batches: &[Batch],
    ranks: &dyn Ranks,
) -> Scores {
    evaluate_rows(model, parameters, adapters, batches, ranks).0
}

/// What single rows lost, in the order of their batches. Rows without a target have no
/// part in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RowScores {
    /// The loss of every row, summed over its targets.
    pub losses: Vec<f32>,
    /// Targets of every row.
    pub targets: Vec<u32>,
    /// Whether the class of every row was predicted right; empty without classes.
    pub right: Vec<bool>,
}

/// [`evaluate`], and what it is made of, row by row.
///
/// # Panics
/// As [`evaluate`].
pub fn evaluate_rows<T: Number>(
    model: &Model,
    parameters: &Parameters<T>,
    adapters: &Adapters<T>,
    batches: &[Batch],
    ranks: &dyn Ranks,
) -> (Scores, RowScores) {
    let scored = share::<Scored, Scored>(ranks, batches.len(), |index| {
        Scored::of(model, parameters, adapters, &batches[index])
    });
    scores(model, batches, scored)
}

/// [`evaluate_rows`] by one process, as long as `goes_on` says so before every batch; none
/// if it does not to the end.
///
/// # Panics
/// As [`evaluate`].
pub(crate) fn evaluate_rows_while<T: Number>(
    model: &Model,
    parameters: &Parameters<T>,
    adapters: &Adapters<T>,
    batches: &[Batch],
    goes_on: impl Fn() -> bool,
) -> Option<(Scores, RowScores)> {
    let score = |batch| goes_on().then(|| Scored::of(model, parameters, adapters, batch));
    let scored: Option<Vec<Scored>> = batches.iter().map(score).collect();
    Some(scores(model, batches, scored?))
}

/// The scores of a model by what it said of every batch.
fn scores(model: &Model, batches: &[Batch], scored: Vec<Scored>) -> (Scores, RowScores) {
    let count: usize = batches.iter().map(Batch::target_count).sum();
    assert!(count > 0, "an evaluation needs at least one target");
    let all = scored.into_iter().fold(Scored::default(), Scored::then);
    let pairs = all.predicted.iter().zip(&all.actual);
    let rows = RowScores {
        right: pairs
            .map(|(predicted, actual)| predicted == actual)
            .collect(),
        losses: all.row_losses,
        targets: all.row_targets,
    };
    let scores = Scores {
        loss: all.losses.iter().sum::<f64>() / count as f64,
        classes: match model.head {
            Head::Classes(classes) => Some(class_scores(&all.predicted, &all.actual, classes)),
            Head::Tokens | Head::Value => None,
        },
        regression: (model.head == Head::Value)
            .then(|| regression_scores(&all.numbers, &all.values)),
    };
    (scores, rows)
}

/// What a model said of a batch, beside what is right.
#[derive(Default, Serialize, Deserialize)]
struct Scored {
    /// Loss of every row, or in a language model of the whole batch, summed over targets.
    losses: Vec<f64>,
    /// Loss of every row, summed over its targets, and how many these are.
    row_losses: Vec<f32>,
    row_targets: Vec<u32>,
    predicted: Vec<usize>,
    actual: Vec<usize>,
    numbers: Vec<f64>,
    values: Vec<f64>,
}

impl Scored {
    fn of<T: Number>(
        model: &Model,
        parameters: &Parameters<T>,
        adapters: &Adapters<T>,
        batch: &Batch,
    ) -> Self {
        let mut scored = Scored::default();
        if model.head == Head::Tokens {
            let targets = batch.target_count() as f64;
            let (mean, losses) = model.evaluate_losses(parameters, adapters, batch);
            scored.losses.push(mean * targets);
            scored.tokens(batch, &losses);
            return scored;
        }
        let logits = model.evaluate(parameters, adapters, batch);
        let rows = view2(&logits);
        if let Head::Classes(classes) = model.head
            && !batch.values.is_empty()
        {
            for (row, values) in rows.rows().into_iter().zip(batch.values.chunks(classes)) {
                let pairs = row.iter().zip(values);
                let squares = pairs.map(|(x, y)| (x.value() - y).powi(2));
                scored.losses.push(squares.sum());
            }
            for (row, target) in rows.rows().into_iter().zip(&batch.targets) {
                let row = row.to_slice().expect("standard layout");
                scored.predicted.push(largest(row));
                scored
                    .actual
                    .push(target.expect("values come with classes"));
            }
            scored.one_target_a_row();
            return scored;
        }
        for (row, &value) in rows.rows().into_iter().zip(&batch.values) {
            let number = row[0].value();
            scored.losses.push((number - value).powi(2));
            scored.numbers.push(number);
            scored.values.push(value);
        }
        for (row, target) in rows.rows().into_iter().zip(&batch.targets) {
            let Some(target) = *target else { continue };
            let row = row.to_slice().expect("standard layout");
            scored.losses.push((log_sum_exp(row) - row[target]).value());
            scored.predicted.push(largest(row));
            scored.actual.push(target);
        }
        scored.one_target_a_row();
        scored
    }

    /// Sums the losses of tokens up by the rows that they are in.
    fn tokens(&mut self, batch: &Batch, losses: &[f64]) {
        let positions = batch.targets.len() / batch.shape[0];
        let mut losses = losses.iter();
        for row in batch.targets.chunks(positions) {
            let targets = row.iter().flatten().count();
            if targets > 0 {
                let loss: f64 = losses.by_ref().take(targets).sum();
                self.row_losses.push(loss as f32);
                self.row_targets.push(targets as u32);
            }
        }
    }

    fn one_target_a_row(&mut self) {
        self.row_losses = self.losses.iter().map(|&loss| loss as f32).collect();
        self.row_targets = vec![1; self.losses.len()];
    }

    /// With what was said of another batch behind.
    fn then(mut self, other: Self) -> Self {
        self.losses.extend(other.losses);
        self.row_losses.extend(other.row_losses);
        self.row_targets.extend(other.row_targets);
        self.predicted.extend(other.predicted);
        self.actual.extend(other.actual);
        self.numbers.extend(other.numbers);
        self.values.extend(other.values);
        self
    }
}
