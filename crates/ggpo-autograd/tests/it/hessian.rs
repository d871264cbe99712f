//! The tape on dual numbers: with leaves `x + d e`, the tangents of the gradients are
//! the product of the Hessian with d. It is checked against differences of gradients,
//! for every operation and for a block of a decoder.
//!
//! What the backward pass of an operation loses of a tangent shows up here, and
//! nowhere else.

use std::sync::Arc;

use ggpo_autograd::{Tape, Var, ops};
use ggpo_tensor::attention::AttentionMask;
use ggpo_tensor::dropout::Dropout;
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::rotary::RotaryTable;
use ggpo_tensor::{BlockFormat, Dual, QuantizedMatrix, RowPerturbation, Scalar, Tensor, tensor};
use ndarray::{Array2, ArrayViewMut2};

/// Step of the central differences, whose error is about its square, 1e-10, and the
/// rounding of the gradients over it, 1e-14 / 1e-5.
const STEP: f64 = 1e-5;
/// A hundred times the error of a difference, relative to `max(1, |difference|)`.
const TOLERANCE: f64 = 1e-7;

fn normal(layer: u32, shape: &[usize]) -> Vec<f64> {
    let stream = Stream::new(8, Purpose::Data, 0, layer);
    let count = shape.iter().product::<usize>() as u64;
    (0..count).map(|i| stream.normal(i).into()).collect()
}

/// The gradients of `sum of w y²` with the result y of an operation and different
/// weights w: of second order where the operation is linear.
fn gradients<T: Scalar>(inputs: &[Tensor<T>], operation: impl Fn(&[Var<T>]) -> Var<T>) -> Vec<T> {
    let tape = Tape::new();
    let leaves: Vec<_> = inputs.iter().map(|x| tape.leaf(x.clone())).collect();
    let y = operation(&leaves);
    let squares = ops::mul(&y, &y);
    let weights = (0..squares.value().len()).map(|i| T::from_f64(0.5 + (i % 7) as f64 / 5.0));
    let seed = tensor(squares.shape(), weights.collect());
    let gradients = tape.backward_from(&squares, seed);
    let of_leaf = |leaf| gradients.get(leaf).expect("it depends on every leaf");
    let gradients = leaves.iter().flat_map(of_leaf);
    gradients.copied().collect()
}

/// Checks an operation, given for both numbers, at normal inputs of some shapes along
/// a tenth of a normal direction: along a long one, the third derivatives of a whole
/// block are too large for the difference.
fn check(
    shapes: &[&[usize]],
    real: impl Fn(&[Var<f64>]) -> Var<f64>,
    dual: impl Fn(&[Var<Dual>]) -> Var<Dual>,
) {
    let numbers = |first: u32| -> Vec<Vec<f64>> {
        let layers = (first..).zip(shapes);
        layers.map(|(layer, shape)| normal(layer, shape)).collect()
    };
    let (inputs, mut direction) = (numbers(0), numbers(1000));
    direction.iter_mut().flatten().for_each(|d| *d *= 0.1);
    let tensors = |step: f64| -> Vec<Tensor<f64>> {
        let pairs = inputs.iter().zip(&direction).zip(shapes);
        let moved = pairs.map(|((x, d), shape)| {
            let moved = x.iter().zip(d).map(|(x, d)| x + step * d);
            tensor(shape, moved.collect())
        });
        moved.collect()
    };
    let pairs = inputs.iter().zip(&direction).zip(shapes);
    let duals: Vec<Tensor<Dual>> = pairs
        .map(|((x, d), shape)| {
            let pairs = x.iter().zip(d);
            let elements = pairs.map(|(&value, &tangent)| Dual { value, tangent });
            tensor(shape, elements.collect())
        })
        .collect();

    let found = gradients(&duals, dual);
    let [above, below] = [STEP, -STEP].map(|step| gradients(&tensors(step), &real));
    assert!(found.iter().any(|x| x.tangent != 0.0), "no curvature");
    for (index, (found, (above, below))) in found.iter().zip(above.iter().zip(&below)).enumerate() {
        let difference = (above - below) / (2.0 * STEP);
        let error = (found.tangent - difference).abs() / difference.abs().max(1.0);
        assert!(
            error <= TOLERANCE,
            "element {index}: {} or {difference}",
            found.tangent
        );
    }
}

