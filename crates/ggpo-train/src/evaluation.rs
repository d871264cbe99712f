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
    let scored = share::<Scored, Scored>(ranks, batches.len(), |index| {
        Scored::of(model, parameters, adapters, &batches[index])
    });
    scores(model, batches, scored)
}

/// [`evaluate`] by one process, as long as `goes_on` says so before every batch; none if
/// it does not to the end.
///
/// # Panics
/// As [`evaluate`].
pub(crate) fn evaluate_while<T: Number>(
    model: &Model,
    parameters: &Parameters<T>,
    adapters: &Adapters<T>,
    batches: &[Batch],
    goes_on: impl Fn() -> bool,
) -> Option<Scores> {
    let score = |batch| goes_on().then(|| Scored::of(model, parameters, adapters, batch));
    let scored: Option<Vec<Scored>> = batches.iter().map(score).collect();
    Some(scores(model, batches, scored?))
}

/// The scores of a model by what it said of every batch.
fn scores(model: &Model, batches: &[Batch], scored: Vec<Scored>) -> Scores {
    let count: usize = batches.iter().map(Batch::target_count).sum();
    assert!(count > 0, "an evaluation needs at least one target");
    let all = scored.into_iter().fold(Scored::default(), Scored::then);
    Scores {
        loss: all.losses.iter().sum::<f64>() / count as f64,
        classes: match model.head {
            Head::Classes(classes) => Some(class_scores(&all.predicted, &all.actual, classes)),
            Head::Tokens | Head::Value => None,
        },
        regression: (model.head == Head::Value)
            .then(|| regression_scores(&all.numbers, &all.values)),
    }
}

/// What a model said of a batch, beside what is right.
#[derive(Default, Serialize, Deserialize)]
struct Scored {
    /// Loss of every row, or in a language model of the whole batch, summed over targets.
    losses: Vec<f64>,
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
            let mean = model.evaluate_loss(parameters, adapters, batch);
            scored.losses.push(mean * targets);
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
        scored
    }

    /// With what was said of another batch behind.
    fn then(mut self, other: Self) -> Self {
        self.losses.extend(other.losses);
        self.predicted.extend(other.predicted);
        self.actual.extend(other.actual);
        self.numbers.extend(other.numbers);
        self.values.extend(other.values);
        self
    }
}
