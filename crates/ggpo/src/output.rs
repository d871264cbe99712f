//! What the program prints, and how it ends.
//!
//! The other side of the standard output may be gone, or a disk that is full. A command
//! does its work to the end all the same; what could not be said is remembered, and the
//! program ends with it.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::{Context, Result};
use ggpo_files::sentence::note;
use serde::Serialize;

/// Prints a line on the standard output, in place of `println!`, which panics when
/// nobody reads it.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::output::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}

/// Prints a part of a line on the standard output.
#[macro_export]
macro_rules! say_part {
    ($($argument:tt)*) => {
        $crate::output::print(format_args!($($argument)*))
    };
}

/// Says something on the error output, as one printable line.
#[macro_export]
macro_rules! note {
    ($($argument:tt)*) => {
        ggpo_files::sentence::note(&format!($($argument)*))
    };
}

/// The first thing that could not be printed.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints text on the standard output.
pub fn print(text: fmt::Arguments<'_>) {
    keep(io::stdout().lock().write_fmt(text));
}

/// Shows what was printed.
pub(crate) fn flush() {
    keep(io::stdout().lock().flush());
}

/// Remembers what could not be printed.
pub(crate) fn keep(printed: io::Result<()>) {
    if let Err(error) = printed {
        let mut lost = LOST.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        lost.get_or_insert(error);
    }
}

/// One JSON object on the standard output.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).context("a result has a JSON form")?;
    say!("{text}");
    Ok(())
}

/// Ends the program: what went wrong is said in one line, and the exit code is 0, 1, or
/// 128 and the number of the signal that stopped a run.
pub fn conclude(outcome: Result<()>) -> ExitCode {
    flush();
    if let Err(error) = outcome {
        note(&format!("error: {error:#}"));
        return interrupted(&error).unwrap_or(ExitCode::FAILURE);
    }
    let lost = LOST.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match &*lost {
        // Who reads the first lines alone has what was wanted.
        None => ExitCode::SUCCESS,
        Some(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Some(error) => {
            note(&format!("error: standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The exit code of a run that a signal has stopped.
fn interrupted(error: &anyhow::Error) -> Option<ExitCode> {
    let signal = error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(ggpo_train::Error::Interrupted { signal, .. }) => Some(*signal),
        _ => None,
    });
    signal.map(|signal| ExitCode::from(128 + signal))
}
