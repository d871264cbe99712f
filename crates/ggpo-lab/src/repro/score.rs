//! What a task is judged by: in the choice of learning rates and in the report.

use ggpo_train::metrics::{ClassScores, Metric, Scores};
use ggpo_train::run::TaskKind;
use serde::Deserialize;

use super::config::TaskEntry;

/// What a task is judged by, with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Score {
    /// Accuracy in percent; higher is better.
    Accuracy,
    /// Matthews correlation times 100; higher is better.
    Matthews,
    /// F1, averaged over the classes, times 100; higher is better.
    F1,
    /// Perplexity; lower is better.
    Perplexity,
    /// Cross entropy per target in nats; lower is better.
    Loss,
}

impl TaskEntry {
    /// What methods and learning rates are judged by.
    pub fn judged_by(&self) -> Score {
        self.score.unwrap_or(self.steps_chosen_by())
    }

    /// What its runs choose their best step by.
    pub fn steps_chosen_by(&self) -> Score {
        match (self.data.chosen_metric(), self.data.kind) {
            (Metric::Accuracy, _) => Score::Accuracy,
            (Metric::Matthews, _) => Score::Matthews,
            (Metric::F1, _) => Score::F1,
            (Metric::Loss, TaskKind::LanguageModelling) => Score::Perplexity,
            (Metric::Loss | Metric::Correlation, _) => Score::Loss,
        }
    }
}

impl Score {
    /// The scores that a kind of task can be judged by.
    pub(super) fn all_of(kind: TaskKind) -> &'static [Score] {
        match kind {
            TaskKind::Classification => &[Score::Accuracy, Score::Matthews, Score::F1, Score::Loss],
            TaskKind::LanguageModelling => &[Score::Perplexity, Score::Loss],
            TaskKind::Regression | TaskKind::Completion | TaskKind::TextToText => &[],
        }
    }

    /// Its name in TOML.
    pub fn id(self) -> &'static str {
        match self {
            Score::Accuracy => "accuracy",
            Score::Matthews => "matthews",
            Score::F1 => "f1",
            Score::Perplexity => "perplexity",
            Score::Loss => "loss",
        }
    }

    /// The score in its unit; NaN if the scores are of another kind of task.
    pub fn value(self, scores: &Scores) -> f64 {
        match self {
            Score::Perplexity => scores.perplexity(),
            Score::Loss => scores.loss,
            _ => 100.0 * self.share(scores).unwrap_or(f64::NAN),
        }
    }

    /// A number that is higher for better scores.
    pub(super) fn quality(self, scores: &Scores) -> f64 {
        self.share(scores).unwrap_or(-scores.loss)
    }

    /// The score of a classification, 1 for a perfect one.
    fn share(self, scores: &Scores) -> Option<f64> {
        let of: fn(&ClassScores) -> f64 = match self {
            Score::Accuracy => |classes| classes.accuracy,
            Score::Matthews => |classes| classes.matthews,
            Score::F1 => |classes| classes.f1,
            Score::Perplexity | Score::Loss => return None,
        };
        scores.classes.as_ref().map(of)
    }

    /// Its name in a sentence.
    pub(super) fn name(self) -> &'static str {
        match self {
            Score::Matthews => "Matthews correlation",
            Score::F1 => "F1",
            _ => self.id(),
        }
    }

    /// Its name with its unit, for heads and axes.
    pub(super) fn title(self) -> &'static str {
        match self {
            Score::Accuracy => "accuracy (%)",
            Score::Matthews => "Matthews correlation (× 100)",
            Score::F1 => "F1 (× 100)",
            Score::Perplexity => "perplexity (lower is better)",
            Score::Loss => "loss (nats, lower is better)",
        }
    }

    /// The unit of a difference, with a space before it.
    pub(super) fn difference_unit(self) -> &'static str {
        match self {
            Score::Accuracy => " percentage points",
            Score::Matthews | Score::F1 => " points",
            Score::Perplexity => "",
            Score::Loss => " nats",
        }
    }

    /// Digits after the point.
    pub(super) fn decimals(self) -> usize {
        match self {
            Score::Accuracy | Score::Matthews | Score::F1 => 2,
            Score::Perplexity => 3,
            Score::Loss => 4,
        }
    }

    /// Whether a higher number is better.
    pub(super) fn higher_is_better(self) -> bool {
        !matches!(self, Score::Perplexity | Score::Loss)
    }

    /// Whether two runs come in the same order by `other`.
    pub(super) fn orders_as(self, other: Score) -> bool {
        self == other || !(self.higher_is_better() || other.higher_is_better())
    }

    /// The scores that the tables of a task show beside this one: accuracy
    /// belongs to every classification.
    pub(super) fn beside(self) -> &'static [Score] {
        match self {
            Score::Matthews | Score::F1 => &[Score::Accuracy],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> Scores {
        let classes = ClassScores {
            accuracy: 0.75,
            matthews: 0.5,
            f1: 0.625,
            binary_f1: None,
        };
        Scores {
            loss: 2.0,
            classes: Some(classes),
            regression: None,
        }
    }

    #[test]
    fn units_are_as_said() {
        let value = |score: Score| score.value(&scores());
        assert_eq!(value(Score::Accuracy), 75.0);
        assert_eq!(value(Score::Matthews), 50.0);
        assert_eq!(value(Score::F1), 62.5);
        assert_eq!(value(Score::Loss), 2.0);
        assert_eq!(value(Score::Perplexity), 2.0_f64.exp());
        let text = Scores {
            classes: None,
            ..scores()
        };
        assert!(Score::Matthews.value(&text).is_nan());
    }

    #[test]
    fn better_scores_have_a_higher_quality() {
        let mut better = scores();
        let worse = scores();
        better.loss = 1.0;
        if let Some(classes) = &mut better.classes {
            (classes.accuracy, classes.matthews, classes.f1) = (0.8, 0.6, 0.7);
        }
        let all = [TaskKind::Classification, TaskKind::LanguageModelling].map(Score::all_of);
        for score in all.into_iter().flatten() {
            assert!(score.quality(&better) > score.quality(&worse));
            let rises = score.value(&better) > score.value(&worse);
            assert_eq!(rises, score.higher_is_better(), "{}", score.id());
        }
    }

    #[test]
    fn perplexity_and_loss_give_one_order() {
        assert!(Score::Perplexity.orders_as(Score::Loss));
        assert!(!Score::Matthews.orders_as(Score::Accuracy));
        assert!(!Score::Accuracy.orders_as(Score::Loss));
    }
}
