//! The figures of the book: made here, or taken from the committed results.

mod circulating;
mod estimate;
mod normal;
mod toy;
mod verdicts;

use std::path::Path;

use anyhow::{Context, Result};
use ggpo_files::write_atomically;
use ggpo_report::{CurvePoint, Figure, Series};
use ggpo_tensor::random::{Purpose, Stream};
use ndarray::Array2;

/// Where the figures stand, from the root of the repository.
pub const FOLDER: &str = "docs/book/src/figures";

/// Where the results stand from which some are taken.
const RESULTS: &str = "docs/results/default/figures";

/// The figures that are taken from the results.
const TAKEN: [&str; 3] = [
    "bump-melville-high-losses.svg",
    "calibration-frozen-a.svg",
    "peak-layer-ranks.svg",
];

/// Every figure of the book, its file's name and its text, for the repository at `root`.
///
/// # Errors
/// If a figure of the results cannot be read.
pub fn all(root: &Path) -> Result<Vec<(String, String)>> {
    let made = [
        circulating::figure(),
        estimate::figure(),
        normal::figure(),
        toy::figure(),
        verdicts::figure(),
    ];
    let mut all: Vec<(String, String)> = made
        .iter()
        .map(|figure: &Figure| (figure.file_name(), figure.to_svg()))
        .collect();
    for name in TAKEN {
        let path = root.join(RESULTS).join(name);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        all.push((name.to_owned(), text));
    }
    Ok(all)
}

/// Writes every figure into the book of the repository at `root`, and returns their names.
///
/// # Errors
/// As [`all`], and if a file cannot be written.
pub fn write(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(FOLDER);
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut names = Vec::new();
    for (name, text) in all(root)? {
        let path = folder.join(&name);
        write_atomically(&path, text.as_bytes()).with_context(|| path.display().to_string())?;
        names.push(name);
    }
    Ok(names)
}

/// Standard normal numbers; `part` tells the matrices of one figure apart.
fn normal_matrix(part: u32, m: usize, n: usize) -> Array2<f64> {
    let stream = Stream::new(1, Purpose::Data, 0, part);
    Array2::from_shape_fn((m, n), |(i, j)| {
        f64::from(stream.normal((i * n + j) as u64))
    })
}

/// Single marks without a curve.
fn cloud(label: &str, cloud: Vec<(f64, f64)>) -> Series {
    Series {
        cloud,
        ..Series::new(label, Vec::new())
    }
}

/// A curve through points.
fn curve(label: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Series {
    let points = points.into_iter().map(|(x, y)| CurvePoint::new(x, y));
    Series::new(label, points.collect())
}
