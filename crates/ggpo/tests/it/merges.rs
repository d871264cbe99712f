//! `ggpo merge`: GGUF files, and several adapters.

use crate::common::{World, read};
use crate::runner::{json, refused, run, succeeds};

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// Trains an adapter on the decoder.
fn train(world: &World, more: &str, out: &str) {
    let data = "--train train.txt --validation validation.txt --task language-modelling";
    let how = "--steps 6 --batch-size 4 --lr 2e-2 --max-length 24 --rank 2";
    let command = format!("train --model decoder {data} {how} {more} --out {out}");
    succeeds(world, &words(&command));
}

/// The loss of what a command evaluates.
fn loss(world: &World, source: &str) -> f64 {
    let form = "--task language-modelling --max-length 24 --json";
    let said = succeeds(world, &words(&format!("eval {source} test.txt {form}")));
    json(&said)["loss"].as_f64().unwrap()
}

#[test]
fn a_merged_gguf_file_is_the_model_of_the_run() {
    let world = World::new();
    train(&world, "--method ggpo", "runs/a");
    let expected = loss(&world, "--run runs/a");
    assert!((expected - loss(&world, "--model decoder")).abs() > 1e-2);
    for (quantize, bound) in [
        ("f32", 1e-5),
        ("f16", 1e-3),
        ("bf16", 1e-2),
        ("q8_0", 1e-3),
        ("q4_0", 1e-3),
    ] {
        let file = format!("{quantize}.gguf");
        let command = format!("merge --run runs/a --gguf {file} --quantize {quantize}");
        let said = succeeds(&world, &words(&command));
        assert!(
            said.starts_with("adapters of 14 layers merged; tensors: "),
            "{said}"
        );
        assert!(said.ends_with(&format!("written: {file}\n")), "{said}");
        // Rows of 16 and 24 numbers are no whole blocks and become F16.
        let far = (loss(&world, &format!("--model {file}")) - expected).abs();
        assert!(far < bound, "{quantize}: {far}");
    }
    // Without a word it is F16, and a file that is there is replaced.
    let said = succeeds(&world, &words("merge --run runs/a --gguf f32.gguf --json"));
    let said = json(&said);
    assert_eq!(said["gguf"], "f32.gguf");
    assert_eq!(said["merged_layers"], 14);
    assert_eq!(said["tensors"], serde_json::json!({"F16": 15, "F32": 5}));
    assert_eq!(read(&world.path("f32.gguf")), read(&world.path("f16.gguf")));
}

#[test]
fn a_gguf_base_is_merged_into_a_file_and_into_a_folder() {
    let world = World::new();
    succeeds(
        &world,
        &words("merge --model decoder --gguf base.gguf --quantize f32"),
    );
    let base = loss(&world, "--model base.gguf");
    assert!((base - loss(&world, "--model decoder")).abs() < 1e-5);
    train(&world, "--model base.gguf", "runs/a");
    let expected = loss(&world, "--run runs/a");
    succeeds(
        &world,
        &words("merge --run runs/a --gguf out.gguf --quantize f32"),
    );
    assert!((loss(&world, "--model out.gguf") - expected).abs() < 1e-5);
    succeeds(&world, &words("merge --run runs/a --out folder"));
    assert!((loss(&world, "--model folder") - expected).abs() < 1e-5);
}

#[test]
fn a_fully_trained_run_becomes_a_gguf_file() {
    let world = World::new();
    train(&world, "--method full", "runs/full");
    succeeds(
        &world,
        &words("merge --run runs/full --gguf full.gguf --quantize f32"),
    );
    let expected = loss(&world, "--run runs/full");
    assert!((loss(&world, "--model full.gguf") - expected).abs() < 1e-5);
}

