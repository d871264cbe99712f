//! Descriptions, plans, records and verdicts of experiments, without training anything.

use std::path::{Path, PathBuf};

use ggpo_lab::experiment::{Experiment, Outcome, Records};
use ggpo_lab::verdict::Verdict;

use crate::made_up::{EXPERIMENT, findings, parsed, verdict};

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
    let keys = |experiment: &Experiment| -> Vec<String> {
        let records = Records::default();
        let outcome = Outcome {
            experiment,
            level: "default",
            grid: &experiment.grid["default"],
            records: &records,
            calibrations: &[],
        };
        outcome.plan().into_iter().map(|run| run.key).collect()
    };
    let first = keys(&parsed(EXPERIMENT));
    assert_eq!(first.len(), 16);
    let mut distinct = first.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 16);
    // What is only said about the runs does not change them.
    let said = EXPERIMENT
        .replace("Made up", "Another title")
        .replace("margin = 0.5", "margin = 1.0");
    assert_eq!(keys(&parsed(&said)), first);
    let longer = EXPERIMENT.replace("steps = 10", "steps = 11");
    assert!(
        keys(&parsed(&longer))
            .iter()
            .all(|key| !first.contains(key))
    );
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
