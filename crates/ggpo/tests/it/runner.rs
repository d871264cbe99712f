//! Runs the program in a world's folder.

#![allow(dead_code, reason = "not every test file uses everything")]

use std::process::{Command, Output};

use crate::common::World;

/// The program, to be run.
pub(crate) fn program(world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ggpo"));
    command.args(arguments).current_dir(world.folder.path());
    command
}

/// Runs the program.
pub(crate) fn run(world: &World, arguments: &[&str]) -> Output {
    program(world, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command that succeeds prints.
pub(crate) fn succeeds(world: &World, arguments: &[&str]) -> String {
    succeeds_as(program(world, arguments))
}

/// The same of a command with an environment of its own.
pub(crate) fn succeeds_as(mut command: Command) -> String {
    let output = command.output().unwrap();
    let errors = text(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    text(&output.stdout)
}

/// The one sentence of a command that is refused with exit code 1.
pub(crate) fn refused(world: &World, arguments: &[&str]) -> String {
    refused_as(program(world, arguments))
}

/// The same of a command with an environment of its own.
pub(crate) fn refused_as(mut command: Command) -> String {
    let output = command.output().unwrap();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{command:?}: {errors}");
    // Notes on the data may come before.
    let sentence = errors
        .split_once("error: ")
        .unwrap_or_else(|| panic!("{errors}"))
        .1
        .trim_end();
    assert!(!sentence.contains('\n'), "one sentence: {errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    sentence.to_owned()
}

/// A JSON value.
pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
