//! Experiments whose records are made up, for tests of what is said of them.

use std::path::Path;

use ggpo_lab::experiment::{Experiment, Finding, Jobs, Order, Outcome, Records, report_of};
use ggpo_lab::verdict::Verdict;
use serde_json::{Value, json};

/// Two methods on one task; `PRECONDITION` stands for further fields.
pub(crate) const EXPERIMENT: &str = r#"
place = 1
title = "Made up"
question = "What does the rule say of made-up records?"
kind = "comparison"
claim = "{method} beats {reference} on {task}"
claim_kind = "better"
references = ["lora"]
primary = "accuracy"
margin = 0.5
diverged = 25.0
PRECONDITION
[[tasks]]
id = "task"
title = "the task"
about = "nothing."
model = "models/encoder"
batch_size = 4
steps = 10
schedule = { kind = "constant" }
data = { kind = "classification", train = "train.tsv", validation = "v.tsv", test = "t.tsv", max_length = 16 }
[[methods]]
id = "ggpo"
title = "LoRA-GGPO"
method = { name = "ggpo" }
[[methods]]
id = "lora"
title = "LoRA"
method = { name = "lora" }
[grid.default]
seeds = 8
learning_rates = [1e-3]
"#;

/// The experiment of a text.
///
/// # Panics
/// If it is none.
pub(crate) fn parsed(text: &str) -> Experiment {
    let text = text.replace("PRECONDITION", "");
    Experiment::parse(&text, Path::new("made-up.toml")).unwrap()
}

/// The sentence with which a text is refused.
pub(crate) fn refused(text: &str) -> String {
    let text = text.replace("PRECONDITION", "");
    let error = Experiment::parse(&text, Path::new("made-up.toml")).unwrap_err();
    error.to_string()
}

/// A run of a plan, as far as a made-up record depends on it.
pub(crate) struct At {
    pub(crate) method: String,
    pub(crate) learning_rate: f64,
    pub(crate) seed: u64,
}

/// What is left of a study: the records of every run of its plan that `record` knows, which
/// may change a usual one of that accuracy in percent. Tuning and the look bring new runs.
pub(crate) fn study(
    experiment: &Experiment,
    record: impl Fn(&At) -> Option<(f64, Value)>,
) -> (Vec<Finding>, String, usize) {
    let place = tempfile::tempdir().unwrap();
    let mut known = 0;
    loop {
        let records = Records::read(place.path()).unwrap();
        let outcome = Outcome {
            experiment,
            level: "default",
            grid: &experiment.grid["default"],
            records: &records,
            calibrations: &[],
        };
        let mut lines = String::new();
        let mut count = 0;
        for run in outcome.plan() {
            let at = At {
                method: run.method.clone(),
                learning_rate: run.cell.learning_rate,
                seed: run.cell.seed,
            };
            let Some((accuracy, changes)) = record(&at) else {
                continue;
            };
            let test = json!({
                "loss": 1.0, "regression": null,
                "classes": {
                    "accuracy": accuracy / 100.0, "matthews": 0.0, "f1": 0.0, "binary_f1": null
                },
            });
            let mut record = json!({
                "key": run.key, "task": run.task, "method": run.method, "seed": run.cell.seed,
                "version": "1", "simd": "portable", "seconds": 1.0, "diverged_at": null,
                "test": test, "validation": test, "train": test, "best": [10, test],
                "bump": { "height": 0.0, "length": 0, "recovered": true },
                "losses": [2.0, 1.0], "gradient_share": 0.01, "row_std": null, "trained": 10,
            });
            for (field, value) in changes.as_object().unwrap() {
                record[field] = value.clone();
            }
            lines += &format!("{record}\n");
            count += 1;
        }
        std::fs::write(place.path().join("runs.jsonl"), lines).unwrap();
        if count == known {
            break;
        }
        known = count;
    }
    let experiments = [experiment.clone()];
    let order = Order {
        experiments: &experiments,
        level: "default",
        out: place.path(),
        known: &[],
        jobs: Jobs::all(),
        title: "Made up",
    };
    let findings = report_of(&order, &[place.path().to_path_buf()]).unwrap();
    let report = std::fs::read_to_string(place.path().join("report.md")).unwrap();
    (findings, report, known)
}

/// The findings of an experiment whose runs scored as `accuracy(method, seed)` says; none
/// is a run that diverged.
pub(crate) fn findings(
    precondition: &str,
    accuracy: impl Fn(&str, u64) -> Option<f64>,
) -> (Vec<Finding>, String) {
    let experiment = parsed(&EXPERIMENT.replace("PRECONDITION", precondition));
    let (findings, report, _) = study(&experiment, |at| {
        let found = accuracy(&at.method, at.seed);
        let diverged_at = found.is_none().then_some(3);
        Some((found.unwrap_or(99.0), json!({ "diverged_at": diverged_at })))
    });
    (findings, report)
}

/// The verdict on the only claim.
pub(crate) fn verdict(precondition: &str, accuracy: impl Fn(&str, u64) -> Option<f64>) -> Verdict {
    let (mut findings, _) = findings(precondition, accuracy);
    assert_eq!(findings.len(), 1);
    findings.remove(0).judgement.verdict
}
