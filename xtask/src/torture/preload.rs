//! Calls of the system that fail, by a library that is put before the system's own.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::subject::{Words, compile};

/// The library's source. It is compiled by itself and is no part of the workspace, whose
/// rule on unsafe code it could not keep.
const SOURCE: &str = include_str!("faults.rs.txt");

/// The compiled library; none on systems where there is no such thing.
pub(super) struct Faults(Option<PathBuf>);

impl Faults {
    pub(super) fn compile(folder: impl AsRef<Path>) -> Result<Self> {
        match cfg!(all(target_os = "linux", target_pointer_width = "64")) {
            true => compile(SOURCE, folder.as_ref()).map(|library| Faults(Some(library))),
            false => Ok(Faults(None)),
        }
    }

    /// Lets the n-th call of that name fail, counted from 1.
    pub(super) fn inject(&self, words: &mut Words, call: &str, n: u32) {
        if let Some(library) = &self.0 {
            words.command.env("LD_PRELOAD", library);
            words
                .command
                .env("FAULT_CALL", call)
                .env("FAULT_NUMBER", n.to_string());
        }
    }
}
