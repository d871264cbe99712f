//! `ggpo audit`, from outside.

use crate::common::{World, read};
use crate::runner::{json, refused, succeeds};

#[test]
fn an_audit_of_the_built_in_model_is_written_as_lines_and_as_a_page() {
    let world = World::new();
    let text = succeeds(&world, &["audit", "--steps", "2", "--out", "audited"]);
    assert!(text.contains("have the same bits"), "{text}");
    let lines = String::from_utf8(read(&world.path("audited/audit.jsonl"))).expect("text");
    assert_eq!(lines.lines().count(), 2 * (1 + 12));
    for line in lines.lines() {
        assert!(json(line)["kind"].is_string(), "{line}");
    }
    let page = String::from_utf8(read(&world.path("audited/audit.html"))).expect("text");
    assert!(page.contains("<script type=\"application/json\" id=\"audit\""));
    // It needs nothing from elsewhere.
    for wanted in ["src=\"", "http:", "https:", "@import", "{{"] {
        assert!(!page.contains(wanted), "{wanted}");
    }
    let sentence = refused(&world, &["audit", "--out", "audited"]);
    assert!(sentence.contains("expected a new folder"), "{sentence}");
}

#[test]
fn an_audit_takes_models_data_and_an_element() {
    let world = World::new();
    let line = "audit --model encoder --data train.tsv --max-length 24 --rank 2 --steps 1 \
                --layer bert.encoder.layer.1.output.dense --row 15 --column 23 --json --out found";
    let arguments: Vec<&str> = line.split_whitespace().collect();
    let found = json(&succeeds(&world, &arguments));
    assert_eq!(found["steps"][0]["unchanged"], true);
    let line = "audit --model decoder --data train.txt --task language-modelling \
                --max-length 8 --rank 2 --steps 1 --out decoder-found";
    let arguments: Vec<&str> = line.split_whitespace().collect();
    succeeds(&world, &arguments);
}

#[test]
fn what_an_audit_cannot_follow_is_refused() {
    let world = World::new();
    let cases = [
        (
            "--method lora",
            "expected ggpo, whose noise is audited, found none",
        ),
        ("--row 8", "--row: expected a number below 8, found 8"),
        (
            "--layer head",
            "--layer: expected one of bert.encoder.layer.0.attention.output.dense",
        ),
        ("--micro-batches 2", "micro_batches: expected 1"),
    ];
    for (options, expected) in cases {
        let mut arguments = vec!["audit", "--out", "none"];
        arguments.extend(options.split_whitespace());
        let sentence = refused(&world, &arguments);
        assert!(sentence.contains(expected), "{sentence}");
        assert!(!world.path("none").exists());
    }
}
