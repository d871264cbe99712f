//! Every link leads to a file.

use std::path::Path;

use regex::Regex;

use crate::{chapters, read, root};

/// The targets of a text's links and images.
pub(crate) fn targets(text: &str) -> Vec<&str> {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let found = link.captures_iter(text);
    found.map(|it| it.get(1).unwrap().as_str()).collect()
}

/// Whether a target is a page of the web, which is not looked at.
fn is_remote(target: &str) -> bool {
    target.starts_with("https://")
}

#[test]
fn links_of_chapters_lead_to_files() {
    for (file, text) in chapters() {
        for target in targets(&text).into_iter().filter(|it| !is_remote(it)) {
            let path = target.split('#').next().unwrap();
            let full = root().join("docs/book/src").join(path);
            assert!(full.exists(), "{file}: no {target}");
        }
    }
}

/// They are written relative to the source file, and to the page that `cargo doc` makes.
#[test]
fn front_pages_of_crates_link_to_chapters() {
    for name in ["tensor", "autograd", "lora", "model", "train", "lab"] {
        let file = format!("crates/ggpo-{name}/src/lib.rs");
        let text = read(&file);
        let front: String = text
            .lines()
            .filter(|line| line.starts_with("//!"))
            .collect();
        let chapters: Vec<&str> = targets(&front)
            .into_iter()
            .filter(|target| target.contains("docs/book"))
            .collect();
        assert!(!chapters.is_empty(), "{file} links to no chapter");
        for chapter in chapters {
            let folder = root().join(Path::new(&file).parent().unwrap());
            assert!(folder.join(chapter).is_file(), "{file}: no {chapter}");
        }
    }
}
