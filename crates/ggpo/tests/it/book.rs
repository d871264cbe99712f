//! The commands that the documents show are ones that the program takes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The README, the pages of `docs`, and the book's chapters.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = vec![root.join("README.md")];
    for folder in ["docs", "docs/book/src"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|it| it == "md")));
    }
    files
}

/// The commands of a text's shell listings that begin with `ggpo`, as their arguments: a
/// command that ends in a backslash goes on in the next line; of a session the lines after
/// `$`; without comments, and without `...` for what is left out.
fn commands(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let mut commands = Vec::new();
    let mut listing = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), listing) {
            (Some(_), Some(_)) => listing = None,
            (Some(kind), None) => listing = Some(kind),
            (None, Some("sh" | "console")) => {
                let line = line.strip_prefix("$ ").unwrap_or(line);
                let words = line.split_whitespace();
                let words = words.take_while(|word| !["#", ">", "|", "&&"].contains(word));
                let mut words = words.filter(|word| *word != "...").map(str::to_owned);
                if words.next().as_deref() == Some("ggpo") {
                    commands.push(words.collect());
                }
            }
            _ => {}
        }
    }
    commands
}

/// Arguments before `--help` are read and checked, and nothing is done.
#[test]
fn commands_of_the_documents_are_taken() {
    let mut count = 0;
    for file in documents() {
        for arguments in commands(&std::fs::read_to_string(&file).unwrap()) {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ggpo"));
            let output = command.args(&arguments).arg("--help").output().unwrap();
            assert!(
                output.status.success(),
                "{}: ggpo {}: {}",
                file.display(),
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
            count += 1;
        }
    }
    assert!(count > 5, "{count} commands found");
}

/// `--help` hides no argument that does not exist, nor a value that is none.
#[test]
fn wrong_arguments_are_refused_before_help() {
    for wrong in [
        &["methods", "--no-such-option"][..],
        &["train", "--steps", "many"],
        &["no-such-command"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ggpo"));
        let output = command.args(wrong).arg("--help").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn commands_are_found_in_listings_alone() {
    let text = "ggpo no\n```sh\nggpo a \\\n    --b c # d\nls\nggpo e > f\n```\n\
                ```rust\nggpo no\n```\n```console\n$ ggpo g ...\nggpo h\n```\n";
    let found: Vec<String> = commands(text).iter().map(|it| it.join(" ")).collect();
    assert_eq!(found, ["a --b c", "e", "g", "h"]);
}
