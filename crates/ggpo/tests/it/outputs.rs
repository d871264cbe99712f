//! What the program writes and says, whatever there is in its way.

use ggpo_tensor::tensor;
use serde_json::json;

use crate::common::{World, read};
use crate::hostile_files::{
    TRAIN, assert_printable, change_json, change_tensors, refuses, trained, words,
};
use crate::runner::{program, refused_as, run, succeeds};

#[cfg(unix)]
#[test]
fn output_replaces_nothing_but_plain_files() {
    use std::os::unix::fs::symlink;
    let world = World::new();
    trained(&world);
    symlink("target.tsv", world.path("link.tsv")).unwrap();
    symlink("/dev/null", world.path("device.tsv")).unwrap();
    for out in ["/dev/null", "device.tsv", "link.tsv", "encoder"] {
        refuses(
            &world,
            &format!("predict --run run --out {out} test.tsv"),
            &[out, "expected a plain file"],
        );
    }
    assert!(world.path("link.tsv").is_symlink() && !world.path("target.tsv").exists());
    std::fs::write(world.path("target.tsv"), "").unwrap();
    succeeds(&world, &words("predict --run run --out link.tsv test.tsv"));
    assert!(world.path("link.tsv").is_symlink());
    assert!(read(&world.path("target.tsv")).starts_with(b"label\t"));
    // What is read is not written to, under whatever name.
    symlink("test.tsv", world.path("same.tsv")).unwrap();
    let before = read(&world.path("test.tsv"));
    for command in [
        "predict --run run --out ./test.tsv test.tsv",
        "predict --run run --out same.tsv test.tsv",
        "generate --model decoder --prompts test.txt --out test.txt",
    ] {
        refuses(&world, command, &["expected another file"]);
    }
    assert_eq!(read(&world.path("test.tsv")), before);
    // Before any work: the model is not even looked at.
    for command in [
        "predict --model nowhere --out none/p.tsv test.tsv",
        "generate --model nowhere --prompt a --out none/g.jsonl",
        "eval --model nowhere --exact-match --answers none/a.jsonl test.tsv",
        "merge --model nowhere --adapter nowhere --out none/merged",
    ] {
        refuses(&world, command, &["none/"]);
    }
}

#[test]
fn messages_are_one_short_line() {
    let world = World::new();
    trained(&world);
    std::fs::write(world.path("bad.toml"), "seed = 1\nmodel = [\n\n").unwrap();
    refuses(&world, "train bad.toml --out out", &["bad.toml", "line"]);
    let long = "\u{1b}[31mred\n".repeat(100_000);
    change_json(&world.path("encoder/config.json"), |config| {
        config[&long] = json!(long)
    });
    refuses(&world, &format!("{TRAIN} out"), &["config.json"]);
    let world = World::new();
    change_tensors(&world.path("encoder/model.safetensors"), |tensors| {
        tensors.insert(
            format!("surplus\u{1b}\n{}", "x".repeat(2000)),
            tensor(&[1], vec![0.0]),
        );
    });
    refuses(
        &world,
        &format!("{TRAIN} out"),
        &["surplus\\u{1b}", "does not have"],
    );
    // Usage too.
    let mut command = program(&world, &["eval", "--no\u{7}such", &"x".repeat(5000)]);
    let output = command.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        errors.lines().count() == 1 && errors.chars().count() <= 501,
        "{errors}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn paths_are_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let world = World::new();
    let strange = OsStr::from_bytes(b"out\xff");
    for json in [&["--json"][..], &[]] {
        let mut command = program(&world, &words(TRAIN));
        let output = command.arg(strange).args(json).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(
            errors.contains("UTF-8") && errors.lines().count() == 1,
            "{errors}"
        );
    }
    assert!(!world.folder.path().join(strange).exists());
    let long = "x/".repeat(3000);
    let sentence = refused_as(program(&world, &words(&format!("{TRAIN} {long}y"))));
    assert_printable(&sentence);
}

#[cfg(target_os = "linux")]
#[test]
fn standard_output_may_be_full_or_gone() {
    let world = World::new();
    trained(&world);
    let ggpo = env!("CARGO_BIN_EXE_ggpo");
    let shell = |script: String| {
        let output = std::process::Command::new("bash")
            .args(["-c", &script])
            .current_dir(world.folder.path())
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!errors.contains("panicked"), "{script}: {errors}");
        (output.status.code(), errors)
    };
    for (number, command) in [
        "eval --run run test.tsv",
        "inspect run",
        "methods --json",
        "completions bash",
        "--help",
        "predict --run run --out p.tsv test.tsv --json",
        "generate --model decoder --prompt sun --max-new-tokens 3",
        "preview --run run test.tsv",
        &format!("{TRAIN} full"),
    ]
    .into_iter()
    .enumerate()
    {
        let (code, errors) = shell(format!("{ggpo} {command} > /dev/full"));
        assert_eq!(code, Some(1), "{command}: {errors}");
        assert!(
            errors.contains("error: standard output: "),
            "{command}: {errors}"
        );
        let command = command.replace(" full", &format!(" gone{number}"));
        let (code, errors) = shell(format!("{ggpo} {command} | true; exit ${{PIPESTATUS[0]}}"));
        assert_eq!(code, Some(0), "{command}: {errors}");
        assert!(!errors.contains("error:"), "{command}: {errors}");
        let command = command.replace(" gone", " closed");
        let (code, errors) = shell(format!("{ggpo} {command} >&- 2>&-"));
        assert_eq!(code, Some(0), "{command}: {errors}");
    }
    // The run was done, whoever listened.
    assert!(world.path("full/result.json").is_file());
    assert!(run(&world, &["inspect", "full"]).status.success());
}

#[test]
fn threads_that_nobody_grants_are_refused() {
    let world = World::new();
    let mut command = program(&world, &words("inspect encoder"));
    command.env("RAYON_NUM_THREADS", "100000");
    let sentence = refused_as(command);
    assert!(sentence.contains("at most 4096 threads"), "{sentence}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_is_shown_what_would_command_it() {
    let world = World::new();
    let ggpo = env!("CARGO_BIN_EXE_ggpo");
    let command =
        format!("{ggpo} generate --model decoder --prompt $'sun\\e]0;x\\a\\r' --max-new-tokens 2");
    // To a pipe go the bytes as they are.
    let output = std::process::Command::new("bash")
        .args(["-c", &command])
        .current_dir(world.folder.path())
        .output()
        .unwrap();
    assert!(output.stdout.starts_with(b"sun\x1b]0;x\x07\r"));
    let terminal = std::process::Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("SHELL", "/bin/bash")
        .current_dir(world.folder.path())
        .output();
    let Ok(output) = terminal else {
        eprintln!("not tested, as there is no script(1)");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("sun\\u{1b}]0;x\\u{7}\\u{d}"), "{text:?}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}
