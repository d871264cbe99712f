//! What a model says of rows whose answer is not known.

use ggpo_tensor::softmax::log_sum_exp;
use ggpo_tensor::{Scalar, view2};

use crate::data::bucket::scoring_batches;
use crate::data::{Example, Fill, collate};
use crate::evaluation::largest;
use crate::model::{Adapters, Head, Model};
use crate::parameters::Parameters;

/// What a model says of one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// A class.
    Class {
        /// The most probable one, the first of equals.
        class: usize,
        /// Probability of every class: the softmax of the logits.
        probabilities: Vec<f64>,
    },
    /// A number.
    Value(f64),
}

/// The model's word on every example, in their order.
///
/// # Panics
/// If the model predicts tokens rather than one answer per row.
pub fn predict<T: Scalar>(
    model: &Model,
    parameters: &Parameters<T>,
    adapters: &Adapters<T>,
    examples: &[Example],
    fill: Fill,
    mut on_rows: impl FnMut(usize),
) -> Vec<Prediction> {
    let outputs = model
        .head
        .outputs()
        .expect("a model with one answer per row");
    let lengths: Vec<usize> = examples.iter().map(Example::length).collect();
    let mut predictions = vec![None; examples.len()];
    for rows in scoring_batches(&lengths, outputs) {
        let batch: Vec<&Example> = rows.iter().map(|&row| &examples[row]).collect();
        let logits = model.evaluate(parameters, adapters, &collate(&batch, fill));
        for (&row, logits) in rows.iter().zip(view2(&logits).rows()) {
            let logits = logits.to_slice().expect("standard layout");
            predictions[row] = Some(prediction(model.head, logits));
        }
        on_rows(rows.len());
    }
    let all = predictions.into_iter();
    all.map(|prediction| prediction.expect("every row is in a batch"))
        .collect()
}

fn prediction<T: Scalar>(head: Head, logits: &[T]) -> Prediction {
    if head == Head::Value {
        return Prediction::Value(logits[0].value());
    }
    let total = log_sum_exp(logits).value();
    let probability = |logit: &T| (logit.value() - total).exp();
    Prediction::Class {
        class: largest(logits),
        probabilities: logits.iter().map(probability).collect(),
    }
}
