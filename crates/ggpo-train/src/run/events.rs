//! TensorBoard's event file, written beside `metrics.jsonl`.
//!
//! The file is a chain of records: length (u64), its checksum, an event as a
//! protocol buffer, its checksum; numbers little-endian, checksums CRC-32C,
//! rotated and shifted as TensorFlow's record format says. Of the event message
//! only these fields are used:
//!
//! | field | number | content |
//! |---|---|---|
//! | `wall_time` | 1 | seconds since 1970, f64 |
//! | `step` | 2 | optimiser steps done |
//! | `file_version` | 3 | `brain.Event:2`, in the first record only |
//! | `summary` | 5 | values, each a `tag` (1) and a `simple_value` (2), f32 |

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Error, Result};

/// Name of the file; TensorBoard looks for `tfevents` in it.
const FILE: &str = "events.out.tfevents.0.ggpo";

/// An open event file.
pub(super) struct EventFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventFile {
    /// Starts the file of a run's folder anew.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let file = File::create(&path).map_err(|source| Error::io(&path, source))?;
        let file = BufWriter::new(file);
        let mut events = EventFile { path, file };
        let mut event = wall_time();
        put_bytes(&mut event, 3, b"brain.Event:2");
        events.write_record(&event)?;
        Ok(events)
    }

    /// Appends the values of a step by their tags.
    pub(super) fn write(&mut self, step: u32, values: &[(&str, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, tag.as_bytes());
            entry.push(2 << 3 | FIXED_32);
            entry.extend_from_slice(&(*value as f32).to_le_bytes());
            put_bytes(&mut summary, 1, &entry);
        }
        let mut event = wall_time();
        event.push(2 << 3 | VARINT);
        put_varint(&mut event, u64::from(step));
        put_bytes(&mut event, 5, &summary);
        self.write_record(&event)
    }

    /// Hands everything to the system.
    pub(super) fn flush(&mut self) -> Result<()> {
        let flushed = self.file.flush();
        flushed.map_err(|source| Error::io(&self.path, source))
    }

    fn write_record(&mut self, event: &[u8]) -> Result<()> {
        let written = self.file.write_all(&record(event));
        written.map_err(|source| Error::io(&self.path, source))
    }
}

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const BYTES: u8 = 2;
const FIXED_32: u8 = 5;

fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend_from_slice(&masked_checksum(&length).to_le_bytes());
    record.extend_from_slice(event);
    record.extend_from_slice(&masked_checksum(event).to_le_bytes());
    record
}

fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// The start of an event: its time.
fn wall_time() -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0.0, |elapsed| elapsed.as_secs_f64());
    let mut event = vec![1 << 3 | FIXED_64];
    event.extend_from_slice(&seconds.to_le_bytes());
    event
}

fn put_varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn put_bytes(to: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    to.push(field << 3 | BYTES);
    put_varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first record of files that TensorFlow writes, with its time set to 0:
    /// length, masked checksum of the length, then the event.
    #[test]
    fn records_are_framed() {
        let mut event = vec![1 << 3 | FIXED_64];
        event.extend_from_slice(&0.0_f64.to_le_bytes());
        put_bytes(&mut event, 3, b"brain.Event:2");
        let record = record(&event);
        assert_eq!(record[..8], 24_u64.to_le_bytes());
        // Every TensorFlow event file starts with these twelve bytes.
        assert_eq!(record[8..12], [0xa3, 0x7f, 0x4b, 0x22]);
        assert_eq!(record.len(), 8 + 4 + 24 + 4);
    }

    #[test]
    fn long_numbers_take_more_bytes() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, 300);
        assert_eq!(bytes, [0xac, 0x02]);
    }
}
