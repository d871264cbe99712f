//! A request to stop, as a signal brings it.
//!
//! A process is stopped as a whole, so there is one request for all of its runs. Who
//! starts runs may pass on signals here; a run that is asked to stop finishes its step,
//! writes its checkpoint, and ends with [`Error::Interrupted`](crate::Error).

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::Error;

/// Where a handler puts the number of the signal that asks for an end; 0 is none.
pub fn request() -> Arc<AtomicUsize> {
    Arc::clone(slot())
}

/// The number of the signal that has asked for an end, if one has.
pub fn requested() -> Option<u8> {
    match slot().load(Ordering::Relaxed) {
        0 => None,
        signal => Some(signal as u8),
    }
}

/// The end of what was asked to stop, or of what works with it, after `steps` steps, with
/// its checkpoint written in `folder`.
pub fn stopped(steps: u32, folder: &Path) -> Error {
    const SIGTERM: u8 = 15;
    Error::Interrupted {
        signal: requested().unwrap_or(SIGTERM),
        steps,
        folder: folder.to_owned(),
    }
}

fn slot() -> &'static Arc<AtomicUsize> {
    static SLOT: OnceLock<Arc<AtomicUsize>> = OnceLock::new();
    SLOT.get_or_init(Arc::default)
}
