//! The lines of this project that calculate the numbers of a page, taken from the
//! source as it is compiled.

use serde::Serialize;

/// An item of a source file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// What refers to it.
    pub id: &'static str,
    /// The file, from the root of the repository.
    pub file: &'static str,
    /// Number of the first line, from 1.
    pub line: usize,
    /// The lines, the indentation that all have taken off.
    pub code: String,
}

/// A file and what to look for in it.
struct Wanted {
    id: &'static str,
    file: &'static str,
    source: &'static str,
    /// How the first line begins, indentation aside.
    begins: &'static str,
}

macro_rules! wanted {
    ($($id:literal: $file:literal, $begins:literal;)*) => {
        [$(Wanted {
            id: $id,
            file: concat!("crates/", $file),
            source: include_str!(concat!("../../../", $file)),
            begins: $begins,
        }),*]
    };
}

const WANTED: [Wanted; 18] = wanted! {
    "merged-norms": "ggpo-lora/src/norms.rs", "pub fn merged_row_norms_squared";
    "gradient-norms": "ggpo-lora/src/norms.rs", "pub fn adapter_gradient_row_norms_squared";
    "gram": "ggpo-lora/src/norms.rs", "pub(crate) fn product_row_norms_squared";
    "deviations": "ggpo-lora/src/perturbation/ggpo/rows.rs", "pub(super) fn deviations";
    "begin-step": "ggpo-lora/src/perturbation/ggpo/mod.rs", "fn begin_step";
    "rows": "ggpo-lora/src/perturbation/ggpo/gaussian.rs", "fn add_contiguous";
    "stream": "ggpo-tensor/src/random/mod.rs", "pub fn new(seed: u64";
    "mix": "ggpo-tensor/src/random/mod.rs", "fn mix";
    "block": "ggpo-tensor/src/random/mod.rs", "fn block_of";
    "philox": "ggpo-tensor/src/random/philox.rs", "pub fn philox4x32";
    "normal": "ggpo-tensor/src/random/transform.rs", "fn box_muller";
    "logarithm": "ggpo-tensor/src/random/transform.rs", "fn minus_two_ln";
    "angle": "ggpo-tensor/src/random/transform.rs", "fn sin_cos_of_eighth";
    "scaled": "ggpo-tensor/src/random/fill.rs", "fn add_scaled";
    "fill": "ggpo-tensor/src/perturb.rs", "fn fill(&self";
    "backward": "ggpo-autograd/src/ops/lora_linear.rs", "fn factor_gradients";
    "clip": "ggpo-train/src/optimizer.rs", "pub fn clip_by_global_norm";
    "adamw": "ggpo-train/src/optimizer.rs", "pub fn update";
};

/// All listings of a page.
///
/// # Panics
/// If an item is no longer there under its name; a test of this crate would fail.
pub fn listings() -> Vec<Listing> {
    WANTED.iter().map(find).collect()
}

fn find(wanted: &Wanted) -> Listing {
    let lines: Vec<&str> = wanted.source.lines().collect();
    let begins = |line: &&str| line.trim_start().starts_with(wanted.begins);
    let first = lines.iter().position(begins);
    let first = first.unwrap_or_else(|| panic!("{}: no {}", wanted.file, wanted.begins));
    let indent = lines[first].len() - lines[first].trim_start().len();
    let is_end = |line: &&str| line.len() == indent + 1 && line.ends_with('}');
    let length = lines[first..].iter().position(is_end);
    let length = length.unwrap_or_else(|| panic!("{}: no end of {}", wanted.file, wanted.begins));
    let code = lines[first..=first + length].iter();
    let code: Vec<&str> = code.map(|line| line.get(indent..).unwrap_or("")).collect();
    Listing {
        id: wanted.id,
        file: wanted.file,
        line: first + 1,
        code: code.join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listing_is_one_whole_function_of_its_file() {
        for (wanted, listing) in WANTED.iter().zip(listings()) {
            let count = |character| listing.code.matches(character).count();
            assert_eq!(count('{'), count('}'), "{}", listing.code);
            assert!(listing.code.starts_with(wanted.begins), "{}", listing.code);
            assert_eq!(listing.code.matches("\nfn ").count(), 0, "{}", listing.code);
            // Its name stands at one place of the file, so that the item is the one meant.
            let starts = wanted.source.lines();
            let starts = starts.filter(|line| line.trim_start().starts_with(wanted.begins));
            assert_eq!(starts.count(), 1, "{}", wanted.begins);
        }
    }
}
