//! However a run is ended, it goes on to the same bits, or says why it cannot.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{World, read};
use crate::runner::{program, refused, succeeds};

const TRAIN: &str = "train --model encoder --train train.tsv --validation validation.tsv \
                     --rank 4 --steps 400 --max-length 24 --evaluate-every 400 \
                     --checkpoint-every 10 --method ggpo --out";

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

pub(crate) fn start(world: &World, command: &str) -> Child {
    let mut command = program(world, &words(command));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits for a file.
pub(crate) fn wait_for(path: &Path) {
    let begin = Instant::now();
    while !path.exists() {
        assert!(
            begin.elapsed() < Duration::from_secs(120),
            "{}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

fn adapter(world: &World, run: &str) -> Vec<u8> {
    read(&world.path(run).join("adapter/adapter_model.safetensors"))
}

fn left_over(world: &World, run: &str) -> usize {
    let entries = std::fs::read_dir(world.path(run)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with(".partial-"))
        .count()
}

#[cfg(unix)]
#[test]
fn signals_end_a_run_with_its_checkpoint() {
    let world = World::new();
    succeeds(&world, &words(&format!("{TRAIN} whole")));
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let child = start(&world, &format!("{TRAIN} {name} --checkpoint-every 400"));
        wait_for(&world.path(name).join("metrics.jsonl"));
        signal(&child, name);
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        let errors = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(code), "{errors}");
        assert!(
            errors.contains(&format!("ggpo train --out {name} --resume")),
            "{errors}"
        );
        assert!(errors.contains("checkpoint is written"), "{errors}");
        assert!(world.path(name).join("checkpoint.bin").is_file());
        assert_eq!(left_over(&world, name), 0);
        succeeds(&world, &words(&format!("train --out {name} --resume")));
        assert_eq!(adapter(&world, name), adapter(&world, "whole"));
    }
}

/// Who asks twice ends the process at once, in the middle of its last checkpoint, too.
#[cfg(unix)]
#[test]
fn a_second_signal_loses_nothing() {
    let world = World::new();
    succeeds(&world, &words(&format!("{TRAIN} whole")));
    let mut at_once = 0;
    for (round, microseconds) in [0, 200, 500, 1000, 1500, 2000, 3000, 5000, 8000, 13000]
        .into_iter()
        .enumerate()
    {
        let name = format!("run{round}");
        let child = start(&world, &format!("{TRAIN} {name}"));
        wait_for(&world.path(&name).join("checkpoint.bin"));
        let id = child.id();
        // One shell for both, as starting a program takes longer than a checkpoint.
        let seconds = f64::from(microseconds) / 1e6;
        let script = format!("kill -INT {id}; sleep {seconds}; kill -INT {id} 2>/dev/null");
        Command::new("bash").args(["-c", &script]).status().unwrap();
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            None => at_once += 1,
            code => assert_eq!(code, Some(130)),
        }
        succeeds(&world, &words(&format!("train --out {name} --resume")));
        assert_eq!(left_over(&world, &name), 0);
        assert_eq!(adapter(&world, &name), adapter(&world, "whole"));
    }
    assert!(at_once > 0, "no second signal came in time");
}

#[cfg(unix)]
#[test]
fn a_killed_run_goes_on_and_cleans_up() {
    let world = World::new();
    succeeds(&world, &words(&format!("{TRAIN} whole")));
    let mut child = start(&world, &format!("{TRAIN} run"));
    wait_for(&world.path("run/checkpoint.bin"));
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(world.path("run/.partial-ggpo-abcdef"), "half").unwrap();
    succeeds(&world, &words("train --out run --resume"));
    assert_eq!(left_over(&world, "run"), 0);
    assert_eq!(adapter(&world, "run"), adapter(&world, "whole"));
}

#[test]
fn a_folder_belongs_to_one_process() {
    let world = World::new();
    let child = start(&world, &format!("{TRAIN} run --steps 4000"));
    wait_for(&world.path("run/metrics.jsonl"));
    let sentence = refused(&world, &words("train --out run --resume"));
    assert!(sentence.contains("another process at work"), "{sentence}");
    let mut child = child;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn of_two_that_begin_together_one_is_refused() {
    let world = World::new();
    for round in 0..3 {
        let train = |seed: usize| format!("{TRAIN} both{round} --steps 40 --seed {seed}");
        let both = [0, 1].map(|seed| start(&world, &train(seed)));
        let codes = both.map(|child| {
            let output = child.wait_with_output().unwrap();
            let errors = String::from_utf8(output.stderr).unwrap();
            (output.status.code(), errors)
        });
        let done = codes.iter().filter(|(code, _)| *code == Some(0)).count();
        let refused = codes.iter().filter(|(code, _)| *code == Some(1)).count();
        assert_eq!((done, refused), (1, 1), "{codes:?}");
        let text =
            String::from_utf8(read(&world.path(&format!("both{round}/metrics.jsonl")))).unwrap();
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }
}

/// A run that was stopped after its first checkpoints.
fn stopped(world: &World) {
    let mut child = start(world, &format!("{TRAIN} run"));
    wait_for(&world.path("run/checkpoint.previous.bin"));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn changed_inputs_are_refused_by_name() {
    let world = World::new();
    stopped(&world);
    for name in [
        "train.tsv",
        "validation.tsv",
        "encoder/model.safetensors",
        "encoder/config.json",
        "encoder/tokenizer.json",
    ] {
        let path = world.path(name);
        let before = read(&path);
        let mut after = before.clone();
        match name.ends_with("json") {
            true => after.push(b'\n'),
            // The last number, or the last letter.
            false => {
                let last = after.len() - 2;
                after[last] ^= 1;
            }
        }
        std::fs::write(&path, after).unwrap();
        let sentence = refused(&world, &words("train --out run --resume"));
        assert!(
            sentence.contains(name) && sentence.contains("sha256"),
            "{sentence}"
        );
        std::fs::write(&path, before).unwrap();
    }
    succeeds(&world, &words("train --out run --resume"));
}

#[test]
fn a_short_or_missing_course_does_not_matter() {
    let world = World::new();
    succeeds(&world, &words(&format!("{TRAIN} whole")));
    stopped(&world);
    let path = world.path("run/metrics.jsonl");
    let bytes = read(&path);
    std::fs::write(&path, &bytes[..bytes.len() / 3]).unwrap();
    let mut child = start(&world, "train --out run --resume");
    std::thread::sleep(Duration::from_millis(300));
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_file(&path).unwrap();
    succeeds(&world, &words("train --out run --resume"));
    assert!(!read(&path).contains(&0));
    assert_eq!(adapter(&world, "run"), adapter(&world, "whole"));
}

#[test]
fn a_damaged_checkpoint_falls_back_with_a_warning() {
    let world = World::new();
    succeeds(&world, &words(&format!("{TRAIN} whole")));
    stopped(&world);
    let path = world.path("run/checkpoint.bin");
    let mut bytes = read(&path);
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut resumed = program(&world, &words("train --out run --resume"));
    let output = resumed.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    assert!(
        errors.contains("warning: ") && errors.contains("checksum"),
        "{errors}"
    );
    assert_eq!(adapter(&world, "run"), adapter(&world, "whole"));
}

/// Not only between two steps: the validation split may take longer than all of them.
#[cfg(unix)]
#[test]
fn signals_end_a_run_while_it_is_scored() {
    let world = World::new();
    let text = String::from_utf8(read(&world.path("validation.tsv"))).unwrap();
    let (head, rows) = text.split_once('\n').unwrap();
    let many = format!("{head}\n{}", rows.repeat(400));
    std::fs::write(world.path("validation.tsv"), many).unwrap();
    let train = "train --model encoder --train train.tsv --validation validation.tsv --rank 4 \
                 --steps 4 --evaluate-every 2 --max-length 24 --out";
    succeeds(&world, &words(&format!("{train} whole")));
    let evaluations = |run: &str| {
        let text = String::from_utf8(read(&world.path(run).join("metrics.jsonl"))).unwrap();
        text.matches("validation").count()
    };
    assert_eq!(evaluations("whole"), 3);
    let child = start(&world, &format!("{train} run"));
    wait_for(&world.path("run/metrics.jsonl"));
    signal(&child, "INT");
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let errors = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(130), "{errors}");
    assert!(errors.contains("stopped after 0 steps"), "{errors}");
    assert_eq!(evaluations("run"), 0);
    succeeds(&world, &words("train --out run --resume"));
    assert_eq!(evaluations("run"), 3);
    assert_eq!(adapter(&world, "run"), adapter(&world, "whole"));
}
