//! A file of a task as examples.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use ggpo_files::read::ANY;
use ggpo_model::tokenizer::Tokenizer;
use rayon::prelude::*;

use super::answers::{answers, classes};
use super::collate::{Answer, Example};
use super::config::{TaskConfig, TaskKind};
use super::encode::Encoder;
use super::table::{self, BadRow, BadRows, Row, Table};
use super::text;
use crate::Error;

/// A file as examples, and what was found in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The tokenised rows; of language modelling, the blocks.
    pub examples: Vec<Example>,
    /// The rows that the examples are made of, one each; none for language
    /// modelling.
    pub rows: Vec<Row>,
    /// Names of the classes of a classification, in order; else empty.
    pub labels: Vec<String>,
    /// What a person should know about the file.
    pub notes: FileNotes,
}

/// What a person should know about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNotes {
    /// The file.
    pub path: PathBuf,
    /// Examples in it.
    pub examples: usize,
    /// Rows that were left out because they cannot be used.
    pub bad: BadRows,
    /// Rows that were left out because they have no gold label.
    pub without_label: usize,
    /// Examples that lost tokens to the longest length.
    pub truncated: usize,
    /// Tokens of the shortest example, of the median one, and of the longest.
    pub lengths: [usize; 3],
}

impl Display for FileNotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [shortest, median, longest] = self.lengths;
        let (path, examples) = (self.path.display(), self.examples);
        write!(
            f,
            "{path}: {examples} examples of {shortest} to {longest} tokens"
        )?;
        write!(f, " (median {median})")?;
        if self.truncated > 0 {
            write!(f, ", {} of them cut", self.truncated)?;
        }
        if self.without_label > 0 {
            write!(f, ", left out without gold label: {}", self.without_label)?;
        }
        if let Some(BadRow { line, reason }) = self.bad.iter().next() {
            let count = self.bad.len();
            write!(
                f,
                ", bad rows left out: {count}, first line {line}: {reason}"
            )?;
        }
        Ok(())
    }
}

/// What a file's rows must say.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// Answers; of a classification, of the classes that occur or are fixed.
    Answers,
    /// Answers of these classes.
    Of(&'a [String]),
    /// Texts alone.
    Texts,
}

impl Dataset {
    /// Reads and tokenises a file of the task: any of its splits, or another
    /// file of the same form.
    ///
    /// The classes of a classification are `labels`, if given, as for every file
    /// but the training split; else those of the configuration or the layout,
    /// else those that occur, sorted: by number if all are whole numbers, else
    /// by name.
    ///
    /// # Errors
    /// If the file cannot be read, lacks a column, has bad rows that are not to
    /// be skipped, no rows, or, with `labels` not given, only one class; or if
    /// `max_length` has no room for special tokens and one of each text.
    pub fn open(
        path: &Path,
        task: &TaskConfig,
        tokenizer: &Tokenizer,
        labels: Option<&[String]>,
    ) -> crate::Result<Self> {
        let wanted = labels.map_or(Wanted::Answers, Wanted::Of);
        Self::read(path, task, tokenizer, wanted)
    }

    /// Reads and tokenises a file whose rows need no answers, to predict them:
    /// columns with answers are not looked at, and [`Answer::Unknown`] stands in
    /// their place. Of a completion, the examples are the prompts.
    ///
    /// # Errors
    /// As [`open`](Self::open), of language modelling in any case.
    pub fn open_unlabelled(
        path: &Path,
        task: &TaskConfig,
        tokenizer: &Tokenizer,
    ) -> crate::Result<Self> {
        if task.kind == TaskKind::LanguageModelling {
            let expected = "a kind with an answer per row";
            return Err(Error::config("task.kind", expected, task.kind.name()));
        }
        Self::read(path, task, tokenizer, Wanted::Texts)
    }

    /// What a model that writes its answers reads of every row: the examples of
    /// [`open_unlabelled`](Self::open_unlabelled), of a file that was opened with
    /// its answers.
    ///
    /// # Errors
    /// If answers of the task are no texts, or prompts cannot be encoded.
    pub fn prompts(
        &self,
        task: &TaskConfig,
        tokenizer: &Tokenizer,
    ) -> crate::Result<Vec<Vec<usize>>> {
        if !task.kind.writes() {
            let expected = "completion, text-to-text or chat";
            return Err(Error::config("task.kind", expected, task.kind.name()));
        }
        let encoder = Encoder::new(task, tokenizer)?;
        let prompt = |row: &Row| {
            let label = None;
            let row = Row {
                label,
                ..row.clone()
            };
            let example = encoder.example(&row, Answer::Unknown);
            let problem =
                |problem| Error::file(&self.notes.path, format!("line {}: {problem}", row.line));
            example.map(|(example, _)| example.ids).map_err(problem)
        };
        self.rows.iter().map(prompt).collect()
    }

