//! Files of others, read with bounds, and files of our own, there whole or not at
//! all.
//!
//! * [`mod@read`]: only plain files are read, and only as much as was allowed.
//! * [`json`]: JSON in which every key stands once.
//! * [`mod@write`]: a temporary name, then a rename; never in place of what is no file.
//! * [`lock`]: one process at a time in a folder.
//! * [`sentence`]: whatever was found in a file, as one line for a person.

pub mod json;
pub mod lock;
pub mod read;
pub mod sentence;
pub mod write;

pub use lock::FolderLock;
pub use read::{open, read, read_text, sha256};
pub use sentence::{one_line, toml_problem};
pub use write::{
    PartialFolder, check_new_folder, check_target, create_folder, remove_left_over,
    write_atomically, write_atomically_with, write_folder_atomically, write_keeping_previous,
};
