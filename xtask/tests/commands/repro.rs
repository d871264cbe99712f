//! Studies: the same files for any number of threads, and after being killed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Place, errors, small_study};

const REPRODUCE: [&str; 5] = ["repro", "--quick", "--config", "repro.toml", "--out"];

fn reproduce(place: &Place, out: &str, threads: &str) {
    let mut command = place.command(&REPRODUCE);
    let output = command
        .arg(out)
        .env("RAYON_NUM_THREADS", threads)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", errors(&output));
}

/// All files below a folder that do not depend on the machine's speed, and
/// their bytes.
fn results(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        for entry in std::fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !name.contains("cost")
                && name != "report.html"
                && !name.starts_with(".partial-")
            {
                // A killed process may leave a temporary file behind.
                let bytes = std::fs::read(&path).unwrap();
                found.push((path.strip_prefix(folder).unwrap().to_path_buf(), bytes));
            }
        }
    }
    found.sort();
    found
}

/// Number of finished runs below a folder that is being written.
fn count_results(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let count = |path: PathBuf| match path.is_dir() {
        true => count_results(&path),
        false => usize::from(path.ends_with("result.json")),
    };
    entries.map(|entry| count(entry.path())).sum()
}

fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (results(a), results(b));
    let names = |files: &[(PathBuf, Vec<u8>)]| -> Vec<PathBuf> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&a), names(&b));
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        assert!(a == b, "{} differs", name.display());
    }
}

#[test]
fn repro_gives_the_same_files_for_any_number_of_threads() {
    let place = Place::new(6);
    reproduce(&place, "one", "1");
    reproduce(&place, "three", "3");
    for file in ["results.csv", "report.md", "report.html", "cost.md"] {
        assert!(place.path("one").join(file).is_file(), "{file}");
    }
    assert_same(&place.path("one"), &place.path("three"));
}

/// What another implementation would write of a run of full fine-tuning.
fn peer(rate: &str, seed: u32) -> String {
    format!(
        r#"{{
"diverged_at": null,
"losses": [1, 1, 1, 1, 1, 1],
"test": {{"loss": 0.5, "classes": {{"accuracy": 0.7{seed}, "matthews": 0.4{seed}, "f1": 0.7}}}},
"versions": {{"torch": "2.15.0"}},
"description": {{
  "seed": {seed}, "model": "models/encoder", "batch_size": 4, "micro_batches": 1,
  "evaluate_every": 3, "checkpoint_every": 0,
  "task": {{"kind": "classification", "train": "train.tsv", "validation": "test.tsv",
    "test": "test.tsv", "max_length": 16, "label_noise": 0.0}},
  "method": {{"adaptation": "full", "perturbation": null}},
  "training": {{"learning_rate": {rate}, "steps": 6, "clip": null,
    "schedule": {{"kind": "cosine", "warmup": 0.1}},
    "adamw": {{"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}}}}
}}
}}"#
    )
}

#[test]
fn repro_of_a_small_study_reports_what_was_run_and_no_more() {
    let place = Place::new(1);
    place.write("small.toml", &small_study());
    std::fs::create_dir_all(place.path("peers/classes")).unwrap();
    for rate in ["1e-3", "1e-2"] {
        for seed in [1, 2] {
            let name = format!("peers/classes/full-lr{rate}-seed{seed}.json");
            place.write(&name, &peer(rate, seed));
        }
    }
    let study = [
        "repro",
        "--quick",
        "--config",
        "small.toml",
        "--out",
        "small",
    ];
    let output = place.run(&[&study[..], &["--peers", "peers"]].concat());
    assert!(output.status.success(), "{}", errors(&output));
    let mut names: Vec<String> = std::fs::read_dir(place.path("small"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let wanted = [
        "figures",
        "peers.md",
        "report.html",
        "report.md",
        "results.csv",
        "runs",
    ];
    assert_eq!(names, wanted);
    let read = |file: &str| std::fs::read_to_string(place.path("small").join(file)).unwrap();
    for page in ["report.md", "report.html", "results.csv"] {
        let text = read(page);
        for word in ["double descent", "bump", "sweep", "memory", "cost"] {
            assert!(!text.contains(word), "{page}: {word}");
        }
    }
    let report = read("report.md");
    assert!(report.starts_with("# Two classes only\n\nA small study.\n"));
    assert!(report.contains("Test Matthews correlation") && report.contains("Test accuracy (%)"));
    assert!(report.contains("cargo xtask repro --quick --config small.toml\n"));
    let peers = read("peers.md");
    assert!(peers.contains("PyTorch (torch 2.15.0)"), "{peers}");
    assert!(
        peers.contains("41.50 ± 0.71") && peers.contains("71.50 ± 0.71"),
        "{peers}"
    );

    place.write("small.toml", &(small_study() + "ranks = [1, 2]\n"));
    let output = place.run(&study);
    assert_eq!(output.status.code(), Some(1));
    let text = errors(&output);
    assert!(
        text.starts_with("error: small.toml: levels.quick.ranks: expected"),
        "{text}"
    );
}

#[test]
fn repro_that_is_killed_goes_on_to_the_same_report() {
    let place = Place::new(60);
    reproduce(&place, "whole", "2");
    for kills in 1..4 {
        let mut child = place
            .command(&REPRODUCE)
            .arg("killed")
            .env("RAYON_NUM_THREADS", "2")
            .spawn()
            .unwrap();
        let started = Instant::now();
        let finished = || count_results(&place.path("killed"));
        while finished() < 4 * kills && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(300), "no progress");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(
        !place.path("killed").join("report.md").exists(),
        "killed too late"
    );
    reproduce(&place, "killed", "2");
    assert_same(&place.path("whole"), &place.path("killed"));
}
