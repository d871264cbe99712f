//! The figures are what their command makes, and every one is shown.

use ggpo_book::figures::{FOLDER, all};

use crate::{chapters, read, root};

#[test]
fn figures_are_up_to_date() {
    for (name, text) in all(&root()).unwrap() {
        let path = format!("{FOLDER}/{name}");
        assert!(read(&path) == text, "{path} is stale: cargo xtask book");
    }
}

#[test]
fn figures_are_shown_and_no_others() {
    let made: Vec<String> = all(&root()).unwrap().into_iter().map(|it| it.0).collect();
    let text: String = chapters().into_iter().map(|it| it.1).collect();
    for name in &made {
        assert!(text.contains(&format!("(figures/{name})")), "{name}");
    }
    for entry in std::fs::read_dir(root().join(FOLDER)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            made.contains(&name),
            "{name} is not made by cargo xtask book"
        );
    }
}
