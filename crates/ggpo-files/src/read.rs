//! Reading files that others have written.
//!
//! A path may lead to anything: a pipe that nobody writes to, a device without end,
//! a file that grows. Only plain files are opened, and every reader says how much it
//! takes at most.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Most bytes of a file that describes something: a configuration, an index, names.
pub const DESCRIPTION: u64 = 16 << 20;
/// Most bytes of a TOML file; a table of it takes a hundred times its text.
pub const TOML: u64 = 1 << 20;
/// Most bytes of a tokenizer; the largest that are published have a tenth of it.
pub const TOKENIZER: u64 = 256 << 20;
/// No bound but the memory there is: for weights, data and checkpoints, whose
/// memory is proportional to their size.
pub const ANY: u64 = u64::MAX;

/// Opens a plain file for reading.
///
/// # Errors
/// What the system reports; `InvalidInput` if there is something else than a plain
/// file under that name. Nothing is waited for.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // A pipe without a writer would be waited for.
        options.custom_flags(libc::O_NONBLOCK);
    }
    let file = options.open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    Err(not_a_file(kind, "a plain file"))
}

/// That there is something else than `expected`.
pub(crate) fn not_a_file(kind: std::fs::FileType, expected: &str) -> io::Error {
    let found = match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_symlink() => "a link to nothing",
        _ => "a pipe, socket or device",
    };
    let text = format!("expected {expected}, found {found}");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// The bytes of a plain file, at most `most` of them.
///
/// # Errors
/// As [`open`]; `InvalidData` if there are more.
pub fn read(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    if length > most {
        return Err(too_long(most));
    }
    // Exactly enough, as a doubled vector would be twice the file.
    let mut bytes = Vec::new();
    let room = usize::try_from(length).map_err(|_| too_long(most))?;
    bytes.try_reserve_exact(room).map_err(io::Error::other)?;
    file.take(most).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == most && length != most {
        // It has grown, or hides its length, as files of the system do.
        true => Err(too_long(most)),
        false => Ok(bytes),
    }
}

fn too_long(most: u64) -> io::Error {
    let text = format!("expected at most {most} bytes, found more");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The text of a plain file in UTF-8, of at most `most` bytes.
///
/// # Errors
/// As [`read`]; `InvalidData` if it is not UTF-8.
pub fn read_text(path: impl AsRef<Path>, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|_| {
        let text = "expected UTF-8 text, found other bytes";
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// The sha256 of a plain file, as 64 hexadecimal digits.
///
/// # Errors
/// As [`open`].
pub fn sha256(path: impl AsRef<Path>) -> io::Result<String> {
    let mut file = open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            bytes => hasher.update(&buffer[..bytes]),
        }
    }
    let digest = hasher.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_was_allowed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"four").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"four");
        assert_eq!(read_text(&path, ANY).unwrap(), "four");
        assert!(read(&path, 3).is_err());
        std::fs::write(&path, b"\xff").unwrap();
        assert!(read_text(&path, 3).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn only_plain_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for other in [folder.path(), Path::new("/dev/zero"), &pipe] {
            let error = open(other).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{other:?}");
            assert!(error.to_string().starts_with("expected a plain file"));
        }
    }

    #[test]
    fn sha256_is_the_standards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"abc").unwrap();
        // The example of FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).unwrap(), expected);
        assert!(sha256(folder.path().join("none")).is_err());
    }
}
