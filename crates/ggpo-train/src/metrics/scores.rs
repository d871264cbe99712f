//! The scores of a model on a split, and which of two are better.

use std::fmt::{self, Display};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{accuracy, binary_f1, macro_f1, matthews, pearson, spearman};

/// Scores on one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Mean cross entropy per target, in nats, or mean squared error of a
    /// regression; not finite if the model's numbers have overflowed.
    #[serde(with = "any_number")]
    pub loss: f64,
    /// Scores of a classification; none for other kinds.
    pub classes: Option<ClassScores>,
    /// Scores of a regression; none for other kinds.
    pub regression: Option<RegressionScores>,
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
    /// F1 of the second of two classes, as GLUE has it for paraphrases; none
    /// with more classes.
    pub binary_f1: Option<f64>,
}

/// Scores of a regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegressionScores {
    /// Pearson's correlation of predicted and right numbers; 0 where it is
    /// undefined, as for predictions that are all the same.
    pub pearson: f64,
    /// Spearman's correlation; 0 where it is undefined.
    pub spearman: f64,
}

/// What makes one state of a model better than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Share of rows that were classified right.
    Accuracy,
    /// Matthews correlation of a classification.
    Matthews,
    /// F1, averaged over the classes.
    F1,
    /// Mean of Pearson's and Spearman's correlation of a regression.
    Correlation,
    /// The loss; lower is better.
    Loss,
}

impl Metric {
    /// The name in TOML.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy",
            Metric::Matthews => "matthews",
            Metric::F1 => "f1",
            Metric::Correlation => "correlation",
            Metric::Loss => "loss",
        }
    }
}

impl Scores {
    /// `exp(loss)`.
    pub fn perplexity(&self) -> f64 {
        self.loss.exp()
    }

    /// The scores that apply, by name.
    pub fn named(&self) -> Vec<(&'static str, f64)> {
        let mut named = vec![("loss", self.loss)];
        if let Some(classes) = &self.classes {
            named.extend([
                ("accuracy", classes.accuracy),
                ("matthews", classes.matthews),
                ("f1", classes.f1),
            ]);
            named.extend(classes.binary_f1.map(|f1| ("binary_f1", f1)));
        } else if let Some(RegressionScores { pearson, spearman }) = self.regression {
            named.extend([("pearson", pearson), ("spearman", spearman)]);
        } else {
            named.push(("perplexity", self.perplexity()));
        }
        named
    }

    /// The score by a metric, higher being better; none for the loss, and for
    /// scores of another kind of task.
    pub fn by(&self, metric: Metric) -> Option<f64> {
        let classes = self.classes.as_ref();
        match metric {
            Metric::Accuracy => classes.map(|classes| classes.accuracy),
            Metric::Matthews => classes.map(|classes| classes.matthews),
            Metric::F1 => classes.map(|classes| classes.f1),
            Metric::Correlation => {
                let scores = self.regression.as_ref();
                scores.map(|scores| (scores.pearson + scores.spearman) / 2.0)
            }
            Metric::Loss => None,
        }
    }

    /// Whether these scores are better than `other`: by the metric, and by loss
    /// where that says nothing.
    pub fn better_than(&self, other: &Scores, metric: Metric) -> bool {
        match (self.by(metric), other.by(metric)) {
            (Some(this), Some(other)) if this != other => this > other,
            _ => self.loss < other.loss,
        }
    }
}

impl Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scores) = &self.classes {
            let ClassScores {
                accuracy,
                matthews,
                f1,
                ..
            } = scores;
            write!(
                f,
                "accuracy {accuracy:.4}, Matthews {matthews:.4}, F1 {f1:.4}"
            )?;
        } else if let Some(RegressionScores { pearson, spearman }) = &self.regression {
            write!(f, "Pearson {pearson:.4}, Spearman {spearman:.4}")?;
        } else {
            write!(f, "perplexity {:.3}", self.perplexity())?;
        }
        write!(f, ", loss {:.4}", self.loss)
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

pub(crate) fn class_scores(predicted: &[usize], actual: &[usize], classes: usize) -> ClassScores {
    ClassScores {
        accuracy: accuracy(predicted, actual),
        matthews: matthews(predicted, actual, classes),
        f1: macro_f1(predicted, actual, classes),
        binary_f1: (classes == 2).then(|| binary_f1(predicted, actual)),
    }
}

pub(crate) fn regression_scores(predicted: &[f64], actual: &[f64]) -> RegressionScores {
    let finite = predicted.iter().all(|number| number.is_finite());
    let score = |correlation: fn(&[f64], &[f64]) -> Option<f64>| {
        let defined = finite.then(|| correlation(predicted, actual)).flatten();
        defined.filter(|score| score.is_finite()).unwrap_or(0.0)
    };
    RegressionScores {
        pearson: score(pearson),
        spearman: score(spearman),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(accuracy: f64, matthews: f64, loss: f64) -> Scores {
        let classes = ClassScores {
            accuracy,
            matthews,
            f1: 0.5,
            binary_f1: None,
        };
        Scores {
            loss,
            classes: Some(classes),
            regression: None,
        }
    }

    #[test]
    fn the_metric_decides_and_then_the_loss() {
        let (a, b) = (classes(0.9, 0.1, 2.0), classes(0.8, 0.2, 1.0));
        assert!(a.better_than(&b, Metric::Accuracy) && !b.better_than(&a, Metric::Accuracy));
        assert!(b.better_than(&a, Metric::Matthews) && !a.better_than(&b, Metric::Matthews));
        assert!(b.better_than(&a, Metric::Loss));
        // Equal by F1, and without any correlation.
        assert!(b.better_than(&a, Metric::F1) && !a.better_than(&b, Metric::F1));
        assert!(b.better_than(&a, Metric::Correlation));
        let regression = |predicted: &[f64]| Scores {
            loss: 1.0,
            classes: None,
            regression: Some(regression_scores(predicted, &[1.0, 2.0, 4.0])),
        };
        let (right, wrong) = (regression(&[0.0, 1.0, 2.0]), regression(&[2.0, 1.0, 0.0]));
        assert!(right.better_than(&wrong, Metric::Correlation));
        assert!(!wrong.better_than(&right, Metric::Correlation));
        assert_eq!(right.by(Metric::Accuracy), None);
    }

    #[test]
    fn correlations_without_meaning_are_zero() {
        for predicted in [
            [1.0, 1.0, 1.0],
            [f64::NAN, 1.0, 2.0],
            [f64::INFINITY, 0.0, 1.0],
        ] {
            let scores = regression_scores(&predicted, &[1.0, 2.0, 3.0]);
            assert_eq!((scores.pearson, scores.spearman), (0.0, 0.0));
        }
    }

    #[test]
    fn scores_that_are_no_numbers_are_read_back() {
        for loss in [1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let scores = Scores {
                loss,
                classes: None,
                regression: None,
            };
            let text = serde_json::to_string(&scores).unwrap();
            let read: Scores = serde_json::from_str(&text).unwrap();
            assert_eq!(read.loss.to_bits(), loss.to_bits(), "{text}");
        }
    }
}
