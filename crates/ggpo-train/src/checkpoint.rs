//! Files from which a stopped run continues.
//!
//! A checkpoint is a header and a payload:
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `GGPOCKPT` |
//! | 4 | version of the format |
//! | 4, then that many | length of the kind, and the kind: what the payload is of |
//! | 8 | length of the payload |
//! | 4 | CRC-32 of the payload |
//! | the rest | payload, in bincode's standard configuration |
//!
//! Numbers of the header are little-endian. Nothing of a file is believed before
//! the header and the checksum are found right.

use std::path::{Path, PathBuf};

use bincode::config::{Configuration, standard};
use bincode::error::DecodeError;
use ggpo_files::read::ANY;
use ggpo_files::write_keeping_previous;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

const MAGIC: &[u8; 8] = b"GGPOCKPT";
/// To be raised with every change of the header, of bincode's configuration, of what a
/// state holds, and of the random numbers: a run that continues must draw what it would
/// have drawn.
const VERSION: u32 = 4;
const CONFIGURATION: Configuration = standard();

/// Where the checkpoint before the last one is.
pub fn previous(path: &Path) -> PathBuf {
    path.with_extension("previous.bin")
}

/// Writes a checkpoint of the given kind whole or not at all. The one that was there
/// stays under its [`previous`] name, so that there is one to fall back on if the disk
/// damages the last.
///
/// # Errors
/// If the file cannot be written, or the state has no binary form.
pub fn write<S: Serialize>(path: &Path, kind: &str, state: &S) -> crate::Result<()> {
    let payload = bincode::serde::encode_to_vec(state, CONFIGURATION)
        .map_err(|error| Error::file(path, format!("the state has no binary form: {error}")))?;
    let mut bytes = header(kind, &payload);
    bytes.extend_from_slice(&payload);
    write_keeping_previous(path, &previous(path), &bytes).map_err(|source| Error::io(path, source))
}

/// Reads a checkpoint of the given kind.
///
/// # Errors
/// If the file cannot be read, is no checkpoint, or one of another version or
/// kind; if it is cut short or damaged; or if its payload is of another shape
/// than `S`.
pub fn read<S: DeserializeOwned>(path: &Path, kind: &str) -> crate::Result<S> {
    let bytes = ggpo_files::read(path, ANY).map_err(|source| Error::io(path, source))?;
    decode(&bytes, kind).map_err(|problem| Error::file(path, problem))
}

/// A checkpoint, and why it is not the last one if it is the one before.
pub type Newest<S> = (S, Option<Error>);

/// Reads the last checkpoint of the given kind, or the one before it if that is damaged
/// or gone; nothing if there is neither.
///
/// # Errors
/// What is wrong with the last one, if there is none before it that can be used.
pub fn read_newest<S: DeserializeOwned>(
    path: &Path,
    kind: &str,
) -> crate::Result<Option<Newest<S>>> {
    let before = previous(path);
    if !path.exists() && !before.exists() {
        return Ok(None);
    }
    match read(path, kind) {
        Ok(state) => Ok(Some((state, None))),
        Err(error) => match read(&before, kind) {
            Ok(state) => Ok(Some((state, Some(error)))),
            Err(_) => Err(error),
        },
    }
}

fn header(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(kind.len() as u32).to_le_bytes());
    bytes.extend_from_slice(kind.as_bytes());
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    bytes
}

fn decode<S: DeserializeOwned>(bytes: &[u8], kind: &str) -> Result<S, String> {
    let payload = payload(bytes, kind)?;
    let (state, read) = decode_payload(payload)
        .map_err(|error| format!("expected the state of a {kind}, found other content: {error}"))?;
    if read != payload.len() {
        let length = payload.len();
        return Err(format!(
            "expected the state of a {kind} in {length} bytes, found one of {read} bytes"
        ));
    }
    Ok(state)
}

