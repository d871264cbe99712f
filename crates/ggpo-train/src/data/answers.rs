//! What the answer of a row is, or why it is none.

use std::collections::HashMap;

use super::collate::Answer;
use super::config::{TaskConfig, TaskKind};
use super::layout::Layout;
use super::table::{BadRow, Row, Table, listed};

/// More labels than these are counted in messages, not named.
const NAMED: usize = 8;

/// The classes of a training split.
pub(super) fn classes(task: &TaskConfig, rows: &[Row]) -> Vec<String> {
    if let Some(labels) = &task.labels {
        return labels.clone();
    }
    if let Some(labels) = task.layout.map(Layout::labels) {
        return labels.iter().map(|&label| label.to_owned()).collect();
    }
    let mut labels: Vec<String> = rows.iter().filter_map(|row| row.label.clone()).collect();
    labels.sort_unstable();
    labels.dedup();
    let numbers: Option<Vec<i64>> = labels.iter().map(|label| label.parse().ok()).collect();
    if numbers.is_some() {
        labels.sort_by_key(|label| label.parse::<i64>().ok());
    }
    labels
}

/// The answers of the rows; rows whose answer is none become bad ones.
pub(super) fn answers(task: &TaskConfig, table: &mut Table, labels: &[String]) -> Vec<Answer> {
    let range = task.layout.and_then(Layout::range);
    let numbers = labels.iter().map(String::as_str).zip(0..);
    let numbers: HashMap<&str, usize> = numbers.collect();
    let parse = |row: &Row| -> Result<Answer, String> {
        let Some(label) = &row.label else {
            return Ok(Answer::Unknown);
        };
        match task.kind {
            TaskKind::Classification => {
                let class = numbers.get(label.as_str());
                class.copied().map(Answer::Class).ok_or_else(|| {
                    let known = match labels.len() {
                        count if count > NAMED => format!("{count} labels"),
                        _ => format!("labels {}", listed(labels.iter().map(String::as_str))),
                    };
                    let found = listed(std::iter::once(label.as_str()));
                    format!("expected one of the {known}, found {found}")
                })
            }
            TaskKind::Regression => {
                let value = label.parse::<f64>().ok().filter(|value| value.is_finite());
                let found = listed(std::iter::once(label.as_str()));
                match (value, &range) {
                    (None, _) => Err(format!("expected a number, found {found}")),
                    (Some(value), Some(range)) if !range.contains(&value) => {
                        let (low, high) = (range.start(), range.end());
                        Err(format!(
                            "expected a number from {low} to {high}, found {found}"
                        ))
                    }
                    (Some(value), _) => Ok(Answer::Value(value)),
                }
            }
            // The answer is the row's own text.
            _ => Ok(Answer::Unknown),
        }
    };
    let mut answers = Vec::with_capacity(table.rows.len());
    let bad = &mut table.bad;
    table.rows.retain(|row| match parse(row) {
        Ok(answer) => {
            answers.push(answer);
            true
        }
        Err(reason) => {
            bad.push(BadRow {
                line: row.line,
                reason,
            });
            false
        }
    });
    answers
}
