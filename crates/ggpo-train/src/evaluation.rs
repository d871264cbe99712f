//! Scores of a model on held-out batches, without noise.

use ggpo_autograd::Tape;
use ggpo_tensor::softmax::log_sum_exp;
use ggpo_tensor::{Scalar, view2};
use serde::{Deserialize, Serialize};

use crate::data::Batch;
use crate::metrics::{accuracy, macro_f1, matthews};
use crate::model::{Adapters, Graph, Head, Model};
use crate::parameters::Parameters;

/// Scores on one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Mean cross entropy per target, in nats; not finite if the model's
    /// numbers have overflowed.
    #[serde(with = "any_number")]
    pub loss: f64,
    /// Scores of a classification; none for language modelling.
    pub classes: Option<ClassScores>,
}

/// Scores of a classification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Share of rows that were classified right.
    pub accuracy: f64,
    /// Matthews correlation.
    pub matthews: f64,
    /// F1, averaged over the classes.
    pub f1: f64,
}

impl Scores {
    /// `exp(loss)`.
    pub fn perplexity(&self) -> f64 {
        self.loss.exp()
    }

    /// The scores that apply, by name.
    pub fn named(&self) -> Vec<(&'static str, f64)> {
        let mut named = vec![("loss", self.loss)];
        match &self.classes {
            Some(classes) => named.extend([
                ("accuracy", classes.accuracy),
                ("matthews", classes.matthews),
                ("f1", classes.f1),
            ]),
            None => named.push(("perplexity", self.perplexity())),
        }
        named
    }

    /// Whether these scores are better than `other`: by accuracy, then loss,
    /// for a classification, by loss otherwise.
    pub fn better_than(&self, other: &Scores) -> bool {
        match (&self.classes, &other.classes) {
            (Some(this), Some(other_classes)) if this.accuracy != other_classes.accuracy => {
                this.accuracy > other_classes.accuracy
            }
            _ => self.loss < other.loss,
        }
    }
}

/// Numbers that JSON has no form for, as text.
mod any_number {
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(f64),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() && !number.is_finite() {
            return to.serialize_str(&number.to_string());
        }
        to.serialize_f64(*number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        if !from.is_human_readable() {
            return f64::deserialize(from);
        }
        match Form::deserialize(from)? {
            Form::Number(number) => Ok(number),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// Scores over all targets of `batches`; targets that are `None` do not count.
///
/// # Panics
/// If there is no target at all.
pub fn evaluate<T: Scalar>(
    model: &Model,
    parameters: &Parameters<T>,
    adapters: &Adapters<T>,
    batches: &[Batch],
) -> Scores {
    let mut total_loss = 0.0;
    let (mut predicted, mut actual) = (Vec::new(), Vec::new());
    let mut count = 0;
    for batch in batches {
        match model.head {
            Head::Tokens | Head::Value => {
                let targets = batch.target_count();
                let graph = Graph::for_evaluation(Tape::new(), parameters, adapters);
                total_loss += model.loss(&graph, batch).item().value() * targets as f64;
                count += targets;
            }
            Head::Classes(_) => {
                let logits = model.evaluate(parameters, adapters, batch);
                for (row, target) in view2(&logits).rows().into_iter().zip(&batch.targets) {
                    let Some(target) = *target else { continue };
                    let row = row.to_slice().expect("standard layout");
                    total_loss += (log_sum_exp(row) - row[target]).value();
                    predicted.push(largest(row));
                    actual.push(target);
                    count += 1;
                }
            }
        }
    }
    assert!(count > 0, "an evaluation needs at least one target");
    let classes = match model.head {
        Head::Tokens | Head::Value => None,
        Head::Classes(classes) => Some(ClassScores {
            accuracy: accuracy(&predicted, &actual),
            matthews: matthews(&predicted, &actual, classes),
            f1: macro_f1(&predicted, &actual, classes),
        }),
    };
    Scores {
        loss: total_loss / count as f64,
        classes,
    }
}

/// Index of the largest number; the first of equals.
pub(crate) fn largest<T: Scalar>(row: &[T]) -> usize {
    (1..row.len()).fold(
        0,
        |best, index| {
            if row[index] > row[best] { index } else { best }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_are_no_numbers_are_read_back() {
        for loss in [1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let scores = Scores {
                loss,
                classes: None,
            };
            let text = serde_json::to_string(&scores).unwrap();
            let read: Scores = serde_json::from_str(&text).unwrap();
            assert_eq!(read.loss.to_bits(), loss.to_bits(), "{text}");
        }
    }
}