/// The state in a payload, and how many bytes of the payload it took.
///
/// bincode makes room for a string before it reads it, so in content of another
/// shape a number taken for a length could ask for more memory than there is.
/// The limits must be known when compiling, so there are some, each at least 32
/// times the payload, which no value exceeds.
fn decode_payload<S: DeserializeOwned>(payload: &[u8]) -> Result<(S, usize), DecodeError> {
    use bincode::serde::decode_from_slice as decode;
    const MIB: usize = 1 << 20;
    match payload.len() / MIB {
        0 => decode(payload, CONFIGURATION.with_limit::<{ 32 * MIB }>()),
        1..8 => decode(payload, CONFIGURATION.with_limit::<{ 256 * MIB }>()),
        8..64 => decode(payload, CONFIGURATION.with_limit::<{ 2048 * MIB }>()),
        64..512 => decode(payload, CONFIGURATION.with_limit::<{ (1 << 14) * MIB }>()),
        512..4096 => decode(payload, CONFIGURATION.with_limit::<{ (1 << 17) * MIB }>()),
        _ => decode(payload, CONFIGURATION.with_limit::<{ (1 << 30) * MIB }>()),
    }
}

/// The payload, once the header and the checksum are found right.
fn payload<'a>(bytes: &'a [u8], kind: &str) -> Result<&'a [u8], String> {
    let mut rest = bytes;
    if !rest.starts_with(MAGIC) {
        return Err("expected a checkpoint, found another kind of file".to_owned());
    }
    rest = &rest[MAGIC.len()..];
    let version = u32::from_le_bytes(take(&mut rest)?);
    if version != VERSION {
        return Err(format!(
            "expected format version {VERSION}, found {version}: another version of this \
             program wrote it; continue with that one, or begin again in another folder"
        ));
    }
    let length = u32::from_le_bytes(take(&mut rest)?) as usize;
    let (found, after) = rest.split_at_checked(length).ok_or_else(in_header)?;
    if found != kind.as_bytes() {
        let found = String::from_utf8_lossy(found);
        return Err(format!(
            "expected a checkpoint of a {kind}, found one of a {found}"
        ));
    }
    rest = after;
    let length = u64::from_le_bytes(take(&mut rest)?);
    let checksum = u32::from_le_bytes(take(&mut rest)?);
    if rest.len() as u64 != length {
        let found = rest.len();
        return Err(format!(
            "expected {length} bytes after the header, found {found}"
        ));
    }
    let found = crc32fast::hash(rest);
    if found != checksum {
        return Err(format!(
            "expected the checksum {checksum:08x}, found {found:08x}: the file is damaged"
        ));
    }
    Ok(rest)
}

/// The next `N` bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (taken, after) = rest.split_first_chunk().ok_or_else(in_header)?;
    *rest = after;
    Ok(*taken)
}

