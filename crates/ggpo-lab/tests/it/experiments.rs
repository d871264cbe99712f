//! Descriptions, plans, records and verdicts of experiments, without training anything.

use std::path::{Path, PathBuf};

use ggpo_lab::experiment::{Experiment, Finding, Jobs, Order, Records, report_of};
use ggpo_lab::verdict::Verdict;
use serde_json::json;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn files() -> Vec<PathBuf> {
    let folder = Path::new(ROOT).join("experiments");
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.extension().is_some()).collect();
    files.sort();
    files
}

#[test]
fn the_experiments_of_the_workspace_are_well_described() {
    let experiments: Vec<Experiment> = files()
        .iter()
        .map(|path| Experiment::read(path).unwrap())
        .collect();
    let mut places: Vec<u32> = experiments.iter().map(|it| it.place).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(
        places.len(),
        experiments.len(),
        "every experiment has a place of its own"
    );
    let calibrations: Vec<String> =
        ggpo_lab::calibration::all(ggpo_lab::calibration::Effort::Quick)
            .into_iter()
            .map(|it| it.name)
            .collect();
    for experiment in &experiments {
        for name in &experiment.stands_on {
            assert!(calibrations.contains(name), "{}: {name}", experiment.id);
        }
    }
}

const EXPERIMENT: &str = r#"
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

/// The findings of an experiment whose runs scored as `accuracy(method, seed)` says; none
/// is a run that diverged.
fn findings(
    precondition: &str,
    accuracy: impl Fn(&str, u64) -> Option<f64>,
) -> (Vec<Finding>, String) {
    let place = tempfile::tempdir().unwrap();
    let text = EXPERIMENT.replace("PRECONDITION", precondition);
    let experiment = Experiment::parse(&text, Path::new("made-up.toml")).unwrap();
    let grid = &experiment.grid["default"];
    let records = Records::default();
    let outcome = ggpo_lab::experiment::Outcome {
        experiment: &experiment,
        level: "default",
        grid,
        records: &records,
        calibrations: &[],
    };
    let mut lines = String::new();
    for run in outcome.plan() {
        let found = accuracy(&run.method, run.cell.seed);
        let scores = |accuracy: f64| {
            json!({
                "loss": 1.0, "regression": null,
                "classes": { "accuracy": accuracy / 100.0, "matthews": 0.0, "f1": 0.0, "binary_f1": null },
            })
        };
        let test = scores(found.unwrap_or(99.0));
        let record = json!({
            "key": run.key, "task": run.task, "method": run.method, "seed": run.cell.seed,
            "version": "1", "simd": "portable", "seconds": 1.0,
            "diverged_at": found.is_none().then_some(3),
            "test": test, "validation": test, "train": test, "best": [10, test],
            "bump": { "height": 0.0, "length": 0, "recovered": true },
            "losses": [2.0, 1.0], "gradient_share": 0.01, "row_std": null, "trained": 10,
        });
        lines += &format!("{record}\n");
    }
    std::fs::write(place.path().join("runs.jsonl"), lines).unwrap();
    let experiments = [experiment];
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
    (findings, report)
}

fn verdict(precondition: &str, accuracy: impl Fn(&str, u64) -> Option<f64>) -> Verdict {
    let (mut findings, _) = findings(precondition, accuracy);
    assert_eq!(findings.len(), 1);
    findings.remove(0).judgement.verdict
}

/// A little spread over seeds that both methods share, and a little that they do not.
fn score(method: &str, seed: u64, gain: f64) -> Option<f64> {
    let own = 0.05 * (seed % 3) as f64;
    Some(80.0 + seed as f64 + if method == "ggpo" { gain + own } else { 0.0 })
}

#[test]
fn verdicts_follow_the_rule() {
    let with = |gain| verdict("", move |method, seed| score(method, seed, gain));
    assert_eq!(with(1.0), Verdict::Supported);
    assert_eq!(with(0.0), Verdict::Equivalent);
    assert_eq!(with(-1.0), Verdict::Contradicted { worse: true });
    let scattered = verdict("", |method, seed| {
        let sign = if seed % 2 == 0 { 1.0 } else { -1.0 };
        Some(
            80.0 + if method == "ggpo" {
                2.0 * sign + 0.5
            } else {
                0.0
            },
        )
    });
    assert!(
        matches!(scattered, Verdict::Undecided { .. }),
        "{scattered}"
    );
}

