//! The figures of the book.

use std::path::Path;

use anyhow::Result;

/// Makes them all.
pub(crate) fn book() -> Result<()> {
    for name in ggpo_book::figures::write(Path::new("."))? {
        ggpo::say!("written: {}/{name}", ggpo_book::figures::FOLDER);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::Arguments;

    /// The commands that the book shows are ones that are taken.
    #[test]
    fn commands_of_the_book_are_taken() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mut count = 0;
        for folder in ["docs/book/src", "docs", "."] {
            for entry in std::fs::read_dir(format!("{root}/{folder}")).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_none_or(|it| it != "md") {
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let lines = text.lines().filter(|line| line.starts_with("cargo xtask "));
                for line in lines {
                    let command = line.split('#').next().unwrap();
                    let words = command.split_whitespace().skip(1);
                    // Words in capitals stand for something, `/` for a choice.
                    if let Err(error) = Arguments::try_parse_from(words) {
                        panic!("{}: {line}: {error}", path.display());
                    }
                    count += 1;
                }
            }
        }
        assert!(count > 2, "{count} commands found");
    }
}