fn in_header() -> String {
    "expected a whole header, found the end of the file".to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct State {
        step: u32,
        weights: BTreeMap<String, Vec<f32>>,
        note: Option<String>,
    }

    fn state() -> State {
        State {
            step: 300,
            weights: [("w".to_owned(), vec![0.1, -0.0, f32::MIN_POSITIVE])].into(),
            note: None,
        }
    }

    fn bytes() -> Vec<u8> {
        let payload = bincode::serde::encode_to_vec(state(), CONFIGURATION).expect("encodes");
        [header("run", &payload), payload].concat()
    }

    fn refusal(bytes: &[u8]) -> String {
        decode::<State>(bytes, "run").expect_err("refused")
    }

    #[test]
    fn what_is_written_is_read_back_to_the_bit() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("checkpoint.bin");
        write(&path, "run", &0u8).expect("writes");
        write(&path, "run", &state()).expect("replaces the old file");
        let found: State = read(&path, "run").expect("reads");
        assert_eq!(found, state());
        assert!(found.weights["w"][1].is_sign_negative());
        assert_eq!(std::fs::read(&path).expect("reads"), bytes());
        let files = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(files, 2, "the last and the one before, nothing temporary");
        let before: u8 = read(&previous(&path), "run").expect("reads");
        assert_eq!(before, 0);
    }

    #[test]
    fn a_damaged_checkpoint_falls_back_on_the_one_before() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("checkpoint.bin");
        let newest = || read_newest::<u32>(&path, "run");
        assert!(newest().expect("no error").is_none());
        for step in [1_u32, 2] {
            write(&path, "run", &step).expect("writes");
        }
        let (state, warning) = newest().expect("reads").expect("is there");
        assert!(state == 2 && warning.is_none());
        let mut bytes = std::fs::read(&path).expect("reads");
        *bytes.last_mut().expect("a payload") ^= 1;
        std::fs::write(&path, &bytes).expect("writes");
        let (state, warning) = newest().expect("reads").expect("is there");
        assert_eq!(state, 1);
        let warning = warning.expect("a damaged file").to_string();
        assert!(warning.contains("checksum"), "{warning}");
        // A process that ended between two renames.
        std::fs::remove_file(&path).expect("is there");
        assert_eq!(newest().expect("reads").expect("is there").0, 1);
        std::fs::write(&path, b"no checkpoint").expect("writes");
        std::fs::write(previous(&path), b"nor this").expect("writes");
        let error = newest().expect_err("both are damaged").to_string();
        assert!(error.contains("another kind of file"), "{error}");
    }

    #[test]
    fn refusals_name_the_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("checkpoint.bin");
        let sentence = |path: &Path| read::<State>(path, "run").expect_err("refused").to_string();
        let name = path.display().to_string();
        assert!(
            sentence(&path).starts_with(&name),
            "a file that is not there"
        );
        std::fs::write(&path, b"{}").expect("writes");
        let expected = format!("{name}: expected a checkpoint, found another kind of file");
        assert_eq!(sentence(&path), expected);
    }

    #[test]
    fn another_version_is_refused() {
        let mut bytes = bytes();
        bytes[8] = 9;
        let found = refusal(&bytes);
        assert!(
            found.starts_with("expected format version 4, found 9"),
            "{found}"
        );
    }

    #[test]
    fn another_kind_is_refused() {
        let error = decode::<State>(&bytes(), "pretraining").expect_err("refused");
        let expected = "expected a checkpoint of a pretraining, found one of a run";
        assert_eq!(error, expected);
    }

    #[test]
    fn damage_is_refused() {
        let mut bytes = bytes();
        *bytes.last_mut().expect("a payload") ^= 1;
        assert!(refusal(&bytes).starts_with("expected the checksum "));
    }

    #[test]
    fn content_of_another_shape_is_refused() {
        let error = decode::<u8>(&bytes(), "run").expect_err("too short for the payload");
        assert!(error.ends_with("bytes, found one of 1 bytes"), "{error}");
        let payload = [0xFF; 4];
        let error = refusal(&[header("run", &payload), payload.to_vec()].concat());
        assert!(error.starts_with("expected the state of a run, found other content"));
    }

    #[test]
    fn lengths_beyond_all_memory_are_refused() {
        // A map of one entry whose name has 2^63 - 1 bytes.
        let length = (u64::MAX >> 1).to_le_bytes();
        let payload = [&[1, 1, 253], length.as_slice()].concat();
        let error = refusal(&[header("run", &payload), payload].concat());
        assert!(error.contains("found other content"), "{error}");
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = bytes();
        for length in 0..bytes.len() {
            let sentence = refusal(&bytes[..length]);
            match length {
                0..8 => assert!(sentence.starts_with("expected a checkpoint")),
                8..31 => assert!(sentence.starts_with("expected a whole header")),
                _ => assert!(sentence.contains("bytes after the header, found")),
            }
        }
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_refused(place: prop::sample::Index, change in 1u8..) {
            let mut bytes = bytes();
            let place = place.index(bytes.len());
            bytes[place] ^= change;
            prop_assert!(decode::<State>(&bytes, "run").is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_panic(bytes: Vec<u8>, cut in 0usize..40) {
            prop_assert!(decode::<State>(&bytes, "run").is_err());
            let begin = [&header("run", &bytes)[..], &bytes].concat();
            let _ = decode::<State>(&begin, "run");
            let cut = [&header("run", &bytes)[..cut.min(31)], &bytes].concat();
            let _ = decode::<State>(&cut, "run");
        }
    }
}
