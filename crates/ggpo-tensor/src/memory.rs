//! Settings of the program's memory allocator.

pub use crate::raw::memory::keep_freed_memory;
