//! `ggpo estimate`.

use crate::common::World;
use crate::runner::{json, refused, succeeds};

/// A run of twelve steps in four micro-batches.
const RUN: &str = "estimate --model encoder --train train.tsv --validation validation.tsv \
                   --test test.tsv --max-length 24 --batch-size 8 --micro-batches 4 \
                   --steps 12 --method ggpo";

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn a_run_is_estimated_and_nothing_is_written() {
    let world = World::new();
    let before = std::fs::read_dir(world.folder.path()).unwrap().count();
    let text = succeeds(&world, &words(RUN));
    for part in ["steps: 12", "training:", "scores:", "all together:"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("ranks"), "{text}");
    let text = succeeds(&world, &words(&format!("{RUN} --ranks 2")));
    assert!(text.contains("on 2 ranks:"), "{text}");

    let line = format!("{RUN} --ranks 4 --bandwidth 1e6 --latency 1e-3 --json");
    let found = json(&succeeds(&world, &words(&line)));
    let run = &found["run"];
    let number = |field: &str| run[field].as_f64().unwrap();
    let seconds = found["seconds"].as_f64().unwrap();
    assert!(seconds > 0.0 && seconds >= number("training_seconds"));
    assert!(number("shared_ms") > 0.0 && number("shared_ms") < number("step_ms"));
    // Four bytes for every trained number; three of four micro-batches are others'.
    assert_eq!(number("bytes_per_micro_batch"), 4.0 * number("trained"));
    let received = found["bytes_received_per_step"].as_f64().unwrap();
    assert_eq!(received, 3.0 * number("bytes_per_micro_batch"));
    let on_ranks = found["step_ms_on_ranks"].as_f64().unwrap();
    assert!(on_ranks > 3.0 * 1e3 * (1e-3 + number("bytes_per_micro_batch") / 1e6));
    assert_eq!(
        std::fs::read_dir(world.folder.path()).unwrap().count(),
        before
    );
}

#[test]
fn more_ranks_than_micro_batches_are_refused() {
    let world = World::new();
    for (option, wanted) in [
        ("--ranks 5", "--ranks: expected 1 to 4"),
        ("--ranks 0", "--ranks: expected 1 to 4"),
        ("--bandwidth 0", "--bandwidth"),
    ] {
        let sentence = refused(&world, &words(&format!("{RUN} {option}")));
        assert!(sentence.contains(wanted), "{sentence}");
    }
}