/// A test of [`check`]: name, shapes, and the operation as a function of variables.
macro_rules! hessian_vector_products {
    ($($name:ident: $shapes:expr, |$inputs:pat_param| $body:expr;)+) => {$(
        #[test]
        fn $name() {
            fn operation<T: Scalar>(inputs: &[Var<T>]) -> Var<T> {
                let $inputs = inputs else { unreachable!("as many inputs as shapes") };
                $body
            }
            let shapes: &[&[usize]] = &$shapes;
            check(shapes, operation::<f64>, operation::<Dual>);
        }
    )+};
}

fn causal() -> AttentionMask {
    AttentionMask {
        causal: true,
        ..AttentionMask::default()
    }
}

/// Noise on a weight of m x n.
#[derive(Debug)]
struct Noise([usize; 2]);

impl<T: Scalar> RowPerturbation<T> for Noise {
    fn add_rows(&self, first_row: usize, mut panel: ArrayViewMut2<'_, T>) {
        assert!(first_row + panel.nrows() <= self.0[0] && panel.ncols() == self.0[1]);
        for ((row, column), element) in panel.indexed_iter_mut() {
            let phase = (first_row + row) as f64 * 0.7 + column as f64 * 1.3;
            *element += T::from_f64(0.2 * phase.sin());
        }
    }
}

fn noise<T: Scalar>(m: usize, n: usize) -> Arc<dyn RowPerturbation<T>> {
    Arc::new(Noise([m, n]))
}

/// A low-rank path with a constant term and noise, on a weight of m x n.
fn path<T: Scalar>(m: usize, n: usize) -> ops::LoraPath<T> {
    let constant = |shape: [usize; 2], layer| {
        let elements = normal(layer, &shape).into_iter().map(T::from_f64);
        tensor(&shape, elements.collect())
    };
    ops::LoraPath {
        scaling: T::from_f64(0.7),
        dropout: None,
        constant: Some([constant([m, 1], 2000), constant([1, n], 2001)]),
        noise: Some(noise(m, n)),
    }
}

/// Rows of 32 elements in blocks of the format Q8_0.
fn quantized(rows: usize) -> QuantizedMatrix {
    // The scale 2^-6 as a half, then 32 signed bytes.
    let block = |row: usize| {
        let bytes = (0..32).map(move |i| (row * 71 + i * 37) as u8);
        0x2400_u16.to_le_bytes().into_iter().chain(bytes)
    };
    let bytes: Vec<u8> = (0..rows).flat_map(block).collect();
    QuantizedMatrix::new(BlockFormat::Q8_0, rows, 32, bytes).expect("whole blocks")
}

/// An operation is a file of `src/ops`; each is named in this one.
#[test]
fn every_operation_is_checked() {
    let checks = include_str!("hessian.rs");
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops")).unwrap();
    for file in files {
        let name = file.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".rs").unwrap();
        let is_operation = !["mod", "testing", "weight"].contains(&name);
        let call = format!("ops::{name}(");
        assert!(!is_operation || checks.contains(&call), "{call} is missing");
    }
}

