//! Fields between tabs or commas.

use std::borrow::Cow;
use std::path::Path;

use csv::{ByteRecord, Position, ReaderBuilder};

use super::{Column, Source, Table, at_line, columns, listed, most_rows, refuse_many};
use crate::Error;

/// A row's line, and its fields or why it has none.
pub(super) type Record<'a> = (u64, Result<Vec<Cow<'a, str>>, String>);

/// Most columns of a table.
const COLUMNS: usize = 1 << 16;

fn too_many() -> String {
    format!("expected at most {COLUMNS} columns, found more")
}

const NOT_UTF8: &str = "expected UTF-8 text, found other bytes";

/// The rows of a file between tabs: what a line holds is what it says.
pub(super) fn tsv(bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let lines = bytes.split(|&byte| byte == b'\n').zip(1..);
    let lines = lines.map(|(line, number)| (line.strip_suffix(b"\r").unwrap_or(line), number));
    let full = lines.filter(|(line, _)| !line.is_empty());
    full.map(|(line, number)| {
        let fields = match std::str::from_utf8(line) {
            Err(_) => Err(NOT_UTF8.to_owned()),
            Ok(line) if line.matches('\t').count() >= COLUMNS => Err(too_many()),
            Ok(line) => Ok(line.split('\t').map(Cow::Borrowed).collect()),
        };
        (number, fields)
    })
}

/// The rows of a file between commas, where quotes may hold line ends.
///
/// # Errors
/// Left in `failed`, where the rows end: if a quote is open at the end of the file,
/// which would swallow all rows from there on.
pub(super) fn csv<'a>(
    path: &'a Path,
    bytes: &'a [u8],
    failed: &'a mut Option<Error>,
) -> impl Iterator<Item = Record<'a>> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes);
    let mut record = ByteRecord::new();
    std::iter::from_fn(move || {
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                *failed = Some(Error::file(path, error.to_string()));
                return None;
            }
        }
        let start = record.position().map_or(0, Position::byte) as usize;
        let line = line(bytes, record.position());
        let end = reader.position().byte() as usize;
        let raw = bytes.get(start..end).unwrap_or_default().trim_ascii();
        let quotes = raw.iter().filter(|&&byte| byte == b'"').count();
        if end >= bytes.len() && raw.contains(&b'\n') && quotes % 2 == 1 {
            let problem = "expected a closing quote, found the end of the file";
            *failed = Some(at_line(path, line, problem));
            return None;
        }
        if record.len() > COLUMNS {
            return Some((line, Err(too_many())));
        }
        let text = |field: &[u8]| String::from_utf8(field.to_vec()).map(Cow::Owned);
        let fields: Result<Vec<_>, _> = record.iter().map(text).collect();
        Some((line, fields.map_err(|_| NOT_UTF8.to_owned())))
    })
}

/// The line of a row. The reader notes the place before it skips empty lines.
fn line(bytes: &[u8], noted: Option<&Position>) -> u64 {
    let Some(noted) = noted else { return 1 };
    let rest = bytes.get(noted.byte() as usize..).unwrap_or_default();
    let skipped = rest.iter().take_while(|byte| b"\r\n".contains(byte));
    noted.line() + skipped.filter(|&&byte| byte == b'\n').count() as u64
}

/// The rows of a file of this size, its columns found by the first line.
pub(super) fn table<'a>(
    path: &Path,
    bytes: usize,
    records: impl Iterator<Item = Record<'a>>,
    source: &Source,
) -> crate::Result<Table> {
    let mut records = records.peekable();
    let Some((line, first)) = records.peek() else {
        return Err(Error::file(path, "expected rows, found an empty file"));
    };
    let first = match first {
        Ok(fields) => fields,
        Err(reason) => return Err(at_line(path, *line, reason)),
    };
    let width = first.len();
    let mut places = [None; 3];
    for (place, column) in places.iter_mut().zip(columns(source)) {
        if let Some(column) = column {
            let found = find(column, first, source.header);
            *place = Some(found.map_err(|problem| at_line(path, *line, problem))?);
        }
    }
    if source.header {
        records.next();
    }
    let most = most_rows(bytes);
    let mut table = Table::default();
    for (line, fields) in records {
        let fields = fields.and_then(|fields| match fields.len() {
            found if found != width => Err(format!("expected {width} columns, found {found}")),
            _ => Ok(places.map(|place: Option<usize>| place.map(|place| fields[place].clone()))),
        });
        table.push(line, fields, source);
        refuse_many(path, table.rows.len(), most)?;
    }
    Ok(table)
}

/// The place of a column, from 0.
fn find(column: &Column, first: &[Cow<'_, str>], header: bool) -> Result<usize, String> {
    let name = match column {
        Column::Number(number) if (1..=first.len()).contains(number) => return Ok(number - 1),
        Column::Number(number) => {
            let found = first.len();
            return Err(format!("expected a column {number}, found {found} columns"));
        }
        Column::Name(name) => name,
    };
    let named = |(_, field): &(usize, &Cow<'_, str>)| header && field.trim() == name;
    let mut places = first.iter().enumerate().filter(named);
    match (places.next(), places.next()) {
        (Some((place, _)), None) => Ok(place),
        (Some(_), Some(_)) => Err(format!("expected one column \"{name}\", found two")),
        (None, _) => {
            let found = listed(first.iter().map(Cow::as_ref));
            Err(format!(
                "expected a column \"{name}\", found {found} \
                 (the first line names the columns unless header = false)"
            ))
        }
    }
}
