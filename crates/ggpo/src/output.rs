//! What the program prints, and how it ends.
//!
//! The other side of the standard output may be gone, or a disk that is full. A command
//! does its work to the end all the same; what could not be said is remembered, and the
//! program ends with it.

use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::{Context, Result};
use ggpo_files::check_target;
use ggpo_files::sentence::{note, shown};
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

/// Prints text on the standard output. A terminal takes some characters for commands,
/// and a text may come from a file or a model: it is shown them by their numbers.
pub fn print(text: fmt::Arguments<'_>) {
    let mut output = io::stdout().lock();
    keep(match output.is_terminal() {
        true => output.write_all(shown(&text.to_string()).as_bytes()),
        false => output.write_fmt(text),
    });
}

/// Prints text that may hold commands for a terminal: colours of our own.
pub(crate) fn print_as_it_is(text: &str) {
    keep(io::stdout().lock().write_all(text.as_bytes()));
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

/// Checks, before any work, that a file can be written to `path`, and that it is not the
/// one that is read.
pub(crate) fn check_output(path: &Path, read: Option<&Path>) -> ggpo_train::Result<()> {
    check_target(path).map_err(|cause| ggpo_train::Error::io(path, cause))?;
    let same = read.is_some_and(|read| {
        let [read, path] = [read, path].map(|path| std::fs::canonicalize(path).ok());
        read.is_some() && read == path
    });
    match same {
        false => Ok(()),
        true => {
            let problem = "expected another file than the one that is read, found the same";
            Err(ggpo_train::Error::file(path, problem))
        }
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

/// Says how to go on with what a signal has stopped, if that is what happened: by the
/// same command once more, which begins with `program`.
pub fn go_on_with<T>(program: &str, outcome: ggpo_train::Result<T>) -> Result<T> {
    if let Err(ggpo_train::Error::Interrupted { .. }) = outcome {
        let words: Vec<String> = std::env::args().skip(1).map(|word| quoted(&word)).collect();
        note(&format!("go on with: {program} {}", words.join(" ")));
    }
    Ok(outcome?)
}

/// A word of a command line, as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_change_them() {
        assert_eq!(quoted("--lr=1e-3"), "--lr=1e-3");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