    fn read(
        path: &Path,
        task: &TaskConfig,
        tokenizer: &Tokenizer,
        wanted: Wanted,
    ) -> crate::Result<Self> {
        let bytes = ggpo_files::read(path, ANY).map_err(|source| Error::io(path, source))?;
        if task.kind == TaskKind::LanguageModelling {
            return blocks(path, bytes, task, tokenizer);
        }
        let encoder = Encoder::new(task, tokenizer)?;
        let mut source = task.source(path, table::first_line(&bytes))?;
        if matches!(wanted, Wanted::Texts) {
            (source.label, source.no_label) = (None, None);
        }
        let mut table = table::parse(path, &bytes, &source)?;
        drop(bytes);
        let labels = match (task.kind, wanted) {
            (TaskKind::Classification, Wanted::Of(labels)) => labels.to_vec(),
            (TaskKind::Classification, Wanted::Answers) => classes(task, &table.rows),
            _ => Vec::new(),
        };
        let answers = answers(task, &mut table, &labels);
        refuse_bad_rows(path, task, &table)?;
        refuse_too_little(path, wanted, &answers)?;
        let (examples, truncated) = examples(&encoder, &mut table, answers);
        refuse_bad_rows(path, task, &table)?;
        let Table {
            rows,
            bad,
            without_label,
        } = table;
        let notes = FileNotes {
            path: path.to_owned(),
            examples: examples.len(),
            bad,
            without_label,
            truncated,
            lengths: lengths(&examples),
        };
        Ok(Dataset {
            examples,
            rows,
            labels,
            notes,
        })
    }
}

/// Plain text in blocks.
fn blocks(
    path: &Path,
    bytes: Vec<u8>,
    task: &TaskConfig,
    tokenizer: &Tokenizer,
) -> crate::Result<Dataset> {
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::file(path, "expected UTF-8 text, found other bytes"))?;
    let blocks = text::blocks(&encode_whole(path, &text, tokenizer)?, task.max_length);
    if blocks.is_empty() {
        return Err(Error::file(path, "expected text of two tokens or more"));
    }
    let example = |ids| Example::new(ids, Answer::Tokens { from: 1 });
    let examples: Vec<Example> = blocks.into_iter().map(example).collect();
    let notes = FileNotes {
        path: path.to_owned(),
        examples: examples.len(),
        bad: BadRows::default(),
        without_label: 0,
        truncated: 0,
        lengths: lengths(&examples),
    };
    Ok(Dataset {
        examples,
        rows: Vec::new(),
        labels: Vec::new(),
        notes,
    })
}

/// The token ids of a file's text.
fn encode_whole(path: &Path, text: &str, tokenizer: &Tokenizer) -> crate::Result<Vec<usize>> {
    let problem = |error: ggpo_model::Error| Error::file(path, error.to_string());
    tokenizer.encode(text).map_err(problem)
}

/// The rows as examples, and how many had to be cut; rows without any token, that cannot
/// be encoded, or with a conversation that the model cannot read, become bad ones.
fn examples(encoder: &Encoder, table: &mut Table, answers: Vec<Answer>) -> (Vec<Example>, usize) {
    let rows = std::mem::take(&mut table.rows);
    let encode = |(row, answer)| encoder.example(row, answer);
    let encoded: Vec<Result<(Example, bool), String>> =
        rows.par_iter().zip(answers).map(encode).collect();
    let mut examples = Vec::with_capacity(rows.len());
    let mut truncated = 0;
    for (row, encoded) in rows.into_iter().zip(encoded) {
        let encoded = encoded.and_then(|(example, cut)| match example.ids.is_empty() {
            true => Err("expected text with tokens, found text without any".to_owned()),
            false => Ok((example, cut)),
        });
        let (example, cut) = match encoded {
            Ok(encoded) => encoded,
            Err(reason) => {
                let line = row.line;
                table.bad.push(BadRow { line, reason });
                continue;
            }
        };
        table.rows.push(row);
        examples.push(example);
        truncated += usize::from(cut);
    }
    (examples, truncated)
}

/// Bad rows named in an error.
const NAMED: usize = 5;

fn refuse_bad_rows(path: &Path, task: &TaskConfig, table: &Table) -> crate::Result<()> {
    if table.bad.is_empty() || task.skip_bad_rows {
        return Ok(());
    }
    let named = table.bad.iter().take(NAMED);
    let named: Vec<String> = named
        .map(|BadRow { line, reason }| format!("line {line}: {reason}"))
        .collect();
    let named = named.join("; ");
    let problem = match table.bad.len() {
        1 => named,
        count if count <= NAMED => format!("{count} bad rows: {named}"),
        count => format!("{count} bad rows: {named}; and {} more", count - NAMED),
    };
    Err(Error::file(path, problem))
}

fn refuse_too_little(path: &Path, wanted: Wanted, answers: &[Answer]) -> crate::Result<()> {
    let Some(first) = answers.first() else {
        return Err(Error::file(
            path,
            "expected rows that can be used, found none",
        ));
    };
    let one_class = matches!(first, Answer::Class(_)) && answers.iter().all(|it| it == first);
    match (wanted, one_class) {
        (Wanted::Answers, true) => {
            let problem = "expected rows of two classes or more, found only one class";
            Err(Error::file(path, problem))
        }
        _ => Ok(()),
    }
}

fn lengths(examples: &[Example]) -> [usize; 3] {
    let mut lengths: Vec<usize> = examples.iter().map(|example| example.ids.len()).collect();
    lengths.sort_unstable();
    let at = |index: usize| lengths.get(index).copied().unwrap_or(0);
    [0, lengths.len() / 2, lengths.len().saturating_sub(1)].map(at)
}
