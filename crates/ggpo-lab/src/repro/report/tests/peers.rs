//! The comparison with made-up files of another implementation.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::studies::{PATH, SENTENCES};
use super::*;
use crate::repro::compare_with_peers;
use fixture::of_study;

/// Files of another implementation, and where the page is written.
struct Peers {
    outcome: Outcome,
    place: tempfile::TempDir,
}

impl Peers {
    fn new() -> Self {
        Peers {
            outcome: of_study(SENTENCES, PATH, "default"),
            place: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join("peers").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        let folder = path.parent().expect("a folder");
        std::fs::create_dir_all(folder).expect("a new folder");
        std::fs::write(path, text).expect("a file");
    }

    /// The runs of a method at its own learning rate, as they would be there.
    fn like_ours(&self, task: &str, method: &str) -> Vec<Value> {
        let mut tasks = self.outcome.tasks.iter();
        let task = tasks.find(|entry| entry.task.id == task).expect("a task");
        let mut methods = task.methods.iter();
        let method = methods.find(|entry| entry.id == method).expect("a method");
        let one = |run: &FinishedRun| {
            let mut description = serde_json::to_value(&run.plan.config).expect("JSON");
            // Defaults that are written out there, and numbers in another form.
            description["task"]["header"] = json!(true);
            description["task"]["columns"] = json!({"text": "text", "label": "label"});
            description["task"]["skip_bad_rows"] = json!(false);
            description["task"]["validation_share"] = json!(0.1);
            description["task"]["train_rows"] = Value::Null;
            description["task"]["label_noise"] = json!(0.0);
            description["task"]["scored_rows"] = json!({"train": 512, "test": null});
            description["method"]["lora"]["alpha"] = json!(16);
            if description["method"].get("perturbation").is_none() {
                description["method"]["perturbation"] = Value::Null;
            }
            json!({
                "diverged_at": null,
                "best_step": run.result.best_step,
                "test": run.result.test,
                "losses": run.result.losses,
                "seconds": 1.5,
                "versions": {"torch": "2.15.0", "peft": "0.21.0"},
                "description": description,
            })
        };
        method.best.iter().map(one).collect()
    }

    /// Writes runs as `TASK/METHOD-lrRATE-seedSEED.json`.
    fn add(&self, task: &str, method: &str, runs: &[Value]) {
        for run in runs {
            let seed = &run["description"]["seed"];
            let rate = &run["description"]["training"]["learning_rate"];
            let name = format!("{task}/{method}-lr{rate}-seed{seed}.json");
            self.write(&name, &run.to_string());
        }
    }

    fn compare(&self) -> ggpo_train::Result<String> {
        let out = self.place.path();
        compare_with_peers(&self.outcome, &self.path(""), out)?;
        Ok(std::fs::read_to_string(out.join("peers.md")).expect("written"))
    }

    fn error(&self) -> String {
        self.compare().expect_err("a problem").to_string()
    }
}

/// The cells of the table's rows.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let lines = page.lines().filter(|line| line.starts_with("| "));
    let cells = lines.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect());
    // The head and the rule below it come first.
    cells.skip(2).collect()
}

#[test]
fn equal_scores_lie_within_the_spread() {
    let peers = Peers::new();
    for (task, method) in [("sst2", "full"), ("cola", "lora"), ("cola", "ggpo")] {
        peers.add(task, method, &peers.like_ours(task, method));
    }
    let page = peers.compare().expect("it can be compared");
    assert!(
        page.contains("PyTorch (peft 0.21.0 and torch 2.15.0)"),
        "{page}"
    );
    assert!(page.contains("Within the spread over the seeds: 5 of 5 differences."));
    assert!(!page.contains("Outside") && !page.contains("Left out"));
    let rows = rows(&page);
    let named: Vec<[&str; 3]> = rows.iter().map(|row| [row[0], row[1], row[2]]).collect();
    let [matthews, accuracy] = ["Matthews correlation (× 100)", "accuracy (%)"];
    let wanted = [
        ["SST-2 (sentence level)", "Full fine-tuning", accuracy],
        ["CoLA", "LoRA", matthews],
        ["CoLA", "LoRA", accuracy],
        ["CoLA", "LoRA-GGPO", matthews],
        ["CoLA", "LoRA-GGPO", accuracy],
    ];
    assert_eq!(named, wanted);
    for row in rows {
        assert_eq!(row[4], row[5]);
        assert_eq!((row[6], row[7], row[9]), ("3 and 3", "0 and 0", "yes"));
        assert!(row[8].starts_with("0.00 [−"), "{row:?}");
    }
}

