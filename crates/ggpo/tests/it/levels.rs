//! The program at every level of instruction set that the machine has.

use ggpo_tensor::simd::Level;

use crate::common::{World, read};
use crate::runner::{json, program, succeeds_as};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const STEPS: usize = 12;
/// How far the losses of two levels may be apart, as a share. Their products add up
/// the same numbers in another order, which changed no loss of this run by more than
/// 3e-7 of itself, twice the spacing of `f32`. A hundred times that leaves room for
/// AdamW, which divides by the size of a gradient and so lets the rounding of small
/// ones grow; noise that differed between levels, or a row that a kernel left out,
/// would show in the second digit.
const TOLERANCE: f64 = 3e-5;

/// Trains the small encoder on mails with noise and returns the losses of the
/// steps and the bytes of the adapter.
fn train(world: &World, level: Level, threads: &str) -> (Vec<f64>, Vec<u8>) {
    let out = format!("{level}-{threads}");
    let [model, table] =
        ["models/encoder", "data/spam/train.tsv"].map(|path| format!("{REPOSITORY}/{path}"));
    let steps = STEPS.to_string();
    let arguments = [
        "train",
        "--model",
        &model,
        "--train",
        &table,
        "--method",
        "ggpo",
        "--rank",
        "8",
        "--lr",
        "3e-3",
        "--steps",
        &steps,
        "--batch-size",
        "16",
        "--max-length",
        "64",
        "--out",
        &out,
    ];
    let mut command = program(world, &arguments);
    command.env("GGPO_SIMD", level.name());
    command.env("RAYON_NUM_THREADS", threads);
    succeeds_as(command);
    let metrics = String::from_utf8(read(&world.path(&out).join("metrics.jsonl"))).unwrap();
    let steps = metrics.lines().map(json);
    let steps = steps.filter(|line| line["gradient_norm"].is_number());
    let losses = steps.filter_map(|line| line["loss"].as_f64());
    let adapter = format!("{out}/adapter/adapter_model.safetensors");
    (losses.collect(), read(&world.path(&adapter)))
}

#[test]
fn a_training_has_the_same_bits_for_any_threads_and_like_losses_at_every_level() {
    let world = World::new();
    let mut before: Option<Vec<f64>> = None;
    for level in Level::available() {
        let (losses, adapter) = train(&world, level, "1");
        assert_eq!(losses.len(), STEPS, "{losses:?}");
        let (same_losses, same_adapter) = train(&world, level, "2");
        assert!(
            adapter == same_adapter,
            "{level}: threads change the adapter"
        );
        assert_eq!(losses, same_losses, "{level}");
        if let Some(before) = &before {
            for (step, (a, b)) in before.iter().zip(&losses).enumerate() {
                assert!(
                    (a - b).abs() <= TOLERANCE * a,
                    "{level}, step {step}: {a} {b}"
                );
            }
        }
        before = Some(losses);
    }
}
