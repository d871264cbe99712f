//! What the commands print.

use anyhow::{Context, Result};
use ggpo_train::evaluation::Scores;
use serde::Serialize;

/// One JSON object on the standard output.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    println!(
        "{}",
        serde_json::to_string(value).context("a result has a JSON form")?
    );
    Ok(())
}

/// Scores of splits, one line each.
pub(crate) fn score_table(splits: &[(&str, &Scores)]) -> String {
    let width = splits.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, scores): &(&str, &Scores)| {
        let scores: Vec<String> = scores
            .named()
            .into_iter()
            .map(|(name, value)| format!("{name} {value:.4}"))
            .collect();
        format!("{name:width$}  {}\n", scores.join("  "))
    };
    splits.iter().map(line).collect()
}
