//! Row norms against matrices that are formed, and against PyTorch.

use crate::common::*;
use ggpo_lora::{
    AdaptedLayers, Ggpo, GgpoConfig, GgpoForm, GradientEstimate, LayerView, Perturbation,
    adapter_gradient_row_norms_squared, merged_row_norms_squared, row_norms_squared,
};
use ggpo_tensor::{BlockFormat, QuantizedMatrix, Scalar};
use ndarray::{Array2, s};
use proptest::prelude::*;
use safetensors::SafeTensors;

proptest! {
    /// In `f64`, sums of at most a few hundred terms: 1e-12 of the magnitude of
    /// the terms is thousands of roundings.
    #[test]
    fn gram_norms_equal_those_of_the_matrices_formed(layer in any_layer()) {
        let base = row_norms_squared(layer.weight.view());
        let pairs = [
            (base.clone(), norms_squared(&layer.weight), merged_magnitudes(&layer)),
            (
                merged_row_norms_squared(&base, &layer.view()),
                norms_squared(&layer.merged()),
                merged_magnitudes(&layer),
            ),
        ];
        for (found, expected, magnitude) in pairs {
            for i in 0..found.len() {
                prop_assert!((found[i] - expected[i]).abs() <= 1e-12 * magnitude[i]);
            }
        }
        let found = adapter_gradient_row_norms_squared(&layer.view());
        let expected = norms_squared(&layer.estimated_gradient());
        // s^2 (||B_i|| ||dA|| + ||dB_i|| ||A||)^2 bounds the terms of row i.
        let whole = |x: &Array2<f64>| norms_squared(x).iter().sum::<f64>().sqrt();
        let (down, a) = (whole(layer.grad_a.as_ref().unwrap()), whole(&layer.a));
        let (b, up) = (norms_squared(&layer.b), norms_squared(layer.grad_b.as_ref().unwrap()));
        for i in 0..found.len() {
            let terms = layer.scaling * (b[i].sqrt() * down + up[i].sqrt() * a);
            prop_assert!((found[i] - expected[i]).abs() <= 1e-12 * terms * terms);
        }
    }

    /// The numbers are the same and so is the order of every sum, in however
    /// many panels they are made: the results are equal, not only close.
    #[test]
    fn quantised_weights_have_the_norms_of_the_numbers_they_stand_for(
        seed: u64, m in 1_usize..300, blocks in 1_usize..20, rank in 1_usize..5, sampled: bool,
    ) {
        let mut layer = PlainLayer::<f32>::random(seed, m, 32 * blocks, rank, 0.7);
        // Blocks of a scale, 2^-3, and 32 numbers of four bits.
        let mut bytes = Vec::new();
        for block in normal::<f64>(seed, 4, m * blocks, 16).rows() {
            bytes.extend(0x3000_u16.to_le_bytes());
            bytes.extend(block.iter().map(|x| (x * 1e3) as i64 as u8));
        }
        let quantized =
            QuantizedMatrix::new(BlockFormat::Q4_0, m, 32 * blocks, bytes).unwrap();
        layer.weight = quantized.dequantize();
        let [dense, quantized] = [None, Some(quantized)]
            .map(|quantized| OneLayer { layer: layer.clone(), quantized });

        let base = row_norms_squared(dense.layer(0).weight);
        prop_assert_eq!(&row_norms_squared(quantized.layer(0).weight), &base);
        prop_assert_eq!(
            merged_row_norms_squared(&base, &quantized.layer(0)),
            merged_row_norms_squared(&base, &dense.layer(0))
        );
        let form = if sampled { GgpoForm::SdScripts } else { GgpoForm::Paper };
        let config = GgpoConfig { form, ..GgpoConfig::default() };
        let row_std = |model: &OneLayer| {
            let mut ggpo = Ggpo::new(config, 3, 1).unwrap();
            ggpo.begin_step(0, model);
            ggpo.row_std(0).to_vec()
        };
        prop_assert_eq!(row_std(&quantized), row_std(&dense));
    }

    /// W' = 0 exactly, so that everything is rounding: never below 0.
    #[test]
    fn rounding_never_makes_a_squared_norm_negative(seed: u64, m in 1_usize..8, n in 1_usize..20) {
        let mut layer = PlainLayer::<f32>::random(seed, m, n, 1, 0.7);
        layer.weight = layer.product().mapv(|x| -0.7 * x);
        let base = row_norms_squared(layer.weight.view());
        let merged = merged_row_norms_squared(&base, &layer.view());
        prop_assert!(merged.iter().all(|&square| square >= 0.0), "{merged:?}");
    }
}

/// A model of one layer, whose weight may be quantised.
struct OneLayer {
    layer: PlainLayer<f32>,
    quantized: Option<QuantizedMatrix>,
}

impl AdaptedLayers<f32> for OneLayer {
    fn count(&self) -> usize {
        1
    }

    fn layer(&self, _: usize) -> LayerView<'_, f32> {
        let mut view = self.layer.view();
        if let Some(quantized) = &self.quantized {
            view.weight = quantized.into();
        }
        view
    }
}

#[test]
fn without_gradients_the_estimate_is_zero() {
    let layer = PlainLayer::<f64>::random(1, 4, 6, 2, 2.0).without_gradients();
    assert_eq!(adapter_gradient_row_norms_squared(&layer.view()), [0.0; 4]);
}

