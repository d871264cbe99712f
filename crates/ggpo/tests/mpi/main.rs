//! Trainings that `mpirun` starts, with as many ranks as there are micro-batches and
//! fewer. Built with the feature `mpi` alone.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const RANKS: [usize; 4] = [1, 2, 3, 4];
/// What a run leaves that does not depend on the machine.
const SAME: [&str; 4] = [
    "result.json",
    "metrics.jsonl",
    "config.toml",
    "adapter/adapter_model.safetensors",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Options of a small run in four micro-batches.
fn options(out: &Path, steps: u32) -> Vec<String> {
    let line = format!(
        "train --model models/encoder --train data/spam/train.tsv --train-rows 64 \
         --validation data/spam/validation.tsv --max-length 24 --batch-size 8 \
         --micro-batches 4 --learning-rate 1e-3 --method ggpo --steps {steps} \
         --evaluate-every {steps} --checkpoint-every 2 --seed 5 --out"
    );
    let words = line.split_whitespace().map(str::to_owned);
    words.chain([out.display().to_string()]).collect()
}

fn ggpo(arguments: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ggpo"));
    command.args(arguments).current_dir(root());
    command
}

fn mpirun(ranks: usize, arguments: &[String]) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args(["--allow-run-as-root", "--oversubscribe", "-n"])
        .arg(ranks.to_string())
        .arg(env!("CARGO_BIN_EXE_ggpo"))
        .args(arguments)
        .env("RAYON_NUM_THREADS", "1")
        .current_dir(root());
    command
}

fn succeeds(mut command: Command) -> Output {
    let output = command.output().expect("mpirun is installed");
    assert!(output.status.success(), "{output:?}");
    output
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let read = |name: &&str| std::fs::read(folder.join(name)).expect(name);
    SAME.iter().map(read).collect()
}

/// Waits for the end of a process, but not for ever.
fn wait(mut child: Child) -> Output {
    let begun = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if begun.elapsed() > Duration::from_secs(120) {
            child.kill().expect("a child");
            panic!("the ranks do not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("a child")
}

#[test]
fn a_training_has_the_same_bits_for_any_number_of_ranks() {
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("alone");
    succeeds(ggpo(&options(&alone, 4)));
    for ranks in RANKS {
        let out = folder.path().join(ranks.to_string());
        let output = succeeds(mpirun(ranks, &options(&out, 4)));
        assert_eq!(files(&out), files(&alone), "{ranks} ranks");
        // One of them speaks.
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.matches("written:").count(), 1, "{text}");
    }
}

#[test]
fn a_killed_training_goes_on_with_another_number_of_ranks_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let steps = 40;
    succeeds(mpirun(2, &options(&whole, steps)));
    let mut child = mpirun(3, &options(&parts, steps))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !parts.join("checkpoint.bin").exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no checkpoint");
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // mpirun is gone; its ranks notice, and let go of the folder.
    let begun = Instant::now();
    loop {
        let again = [options(&parts, steps), vec!["--resume".to_owned()]].concat();
        let output = mpirun(4, &again).output().unwrap();
        if output.status.success() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{output:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(files(&parts), files(&whole));
}

#[test]
fn a_rank_that_fails_ends_all_with_its_message() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut broken = options(&out, 4);
    broken[2] = "models/absent".to_owned();
    let mut command = mpirun(1, &options(&out, 4));
    command
        .args([":", "-n", "1", env!("CARGO_BIN_EXE_ggpo")])
        .args(&broken)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = wait(command.spawn().unwrap());
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("models/absent"), "{text}");
}

#[test]
fn more_ranks_than_micro_batches_are_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let command = mpirun(5, &options(&out, 4)).output().unwrap();
    assert!(!command.status.success());
    let text = String::from_utf8_lossy(&command.stderr);
    assert!(text.contains("micro_batches"), "{text}");
    assert!(!out.exists());
}
