//! The measure that decides.

use ggpo_train::metrics::Scores;
use ggpo_train::run::TaskKind;
use serde::{Deserialize, Serialize};

use super::record::{Flatness, Record};

/// A measure of a run, with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Primary {
    /// Accuracy on the test split in percent.
    Accuracy,
    /// Matthews correlation on the test split times 100.
    Matthews,
    /// F1 on the test split, averaged over the classes, times 100.
    F1,
    /// Loss on the test split: nats per target, or squares.
    Loss,
    /// Perplexity on the test split.
    Perplexity,
    /// Height of the highest bump of the smoothed training loss, in nats.
    Bump,
    /// Natural logarithm of the SAM sharpness on the training split.
    Sharpness,
    /// Time of a step over that of the reference.
    Time,
    /// A calibration's own measure.
    Calibration,
}

/// A number of a measured sharpness.
pub(super) type Measure = fn(&Flatness) -> f64;

/// The SAM sharpness in the two spaces.
pub(super) const SPACES: [(&str, Measure); 2] = [
    ("merged weights", |it| it.merged.rise),
    ("factors", |it| it.factors.rise),
];

impl Primary {
    /// Its name in TOML.
    pub fn id(self) -> &'static str {
        match self {
            Primary::Accuracy => "accuracy",
            Primary::Matthews => "matthews",
            Primary::F1 => "f1",
            Primary::Loss => "loss",
            Primary::Perplexity => "perplexity",
            Primary::Bump => "bump",
            Primary::Sharpness => "sharpness",
            Primary::Time => "time",
            Primary::Calibration => "calibration",
        }
    }

    /// Its name with its unit, for heads and axes.
    pub fn title(self) -> &'static str {
        match self {
            Primary::Accuracy => "test accuracy (%)",
            Primary::Matthews => "test Matthews correlation (× 100)",
            Primary::F1 => "test F1 (× 100)",
            Primary::Loss => "test loss",
            Primary::Perplexity => "test perplexity",
            Primary::Bump => "height of the bump (nats)",
            Primary::Sharpness => "log sharpness",
            Primary::Time => "time over the reference's",
            Primary::Calibration => "calibration",
        }
    }

    /// The unit of a difference, with a space before it.
    pub fn unit(self) -> &'static str {
        match self {
            Primary::Accuracy | Primary::Matthews | Primary::F1 => " points",
            Primary::Bump => " nats",
            _ => "",
        }
    }

    /// Digits after the point.
    pub fn decimals(self) -> usize {
        match self {
            Primary::Accuracy | Primary::Matthews | Primary::F1 => 2,
            Primary::Perplexity => 3,
            _ => 4,
        }
    }

    /// Whether a higher number is better.
    pub fn higher_is_better(self) -> bool {
        matches!(self, Primary::Accuracy | Primary::Matthews | Primary::F1)
    }

    /// Whether the runs of a kind of task have it.
    pub fn exists_for(self, kind: TaskKind) -> bool {
        match self {
            Primary::Accuracy | Primary::Matthews | Primary::F1 => kind == TaskKind::Classification,
            Primary::Perplexity => kind == TaskKind::LanguageModelling,
            Primary::Loss | Primary::Bump | Primary::Sharpness => true,
            Primary::Time | Primary::Calibration => false,
        }
    }

    /// The measure of scores on a split; NaN for what is no score.
    pub fn of_scores(self, scores: &Scores) -> f64 {
        let classes = |share: fn(&ggpo_train::metrics::ClassScores) -> f64| {
            scores
                .classes
                .as_ref()
                .map_or(f64::NAN, |it| 100.0 * share(it))
        };
        match self {
            Primary::Accuracy => classes(|it| it.accuracy),
            Primary::Matthews => classes(|it| it.matthews),
            Primary::F1 => classes(|it| it.f1),
            Primary::Perplexity => scores.perplexity(),
            Primary::Loss => scores.loss,
            Primary::Bump | Primary::Sharpness | Primary::Time | Primary::Calibration => f64::NAN,
        }
    }

    /// The measure of a run that did not diverge, after its last step.
    pub fn of_run(self, record: &Record) -> f64 {
        match self {
            Primary::Bump => record.bump.height,
            Primary::Sharpness => {
                let sharpness = record.sharpness.as_ref();
                sharpness.map_or(f64::NAN, |it| it.merged.rise.ln())
            }
            _ => record
                .test
                .as_ref()
                .map_or(f64::NAN, |it| self.of_scores(it)),
        }
    }

    /// What the validation split says of a run, by which learning rates are chosen:
    /// higher is better. Where the measure is no score, the loss decides.
    pub fn quality(self, validation: &Scores) -> f64 {
        match self.of_scores(validation) {
            score if score.is_nan() => -validation.loss,
            score if self.higher_is_better() => score,
            score => -score,
        }
    }
}
