//! Scores of a model on held-out batches, without noise.

use ggpo_model::batch::Batch;
use ggpo_model::logits::largest;
use ggpo_model::{Adapters, Head, Model, Number, Parameters};
use ggpo_tensor::softmax::log_sum_exp;
use ggpo_tensor::view2;

use crate::metrics::{Scores, class_scores, regression_scores};

/// Scores over all targets of `batches`; targets that are `None` do not count.
///
/// # Panics
/// If there is no target at all.
pub fn evaluate<T: Number>(
    model: &Model,
    parameters: &Parameters<T>,
    adapters: &Adapters<T>,
    batches: &[Batch],
) -> Scores {
    let mut total_loss = 0.0;
    let mut count = 0;
    let (mut predicted, mut actual) = (Vec::new(), Vec::new());
    let (mut numbers, mut values) = (Vec::new(), Vec::new());
    for batch in batches {
        count += batch.target_count();
        if model.head == Head::Tokens {
            let targets = batch.target_count() as f64;
            total_loss += model.evaluate_loss(parameters, adapters, batch) * targets;
            continue;
        }
        let logits = model.evaluate(parameters, adapters, batch);
        let rows = view2(&logits);
        if let Head::Classes(classes) = model.head
            && !batch.values.is_empty()
        {
            for (row, values) in rows.rows().into_iter().zip(batch.values.chunks(classes)) {
                let pairs = row.iter().zip(values);
                total_loss += pairs.map(|(x, y)| (x.value() - y).powi(2)).sum::<f64>();
            }
            for (row, target) in rows.rows().into_iter().zip(&batch.targets) {
                predicted.push(largest(row.to_slice().expect("standard layout")));
                actual.push(target.expect("values come with classes"));
            }
            continue;
        }
        for (row, &value) in rows.rows().into_iter().zip(&batch.values) {
            let number = row[0].value();
            total_loss += (number - value).powi(2);
            numbers.push(number);
            values.push(value);
        }
        for (row, target) in rows.rows().into_iter().zip(&batch.targets) {
            let Some(target) = *target else { continue };
            let row = row.to_slice().expect("standard layout");
            total_loss += (log_sum_exp(row) - row[target]).value();
            predicted.push(largest(row));
            actual.push(target);
        }
    }
    assert!(count > 0, "an evaluation needs at least one target");
    Scores {
        loss: total_loss / count as f64,
        classes: match model.head {
            Head::Classes(classes) => Some(class_scores(&predicted, &actual, classes)),
            Head::Tokens | Head::Value => None,
        },
        regression: (model.head == Head::Value).then(|| regression_scores(&numbers, &values)),
    }
}