#[test]
fn views_of_any_strides_give_the_same_norms() {
    let layer = PlainLayer::<f64>::random(2, 8, 10, 2, 2.0);
    let wide = normal::<f64>(3, 0, 8, 20);
    let strided = wide.slice(s![.., ..;2]);
    let copied = strided.to_owned();
    for (x, y) in row_norms_squared(strided)
        .iter()
        .zip(row_norms_squared(copied.view()))
    {
        // The order of ten additions differs.
        assert!((x - y).abs() <= 1e-14 * y);
    }
    let turned = layer.weight.t().as_standard_layout().into_owned();
    let mut view = layer.view();
    view.weight = turned.t().into();
    let base = row_norms_squared(layer.weight.view());
    assert_eq!(
        merged_row_norms_squared(&base, &view),
        merged_row_norms_squared(&base, &layer.view())
    );
}

/// A layer of a small model, with what PyTorch computes from it.
struct Reference<T> {
    layer: PlainLayer<T>,
    module: &'static str,
}

const MODULES: [&str; 4] = [
    "model.layers.0.mlp.down_proj",
    "model.layers.1.self_attn.k_proj",
    "bert.encoder.layer.0.intermediate.dense",
    "bert.encoder.layer.1.attention.output.dense",
];

fn stored(key: &str) -> (Vec<usize>, Vec<f64>) {
    let bytes = include_bytes!("../fixtures/norms.safetensors");
    let file = SafeTensors::deserialize(bytes).unwrap();
    let view = file.tensor(key).unwrap();
    let (numbers, _) = view.data().as_chunks::<4>();
    let numbers = numbers.iter().map(|&b| f64::from(f32::from_le_bytes(b)));
    (view.shape().to_vec(), numbers.collect())
}

impl<T: Scalar> Reference<T> {
    fn load(module: &'static str) -> Self {
        let matrix = |name: &str| {
            let (shape, numbers) = stored(&format!("{module}.{name}"));
            let numbers = numbers.into_iter().map(T::from_f64).collect();
            Array2::from_shape_vec((shape[0], shape[1]), numbers).unwrap()
        };
        let layer = PlainLayer {
            weight: matrix("weight"),
            a: matrix("lora_A"),
            b: matrix("lora_B"),
            // alpha 8, rank 4.
            scaling: T::from_f64(2.0),
            grad_a: Some(matrix("grad_lora_A")),
            grad_b: Some(matrix("grad_lora_B")),
            grad_merged: Some(matrix("grad_merged_exact")),
        };
        Reference { layer, module }
    }

    fn check(&self, name: &str, found: &[T], tolerance: f64) {
        let (_, expected) = stored(&format!("{}.{name}", self.module));
        assert_eq!(found.len(), expected.len());
        for (i, (x, y)) in found.iter().zip(expected).enumerate() {
            let error = (x.value() - y).abs() / y.abs();
            let module = self.module;
            assert!(
                error <= tolerance,
                "{module}.{name}[{i}]: {x} {y} ({error:e})"
            );
        }
    }

    fn check_all(&self, tolerance: f64) {
        let root = |squares: Vec<T>| squares.into_iter().map(T::sqrt).collect::<Vec<_>>();
        let view = self.layer.view();
        let base = row_norms_squared(view.weight);
        let merged = merged_row_norms_squared(&base, &view);
        self.check("weight_norm", &root(merged), tolerance);
        let estimated = adapter_gradient_row_norms_squared(&view);
        self.check("grad_norm_approx", &root(estimated), tolerance);
        let exact = row_norms_squared(view.grad_merged.unwrap());
        self.check("grad_norm_exact", &root(exact), tolerance);
        for (name, beta) in [("noise_std", 0.01), ("noise_std_beta_1000", 1000.0)] {
            let config = GgpoConfig {
                beta,
                ..GgpoConfig::default()
            };
            let mut ggpo = Ggpo::new(config, 0, 1).unwrap();
            ggpo.begin_step(0, &Plain(vec![self.layer.clone()]));
            self.check(name, ggpo.row_std(0), tolerance);
        }
    }
}

/// The reference computes in `f64` but is stored in `f32`: inputs and results
/// are each rounded by up to 6e-8, and the two gradient terms of equation 7
/// partly cancel, which multiplies that by up to some tens.
#[test]
fn norms_and_deviations_agree_with_pytorch_in_f64() {
    for module in MODULES {
        Reference::<f64>::load(module).check_all(1e-5);
    }
}

/// As above, and the sums of up to 64 products of `f32` numbers add roundings
/// of 6e-8 each, which the cancellation multiplies as well.
#[test]
fn norms_and_deviations_agree_with_pytorch_in_f32() {
    for module in MODULES {
        Reference::<f32>::load(module).check_all(1e-4);
    }
}

#[test]
fn the_exact_estimate_uses_the_exact_gradient() {
    let reference = Reference::<f64>::load(MODULES[0]);
    let config = GgpoConfig {
        gradient: GradientEstimate::Exact,
        ..GgpoConfig::default()
    };
    let ggpo = begun(config, 0, &reference.layer);
    let (_, exact) = stored(&format!("{}.grad_norm_exact", MODULES[0]));
    let mean = exact.iter().sum::<f64>() / exact.len() as f64;
    let found = ggpo.statistics()[0].grad_norm;
    // Both are rounded to `f32` once on the way.
    assert!((found - mean).abs() <= 1e-6 * mean, "{found} {mean}");
}
