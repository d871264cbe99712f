//! What a GGUF file says of itself, as it stands there, for a file made of it.

use super::Reading;
use super::metadata::Value;
use super::reader::Reader;

/// What is true of one file only: how its tensors are stored and where.
const OF_ONE_FILE: [&str; 3] = [
    "general.alignment",
    "general.file_type",
    "general.quantization_version",
];
/// Beginnings of such keys: how a quantisation was made, and parts of a split model.
const OF_ONE_MAKING: [&str; 2] = ["quantize.", "split."];

/// The entries of a file's metadata that are true of one made of it, each with its key,
/// type and value, in their order.
pub(super) fn entries(bytes: &[u8]) -> Reading<Vec<&[u8]>> {
    let mut reader = Reader::new(bytes);
    reader.take(8, "the header")?;
    reader.u64("number of tensors")?;
    let count = reader.u64("number of keys")?;
    let mut entries = Vec::new();
    for index in 0..count {
        let start = reader.position();
        let key = reader.string(&format!("key {index} of the metadata"))?;
        Value::read(&mut reader, &key)?;
        let making = OF_ONE_MAKING.iter().any(|it| key.starts_with(it));
        if !making && !OF_ONE_FILE.contains(&key.as_str()) {
            entries.push(&bytes[start..reader.position()]);
        }
    }
    Ok(entries)
}
