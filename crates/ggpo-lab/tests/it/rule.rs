//! What is said where things are not as in the experiments of the workspace.

use ggpo_lab::verdict::Verdict;
use serde_json::{Value, json};

use crate::made_up::{At, EXPERIMENT, findings, parsed, refused, study, verdict};

/// 80 percent, and a gain of one method with some spread.
fn plain(at: &At, gain: f64) -> Option<(f64, Value)> {
    let own = 0.05 * (at.seed % 3) as f64;
    let gain = if at.method == "ggpo" { gain + own } else { 0.0 };
    Some((80.0 + gain, json!({})))
}

#[test]
fn a_description_that_cannot_be_right_is_refused() {
    let grid = |text: &str| EXPERIMENT.replace("seeds = 8", text);
    let peak = EXPERIMENT.replace("seeds = 8", "seeds = 8\nranks = [4, 8]");
    let peak = format!("alpha_over_rank = 2.0\n{peak}");
    for (text, said) in [
        (
            EXPERIMENT.replace("margin", "margn"),
            "unknown field `margn`",
        ),
        (grid("seeds = 8\nsede = 1"), "unknown field `sede`"),
        (
            EXPERIMENT.replace("references = [\"lora\"]", "references = [\"dora\"]"),
            "references: expected the id of a method, found \"dora\"",
        ),
        (
            EXPERIMENT.replace("references = [\"lora\"]", ""),
            "methods: expected references of \"ggpo\", found none",
        ),
        (
            grid("seeds = 8\nmethods = [\"ggpo\"]"),
            "grid.default.methods: expected \"lora\", the reference of \"ggpo\", found it not",
        ),
        (
            grid("seeds = 5"),
            "grid.default.seeds: method \"ggpo\": the smallest p that 5 pairs can have after \
             Holm's correction over 1 is 0.062, above 0.05; 6 pairs are needed",
        ),
        (grid("seeds = 1"), "the smallest p that 1 pair can have"),
        // A pair needs both.
        (
            grid("seeds = 8\nseeds_of = { lora = 5 }"),
            "the smallest p that 5 pairs can have",
        ),
        (
            grid("seeds = 8\nseeds_of = { dora = 9 }"),
            "grid.default.seeds_of: expected the id of a method, found \"dora\"",
        ),
        (
            EXPERIMENT.replace("[1e-3]", "[1e-3, 1e-3]"),
            "grid.default.learning_rates: expected every number once, found 0.001 twice",
        ),
        (
            EXPERIMENT.replace("[1e-3]", "[-1e-3]"),
            "grid.default.learning_rates: expected finite numbers above 0, found -0.001",
        ),
        (
            EXPERIMENT.replace("margin = 0.5", "margin = nan"),
            "margin: expected",
        ),
        // Which of the ranks is the claim about?
        (
            peak.clone(),
            "at.rank: expected one of 4, 8, found none, in grid.default",
        ),
        (
            format!("at = {{ rank = 5 }}\n{peak}"),
            "at.rank: expected one of 4, 8, found 5, in grid.default",
        ),
        (
            grid("seeds = 20\nlook = 9"),
            "grid.default.look: expected 10",
        ),
        (
            grid("seeds = 10\nlook = 10"),
            "expected more than 10 seeds, found 10",
        ),
    ] {
        let found = refused(&text);
        assert!(found.contains(said), "{found}\nwithout: {said}");
        assert!(found.starts_with("made-up.toml: "), "{found}");
        // The reader's own words about a field may point at its line.
        assert!(!found.trim().is_empty() && found.len() < 500, "{found}");
    }
    parsed(&format!("at = {{ rank = 8 }}\n{peak}"));
}

/// A family of six wants nine pairs.
#[test]
fn a_plan_too_small_for_its_table_is_refused() {
    let mut text = EXPERIMENT.to_owned();
    for name in ["dora", "rslora", "pissa", "olora", "sam"] {
        let method = format!(
            "[[methods]]\nid = \"{name}\"\ntitle = \"{name}\"\nmethod = {{ name = \"{name}\" }}\n"
        );
        text = text.replace("[grid.default]", &format!("{method}[grid.default]"));
    }
    let fine = text.replace("seeds = 8", "seeds = 9");
    assert_eq!(parsed(&fine).methods.len(), 7);
    let found = refused(&text.replace("seeds = 8", "seeds = 7"));
    assert!(
        found.contains("Holm's correction over 6 is 0.094"),
        "{found}"
    );
}