#[test]
fn several_adapters_are_merged_with_weights() {
    let world = World::new();
    train(&world, "--seed 1", "runs/a");
    train(&world, "--seed 2 --method dora", "runs/b");
    let merge = |adapters: &str, out: &str| {
        let said = succeeds(
            &world,
            &words(&format!("merge --model decoder {adapters} --out {out}")),
        );
        assert_eq!(said, format!("14 adapters merged; written: {out}\n"));
        loss(&world, &format!("--model {out}"))
    };
    let [a, b] = ["runs/a", "runs/b"].map(|run| loss(&world, &format!("--run {run}")));
    let base = loss(&world, "--model decoder");
    let near =
        |found: f64, expected: f64| assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    near(merge("--adapter runs/a/adapter", "one"), a);
    near(
        merge(
            "--adapter runs/a/adapter=1 --adapter runs/b/adapter=0",
            "first",
        ),
        a,
    );
    near(
        merge(
            "--adapter runs/a/adapter=0 --adapter runs/b/adapter=1.0",
            "second",
        ),
        b,
    );
    near(
        merge(
            "--adapter runs/a/adapter=0.5 --adapter runs/a/adapter=0.5",
            "halves",
        ),
        a,
    );
    near(
        merge(
            "--adapter runs/a/adapter --adapter runs/a/adapter=-1",
            "none",
        ),
        base,
    );
    let both = merge(
        "--adapter runs/a/adapter=0.5 --adapter runs/b/adapter=0.5",
        "both",
    );
    assert!([a, b, base].iter().all(|other| (both - other).abs() > 1e-4));
    let file = "merge --model decoder --adapter runs/a/adapter=0.5 --adapter runs/b/adapter=0.5";
    succeeds(
        &world,
        &words(&format!("{file} --gguf both.gguf --quantize f32")),
    );
    near(loss(&world, "--model both.gguf"), both);
}

#[test]
fn what_cannot_be_merged_is_refused() {
    let world = World::new();
    train(&world, "", "runs/a");
    let encoder = "train --model encoder --train train.tsv --steps 2 --max-length 24 --out runs/e";
    succeeds(&world, &words(encoder));
    let error = refused(&world, &words("merge --run runs/e --gguf e.gguf"));
    assert!(
        error.contains("expected one of llama, qwen2, qwen3, gemma3_text"),
        "{error}"
    );
    assert!(!world.path("e.gguf").exists());
    let two = "--adapter runs/e/adapter --adapter runs/e/adapter=0.5";
    let error = refused(
        &world,
        &words(&format!("merge --model encoder {two} --out x")),
    );
    assert!(
        error.contains("runs/e/adapter") && error.contains("trained whole"),
        "{error}"
    );
    let other = "--adapter runs/a/adapter --adapter runs/e/adapter";
    assert!(
        !refused(
            &world,
            &words(&format!("merge --model decoder {other} --out x"))
        )
        .is_empty()
    );
    let error = refused(&world, &words("merge --model decoder --out x"));
    assert!(error.contains("--adapter"), "{error}");
    let error = refused(&world, &words("merge --run runs/a --gguf runs"));
    assert!(error.contains("plain file"), "{error}");
    for (command, expected) in [
        ("merge --run runs/a", "--out"),
        ("merge --run runs/a --out x --gguf x.gguf", "--gguf"),
        ("merge --run runs/a --out x --quantize q8_0", "--quantize"),
        ("merge --run runs/a --gguf x --precision f16", "--precision"),
        ("merge --run runs/a --gguf x --quantize q6_k", "q8_0"),
        (
            "merge --model decoder --adapter runs/a/adapter=much --out x",
            "finite number",
        ),
    ] {
        let output = run(&world, &words(command));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command}: {said}");
        assert!(said.contains(expected), "{command}: {said}");
    }
}

/// A folder may have the sign of weights in its name.
#[test]
fn a_folder_with_an_equals_sign_is_that_folder() {
    let world = World::new();
    train(&world, "", "runs/a");
    std::fs::rename(world.path("runs/a/adapter"), world.path("rank=2")).unwrap();
    succeeds(
        &world,
        &words("merge --model decoder --adapter rank=2 --out x"),
    );
    succeeds(
        &world,
        &words("merge --model decoder --adapter rank=2=0.5 --out y"),
    );
}
