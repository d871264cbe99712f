//! Signals.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ggpo_train::interrupt;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Lets runs end between two steps when the process is asked to: their checkpoints are
/// written. Who asks twice ends the process at once.
///
/// Only for commands that make runs: others have nothing to save, and end at once.
pub fn stop_runs() {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Where a handler cannot be set, the signal ends the process as it always does.
        let _ = flag::register_conditional_default(signal, Arc::clone(&asked));
        let _ = flag::register_usize(signal, interrupt::request(), signal as usize);
        let _ = flag::register(signal, Arc::clone(&asked));
    }
}

/// Makes a limit on the size of files an error where the file is written, rather than
/// the end of the process.
pub fn survive_limits() {
    #[cfg(unix)]
    {
        let _ = flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false)));
    }
}
