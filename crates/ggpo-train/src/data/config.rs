//! The description of a task: part of a run's TOML file.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layout::{Column, Columns, Format, Layout, Source};
use crate::metrics::Metric;
use crate::{Error, Result};

mod checks;

/// Data, and what is to be learnt from it.
///
/// A table is read as `layout` says, or as `format`, `header` and `columns` say
/// together. In TOML:
///
/// ```toml
/// kind = "classification"
/// train = "reviews.csv"
/// max_length = 128
/// labels = ["negative", "positive"]
/// columns = { text = "review", label = 3 }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskConfig {
    /// What is learnt.
    pub kind: TaskKind,
    /// File of the training split: a table, or plain text for language
    /// modelling.
    pub train: PathBuf,
    /// File of the split that chooses among learning rates and steps; without
    /// it, a share of the training rows is set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<PathBuf>,
    /// Share of the training rows that is set aside, drawn by the seed, if there
    /// is no file of the validation split.
    #[serde(default = "one_tenth", skip_serializing_if = "is_one_tenth")]
    #[schemars(!skip_serializing_if)]
    pub validation_share: f64,
    /// File of the split that is looked at once, at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// Share of the training rows that is set aside for the test, the same for every
    /// seed, if there is no file of the test split.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(!skip_serializing_if)]
    pub test_share: f64,
    /// Longest sequence, in tokens. Longer texts are cut, or split for language
    /// modelling.
    pub max_length: usize,
    /// The layout of the published files of a GLUE task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// How rows are written; without it, what the file's name ends in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Whether the first line names the columns, which it does unless this is
    /// `false`. Columns then have numbers only. Of no meaning for JSONL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// The columns, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
    /// The classes in a fixed order; without it, those of the layout, or those
    /// that occur among the training rows, sorted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// The text that the model reads, with `{text}` and `{pair}` in place of the
    /// row's own. For completion and text-to-text; without it, the text and, for
    /// completion, a line break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The template that makes text of a conversation: a file in Jinja, or `chatml`;
    /// without it, the model's own. For chats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Which tokens of a conversation are learnt. For chats.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(!skip_serializing_if)]
    pub train_on: TrainOn,
    /// Leave out rows that cannot be used, rather than refuse the file.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schemars(!skip_serializing_if)]
    pub skip_bad_rows: bool,
    /// What the best step is chosen by. Without it, accuracy for a
    /// classification (Matthews correlation with CoLA's layout), correlation for
    /// a regression, loss otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// Number of training rows, drawn by the seed; without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_rows: Option<usize>,
    /// Rows that scores are taken from, the first of each split; without it, all
    /// of validation and test, and 512 of the training rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scored_rows: Option<ScoredRows>,
    /// What fits a model to the classes of a classification.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(!skip_serializing_if)]
    pub loss: ClassLoss,
    /// Share of training rows whose label is replaced by a wrong one.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(!skip_serializing_if)]
    pub label_noise: f64,
}

/// What fits a model to the classes of a classification.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClassLoss {
    /// Cross entropy of the softmax.
    #[default]
    CrossEntropy,
    /// The squared distance of the outputs from the indicator of the class, less its
    /// mean: a loss that a model can bring to 0.
    LeastSquares,
}

/// Which tokens of a conversation are learnt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TrainOn {
    /// What the assistant says, in all of its turns.
    #[default]
    Assistant,
    /// All of them.
    All,
}

impl TrainOn {
    /// The name in TOML.
    pub fn name(self) -> &'static str {
        match self {
            TrainOn::Assistant => "assistant",
            TrainOn::All => "all",
        }
    }
}

/// How many rows scores are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoredRows {
    /// Of the validation split.
    pub validation: usize,
    /// Of the test split.
    pub test: usize,
    /// Of the training split.
    pub train: usize,
}

impl Default for ScoredRows {
    fn default() -> Self {
        ScoredRows {
            validation: usize::MAX,
            test: usize::MAX,
            train: 512,
        }
    }
}

fn one_tenth() -> f64 {
    0.1
}

fn is_one_tenth(share: &f64) -> bool {
    *share == one_tenth()
}

fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

fn is_default<C: Default + PartialEq>(config: &C) -> bool {
    *config == C::default()
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The kind of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// The class of a text or a pair of texts.
    Classification,
    /// A number that belongs to a text or a pair of texts.
    Regression,
    /// The next token of a plain text.
    LanguageModelling,
    /// The text with which a decoder continues a prompt.
    Completion,
    /// The text that an encoder-decoder makes of a source text.
    TextToText,
    /// What the assistant says in a conversation, a row's `messages`.
    Chat,
}

