//! The report of the experiments: a table of all runs, text and figures.
//!
//! Everything but time and memory is a function of the results alone. Numbers
//! are summarised once (`summary`), put into words and tables once (`content`),
//! and the one document is rendered as Markdown and as HTML.

mod content;
mod document;
mod figures;
mod format;
mod html;
mod markdown;
mod summary;
mod table;
#[cfg(test)]
mod tests;

use std::path::Path;

use ggpo_files::write_atomically;
use ggpo_train::{Error, Result};

use super::answers::AnswersOutcome;
use super::outcome::Outcome;
use super::peers::PeerRun;
use document::{Document, Section};
pub(crate) use figures::{RatioLine, ratio_over_tokens};

/// Writes `results.csv`, `report.md`, `report.html`, the figures, and `cost.md`
/// if time and memory were measured, to `out`.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn write(outcome: &Outcome, out: &Path) -> Result<()> {
    let results = content::results(outcome);
    let cost = content::cost(outcome);
    save(out, "results.csv", &table::results(outcome)?)?;
    for figure in [&results]
        .into_iter()
        .chain(&cost)
        .flat_map(Document::figures)
    {
        save(out, &figure.file, figure.svg.as_bytes())?;
    }
    save(out, "report.md", markdown::render(&results).as_bytes())?;
    if let Some(cost) = &cost {
        save(out, "cost.md", markdown::render(cost).as_bytes())?;
    }
    let page = html::render(&whole(results, cost));
    save(out, "report.html", page.as_bytes())
}

/// Writes `peers.md`, the comparison with another implementation, to `out`.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write_peers(outcome: &Outcome, runs: &[PeerRun], out: &Path) -> Result<()> {
    let page = content::peers(outcome, runs);
    save(out, "peers.md", markdown::render(&page).as_bytes())
}

/// Writes `report.md` of a study of written answers to `out`.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write_answers(outcome: &AnswersOutcome, out: &Path) -> Result<()> {
    let page = content::answers(outcome);
    save(out, "report.md", markdown::render(&page).as_bytes())
}

/// Both documents in one, the cost as its last section but two.
fn whole(mut results: Document, cost: Option<Document>) -> Document {
    let Some(cost) = cost else {
        return results;
    };
    let mut blocks = cost.lead;
    blocks.extend(cost.sections.into_iter().flat_map(|section| section.blocks));
    let section = Section::new(content::COST_ID, cost.title, blocks);
    let place = results
        .sections
        .len()
        .saturating_sub(content::CLOSING_SECTIONS);
    results.sections.insert(place, section);
    results
}

fn save(out: &Path, file: &str, bytes: &[u8]) -> Result<()> {
    let path = out.join(file);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| Error::io(folder, source))?;
    }
    write_atomically(&path, bytes).map_err(|source| Error::io(path, source))
}