#[test]
fn no_spread_and_ties_are_no_trouble() {
    let gain = |gain: f64| {
        verdict("", move |method, _| {
            Some(80.0 + if method == "ggpo" { gain } else { 0.0 })
        })
    };
    assert_eq!(gain(0.0), Verdict::Equivalent);
    assert_eq!(gain(0.25), Verdict::Equivalent);
    // The margin itself is not within the margin.
    assert_eq!(gain(0.5), Verdict::Supported);
    assert_eq!(gain(-0.5), Verdict::Contradicted { worse: true });
    // Half of the pairs are ties: p is 2 / 2^4, and the plan could have had 2 / 2^8.
    let (found, _) = findings("", |method, seed| {
        let wins = method == "ggpo" && seed <= 4;
        Some(80.0 + if wins { 2.0 } else { 0.0 })
    });
    let judgement = &found[0].judgement;
    assert_eq!(judgement.p, Some(0.125));
    assert_eq!(judgement.verdict.word(), "undecided");
    assert!(judgement.interval_95.unwrap().low > 0.0);
}

#[test]
fn runs_that_diverged_on_both_sides_show_nothing() {
    let all = verdict("", |_, _| None);
    assert_eq!(
        all.to_string(),
        "not testable: every run of LoRA-GGPO and LoRA diverged"
    );
    // One side alone is as bad as the worst value says.
    let own = verdict("", |method, _| (method == "lora").then_some(80.0));
    assert_eq!(own, Verdict::Contradicted { worse: true });
    let others = verdict("", |method, _| (method == "ggpo").then_some(80.0));
    assert_eq!(others, Verdict::Supported);
}

/// Without a worst value a run that diverged has no score.
#[test]
fn what_is_no_number_is_not_testable() {
    let experiment = parsed(&EXPERIMENT.replace("diverged = 25.0", ""));
    let (found, ..) = study(&experiment, |at| {
        let diverged_at = (at.method == "ggpo" && at.seed == 3).then_some(3);
        Some((80.0, json!({ "diverged_at": diverged_at })))
    });
    let said = found[0].judgement.verdict.to_string();
    assert!(
        said.starts_with("not testable: a difference to LoRA is not finite"),
        "{said}"
    );
    // A mean of training losses that is no number is not a small difference.
    let precondition = "precondition = { kind = \"matched-training\", within = 0.02 }";
    let experiment = parsed(&EXPERIMENT.replace("PRECONDITION", precondition));
    let (found, ..) = study(&experiment, |at| {
        let loss = match at.seed {
            3 => json!("NaN"),
            _ => json!(1.0),
        };
        let train = json!({ "loss": loss, "classes": null, "regression": null });
        Some((80.0, json!({ "train": train })))
    });
    assert_eq!(
        found[0].judgement.verdict.to_string(),
        "not testable: a mean training loss is not finite"
    );
}

/// A report in the middle of a study says how much of the plan it is of.
#[test]
fn what_is_not_complete_is_said_beside_the_verdict() {
    let (found, report, runs) = study(&parsed(EXPERIMENT), |at| {
        plain(at, 1.0).filter(|_| at.seed <= 6)
    });
    assert_eq!(
        (runs, found[0].judgement.pairs, found[0].planned),
        (12, 6, 8)
    );
    assert_eq!(found[0].judgement.verdict, Verdict::Supported);
    assert!(report.contains("6 of 8 pairs"), "{report}");
    assert!(report.contains("Not complete: 4 runs of the plan are missing."));
    let (found, report, _) = study(&parsed(EXPERIMENT), |at| {
        plain(at, 1.0).filter(|_| at.seed == 1)
    });
    let said = found[0].judgement.verdict.to_string();
    assert!(
        said.contains("the smallest p that 1 pair can have"),
        "{said}"
    );
    assert!(report.contains("the smallest p that 1 pair can have"));
    let (found, ..) = study(&parsed(EXPERIMENT), |_| None);
    assert_eq!(found[0].judgement.verdict.word(), "not testable");
}

#[test]
fn a_rate_at_the_edge_is_said() {
    let tuned = EXPERIMENT.replace("[1e-3]", "[1e-3, 3e-3, 1e-2]\ntuning_seeds = 1");
    let best_at = |rate: f64| {
        let (_, report, _) = study(&parsed(&tuned), |at| {
            let validation = json!({
                "loss": (at.learning_rate / rate).ln().abs(), "regression": null,
                "classes": {
                    "accuracy": 0.9 - (at.learning_rate / rate).ln().abs() / 100.0,
                    "matthews": 0.0, "f1": 0.0, "binary_f1": null
                },
            });
            let diverged_at = (at.learning_rate > 9e-3 && rate < 9e-3).then_some(2);
            let diverged_at = diverged_at.filter(|_| at.seed > 100);
            Some((
                80.0,
                json!({ "validation": validation, "diverged_at": diverged_at }),
            ))
        });
        report
    };
    let edge = "the chosen rate lies at an end of the grid";
    assert!(!best_at(3e-3).contains(edge));
    let report = best_at(1e-2);
    assert!(report.contains(edge), "{report}");
    assert!(report.contains("Of LoRA-GGPO and LoRA"), "{report}");
}

