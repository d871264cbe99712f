//! `metrics.jsonl`: one JSON object per line, appended.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Error, Result};

/// An open `metrics.jsonl`.
pub(super) struct MetricsFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl MetricsFile {
    /// Opens the file, making it if it is not there.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        let options = options.create(true).write(true).truncate(false);
        let file = options
            .open(path)
            .map_err(|source| Error::io(path, source))?;
        Ok(MetricsFile {
            path: path.to_path_buf(),
            file: BufWriter::new(file),
        })
    }

    /// Keeps the first `bytes` bytes and writes on from there.
    pub(super) fn truncate(&mut self, bytes: u64) -> Result<()> {
        let truncated = self
            .file
            .get_ref()
            .set_len(bytes)
            .and_then(|()| self.file.seek(SeekFrom::Start(bytes)));
        truncated
            .map(|_| ())
            .map_err(|source| Error::io(&self.path, source))
    }

    /// Appends one line.
    pub(super) fn write(&mut self, record: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(record).expect("a record has a JSON form") + "\n";
        self.file
            .write_all(line.as_bytes())
            .map_err(|source| Error::io(&self.path, source))
    }

    /// Brings everything to the disk; returns the length of the file.
    pub(super) fn sync(&mut self) -> Result<u64> {
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .and_then(|()| self.file.stream_position())
            .map_err(|source| Error::io(&self.path, source))
    }
}
