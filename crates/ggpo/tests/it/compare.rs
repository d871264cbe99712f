//! `ggpo compare` and `ggpo features`, on tiny models.

use crate::common::World;
use crate::runner::{json, refused, run, succeeds};
use crate::runs_end_well::{signal, start, wait_for};

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

const COMPARE: &str = "compare --model encoder --train train.tsv --max-length 24 --steps 3 \
                       --batch-size 4 --rank 2 --methods lora,ggpo --seeds 6";

#[test]
fn a_comparison_reports_a_verdict_by_the_rule_and_goes_on_where_it_was() {
    let world = World::new();
    let line = format!("{COMPARE} --learning-rates 1e-2,1e-3 --out compared");
    let text = succeeds(&world, &words(&line));
    assert!(
        text.contains("LoRA-GGPO has a higher test score than LoRA: "),
        "{text}"
    );
    let read = |file: &str| std::fs::read_to_string(world.path("compared").join(file)).unwrap();
    let runs = read("runs.jsonl");
    // Two methods: two trials and six seeds each.
    assert_eq!(runs.lines().count(), 16);
    for file in ["report.html", "report.md", "results.csv", "verdicts.md"] {
        assert!(!read(file).is_empty(), "{file}");
    }
    // Without a file of them, rows are set aside for the test, the same in all runs.
    succeeds(&world, &words(&line));
    assert_eq!(read("runs.jsonl"), runs);
    // Compared runs keep what the test rows lost; trials have no test.
    let rows = runs
        .lines()
        .filter(|line| line.contains("\"rows\":{\"right\""));
    assert_eq!(rows.count(), 12);
    assert!(read("report.md").contains("95 % interval, seeds and rows"));
    assert!(read("report.md").contains("given on the command line"));
    // Nothing is kept of the test in a trial.
    let records: Vec<_> = runs.lines().map(json).collect();
    let with_test = records
        .iter()
        .filter(|it| it["test"]["classes"]["accuracy"].is_number());
    assert_eq!(with_test.count(), 12);
}

#[cfg(unix)]
#[test]
fn a_comparison_that_is_stopped_goes_on() {
    let world = World::new();
    let line = format!("{COMPARE} --steps 100 --learning-rates 1e-2 --jobs 1 --out");
    succeeds(&world, &words(&format!("{line} whole")));
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let child = start(&world, &format!("{line} {name}"));
        wait_for(&world.path(name).join("runs.jsonl"));
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        let again = format!("go on with: ggpo {line} {name}");
        let again: Vec<&str> = again.split_whitespace().collect();
        assert!(errors.contains(&again.join(" ")), "{errors}");
        let runs = |out: &str| {
            let text = std::fs::read_to_string(world.path(out).join("runs.jsonl")).unwrap();
            let records = text.lines().map(|line| {
                let mut record = json(line);
                record["seconds"] = 0.into();
                record.to_string()
            });
            records.collect::<std::collections::BTreeSet<String>>()
        };
        assert!(runs(name).len() < 14, "it was stopped before its end");
        succeeds(&world, &words(&format!("{line} {name}")));
        assert_eq!(runs(name), runs("whole"));
        assert!(!world.path(name).join("work").exists());
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let world = World::new();
    let compare = |more: &str| refused(&world, &words(&format!("{COMPARE} {more} --out compared")));
    let few = refused(
        &world,
        &words(&format!(
            "{} --out c",
            COMPARE.replace("--seeds 6", "--seeds 5")
        )),
    );
    assert_eq!(
        few,
        "seeds: expected at least 6, to decide between 2 methods, found 5"
    );
    let reference = compare("--reference sam");
    assert_eq!(reference, "reference: expected lora, ggpo, found sam");
    let rate = compare("--learning-rates 0");
    assert!(
        rate.starts_with("learning_rates: expected finite numbers above 0"),
        "{rate}"
    );
    for (more, said) in [
        (
            "--learning-rates 1e-3,1e-3",
            "every rate once, found 0.001 twice",
        ),
        (
            "--methods lora,ggpo,lora",
            "every method once, found lora twice",
        ),
        (
            "--margin 0",
            "margin: expected a finite number above 0, found 0",
        ),
        (
            "--margin -0.5",
            "margin: expected a finite number above 0, found -0.5",
        ),
        (
            "--margin nan",
            "margin: expected a finite number above 0, found NaN",
        ),
        // What the comparison sets itself is not passed over.
        (
            "--seed 3",
            "seed: expected nothing, as --seeds N runs those from 1 to N, found 3",
        ),
        (
            "--lr 1e-3",
            "expected nothing, as --learning-rates lists them, found 0.001",
        ),
        ("--patience 2", "patience: expected nothing"),
        (
            "--method dora",
            "method.name: expected nothing, as --methods names them",
        ),
    ] {
        let found = compare(more);
        assert!(found.contains(said), "{more}: {found}");
    }
    let usage = run(&world, &words("compare --methods lora,nothing --out c"));
    assert_eq!(usage.status.code(), Some(2));
    for option in ["--seeds", "--tuning-seeds"] {
        for count in ["0", "18446744073709551615"] {
            let line = format!("{COMPARE} {option} {count} --out compared");
            assert_eq!(run(&world, &words(&line)).status.code(), Some(2));
        }
    }
    assert!(!world.path("compared").exists());
}

#[test]
fn features_are_a_model_to_train_and_to_score() {
    let world = World::new();
    let line = "features --model encoder --train train.tsv --validation validation.tsv \
                --test test.tsv --max-length 24 --out layer";
    let text = succeeds(&world, &words(line));
    assert!(text.starts_with("16 features of "), "{text}");
    let line = "train --model layer --train layer/train.tsv --validation layer/validation.tsv \
                --test layer/test.tsv --max-length 1 --loss least-squares --head ridge --rank 2 \
                --method ggpo --noise-gradient reparameterised --lr 1e-2 --steps 5 --out run --json";
    let result = json(&succeeds(&world, &words(line)));
    // A and B of one layer of 16 x 16; the head is not trained.
    assert_eq!(result["trained_parameters"], 64);
    let line = "eval --run run layer/test.tsv --json";
    let scores = json(&succeeds(&world, &words(line)));
    assert_eq!(scores["loss"], result["test"]["loss"]);
    let line = "train --model encoder --train train.tsv --head ridge --max-length 24 --out other";
    assert!(refused(&world, &words(line)).contains("head.fit: expected trained, unless"));
}