hessian_vector_products! {
    of_elementwise_operations: [&[3, 4], &[3, 4]], |[x, y]| {
        let x = ops::add(&ops::tanh(x), &ops::silu(y));
        let x = ops::mul(&ops::gelu_erf(&x), &ops::gelu_tanh(y));
        ops::add(&ops::relu(&x), &ops::swiglu(&ops::scale(&x, T::from_f64(-1.5)), y))
    };

    of_moved_elements: [&[2, 3, 4], &[2, 1, 4]], |[x, y]| {
        let (x, _) = ops::witness(&ops::slice(&ops::concat(&[x, y], 1), 1, 1..4));
        ops::mul(&ops::transpose(&x, 1, 2), &ops::reshape(&x, &[2, 4, 3]))
    };

    of_a_dropout: [&[40]], |[x]| {
        ops::dropout(x, Dropout::new(Stream::new(3, Purpose::Dropout, 0, 0), 0.3))
    };

    of_a_softmax: [&[3, 5]], |[x]| ops::softmax(x);

    of_means_and_sums: [&[3, 5]], |[x]| {
        let target: Vec<T> = (0..15).map(|i| T::from_f64(f64::from(i) / 9.0)).collect();
        let sums = ops::add(&ops::sum(x), &ops::mean(&ops::mul(x, x)));
        ops::add(&sums, &ops::mean_squared_error(x, &target))
    };

    of_norms: [&[4, 6], &[6], &[6], &[6]], |[x, weight, bias, scale]| {
        ops::rms_norm(&ops::layer_norm(x, weight, bias, 1e-5), scale, 1e-6)
    };

    of_products: [&[3, 4], &[5, 4], &[5], &[2, 3, 4], &[2, 4, 3]], |[x, w, bias, a, b]| {
        let y = ops::linear(x, w, Some(bias));
        let batched = ops::matmul(a, b);
        ops::add(&ops::sum(&ops::mul(&y, &y)), &ops::sum(&ops::mul(&batched, &batched)))
    };

    of_an_embedding: [&[5, 3]], |[table]| ops::embedding(table, &[4, 0, 4, 2], &[2, 2]);

    of_a_rotary_embedding: [&[2, 3, 2, 4]], |[x]| {
        ops::rotary(x, &Arc::new(RotaryTable::new(8, 4, 100.0)), &[0, 5])
    };

    of_an_attention: [&[2, 9, 2, 3], &[2, 9, 1, 3], &[2, 9, 1, 3], &[2, 9, 9]],
        |[q, k, v, bias]| {
            let kept = Array2::from_shape_fn((2, 9), |(row, key)| row == 0 || key > 1);
            let mask = AttentionMask { causal: true, window: Some(3), keys: Some(kept) };
            ops::attention(q, k, v, T::from_f64(0.6), Some(bias), &mask)
        };

    of_a_cross_entropy: [&[4, 5]], |[logits]| {
        ops::cross_entropy(logits, &[Some(1), None, Some(4), Some(0)])
    };

    of_the_cross_entropy_of_a_head: [&[4, 3], &[6, 3], &[6]], |[states, weight, bias]| {
        ops::linear_cross_entropy(states, weight, Some(bias), &[5, 0, 2, 2])
    };

    of_adapted_products: [&[3, 5], &[4, 5], &[4], &[2, 5], &[4, 2]], |[x, w, bias, a, b]| {
        ops::lora_linear(x, w, Some(bias), a, b, path(4, 5))
    };

    of_an_adapter_of_a_quantised_weight: [&[3, 32], &[2, 32], &[2, 2]], |[x, a, b]| {
        ops::lora_linear(x, &quantized(2), None, a, b, path(2, 32))
    };

    of_magnitudes_with_noise: [&[3, 4], &[4], &[4], &[3, 5]], |[z, m, bias, x]| {
        let norms: Vec<T> = (1..5).map(|i| T::from_f64(f64::from(i) / 3.0)).collect();
        ops::weight_noise(&ops::magnitude(z, m, &norms, Some(bias)), x, noise(4, 5))
    };

    // Table, norm, queries, keys, values, gate, up, down: two sequences of four
    // tokens, two heads of four channels.
    of_a_block_of_a_decoder: [
        &[9, 8], &[8], &[8, 8], &[8, 8], &[8, 8], &[12, 8], &[12, 8], &[8, 12],
    ], |[table, scale, wq, wk, wv, gate, up, down]| {
        let ids = [1, 4, 4, 0, 8, 3, 2, 7];
        let x = ops::embedding(table, &ids, &[2, 4]);
        let h = ops::rms_norm(&x, scale, 1e-6);
        let rotary = Arc::new(RotaryTable::new(4, 4, 100.0));
        let heads = |w| ops::reshape(&ops::linear(&h, w, None), &[2, 4, 2, 4]);
        let [q, k] = [wq, wk].map(|w| ops::rotary(&heads(w), &rotary, &[0, 0]));
        let h = ops::attention(&q, &k, &heads(wv), T::from_f64(0.2), None, &causal());
        let x = ops::add(&x, &ops::reshape(&h, &[2, 4, 8]));
        let h = ops::rms_norm(&x, scale, 1e-6);
        let h = ops::swiglu(&ops::linear(&h, gate, None), &ops::linear(&h, up, None));
        let x = ops::add(&x, &ops::linear(&h, down, None));
        let targets = [4, 4, 0, 5, 3, 2, 7, 6];
        ops::linear_cross_entropy(&ops::reshape(&x, &[8, 8]), table, None, &targets)
    };
}
