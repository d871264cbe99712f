//! Numbers and words in rows and columns.

use crate::Text;

/// A column of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its head.
    pub title: String,
    /// Holds numbers, which stand at the right.
    pub numeric: bool,
}

impl Column {
    /// A column of words.
    pub fn words(title: impl Into<String>) -> Self {
        let title = title.into();
        Column {
            title,
            numeric: false,
        }
    }

    /// A column of numbers.
    pub fn numbers(title: impl Into<String>) -> Self {
        let title = title.into();
        Column {
            title,
            numeric: true,
        }
    }
}

/// A cell of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cell {
    /// What is shown.
    pub text: Text,
    /// The number behind it, which goes into a CSV file in full.
    pub value: Option<f64>,
}

impl Cell {
    /// A number, and how it is shown.
    pub fn number(value: f64, text: impl Into<Text>) -> Self {
        Cell {
            text: text.into(),
            value: Some(value),
        }
    }
}

impl<T: Into<Text>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell {
            text: text.into(),
            value: None,
        }
    }
}

/// A table; the first cell of a row names the row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// What the table shows.
    pub caption: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows; missing cells at the end are empty.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(caption: impl Into<String>, columns: Vec<Column>) -> Self {
        Table {
            caption: caption.into(),
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<Cell>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The table as CSV: heads, then rows, with numbers in full.
    pub fn to_csv(&self) -> String {
        let mut writer = csv::WriterBuilder::new()
            .flexible(true)
            .from_writer(Vec::new());
        let heads = self.columns.iter().map(|column| column.title.clone());
        let mut write =
            |record: Vec<String>| writer.write_record(record).expect("memory takes all");
        write(heads.collect());
        for row in &self.rows {
            let field = |cell: &Cell| match cell.value {
                Some(value) => value.to_string(),
                None => cell.text.words(),
            };
            write(row.iter().map(field).collect());
        }
        let bytes = writer.into_inner().expect("memory takes all");
        String::from_utf8(bytes).expect("fields are text")
    }
}