#[test]
fn a_difference_beyond_the_spread_is_said() {
    let peers = Peers::new();
    let mut runs = peers.like_ours("sst2", "lora");
    for (run, accuracy) in runs.iter_mut().zip([0.51, 0.50, 0.52]) {
        run["test"]["classes"]["accuracy"] = json!(accuracy);
    }
    runs[0]["diverged_at"] = json!(3);
    runs[0]["losses"] = json!([1.0, 1.0, 1.0]);
    peers.add("sst2", "lora", &runs);
    let page = peers.compare().expect("it can be compared");
    assert!(page.contains("0 of 1 difference."), "{page}");
    assert!(
        page.contains("Outside: accuracy of LoRA on \"SST-2 (sentence level)\""),
        "{page}"
    );
    let rows = rows(&page);
    assert_eq!(rows[0][5], "51.00 ± 1.00");
    assert_eq!((rows[0][7], rows[0][9]), ("0 and 1", "no"));
}

#[test]
fn one_seed_is_not_judged_and_other_rates_are_left_out() {
    let peers = Peers::new();
    let mut runs = peers.like_ours("sst2", "lora");
    runs.truncate(2);
    runs[1]["description"]["training"]["learning_rate"] = json!(0.5);
    peers.add("sst2", "lora", &runs);
    let page = peers.compare().expect("it can be compared");
    assert!(page.contains("fewer than two seeds: 1."), "{page}");
    assert!(page.contains("Left out: 1 run of theirs"), "{page}");
    let rows = rows(&page);
    assert_eq!((rows[0][6], rows[0][9]), ("3 and 1", format::ABSENT));
    assert!(!rows[0][8].contains('['), "{rows:?}");

    let peers = Peers::new();
    peers.add("sst2", "lora", &runs[1..]);
    assert!(
        peers
            .error()
            .contains("learning rates that were compared here, found 1 at other")
    );
}

#[test]
fn runs_of_something_else_are_refused() {
    let refused = |task: &str, method: &str, field: &str, value: Value| {
        let peers = Peers::new();
        let mut run = peers.like_ours("sst2", "ggpo").swap_remove(0);
        let pointer = format!("/{}", field.replace('.', "/"));
        *run.pointer_mut(&pointer).expect("a field") = value;
        peers.add(task, method, &[run]);
        peers.error()
    };
    for (field, value) in [
        ("description.training.clip", Value::Null),
        ("description.training.schedule.kind", json!("cosine")),
        ("description.method.perturbation.sigma", json!(0.05)),
        ("description.method.perturbation", Value::Null),
        ("description.task.test", json!("data/fetched/cola/test.tsv")),
        ("description.batch_size", json!(16)),
        ("description.task.header", json!(false)),
        ("description.task.columns.text", json!("review")),
    ] {
        let error = refused("sst2", "ggpo", field, value.clone());
        assert!(error.contains(&format!("{field}: expected")), "{error}");
        assert!(
            error.ends_with(&format!("as in our run, found {value}")),
            "{error}"
        );
    }
    let seed = || ("description.seed", json!(4));
    let (field, value) = seed();
    assert!(refused("mnli", "ggpo", field, value).contains("the id of a task (sst2, cola), found"));
    let (field, value) = seed();
    assert!(refused("sst2", "adalora", field, value).contains("the id of a method"));
    let error = refused("sst2", "ggpo", "description.seed", json!("one"));
    assert!(
        error.contains("description.seed: expected a number, found \"one\""),
        "{error}"
    );
    let error = refused("sst2", "ggpo", "losses", json!([0.5]));
    assert!(
        error.contains("losses: expected 200 as described, found 1"),
        "{error}"
    );
    let error = refused("sst2", "ggpo", "test", Value::Null);
    assert!(error.contains("expected a peer's result"), "{error}");
}

#[test]
fn what_does_not_matter_may_differ() {
    let peers = Peers::new();
    let mut runs = peers.like_ours("sst2", "full");
    for (run, seed) in runs.iter_mut().zip(40..) {
        run["description"]["seed"] = json!(seed);
        run["description"]["checkpoint_every"] = json!(0);
        run["description"]["method"]["lora"]["rank"] = json!(64);
        run["description"]["model"] = json!("/somewhere/else/fetched/minilm");
    }
    peers.add("sst2", "full", &runs);
    peers.write("sst2/.partial-1", "not yet");
    peers.write("notes.txt", "no run");
    assert!(
        peers
            .compare()
            .expect("it can be compared")
            .contains("1 of 1 difference.")
    );

    peers.write("sst2/full-lr3E-4-seed40.json", &runs[0].to_string());
    assert!(
        peers.error().contains("found another of seed 40"),
        "{}",
        peers.error()
    );
    peers.write("full-lr3e-4-seed40.json", &runs[0].to_string());
    assert!(
        peers
            .error()
            .contains("in a folder with the id of its task")
    );
}