impl TaskKind {
    /// Names of the columns of text and answer, where none are given.
    pub fn columns(self) -> [&'static str; 2] {
        match self {
            TaskKind::Completion => ["prompt", "completion"],
            TaskKind::TextToText => ["source", "target"],
            TaskKind::Chat => ["messages", "messages"],
            _ => ["text", "label"],
        }
    }

    /// Whether the answer is a text.
    pub fn writes(self) -> bool {
        matches!(
            self,
            TaskKind::Completion | TaskKind::TextToText | TaskKind::Chat
        )
    }

    /// The name in TOML.
    pub fn name(self) -> &'static str {
        match self {
            TaskKind::Classification => "classification",
            TaskKind::Regression => "regression",
            TaskKind::LanguageModelling => "language-modelling",
            TaskKind::Completion => "completion",
            TaskKind::TextToText => "text-to-text",
            TaskKind::Chat => "chat",
        }
    }
}

impl TaskConfig {
    /// A task with nothing said but what must be.
    pub fn new(kind: TaskKind, train: impl Into<PathBuf>, max_length: usize) -> Self {
        TaskConfig {
            kind,
            train: train.into(),
            validation: None,
            validation_share: one_tenth(),
            test: None,
            test_share: 0.0,
            max_length,
            layout: None,
            format: None,
            header: None,
            columns: None,
            labels: None,
            template: None,
            chat_template: None,
            train_on: TrainOn::default(),
            skip_bad_rows: false,
            metric: None,
            train_rows: None,
            scored_rows: None,
            label_noise: 0.0,
            loss: ClassLoss::default(),
        }
    }

    /// Whether a row has two texts.
    pub fn is_pair(&self) -> bool {
        let named = |columns: &Columns| columns.pair.is_some();
        self.layout.is_some_and(Layout::is_pair) || self.columns.as_ref().is_some_and(named)
    }

    /// What the best step is chosen by.
    pub fn chosen_metric(&self) -> Metric {
        self.metric.unwrap_or(match (self.kind, self.layout) {
            (TaskKind::Classification, Some(layout)) => layout.metric(),
            (TaskKind::Classification, None) => Metric::Accuracy,
            (TaskKind::Regression, _) => Metric::Correlation,
            _ => Metric::Loss,
        })
    }

    /// What the model reads in place of a text, or of two.
    pub(super) fn fill_template(&self, text: &str, pair: Option<&str>) -> String {
        let template = match (&self.template, self.kind, pair) {
            (Some(template), ..) => template,
            (None, TaskKind::Completion, None) => "{text}\n",
            (None, TaskKind::Completion, Some(_)) => "{text}\n{pair}\n",
            (None, _, None) => return text.to_owned(),
            (None, _, Some(_)) => "{text}\n{pair}",
        };
        // Not one replacement after the other: a text may hold "{pair}" itself.
        let (before, after) = template.split_once("{text}").unwrap_or((template, ""));
        let fill = |part: &str| part.replace("{pair}", pair.unwrap_or_default());
        format!("{}{text}{}", fill(before), fill(after))
    }

    /// Where a file keeps what the task needs; `first_line` is the file's.
    ///
    /// # Errors
    /// If the format is not known, or columns are named that cannot be: by
    /// number in JSONL, by name without a first line that names them.
    pub(super) fn source(&self, path: &Path, first_line: &[u8]) -> Result<Source> {
        if let Some(layout) = self.layout {
            return Ok(layout.source(first_line));
        }
        let columns = self.columns.clone().unwrap_or_default();
        let [text, label] = self.kind.columns();
        let format = self.format.map_or_else(|| Format::of(path), Ok)?;
        let source = Source {
            format,
            header: self.header.unwrap_or(true),
            text: columns.text.unwrap_or_else(|| text.into()),
            pair: columns.pair,
            label: Some(columns.label.unwrap_or_else(|| label.into())),
            no_label: None,
            keep_space: self.kind == TaskKind::Completion,
            is_chat: self.kind == TaskKind::Chat,
        };
        if source.is_chat && format != Format::Jsonl {
            return Err(Error::file(path, "expected conversations in .jsonl"));
        }
        let columns = [
            Some(&source.text),
            source.pair.as_ref(),
            source.label.as_ref(),
        ];
        for column in columns.into_iter().flatten() {
            let expected = match column {
                Column::Number(_) if format == Format::Jsonl => "names of fields in JSONL",
                Column::Name(_) if format != Format::Jsonl && !source.header => {
                    "numbers of columns where header = false"
                }
                _ => continue,
            };
            return Err(Error::config("task.columns", expected, column));
        }
        Ok(source)
    }
}
