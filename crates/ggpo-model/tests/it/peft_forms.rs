//! Adapters that PEFT trained, on their model: the logits are PEFT's.

use std::fs;
use std::path::{Path, PathBuf};

use ggpo_lora::peft::PeftAdapter;
use ggpo_model::batch::Batch;
use ggpo_model::weights::load;
use ggpo_model::{Adapters, Head, Model};
use ggpo_tensor::flat;
use ndarray::Array2;
use safetensors::SafeTensors;

/// Largest difference of two logits, relative to the largest. Ours are calculated in
/// double precision from weights in single precision; PEFT's are rounded to single
/// precision, and PEFT takes `s B0 A0` out of W in single precision, which is some
/// roundings of 6e-8 of every weight.
const TOLERANCE: f64 = 1e-6;
/// The same of PiSSA: PEFT decomposes W in single precision, so that its singular vectors
/// are known to about 1e-5 where singular values are near each other, and the base that
/// is left with them.
const DECOMPOSED: f64 = 2e-5;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The batch of a case.
fn batch(path: &Path) -> Batch {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let integers = |name: &str| -> Vec<i64> {
        let (words, _) = file.tensor(name).unwrap().data().as_chunks::<8>();
        words.iter().map(|&word| i64::from_le_bytes(word)).collect()
    };
    let shape = file.tensor("input_ids").unwrap().shape().to_vec();
    let shape = [shape[0], shape[1]];
    let kept = integers("attention_mask").into_iter().map(|kept| kept == 1);
    Batch {
        shape,
        ids: integers("input_ids")
            .into_iter()
            .map(|id| id as usize)
            .collect(),
        token_types: vec![0; shape[0] * shape[1]],
        attention: Array2::from_shape_vec(shape, kept.collect()).unwrap(),
        targets: Vec::new(),
        values: Vec::new(),
        decoder: None,
    }
}

fn logits(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (words, _) = file.tensor("logits").unwrap().data().as_chunks::<4>();
    words.iter().map(|&word| f32::from_le_bytes(word)).collect()
}

/// Largest difference, relative to the largest number of `theirs`.
fn difference(ours: &[f64], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let pairs = ours.iter().zip(theirs);
    let largest = |numbers: &mut dyn Iterator<Item = f64>| numbers.fold(0.0, f64::max);
    let difference = largest(&mut pairs.map(|(a, &b)| (a - f64::from(b)).abs()));
    difference / largest(&mut theirs.iter().map(|&x| f64::from(x).abs()))
}

#[test]
fn logits_are_those_of_the_model_that_peft_trained() {
    let reference = root().join("fixtures/reference/llama");
    let model = Model::read(&reference.join("model"), Head::Tokens).unwrap();
    let parameters = load::<f64>(&reference.join("model"), &model)
        .unwrap()
        .parameters;
    let batch = batch(&reference.join("case.safetensors"));
    let evaluate = |adapters: &Adapters<f64>| {
        let logits = model.evaluate(&parameters, adapters, &batch);
        flat(&logits).to_vec()
    };
    for name in ["dora", "adalora", "pissa"] {
        let folder = root().join("crates/ggpo-lora/tests/fixtures").join(name);
        let theirs = logits(&folder.join("logits.safetensors"));
        let adapter = PeftAdapter::<f64>::read(&folder).unwrap();
        let weight = |module: &str| parameters.weight(&format!("{module}.weight"));
        let adapter = adapter.on_bases(weight).unwrap();
        let found = difference(&evaluate(&adapter.adapters), &theirs);
        let tolerance = if name == "pissa" {
            DECOMPOSED
        } else {
            TOLERANCE
        };
        assert!(found < tolerance, "{name}: {found:e}");
        // The adapter does something, and is needed for that.
        let without = difference(&evaluate(&Adapters::new()), &theirs);
        assert!(without > 1e-2, "{name}: {without:e}");
    }
}
