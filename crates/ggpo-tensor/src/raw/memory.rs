//! What the program's memory allocator does with freed memory.

/// Lets the allocator keep what is freed for what is allocated next, rather than
/// return large pieces to the operating system, which must clear every page
/// that it hands out again: a quarter of the time of a training step.
///
/// For a program to call once at its beginning. Does something with the
/// allocator of the GNU C library only.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` may be called at any time and only sets parameters of
    // the allocator; these values are within their documented ranges.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_TOP_PAD, 1 << 26);
    }
}
