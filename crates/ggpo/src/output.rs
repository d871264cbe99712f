//! What the commands print.

use anyhow::{Context, Result};
use serde::Serialize;

/// One JSON object on the standard output.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    println!(
        "{}",
        serde_json::to_string(value).context("a result has a JSON form")?
    );
    Ok(())
}
