//! Where a table keeps what a task needs: formats, columns, and the layouts of
//! GLUE's published files.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::TaskKind;
use crate::metrics::Metric;
use crate::{Error, Result};

/// How the rows of a table are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Fields between tabs, one row per line, no quoting, as GLUE has it.
    Tsv,
    /// Fields between commas, quoted as in RFC 4180.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

impl Format {
    /// The format that the ending of a file's name stands for.
    ///
    /// # Errors
    /// If it is none of `.tsv`, `.csv`, `.jsonl`.
    pub fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().and_then(|ending| ending.to_str());
        match ending.map(str::to_ascii_lowercase).as_deref() {
            Some("tsv") => Ok(Format::Tsv),
            Some("csv") => Ok(Format::Csv),
            Some("jsonl") => Ok(Format::Jsonl),
            _ => Err(Error::file(
                path,
                "expected a name that ends in .tsv, .csv or .jsonl, or the format in task.format",
            )),
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Column {
    /// By its number from 1, counted from the left.
    Number(usize),
    /// By its name in the first line, or the name of the field in JSONL.
    Name(String),
}

impl Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Column::Number(number) => write!(f, "{number}"),
            Column::Name(name) => write!(f, "\"{name}\""),
        }
    }
}

impl From<&str> for Column {
    fn from(name: &str) -> Self {
        Column::Name(name.to_owned())
    }
}

impl From<usize> for Column {
    fn from(number: usize) -> Self {
        Column::Number(number)
    }
}

/// The columns that a task reads; those not given have the names of
/// [`TaskKind::columns`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// Column of the text, the prompt of a completion or the source of a
    /// text-to-text task, by name or number from 1.
    #[serde(
        default,
        alias = "prompt",
        alias = "source",
        skip_serializing_if = "Option::is_none"
    )]
    pub text: Option<Column>,
    /// Column of the second text of a pair; without it, there is one text per row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<Column>,
    /// Column of the answer: a class, a number, or the text to be written.
    #[serde(
        default,
        alias = "completion",
        alias = "target",
        skip_serializing_if = "Option::is_none"
    )]
    pub label: Option<Column>,
}

/// Where a file keeps what a task needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// How rows are written.
    pub format: Format,
    /// Whether the first line names the columns; of no meaning for JSONL.
    pub header: bool,
    /// The text.
    pub text: Column,
    /// The second text of a pair.
    pub pair: Option<Column>,
    /// The answer; none where it is not read.
    pub label: Option<Column>,
    /// A label that says that a row has none; such rows are left out.
    pub no_label: Option<&'static str>,
    /// Whether white space around the texts is kept.
    pub keep_space: bool,
    /// Whether the text is a conversation, whose last turn is the answer.
    pub is_chat: bool,
}

/// The published files of a GLUE task, as <https://gluebenchmark.com> has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// `sentence label`.
    #[serde(rename = "sst-2")]
    Sst2,
    /// No first line; source, label, the author's mark, sentence. The published
    /// test file, `index sentence` with a first line, is known by that line.
    Cola,
    /// `Quality`, `#1 ID`, `#2 ID`, `#1 String`, `#2 String`.
    Mrpc,
    /// `index question sentence label`.
    Qnli,
    /// `sentence1`, `sentence2` and `gold_label` among others. Rows whose label
    /// is `-`, on which the annotators did not agree, are left out and counted.
    Mnli,
    /// `index sentence1 sentence2 label`.
    Rte,
    /// `id qid1 qid2 question1 question2 is_duplicate`.
    Qqp,
    /// `sentence1`, `sentence2` and `score`, from 0 to 5, among others.
    #[serde(rename = "sts-b")]
    StsB,
}

/// The first line of CoLA's published test file, the only one it has.
const COLA_TEST: &[u8] = b"index\tsentence";

impl Layout {
    /// The kind of task that GLUE makes of it.
    pub fn kind(self) -> TaskKind {
        match self {
            Layout::StsB => TaskKind::Regression,
            _ => TaskKind::Classification,
        }
    }

    /// Whether a row has two texts.
    pub fn is_pair(self) -> bool {
        !matches!(self, Layout::Sst2 | Layout::Cola)
    }

    /// Where a file that begins with `first_line` keeps what is needed.
    pub(super) fn source(self, first_line: &[u8]) -> Source {
        let test = self == Layout::Cola && first_line.trim_ascii_end() == COLA_TEST;
        let (text, pair, label): (Column, Option<&str>, Column) = match self {
            Layout::Sst2 => ("sentence".into(), None, "label".into()),
            Layout::Cola if test => ("sentence".into(), None, "label".into()),
            Layout::Cola => (4.into(), None, 2.into()),
            Layout::Mrpc => ("#1 String".into(), Some("#2 String"), "Quality".into()),
            Layout::Qnli => ("question".into(), Some("sentence"), "label".into()),
            Layout::Mnli => ("sentence1".into(), Some("sentence2"), "gold_label".into()),
            Layout::Rte => ("sentence1".into(), Some("sentence2"), "label".into()),
            Layout::Qqp => ("question1".into(), Some("question2"), "is_duplicate".into()),
            Layout::StsB => ("sentence1".into(), Some("sentence2"), "score".into()),
        };
        Source {
            format: Format::Tsv,
            header: self != Layout::Cola || test,
            text,
            pair: pair.map(Column::from),
            label: Some(label),
            no_label: (self == Layout::Mnli).then_some("-"),
            keep_space: false,
            is_chat: false,
        }
    }

    /// The classes in the usual order; none for a regression.
    pub fn labels(self) -> &'static [&'static str] {
        match self {
            Layout::Sst2 | Layout::Cola | Layout::Mrpc | Layout::Qqp => &["0", "1"],
            Layout::Qnli | Layout::Rte => &["entailment", "not_entailment"],
            Layout::Mnli => &["entailment", "neutral", "contradiction"],
            Layout::StsB => &[],
        }
    }

    /// The numbers that a regression's answers lie in.
    pub fn range(self) -> Option<RangeInclusive<f64>> {
        (self == Layout::StsB).then_some(0.0..=5.0)
    }

    /// What the best step of a classification or regression is chosen by.
    pub fn metric(self) -> Metric {
        match self {
            Layout::Cola => Metric::Matthews,
            Layout::StsB => Metric::Correlation,
            _ => Metric::Accuracy,
        }
    }
}