#[test]
fn a_run_that_diverged_counts_as_the_worst_value() {
    let (findings, report) = findings("", |method, seed| match (method, seed) {
        ("ggpo", 1) => None,
        _ => Some(75.0),
    });
    // One of eight pairs is 25 - 75.
    let judgement = &findings[0].judgement;
    assert_eq!(judgement.mean, Some(-50.0 / 8.0));
    assert_eq!(judgement.pairs, 8);
    assert!(report.contains("A run that diverges counts as"), "{report}");
    assert!(findings[0].is_headline);
    assert_eq!(findings[0].claim, "LoRA-GGPO beats LoRA on the task");
}

#[test]
fn a_precondition_that_fails_makes_the_claim_not_testable() {
    let precondition = "precondition = { kind = \"gradient-share\", at_least = 0.1 }";
    let (found, report) = findings(precondition, |method, seed| score(method, seed, 1.0));
    let Verdict::NotTestable(reason) = &found[0].judgement.verdict else {
        panic!("{}", found[0].judgement.verdict);
    };
    assert!(
        reason.contains("1.00e-2") && reason.contains("0.1"),
        "{reason}"
    );
    assert!(report.contains("not testable"));
    let unknown = "stands_on = [\"no-such-thing\"]";
    let (found, _) = findings(unknown, |method, seed| score(method, seed, 1.0));
    let text = found[0].judgement.verdict.to_string();
    assert_eq!(
        text,
        "not testable: the calibration no-such-thing was not carried out"
    );
}

#[test]
fn keys_tell_runs_apart_by_what_they_depend_on() {
    let parse = |text: &str| {
        Experiment::parse(&text.replace("PRECONDITION", ""), Path::new("made-up.toml")).unwrap()
    };
    let keys = |experiment: &Experiment| -> Vec<String> {
        let records = Records::default();
        let outcome = ggpo_lab::experiment::Outcome {
            experiment,
            level: "default",
            grid: &experiment.grid["default"],
            records: &records,
            calibrations: &[],
        };
        outcome.plan().into_iter().map(|run| run.key).collect()
    };
    let first = keys(&parse(EXPERIMENT));
    assert_eq!(first.len(), 16);
    let mut distinct = first.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 16);
    // What is only said about the runs does not change them.
    let said = EXPERIMENT
        .replace("Made up", "Another title")
        .replace("margin = 0.5", "margin = 1.0");
    assert_eq!(keys(&parse(&said)), first);
    let longer = EXPERIMENT.replace("steps = 10", "steps = 11");
    assert!(keys(&parse(&longer)).iter().all(|key| !first.contains(key)));
}

#[test]
fn what_decides_is_done_first_and_seed_by_seed() {
    let text = EXPERIMENT
        .replace("PRECONDITION", "at = { rows = 64, label_noise = 0.2 }")
        .replace(
            "seeds = 8",
            "seeds = 8\nrows = [32, 64]\nlabel_noise = [0.0, 0.2]",
        );
    let experiment = Experiment::parse(&text, Path::new("made-up.toml")).unwrap();
    let outcome = ggpo_lab::experiment::Outcome {
        experiment: &experiment,
        level: "default",
        grid: &experiment.grid["default"],
        records: &Records::default(),
        calibrations: &[],
    };
    let agenda = outcome.agenda();
    let first: Vec<_> = agenda[..4]
        .iter()
        .map(|run| (run.method.as_str(), run.cell.rows, run.cell.seed))
        .collect();
    let at = |method, seed| (method, Some(64), seed);
    let expected = [at("ggpo", 1), at("lora", 1), at("ggpo", 2), at("lora", 2)];
    assert_eq!(first, expected);
    let cells = agenda
        .iter()
        .map(|run| (run.cell.rows, run.cell.label_noise));
    let decide = cells.map(|cell| cell == (Some(64), 0.2));
    assert_eq!(
        decide.collect::<Vec<_>>().iter().rposition(|it| *it),
        Some(15)
    );
    assert_eq!(agenda.len(), outcome.plan().len());

    // A method that is not elsewhere has only the runs that decide.
    let text = text.replace("seeds = 8", "elsewhere = [\"lora\"]\nseeds = 8");
    let fewer = Experiment::parse(&text, Path::new("made-up.toml")).unwrap();
    let outcome = ggpo_lab::experiment::Outcome {
        experiment: &fewer,
        grid: &fewer.grid["default"],
        ..outcome
    };
    let count = |method| {
        outcome
            .plan()
            .iter()
            .filter(|it| it.method == method)
            .count()
    };
    assert_eq!([count("ggpo"), count("lora")], [8, 32]);
}

/// The README says what the committed report says.
#[test]
fn the_readme_holds_the_verdicts_of_the_report() {
    let read = |file: &str| std::fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
    let verdicts = read("docs/results/default/verdicts.md");
    assert!(
        read("README.md").contains(&verdicts),
        "README.md differs from verdicts.md"
    );
}