/// What has no factors has no sharpness in their space; its record is read all the same.
#[test]
fn a_measure_that_is_not_there_is_read() {
    let space = json!({ "rise": null, "eigenvalue": null, "trace": null });
    let flat =
        json!({ "merged": space, "factors": space, "noise_rise": null, "noise_predicted": null });
    let (found, ..) = study(&parsed(EXPERIMENT), |at| {
        let (accuracy, _) = plain(at, 1.0)?;
        Some((accuracy, json!({ "sharpness": flat })))
    });
    assert_eq!(found[0].judgement.verdict, Verdict::Supported);
}

/// One look after 10 of 20 seeds ends what is clear; a reference runs as long as a method
/// that needs it.
#[test]
fn the_look_ends_what_is_clear() {
    let text = EXPERIMENT.replace("seeds = 8", "seeds = 20\nlook = 10");
    let third = "[[methods]]\nid = \"dora\"\ntitle = \"DoRA\"\nmethod = { name = \"dora\" }\n";
    let text = text.replace("[grid.default]", &format!("{third}[grid.default]"));
    let experiment = parsed(&text);
    let with = |of_dora: fn(u64) -> f64| {
        study(&experiment, move |at| {
            let gain = if at.method == "dora" {
                of_dora(at.seed)
            } else {
                0.0
            };
            let (accuracy, changes) = plain(at, 2.0)?;
            Some((accuracy + gain, changes))
        })
    };
    // Both are clear: three methods of ten seeds.
    let (found, report, runs) = with(|_| -3.0);
    assert_eq!(runs, 30);
    let said: Vec<_> = found
        .iter()
        .map(|it| (it.judgement.verdict.word(), it.planned))
        .collect();
    assert_eq!(said, [("supported", 10), ("contradicted, worse", 10)]);
    let sentence = "The one look that was planned, after 10 seeds, showed a clear difference (p \
                    below 0.002) for LoRA-GGPO and DoRA.";
    assert!(report.contains(sentence), "{report}");
    assert!(report.contains("One look"), "{report}");
    // One is not: it and the reference go on, the other does not.
    let (found, report, runs) = with(|seed| if seed % 2 == 0 { 2.0 } else { -1.0 });
    assert_eq!(runs, 50);
    let pairs: Vec<_> = found
        .iter()
        .map(|it| (it.judgement.pairs, it.planned))
        .collect();
    assert_eq!(pairs, [(10, 10), (20, 20)]);
    assert!(
        report.contains("neither, so that it went on for DoRA"),
        "{report}"
    );
    // Equivalence ends as well.
    let (_, report, runs) = with(|_| 0.01);
    assert_eq!(runs, 30);
    assert!(
        report.contains("equivalence at alpha 0.01 for DoRA"),
        "{report}"
    );
    // Where no look is named, there is none.
    let (.., runs) = study(&parsed(&text.replace("look = 10", "")), |at| plain(at, 2.0));
    assert_eq!(runs, 60);
}

/// Records that hold their rows bring a column; one that does not takes it away, and the
/// verdict is the same.
#[test]
fn rows_bring_an_interval_that_decides_nothing() {
    let bits = |right: usize| -> Value {
        let byte = |index: usize| {
            (0..8).fold(0, |byte, bit| {
                byte | u8::from(8 * index + bit < right) << bit
            })
        };
        let letters: String = (0..25)
            .map(|index| format!("{:02x}", byte(index)))
            .collect();
        json!({ "right": { "rows": 200, "bits": letters } })
    };
    let with = |oldest: u64| {
        study(&parsed(EXPERIMENT), move |at| {
            let right = 150
                + if at.method == "ggpo" {
                    4 + (at.seed % 3) as usize
                } else {
                    0
                };
            let rows = (at.seed > oldest).then(|| bits(right));
            let changes = match rows {
                Some(rows) => json!({ "rows": rows }),
                None => json!({}),
            };
            Some((right as f64 / 2.0, changes))
        })
    };
    let (found, report, _) = with(0);
    assert!(report.contains("95 % interval, seeds and rows"), "{report}");
    assert!(report.contains("decides nothing"), "{report}");
    let row = report
        .lines()
        .find(|line| line.starts_with("| LoRA-GGPO "))
        .unwrap();
    let ends = |cell: &str| -> (f64, f64) {
        let (low, high) = cell.trim().split_once(" to ").unwrap();
        let number = |text: &str| text.replace('\u{2212}', "-").parse().unwrap();
        (number(low), number(high))
    };
    let cells: Vec<&str> = row.split('|').collect();
    let place = cells.iter().position(|cell| cell.contains(" to ")).unwrap();
    let (one, two) = (ends(cells[place]), ends(cells[place + 1]));
    // The rows that differ are few of 200, and the same for all seeds.
    assert!(two.0 < one.0 && one.1 < two.1, "{row}");
    assert!(two.0 > 0.0 && two.1 < 6.0, "{row}");
    let (without, report, _) = with(1);
    assert!(!report.contains("seeds and rows"), "{report}");
    assert_eq!(found[0].judgement, without[0].judgement);
}
