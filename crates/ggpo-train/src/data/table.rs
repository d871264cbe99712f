//! Labelled texts in tab-separated files, as GLUE has them.

use std::path::Path;

use csv::{ErrorKind, Position, ReaderBuilder, StringRecord};

use crate::{Error, Result};

/// The texts of a file and their classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledText {
    /// Names of the classes.
    pub labels: Vec<String>,
    /// Index into `labels` and text of every row, in the order of the file.
    pub rows: Vec<(usize, String)>,
}

/// Reads a file in UTF-8 whose first line names its columns, `label` and `text`
/// among them, separated by tabs, without quoting. White space around a field is
/// dropped, empty lines are skipped. The classes are those that occur, sorted by
/// name.
///
/// # Errors
/// If the file cannot be read, lacks a column, has no rows or only one class, or
/// a row has not the columns of the first line, or an empty label or text; with
/// the line.
pub fn read(path: &Path) -> Result<LabelledText> {
    let rows = read_rows(path)?;
    let mut labels: Vec<String> = rows.iter().map(|row| row.label.clone()).collect();
    labels.sort_unstable();
    labels.dedup();
    if let [only] = labels.as_slice() {
        let problem = format!("expected two classes or more, found only \"{only}\"");
        return Err(Error::file(path, problem));
    }
    with_labels(path, rows, &labels)
}

/// Reads a file as [`read`] does, with the classes of another: the rows may have
/// some of `labels`, in whose order the classes are, and no others.
///
/// # Errors
/// As [`read`], except that one class is enough; and if a row has a label that
/// is not among `labels`.
pub fn read_with_labels(path: &Path, labels: &[String]) -> Result<LabelledText> {
    with_labels(path, read_rows(path)?, labels)
}

/// A row whose label has not been looked up.
struct Row {
    line: u64,
    label: String,
    text: String,
}

fn with_labels(path: &Path, rows: Vec<Row>, labels: &[String]) -> Result<LabelledText> {
    let look_up = |row: Row| {
        let class = labels.iter().position(|label| *label == row.label);
        let class = class.ok_or_else(|| {
            let known = labels.join("\", \"");
            let found = &row.label;
            at_line(
                path,
                row.line,
                format!("expected one of the labels \"{known}\", found \"{found}\""),
            )
        })?;
        Ok((class, row.text))
    };
    Ok(LabelledText {
        labels: labels.to_vec(),
        rows: rows.into_iter().map(look_up).collect::<Result<_>>()?,
    })
}

fn at_line(path: &Path, line: u64, problem: impl AsRef<str>) -> Error {
    Error::file(path, format!("line {line}: {}", problem.as_ref()))
}

fn read_rows(path: &Path) -> Result<Vec<Row>> {
    let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    let mut reader = ReaderBuilder::new()
        .delimiter(b'\t')
        .quoting(false)
        .from_reader(bytes.as_slice());
    let explain = |error| explain(path, &bytes, &error);
    let header = reader.headers().map_err(explain)?;
    let label = column(header, path, "label")?;
    let text = column(header, path, "text")?;
    let mut rows = Vec::new();
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(explain)? {
        let line = line(&bytes, record.position());
        let field = |index: usize, name: &str| {
            let field = record[index].trim();
            if field.is_empty() {
                let problem = format!("expected a {name}, found an empty one");
                return Err(at_line(path, line, problem));
            }
            Ok(field.to_owned())
        };
        rows.push(Row {
            line,
            label: field(label, "label")?,
            text: field(text, "text")?,
        });
    }
    if rows.is_empty() {
        let problem = "expected rows after the first line, found none";
        return Err(Error::file(path, problem));
    }
    Ok(rows)
}

/// The place of a column, from the first line.
fn column(header: &StringRecord, path: &Path, name: &str) -> Result<usize> {
    if header.is_empty() {
        let problem = "expected a first line with the columns label and text, found an empty file";
        return Err(Error::file(path, problem));
    }
    let place = header.iter().position(|column| column == name);
    place.ok_or_else(|| {
        let found = header.iter().collect::<Vec<_>>().join("\", \"");
        let problem = format!("expected a column \"{name}\", found \"{found}\"");
        at_line(path, 1, problem)
    })
}

/// The line of a row. The reader notes the place before it skips empty lines.
fn line(bytes: &[u8], noted: Option<&Position>) -> u64 {
    let Some(noted) = noted else { return 1 };
    let rest = bytes.get(noted.byte() as usize..).unwrap_or_default();
    let skipped = rest.iter().take_while(|byte| b"\r\n".contains(byte));
    noted.line() + skipped.filter(|&&byte| byte == b'\n').count() as u64
}

