//! The columns of a data file, whatever task it may be for.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::Result;
use ggpo_train::Error;
use ggpo_train::data::layout::Format;

use super::Facts;

/// Values of a column that are told apart.
const VALUES: usize = 1000;
/// Most columns that are told of.
const COLUMNS: usize = 4096;
/// Characters of an example.
const SHOWN: usize = 40;

/// A column, or a field of JSON objects.
struct Column {
    name: String,
    rows: usize,
    values: BTreeSet<String>,
    example: String,
}

/// Rows and columns of a table.
pub(super) fn facts(path: &Path) -> Result<Facts> {
    let bytes =
        ggpo_files::read(path, ggpo_files::read::ANY).map_err(|cause| Error::io(path, cause))?;
    let format = Format::of(path)?;
    let mut columns = Vec::new();
    let rows = match format {
        Format::Jsonl => fields(&bytes, &mut columns),
        Format::Tsv => delimited(&bytes, b'\t', &mut columns),
        Format::Csv => delimited(&bytes, b',', &mut columns),
    };
    let mut facts = Facts::default();
    facts.add("kind", "table");
    facts.add(
        "rows after the first line",
        rows.saturating_sub(usize::from(format != Format::Jsonl)),
    );
    let lines = columns.iter().enumerate().map(|(index, column)| {
        let more = if column.values.len() == VALUES {
            " or more"
        } else {
            ""
        };
        format!(
            "{} \"{}\": in {} rows, {}{more} different values, such as \"{}\"",
            index + 1,
            column.name,
            column.rows,
            column.values.len(),
            column.example
        )
    });
    facts.add(
        "columns, named by the first line",
        lines.collect::<Vec<_>>(),
    );
    Ok(facts)
}

impl Column {
    fn new(name: &str) -> Self {
        Column {
            name: shortened(name),
            rows: 0,
            values: BTreeSet::new(),
            example: String::new(),
        }
    }

    fn add(&mut self, value: &str) {
        self.rows += 1;
        if self.rows == 1 {
            self.example = shortened(value);
        }
        if self.values.len() < VALUES {
            self.values.insert(value.to_owned());
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

fn delimited(bytes: &[u8], delimiter: u8, columns: &mut Vec<Column>) -> usize {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(delimiter == b',')
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes);
    let mut count = 0;
    // What is no UTF-8 is shown as well as can be; training refuses it.
    for record in reader.byte_records().flatten() {
        let fields = record.iter().map(String::from_utf8_lossy);
        for (index, field) in fields.enumerate() {
            match columns.get_mut(index) {
                Some(column) if count > 0 => column.add(&field),
                Some(_) => {}
                None if index >= COLUMNS => break,
                None => columns.push(Column::new(&field)),
            }
        }
        count += 1;
    }
    count
}

fn fields(bytes: &[u8], columns: &mut Vec<Column>) -> usize {
    let mut count = 0;
    let mut places = HashMap::new();
    for line in bytes.split(|&byte| byte == b'\n') {
        let Ok(object) = ggpo_files::json::object(line) else {
            continue;
        };
        count += 1;
        for (name, value) in object {
            if !places.contains_key(&name) {
                if columns.len() == COLUMNS {
                    continue;
                }
                columns.push(Column::new(&name));
                places.insert(name.clone(), columns.len() - 1);
            }
            columns[places[&name]].add(&super::plain(&value));
        }
    }
    count
}
