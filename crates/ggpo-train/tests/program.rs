//! The program `ggpo` from outside, on tiny models and data.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::World;

/// Runs the program in the world's folder.
fn ggpo(world: &World, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ggpo"))
        .args(arguments)
        .current_dir(world.folder.path())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command that succeeds prints.
fn succeeds(world: &World, arguments: &[&str]) -> String {
    let output = ggpo(world, arguments);
    let errors = text(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    text(&output.stdout)
}

/// The one sentence of a command that is refused with exit code 1.
fn refused(world: &World, arguments: &[&str]) -> String {
    let output = ggpo(world, arguments);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
    let sentence = errors
        .strip_prefix("error: ")
        .unwrap_or_else(|| panic!("{errors}"));
    assert!(
        !sentence.trim_end().contains('\n'),
        "one sentence: {errors}"
    );
    sentence.to_owned()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

const COMMANDS: [&str; 5] = ["train", "generate", "merge", "inspect", "completions"];

#[test]
fn help_has_an_example_for_every_command() {
    let world = World::new();
    for command in COMMANDS {
        let help = succeeds(&world, &[command, "--help"]);
        assert!(help.contains(&format!("ggpo {command}")), "{help}");
        assert!(help.contains("Example"), "{help}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    let world = World::new();
    for arguments in [
        &["train"][..],
        &["train", "--out"],
        &["fly"],
        &["merge", "--out", "x"],
    ] {
        assert_eq!(
            ggpo(&world, arguments).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
}
