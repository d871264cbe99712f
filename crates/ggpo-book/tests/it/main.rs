//! What holds the book together beside its listings: links, figures, quotations, and that
//! nothing escapes the tests.

mod chapters;
mod figures;
mod links;

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The chapters, each with its file's name and text; the preface first.
fn chapters() -> Vec<(String, String)> {
    let summary = read("docs/book/src/SUMMARY.md");
    let files: Vec<&str> = links::targets(&summary);
    assert_eq!(files.len(), 13, "a preface and twelve chapters");
    let chapter = |file: &str| (file.to_owned(), read(Path::new("docs/book/src").join(file)));
    files.into_iter().map(chapter).collect()
}
