//! Methods as lines of a terminal.

use std::fmt::Write;

use ggpo_lora::method::AdapterKind;

use super::facts::{Details, Summary};
use super::pairs::{Cell, Pairs, PartRow};

/// Columns of a terminal that lines are kept to.
const WIDTH: usize = 100;
/// Spaces between two columns of a table.
const GAP: usize = 2;

/// One method after the other, in columns.
pub(super) fn summaries(all: &[Summary]) -> String {
    const WIDTHS: [usize; 4] = [12, 50, 9, 23];
    let header = [
        "method",
        "what it is, formula, source",
        "passes",
        "memory beside LoRA's",
    ];
    let mut text = columns(&WIDTHS, &header);
    for method in all {
        let what = format!("{}: {}", method.title, method.about);
        let parts = [what.as_str(), method.formula, method.source];
        let parts = parts.iter().filter(|part| !part.is_empty());
        let what = parts.copied().collect::<Vec<_>>().join("\n");
        text.push('\n');
        text += &columns(&WIDTHS, &[method.name, &what, method.passes, method.memory]);
    }
    text + "\nggpo methods NAME says more of a method, ggpo methods --pairs which parts go together.\n"
}

/// All of a method.
pub(super) fn details(details: &Details) -> String {
    const WIDTHS: [usize; 2] = [13, WIDTH - 13 - 2 * GAP];
    let method = &details.summary;
    let mut text = format!("{} ({}): {}\n\n", method.title, method.name, method.about);
    let mut fact = |name: &str, what: Option<&str>| {
        if let Some(what) = what.filter(|what| !what.is_empty()) {
            text += &indented(&columns(&WIDTHS, &[name, what]));
        }
    };
    fact("formula", Some(method.formula));
    fact("source", Some(method.source));
    fact("trains", Some(&details.trains));
    fact("start", details.start);
    fact("perturbation", details.perturbation.as_deref());
    fact("acts on", details.acting_weight);
    fact("passes", Some(method.passes));
    fact("extra memory", Some(method.memory));
    text += "\nSettings with their defaults, in a file:\n\n";
    text += &indented(&details.toml);
    if !details.settings.is_empty() {
        text += "\nThe same as options:\n\n";
        let typed = details.settings.iter().map(|setting| setting.typed());
        let typed: Vec<String> = typed.collect();
        let longest = typed.iter().map(String::len).max().unwrap_or_default();
        let widths = [longest, WIDTH - longest - 2 * GAP];
        for (typed, setting) in typed.iter().zip(&details.settings) {
            text += &indented(&columns(&widths, &[typed, setting.about]));
        }
    }
    let _ = write!(text, "\nExample:\n  {}\n", details.example);
    text
}

/// Which parts go together.
pub(super) fn pairs(pairs: &Pairs) -> String {
    let mut text = String::from("Starts other than Kaiming's, and rules, with adapter forms:\n\n");
    text += &table(&pairs.starts);
    text += "\nPerturbations with adapter forms, and what they act on, the acting weight:\n\n";
    text += &table(&pairs.perturbations);
    text += "\nWhat is not defined, and why:\n\n";
    for (index, reason) in pairs.reasons.iter().enumerate() {
        let number = format!("({})", index + 1);
        text += &indented(&columns(&[4, WIDTH - 4 - 2 * GAP], &[&number, reason]));
    }
    if !pairs.others.is_empty() {
        text += "\nAny start goes with any perturbation that goes with the adapter form, but:\n\n";
        for sentence in &pairs.others {
            text += &indented(&columns(&[WIDTH - GAP], &[sentence]));
        }
    }
    text
}

/// Rows beside the adapter forms.
fn table(rows: &[PartRow]) -> String {
    const WIDTHS: [usize; 5] = [31, 11, 10, 20, 17];
    let titles = AdapterKind::ALL.map(AdapterKind::title);
    let mut text = indented(&columns(&WIDTHS, &[&[""][..], &titles].concat()));
    for row in rows {
        let cells = row.cells.iter().map(Cell::in_words);
        let cells: Vec<String> = cells.collect();
        let cells = cells.iter().map(String::as_str);
        let cells: Vec<&str> = std::iter::once(row.part).chain(cells).collect();
        text += &indented(&columns(&WIDTHS, &cells));
    }
    text
}

impl Cell {
    /// How the parts go together, or the number of the reason why not.
    pub(super) fn in_words(&self) -> String {
        match self {
            Cell::Defined(how) => (*how).to_owned(),
            Cell::Undefined(reason) => format!("no ({reason})"),
        }
    }
}

/// Cells beside each other, each in lines of its width.
fn columns(widths: &[usize], cells: &[&str]) -> String {
    let cells = widths.iter().zip(cells);
    let cells: Vec<Vec<String>> = cells.map(|(width, cell)| wrapped(cell, *width)).collect();
    let lines = cells.iter().map(Vec::len).max().unwrap_or_default();
    let mut text = String::new();
    for line in 0..lines {
        let mut whole = String::new();
        for (width, cell) in widths.iter().zip(&cells) {
            let part = cell.get(line).map_or("", String::as_str);
            let _ = write!(whole, "{part:<0$}", width + GAP);
        }
        text += whole.trim_end();
        text.push('\n');
    }
    text
}

/// Lines of a width, broken between words where a line is longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let length = line.chars().count() + 1 + word.chars().count();
            if !line.is_empty() && length > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        lines.push(line);
    }
    lines
}

fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| match line.is_empty() {
        true => "\n".to_owned(),
        false => format!("  {line}\n"),
    });
    lines.collect()
}
