//! The optimiser against PyTorch's, and across a checkpoint.

use ggpo_tensor::Scalar;
use ggpo_train::optimizer::{AdamW, AdamWConfig};
use safetensors::SafeTensors;

const REFERENCE: &[u8] = include_bytes!("../../../../fixtures/reference/adamw.safetensors");
const LEARNING_RATE: f64 = 1e-2;

fn reference<T: Scalar>(name: &str) -> Vec<T> {
    let file = SafeTensors::deserialize(REFERENCE).expect("a safetensors file");
    let bytes = file.tensor(name).expect(name).data();
    let (elements, _) = bytes.as_chunks();
    let number = |bytes: &[u8; 4]| T::from_f64(f64::from(f32::from_le_bytes(*bytes)));
    elements.iter().map(number).collect()
}

fn config() -> AdamWConfig {
    AdamWConfig {
        weight_decay: 0.1,
        ..AdamWConfig::default()
    }
}

/// One step on `sum (w - target)^2`.
fn step<T: Scalar>(optimizer: &mut AdamW<T>, w: &mut [T], target: &[T]) {
    let two = T::from_f64(2.0);
    let gradient: Vec<T> = w.iter().zip(target).map(|(&w, &t)| two * (w - t)).collect();
    optimizer.begin_step();
    optimizer.update("w", w, &gradient, LEARNING_RATE);
}

fn follows_the_reference<T: Scalar>(tolerance: f64) {
    let target = reference::<T>("target");
    let mut w = reference::<T>("w0");
    let mut optimizer = AdamW::new(config());
    for t in 1..=5 {
        step(&mut optimizer, &mut w, &target);
        for (found, expected) in w.iter().zip(reference::<T>(&format!("w{t}"))) {
            let (found, expected) = (found.value(), expected.value());
            assert!(
                (found - expected).abs() <= tolerance * expected.abs(),
                "step {t}: found {found}, expected {expected}"
            );
        }
    }
}

/// The reference was calculated in `f64` and stored in `f32`, whose rounding is
/// 6e-8 of start, target and result each.
#[test]
fn five_steps_in_f64_are_those_of_pytorch() {
    follows_the_reference::<f64>(1e-6);
}

/// Five steps of a handful of `f32` roundings each.
#[test]
fn five_steps_in_f32_are_those_of_pytorch() {
    follows_the_reference::<f32>(2e-5);
}

#[test]
fn an_optimizer_read_back_goes_on_to_the_same_bits() {
    let target = reference::<f32>("target");
    let mut w = reference::<f32>("w0");
    let mut optimizer = AdamW::new(config());
    step(&mut optimizer, &mut w, &target);
    step(&mut optimizer, &mut w, &target);

    let standard = bincode::config::standard();
    let bytes = bincode::serde::encode_to_vec(&optimizer, standard).expect("encodes");
    let (mut restored, _): (AdamW<f32>, usize) =
        bincode::serde::decode_from_slice(&bytes, standard).expect("decodes");
    assert_eq!(restored, optimizer);

    let mut restored_w = w.clone();
    step(&mut optimizer, &mut w, &target);
    step(&mut restored, &mut restored_w, &target);
    assert_eq!(restored, optimizer);
    assert_eq!(restored_w, w);
}
