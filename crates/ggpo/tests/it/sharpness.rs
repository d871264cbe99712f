//! `ggpo sharpness` and `ggpo landscape`, on tiny models.

use crate::common::{World, read};
use crate::runner::{json, refused, succeeds};

/// A world with a run of rank 2 in the folder `run`.
fn trained(method: &str) -> World {
    let world = World::new();
    let arguments = format!(
        "train --model encoder --train train.tsv --validation validation.tsv --method {method} \
         --rank 2 --lr 1e-2 --steps 4 --max-length 24 --targets query,value --out run"
    );
    succeeds(&world, &words(&arguments));
    world
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

const QUICK: [&str; 6] = ["--rows", "4", "--samples", "2", "--lanczos", "3"];

#[test]
fn sharpness_of_a_run_in_both_spaces() {
    let world = trained("ggpo");
    let measure = |more: &[&str]| {
        let arguments = [&["sharpness", "--run", "run"], &QUICK[..], more].concat();
        succeeds(&world, &arguments)
    };
    let text = measure(&[]);
    for part in [
        "over 4 answers",
        "merged weights",
        "factors",
        "trace",
        "sigma 0.03",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let found = json(&measure(&["--json"]));
    assert_eq!(found, json(&measure(&["--json"])), "the same seed");
    // Queries and values of two layers: 16 x 16, or twice 2 x 16.
    assert_eq!(found["merged"]["dimension"], 4 * 256);
    assert_eq!(found["factors"]["dimension"], 4 * 64);
    assert_eq!(found["noise"]["sigma"], 0.03);
    let other = json(&measure(&[
        "--json", "--sigma", "0.3", "--data", "test.tsv",
    ]));
    assert_eq!(other["noise"]["sigma"], 0.3);
    assert_ne!(found["loss"], other["loss"]);
}

#[test]
fn sharpness_of_a_model_with_an_adapter_or_without() {
    let world = trained("dora");
    let line = "sharpness --model encoder --adapter run/adapter --data test.tsv \
                --labels cold,warm --space factors --json";
    let arguments = [&words(line), &QUICK[..]].concat();
    let found = json(&succeeds(&world, &arguments));
    assert!(found["merged"].is_null());
    assert_eq!(found["factors"]["dimension"], 4 * (64 + 16));

    let line = "sharpness --model decoder --task language-modelling --max-length 8 \
                --data test.txt";
    let arguments = [&words(line), &QUICK[..]].concat();
    let text = succeeds(&world, &arguments);
    assert!(
        text.contains("merged weights") && !text.contains("factors"),
        "{text}"
    );
    let sentence = refused(&world, &[&arguments[..], &["--space", "factors"]].concat());
    assert!(sentence.contains("without"), "{sentence}");
}

#[test]
fn a_landscape_is_written_as_numbers_and_a_figure() {
    let world = trained("lora");
    let start = "landscape --run run --rows 4 --points 5";
    let line = format!("{start} --surface 3 --out drawn");
    let text = succeeds(&world, &words(&line));
    assert!(text.contains("surface.csv"), "{text}");
    let found = String::from_utf8(read(&world.path("drawn/landscape.json"))).unwrap();
    let found = json(&found);
    assert_eq!(found["loss"], found["curves"][0]["losses"][2]);
    assert_eq!(found["dimension"], 4 * 256);
    let curves = String::from_utf8(read(&world.path("drawn/curves.csv"))).unwrap();
    assert!(
        curves.starts_with("x,loss_1,loss_2,loss_3\n-1,"),
        "{curves}"
    );
    let surface = String::from_utf8(read(&world.path("drawn/surface.csv"))).unwrap();
    assert_eq!(surface.lines().count(), 10);
    for figure in ["drawn/curves.svg", "drawn/surface.svg"] {
        let drawn = String::from_utf8(read(&world.path(figure))).unwrap();
        assert!(drawn.starts_with("<svg") && drawn.contains("merged weights"));
    }

    let line = format!("{start} --surface 0 --space factors --out flat --json");
    let found = json(&succeeds(&world, &words(&line)));
    assert_eq!(found["files"].as_array().unwrap().len(), 3);
    assert!(!world.path("flat/surface.csv").exists());

    let sentence = refused(&world, &words(&format!("{start} --out drawn")));
    assert!(
        sentence.contains("drawn: expected a new folder"),
        "{sentence}"
    );
}

#[test]
fn settings_that_cannot_be_used() {
    let world = trained("lora");
    let cases: [(&[&str], &str); 6] = [
        (
            &["sharpness", "--rho", "0"],
            "rho: expected a finite number above 0",
        ),
        (&["sharpness", "--sigma=-1"], "sigma"),
        (&["sharpness", "--samples", "0"], "at least 1"),
        (&["sharpness", "--rows", "0"], "found none"),
        (&["sharpness", "--data", "none.tsv"], "none.tsv"),
        (
            &["landscape", "--out", "x", "--points", "4"],
            "points: expected an odd number",
        ),
    ];
    for (arguments, part) in cases {
        let sentence = refused(&world, &[arguments, &["--run", "run"]].concat());
        assert!(sentence.contains(part), "{sentence}");
    }
    assert!(!world.path("x").exists());
}