/// The reader's error in this project's words.
fn explain(path: &Path, bytes: &[u8], error: &csv::Error) -> Error {
    let problem = match error.kind() {
        ErrorKind::Utf8 { .. } => "expected UTF-8 text, found other bytes".to_owned(),
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("expected {expected_len} columns, found {len}"),
        _ => error.to_string(),
    };
    at_line(path, line(bytes, error.position()), problem)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_file<R>(contents: &[u8], f: impl FnOnce(&Path) -> R) -> R {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("rows.tsv");
        std::fs::write(&path, contents).expect("writes");
        f(&path)
    }

    fn refusal(contents: &[u8]) -> String {
        with_file(contents, |path| {
            let sentence = read(path).expect_err("refused").to_string();
            let name = format!("{}: ", path.display());
            sentence
                .strip_prefix(&name)
                .expect("names the file")
                .to_owned()
        })
    }

    #[test]
    fn classes_are_sorted_and_rows_in_order() {
        let file = b"label\ttext\nspam\tWin \"now\nham\tSee you, then\nspam\t\"x\"\n";
        let table = with_file(file, read).expect("a table");
        assert_eq!(table.labels, ["ham", "spam"]);
        let row = |class, text: &str| (class, text.to_owned());
        let expected = [
            row(1, "Win \"now"),
            row(0, "See you, then"),
            row(1, "\"x\""),
        ];
        assert_eq!(table.rows, expected);
    }

    #[test]
    fn columns_are_found_by_name() {
        let file = b"\xEF\xBB\xBFid\ttext\tlabel\r\n1\tyes indeed\tb\r\n\r\n2\tno\ta\r\n";
        let table = with_file(file, read).expect("a table");
        assert_eq!(table.labels, ["a", "b"]);
        assert_eq!(
            table.rows,
            [(1, "yes indeed".to_owned()), (0, "no".to_owned())]
        );
    }

    #[test]
    fn refusals_name_the_line_and_the_reason() {
        assert!(refusal(b"").contains("found an empty file"));
        assert_eq!(
            refusal(b"label\ttext\n"),
            "expected rows after the first line, found none"
        );
        assert_eq!(
            refusal(b"label\tsentence\na\tx\n"),
            "line 1: expected a column \"text\", found \"label\", \"sentence\""
        );
        assert_eq!(
            refusal(b"label\ttext\na\tx\n\na\ty\n"),
            "expected two classes or more, found only \"a\""
        );
        assert_eq!(
            refusal(b"label\ttext\na\tx\nb\t \n"),
            "line 3: expected a text, found an empty one"
        );
        assert_eq!(
            refusal(b"label\ttext\na\tx\n\n\n\tx\n"),
            "line 5: expected a label, found an empty one"
        );
        assert_eq!(
            refusal(b"\xEF\xBB\xBFlabel\ttext\r\na\tx\r\n\r\nb\r\n"),
            "line 4: expected 2 columns, found 1"
        );
        assert_eq!(
            refusal(b"label\ttext\na\tx\nb\ty\tz\n"),
            "line 3: expected 2 columns, found 3"
        );
        assert_eq!(
            refusal(b"label\ttext\na\tx\nb\t\xFF\n"),
            "line 3: expected UTF-8 text, found other bytes"
        );
    }

    #[test]
    fn another_files_labels_bind() {
        let labels = ["b".to_owned(), "a".to_owned()];
        with_file(b"label\ttext\na\tx\n", |path| {
            let table = read_with_labels(path, &labels).expect("one class is enough");
            assert_eq!(table.labels, labels);
            assert_eq!(table.rows, [(1, "x".to_owned())]);
        });
        with_file(b"label\ttext\na\tx\nc\ty\n", |path| {
            let error = read_with_labels(path, &labels)
                .expect_err("refused")
                .to_string();
            let expected = "line 3: expected one of the labels \"b\", \"a\", found \"c\"";
            assert!(error.ends_with(expected), "{error}");
        });
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("nowhere/rows.tsv")).expect_err("refused");
        assert!(error.to_string().starts_with("nowhere/rows.tsv: "));
    }

    proptest! {
        #[test]
        fn any_row_without_tabs_and_line_ends_is_read_back(
            rows in prop::collection::vec(("[a-c]", "\\S[^\t\r\n]{0,20}\\S"), 2..20),
        ) {
            let line = |(label, text): &(String, String)| format!("{label}\t{text}\n");
            let file = "label\ttext\n".to_owned() + &rows.iter().map(line).collect::<String>();
            let labels: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
            let table = with_file(file.as_bytes(), |path| read_with_labels(path, &labels));
            let table = table.expect("a table");
            let found: Vec<(String, String)> = table.rows.into_iter()
                .map(|(class, text)| (labels[class].clone(), text))
                .collect();
            prop_assert_eq!(found, rows);
        }
    }
}
