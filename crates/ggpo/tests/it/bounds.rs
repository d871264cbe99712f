//! Files that are huge, or are no files: refused in little time and memory.

use serde_json::json;

use crate::common::World;
use crate::hostile_files::{TRAIN, change_json, refuses, trained};

#[test]
fn numbers_in_descriptions_are_bounded() {
    for (field, value) in [
        ("num_hidden_layers", 1_000_000_u64),
        ("num_hidden_layers", 1_000_000_000_000),
        ("hidden_size", u64::MAX),
        ("vocab_size", 1 << 60),
    ] {
        let world = World::new();
        change_json(&world.path("encoder/config.json"), |config| {
            config[field] = json!(value)
        });
        for command in ["inspect encoder", &format!("{TRAIN} out")] {
            refuses(&world, command, &["config.json", field, "above 0, at most"]);
        }
    }
    let world = World::new();
    change_json(&world.path("encoder/config.json"), |config| {
        config["architectures"] = json!(["BertForSequenceClassification"]);
        config.as_object_mut().unwrap().remove("id2label");
        config["num_labels"] = json!(1_000_000_000_000_u64);
    });
    refuses(
        &world,
        "eval --model encoder test.tsv",
        &["num_labels", "above 0, at most"],
    );
    // Nobody has trained a head.
    change_json(&world.path("encoder/config.json"), |config| {
        config["num_labels"] = json!(2)
    });
    refuses(
        &world,
        "eval --model encoder test.tsv",
        &["trained head", "found none"],
    );
}

/// Memory that the program addresses before it reads anything, in MiB: its own code, and
/// stacks.
#[cfg(unix)]
const BASE: usize = 150;

/// Runs a command with at most this much memory to address, in MiB.
#[cfg(unix)]
fn within(world: &World, megabytes: usize, command: &str) -> std::process::Output {
    let program = env!("CARGO_BIN_EXE_ggpo");
    let script = format!("ulimit -v {}; exec {program} {command}", megabytes * 1024);
    std::process::Command::new("bash")
        .args(["-c", &script])
        .env("RAYON_NUM_THREADS", "1")
        .current_dir(world.folder.path())
        .output()
        .unwrap()
}

#[cfg(unix)]
#[test]
fn data_takes_memory_in_proportion() {
    let world = World::new();
    trained(&world);
    let refused_within = |command: &str, part: &str| {
        let output = within(&world, 1000, command);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command}: {errors}");
        assert!(errors.contains(part), "{command}: {errors}");
        assert!(
            errors.lines().all(|line| line.chars().count() <= 500),
            "{errors}"
        );
    };
    let table = |text: &str| {
        std::fs::write(
            world.path("big.tsv"),
            format!("label\ttext\nwarm\tsun\ncold\t{text}\n"),
        )
        .unwrap()
    };
    table(&"x".repeat(20_000_000));
    refused_within("eval --run run big.tsv", "words of at most");
    std::fs::write(world.path("big.txt"), "x".repeat(5_000_000)).unwrap();
    refused_within(
        "eval --model decoder --task language-modelling --max-length 16 big.txt",
        "words of at most",
    );
    let columns = "\t".repeat(5_000_000);
    std::fs::write(world.path("big.tsv"), format!("{columns}\n{columns}\n")).unwrap();
    refused_within("eval --run run big.tsv", "columns");
    let names: Vec<String> = (0..60_000).map(|i| format!("a\u{1b}{i}")).collect();
    std::fs::write(world.path("big.tsv"), format!("{}\n", names.join("\t"))).unwrap();
    refused_within("eval --run run big.tsv", "expected a column");
    // A text of many words is read as far as the model does.
    table(&"sun and sea ".repeat(500_000));
    let output = within(&world, 1000, "eval --run run big.tsv");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let fields: Vec<String> = (0..40_000).map(|i| format!("\"f{i}\": {i}")).collect();
    let row = format!(
        "{{\"text\": \"sun\", \"label\": \"warm\", {}}}\n",
        fields.join(", ")
    );
    std::fs::write(world.path("big.jsonl"), &row).unwrap();
    for command in ["eval --run run big.jsonl", "inspect big.jsonl"] {
        assert!(within(&world, 1000, command).status.success(), "{command}");
    }
}

/// Rows of a few bytes, of which each takes a hundred times as much: as many as there is
/// room for are read, and more are refused.
#[cfg(unix)]
#[test]
fn tiny_rows_take_memory_in_proportion() {
    let world = World::new();
    trained(&world);
    let rows = 400_000_usize;
    for (ending, head, pair) in [
        ("tsv", "label\ttext\n", "w\ts\nc\ts\n"),
        ("csv", "label,text\n", "w,s\nc,s\n"),
    ] {
        let name = format!("tiny.{ending}");
        let text = |rows: usize| format!("{head}{}", pair.repeat(rows / 2));
        std::fs::write(world.path(&name), text(rows)).unwrap();
        let preview = format!("preview --run run --rows 1 {name}");
        let output = within(&world, BASE + 100 + 10, &preview);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {errors}");
        assert!(errors.contains("divide the file"), "{name}: {errors}");
        std::fs::write(world.path(&name), text(rows * 3 / 4)).unwrap();
        let output = within(&world, BASE + 100 + 10, &preview);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
    }
    // Nothing but bad rows.
    let bad = format!("label\ttext\n{}", "x\n".repeat(2_000_000));
    std::fs::write(world.path("bad.tsv"), bad).unwrap();
    let output = within(&world, BASE + 100, "preview --run run --rows 1 bad.tsv");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("2000000 bad rows"), "{errors}");
}

/// The wrong column was chosen: every row is a class of its own.
#[cfg(unix)]
#[test]
fn many_classes_take_no_table_of_classes() {
    let world = World::new();
    let rows: Vec<String> = (0..6_000).map(|i| format!("l{i}\tsun")).collect();
    let table = format!("label\ttext\n{}\n", rows.join("\n"));
    std::fs::write(world.path("train.tsv"), &table).unwrap();
    let command = format!("{TRAIN} out --validation train.tsv --steps 1 --batch-size 4");
    let command = command.replace("--validation validation.tsv ", "");
    let output = within(&world, 1500, &command);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_inputs() {
    let world = World::new();
    trained(&world);
    let pipe = world.path("pipe.tsv");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    std::fs::create_dir(world.path("strange")).unwrap();
    for (name, to) in [
        ("config.json", "/dev/zero"),
        ("tokenizer.json", "/dev/zero"),
    ] {
        std::os::unix::fs::symlink(to, world.path("strange").join(name)).unwrap();
    }
    for name in ["model.gguf", "pipe.jsonl"] {
        std::os::unix::fs::symlink(&pipe, world.path(name)).unwrap();
    }
    for command in [
        "eval --run run pipe.tsv",
        "inspect strange",
        "eval --model strange test.tsv",
        "eval --model model.gguf --task language-modelling test.txt",
        "generate --model decoder --prompts pipe.tsv",
        "train pipe.tsv --out out",
        "preview --model decoder pipe.jsonl",
        "train --model decoder --train pipe.jsonl --out out",
        "generate --model decoder --chat --chat-template pipe.jsonl",
    ] {
        refuses(
            &world,
            command,
            &["expected a plain file", "pipe, socket or device"],
        );
    }
}
