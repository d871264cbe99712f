//! Rows of tables in TSV, CSV and JSONL.
//!
//! A row that cannot be used does not end the reading: it is put aside with its
//! line and the reason, for the caller to refuse or to count.

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::layout::{Column, Format, Source};
use crate::Error;

mod delimited;
mod jsonl;

/// A row, as far as a task reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The line it begins in, from 1.
    pub line: u64,
    /// The text.
    pub text: String,
    /// The second text of a pair.
    pub pair: Option<String>,
    /// The answer, where it is read.
    pub label: Option<String>,
}

/// A row that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The line it begins in, from 1.
    pub line: u64,
    /// What was expected and what was found.
    pub reason: String,
}

/// Rows that cannot be used: how many, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BadRows {
    count: usize,
    first: Vec<BadRow>,
}

impl BadRows {
    /// More than these are counted alone: a file may hold nothing else.
    const KEPT: usize = 32;

    /// Adds one, whichever line it is in.
    pub(super) fn push(&mut self, row: BadRow) {
        self.count += 1;
        let place = self.first.partition_point(|other| other.line <= row.line);
        if place < Self::KEPT {
            self.first.insert(place, row);
            self.first.truncate(Self::KEPT);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first ones, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &BadRow> {
        self.first.iter()
    }
}

/// The rows of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The rows that can be used, in the order of the file.
    pub rows: Vec<Row>,
    /// Those that cannot.
    pub bad: BadRows,
    /// Rows left out because their label says that they have none.
    pub without_label: usize,
}

/// What a row's fields are called in messages: text, second text, answer.
const ROLES: [&str; 3] = ["text", "second text", "label"];

/// Reads the rows of a file in UTF-8, with or without a byte order mark. Empty
/// lines are skipped, and white space around a field is dropped unless the
/// source says otherwise.
///
/// Bad are rows with another number of columns than the first line, without a
/// field that is needed or with nothing but white space in it, of bytes that
/// are not UTF-8, or of no valid JSON.
///
/// # Errors
/// If a column is not there at all, or quotes are open at the end of the file.
pub fn parse(path: &Path, bytes: &[u8], source: &Source) -> crate::Result<Table> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    match source.format {
        Format::Tsv => delimited::table(path, bytes.len(), delimited::tsv(bytes), source),
        Format::Csv => {
            let mut failed = None;
            let records = delimited::csv(path, bytes, &mut failed);
            let table = delimited::table(path, bytes.len(), records, source);
            failed.map_or(table, Err)
        }
        Format::Jsonl => jsonl::table(path, bytes, source),
    }
}

/// The first line of a file, without its end.
pub(super) fn first_line(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    bytes.split(|&byte| byte == b'\n').next().unwrap_or(bytes)
}

/// Whether a file is JSONL whose first row has `messages`, the turns of a conversation. A
/// file that cannot be read holds none; who reads it will say why.
pub fn holds_chats(path: &Path) -> bool {
    let first = || -> std::io::Result<String> {
        let mut line = String::new();
        let file = ggpo_files::open(path)?.take(ggpo_files::read::DESCRIPTION);
        BufReader::new(file).read_line(&mut line)?;
        Ok(line)
    };
    let is_jsonl = matches!(Format::of(path), Ok(Format::Jsonl));
    let row = first().ok().filter(|_| is_jsonl);
    let row = row.and_then(|line| serde_json::from_str::<serde_json::Value>(&line).ok());
    row.is_some_and(|row| row["messages"].is_array())
}

/// Bytes that a row takes in memory as text and as an example, however short it is.
const ROW: usize = 320;

/// Most rows of a file of `bytes` bytes, so that they take no more than ten times its
/// size and 100 MB.
fn most_rows(bytes: usize) -> usize {
    bytes.saturating_mul(10).saturating_add(100_000_000) / ROW
}

/// Refuses more rows than those.
fn refuse_many(path: &Path, rows: usize, most: usize) -> crate::Result<()> {
    if rows <= most {
        return Ok(());
    }
    let problem = format!(
        "expected at most {most} rows in a file of this size, found more, as they are very \
         short; divide the file"
    );
    Err(Error::file(path, problem))
}

/// The columns that a source reads, by role.
fn columns(source: &Source) -> [Option<&Column>; 3] {
    let Source { pair, label, .. } = source;
    [Some(&source.text), pair.as_ref(), label.as_ref()]
}

impl Table {
    /// Adds a row by the fields of its roles, or says why it is bad.
    fn push(&mut self, line: u64, fields: Result<Fields<'_>, String>, source: &Source) {
        match fields.and_then(|fields| row(line, fields, source)) {
            Err(reason) => self.bad.push(BadRow { line, reason }),
            Ok(row) if row.label.is_some() && row.label.as_deref() == source.no_label => {
                self.without_label += 1;
            }
            Ok(row) => self.rows.push(row),
        }
    }
}

/// Text, second text and answer; none for those that are not read.
type Fields<'a> = [Option<Cow<'a, str>>; 3];

fn row(line: u64, fields: Fields<'_>, source: &Source) -> Result<Row, String> {
    let mut found = [None, None, None];
    for ((found, field), role) in found.iter_mut().zip(fields).zip(ROLES) {
        let Some(field) = field else { continue };
        if field.trim().is_empty() {
            return Err(format!("expected a {role}, found an empty one"));
        }
        *found = Some(match source.keep_space || source.is_chat {
            true => field.into_owned(),
            false => field.trim().to_owned(),
        });
    }
    let [text, pair, label] = found;
    Ok(Row {
        line,
        text: text.unwrap_or_default(),
        pair,
        label,
    })
}

/// An error about a line.
fn at_line(path: &Path, line: u64, problem: impl AsRef<str>) -> Error {
    Error::file(path, format!("line {line}: {}", problem.as_ref()))
}

/// Names in quotes, with commas; long ones are cut, and of many only the first are
/// there.
pub(super) fn listed<'a>(mut names: impl Iterator<Item = &'a str>) -> String {
    const LONGEST: usize = 40;
    const MOST: usize = 12;
    let quote = |name: &str| match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("\"{}...\"", &name[..end]),
        None => format!("\"{name}\""),
    };
    let mut listed: Vec<String> = names.by_ref().take(MOST).map(quote).collect();
    match names.count() {
        0 => {}
        more => listed.push(format!("and {more} more")),
    }
    listed.join(", ")
}

#[cfg(test)]
mod tests;
