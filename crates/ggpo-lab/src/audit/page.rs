//! The page: numbers, style and script in one file that needs nothing else.

use serde_json::json;
use sha2::{Digest, Sha256};

use super::document::{Document, text};
use super::layers::hex;
use super::listing::Listing;

const FRAME: &str = include_str!("page/audit.html");
const STYLE: &str = include_str!("page/audit.css");
/// The parts of the script, each of which uses those before it.
const SCRIPT: [&str; 12] = [
    include_str!("page/exact.js"),
    include_str!("page/bounds.js"),
    include_str!("page/equations.js"),
    include_str!("page/cells.js"),
    include_str!("page/noise.js"),
    include_str!("page/forward.js"),
    include_str!("page/backward.js"),
    include_str!("page/update.js"),
    include_str!("page/readings.js"),
    include_str!("page/check.js"),
    include_str!("page/view.js"),
    include_str!("page/control.js"),
];

/// The page of a document.
pub(super) fn html(document: &Document, listings: &[Listing]) -> String {
    // What is measured of every row is for machines.
    let mut document = document.clone();
    let layers = document.steps.iter_mut().flat_map(|step| &mut step.layers);
    layers.for_each(|layer| layer.rows = None);
    let numbers = embedded(&text(&document));
    let digest = hex(&Sha256::digest(numbers.as_bytes()));
    let title = format!("Audit of {}", document.run.model);
    let by_id: serde_json::Map<_, _> = listings
        .iter()
        .map(|listing| (listing.id.to_owned(), json!(listing)))
        .collect();
    let listings = embedded(&text(&by_id));
    let mut page = FRAME.to_owned();
    for (slot, content) in [
        ("{{title}}", escaped(&title)),
        ("{{style}}", ggpo_report::STYLE.to_owned() + STYLE),
        ("{{digest}}", digest),
        ("{{listings}}", listings),
        ("{{script}}", SCRIPT.concat()),
        // Last, so that nothing in it is taken for a slot.
        ("{{numbers}}", numbers),
    ] {
        page = page.replacen(slot, &content, 1);
    }
    page
}

/// JSON that can stand in a script element: no `<` ends the element.
fn embedded(json: &str) -> String {
    json.replace('<', "\\u003c")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
