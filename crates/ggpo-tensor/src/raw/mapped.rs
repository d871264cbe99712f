//! Files mapped into memory.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a file, read by the operating system page by page when they
/// are first looked at.
///
/// The file must not be changed while it is mapped: the operating system
/// cannot prevent it, and the bytes would change under a reader. Whoever
/// writes model files here replaces them by renaming, which leaves a mapped
/// file as it was.
#[derive(Debug)]
pub struct MappedFile {
    /// None for an empty file, of which nothing can be mapped.
    map: Option<Mmap>,
}

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = File::open(path)?;
        let map = match file.metadata()?.len() {
            0 => None,
            // SAFETY: the map is private to this process and read only, and
            // its bytes are handed out as plain numbers, for which every value
            // is valid. What remains is that someone else writes to or
            // truncates the file meanwhile, against which no program can
            // protect itself; the documentation of the type asks not to.
            _ => Some(unsafe { Mmap::map(&file) }?),
        };
        Ok(MappedFile { map })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_has_the_bytes_of_the_file() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let mapped = MappedFile::open(path).unwrap();
        assert_eq!(mapped[..], std::fs::read(path).unwrap());
    }

    #[test]
    fn a_missing_file_and_a_folder_are_errors() {
        let folder = env!("CARGO_MANIFEST_DIR");
        let error = MappedFile::open(format!("{folder}/no such file")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(MappedFile::open(folder).is_err());
    }
}
