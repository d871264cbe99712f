//! `ggpo methods`, and methods put together on the command line.

use crate::common::{World, read};
use crate::runner::{json, refused, run, succeeds};
use ggpo_lora::method::METHODS;

#[test]
fn methods_are_listed() {
    let world = World::new();
    let text = succeeds(&world, &["methods"]);
    let listed = json(&succeeds(&world, &["methods", "--json"]));
    assert_eq!(listed.as_array().unwrap().len(), METHODS.len());
    for (method, listed) in METHODS.iter().zip(listed.as_array().unwrap()) {
        assert!(
            text.lines().any(|line| line.starts_with(method.name)),
            "{}",
            method.name
        );
        assert_eq!(listed["name"], method.name);
        assert_eq!(listed["formula"], method.formula);
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn every_method_is_described() {
    let world = World::new();
    for method in METHODS {
        let text = succeeds(&world, &["methods", method.name]);
        let example = format!("--method {}", method.name);
        let toml = format!("name = \"{}\"", method.name);
        for part in [method.title, method.about, method.source, &example, &toml] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let said = json(&succeeds(&world, &["methods", method.name, "--json"]));
        assert_eq!(said["passes"], method.passes);
        let settings = said["settings"].as_array().unwrap();
        assert_eq!(settings.is_empty(), method.name == "full");
        for setting in settings {
            let option = setting["option"].as_str().unwrap();
            assert!(text.contains(option), "{option}: {text}");
        }
    }
}

#[test]
fn pairs_have_an_acting_weight_or_a_reason() {
    let world = World::new();
    let text = succeeds(&world, &["methods", "--pairs"]);
    for part in ["W + s P diag(E) Q", "EFlat-LoRA", "AdaLoRA starts at E = 0"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let pairs = json(&succeeds(&world, &["methods", "--pairs", "--json"]));
    for pair in pairs.as_array().unwrap() {
        assert_ne!(
            pair["acting_weight"].is_null(),
            pair["refused"].is_null(),
            "{pair}"
        );
    }
}

#[test]
fn a_name_that_is_none_is_wrong_usage() {
    let output = run(&World::new(), &["methods", "magic"]);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8(output.stderr).unwrap();
    for method in METHODS {
        assert!(errors.contains(method.name), "{errors}");
    }
}

/// Options of a short training of the tiny encoder into the folder `out`.
fn training<'a>(out: &'a str, more: &'a str) -> Vec<&'a str> {
    let options = "train --model encoder --train train.tsv --validation validation.tsv --rank 4 \
        --steps 2 --batch-size 4 --max-length 24 --out";
    let more = more.split_whitespace();
    options
        .split_whitespace()
        .chain([out])
        .chain(more)
        .collect()
}

#[test]
fn parts_of_methods_are_combined() {
    let world = World::new();
    succeeds(
        &world,
        &training("run", "--method dora --perturbation sam --rho 0.1"),
    );
    let config = String::from_utf8(read(&world.path("run/config.toml"))).unwrap();
    for line in ["adapter = \"dora\"", "kind = \"sam\"", "rho = 0.1"] {
        assert!(config.contains(line), "{config}");
    }
}

#[test]
fn what_does_not_go_together_is_refused_with_the_reason() {
    let world = World::new();
    let cases = [
        (
            "--method efm-lora --adapter adalora",
            ["EFlat-LoRA with AdaLoRA", "A and B alone"],
        ),
        (
            "--method pissa --adapter adalora",
            ["PiSSA with AdaLoRA", "no A and B to start"],
        ),
        (
            "--method ggpo --rho 0.1",
            ["--rho", "--perturbation sam, mgpo, msam or efm, found ggpo"],
        ),
    ];
    for (options, parts) in cases {
        let sentence = refused(&world, &training("out", options));
        for part in parts {
            assert!(sentence.contains(part), "{sentence}");
        }
        assert!(!world.path("out").exists());
    }
    let output = run(&world, &training("out", "--rank many"));
    assert_eq!(output.status.code(), Some(2));
}
