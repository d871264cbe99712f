//! Files as bytes in memory, without reading them first.

pub use crate::raw::mapped::MappedFile;
