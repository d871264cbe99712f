//! Values and gradients of single operations against PyTorch.
//!
//! `fixtures/ops.safetensors` was calculated by PyTorch in `f64` and stored in
//! `f32`: for each operation its inputs, `out`, the gradient `dout` of the
//! output, and the gradient `d<input>` of every input.

use std::collections::BTreeSet;
use std::sync::Arc;

use ggpo_autograd::{Tape, Var, ops};
use ggpo_tensor::attention::AttentionMask;
use ggpo_tensor::rotary::RotaryTable;
use ggpo_tensor::{Scalar, Tensor, flat, tensor};
use ndarray::Array2;
use safetensors::{Dtype, SafeTensors};

/// Rounding the reference to `f32` costs 6e-8 of each number, in the inputs as
/// in the results; the factor of 16 is for what an operation makes of it.
const TOLERANCE_F64: f64 = 1e-6;
/// Calculating in `f32` costs 6e-8 per step, and a few dozen steps at most lie
/// between an input and a gradient.
const TOLERANCE_F32: f64 = 2e-5;

fn file() -> SafeTensors<'static> {
    let bytes = include_bytes!("../fixtures/ops.safetensors");
    SafeTensors::deserialize(bytes).expect("a safetensors file")
}

fn load<T: Scalar>(key: &str) -> Tensor<T> {
    let file = file();
    let view = file.tensor(key).unwrap_or_else(|_| panic!("no {key}"));
    assert_eq!(view.dtype(), Dtype::F32, "{key}");
    let (numbers, rest) = view.data().as_chunks::<4>();
    assert!(rest.is_empty());
    let numbers = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let elements = numbers.map(|x| T::from_f64(f64::from(x))).collect();
    tensor(view.shape(), elements)
}

fn integers(key: &str) -> Vec<i64> {
    let file = file();
    let view = file.tensor(key).unwrap_or_else(|_| panic!("no {key}"));
    assert_eq!(view.dtype(), Dtype::I64, "{key}");
    let (numbers, rest) = view.data().as_chunks::<8>();
    assert!(rest.is_empty());
    numbers
        .iter()
        .map(|bytes| i64::from_le_bytes(*bytes))
        .collect()
}

/// The operation a key belongs to.
fn operation(key: &str) -> &str {
    key.split_once('.').expect("OPERATION.PART").0
}

/// Asserts that the largest difference is at most `tolerance` times the
/// largest magnitude expected.
fn assert_close<T: Scalar>(key: &str, found: &Tensor<T>, tolerance: f64) {
    let expected = load::<f64>(key);
    assert_eq!(found.shape(), expected.shape(), "shape of {key}");
    let largest = flat(&expected)
        .iter()
        .fold(0.0, |max: f64, x| max.max(x.abs()));
    for (index, (found, expected)) in flat(found).iter().zip(flat(&expected)).enumerate() {
        let error = (found.value() - expected).abs() / largest;
        assert!(
            error <= tolerance,
            "{key}, element {index}: {found} instead of {expected}, relative error {error:e}"
        );
    }
}

/// Runs `apply` on the inputs of an operation and compares its value and all
/// gradients the file has.
fn check<T: Scalar>(
    op: &str,
    inputs: &[&str],
    tolerance: f64,
    apply: impl Fn(&[Var<T>]) -> Var<T>,
) {
    let mut expected = BTreeSet::from([format!("{op}.dout")]);
    expected.extend(inputs.iter().map(|input| format!("{op}.d{input}")));
    let stored: BTreeSet<_> = file()
        .names()
        .into_iter()
        .filter(|key| key.starts_with(&format!("{op}.d")))
        .map(str::to_owned)
        .collect();
    assert_eq!(stored, expected, "gradients of {op} in the file");

    let tape = Tape::new();
    let leaves: Vec<_> = inputs
        .iter()
        .map(|input| tape.leaf(load(&format!("{op}.{input}"))))
        .collect();
    let output = apply(&leaves);
    assert_close(&format!("{op}.out"), output.value(), tolerance);
    let mut gradients = tape.backward_from(&output, load(&format!("{op}.dout")));
    for (input, leaf) in inputs.iter().zip(&leaves) {
        let gradient = gradients.take(leaf).expect("every input has a gradient");
        assert_close(&format!("{op}.d{input}"), &gradient, tolerance);
    }
}

/// One test per line `operation(inputs) => function of the inputs`, run in both
/// precisions.
macro_rules! reference {
    ($($op:ident($($input:ident),*) => $apply:expr;)*) => {
        $(
            #[test]
            fn $op() {
                let (op, inputs) = (stringify!($op), [$(stringify!($input)),*]);
                check::<f64>(op, &inputs, TOLERANCE_F64, $apply);
                check::<f32>(op, &inputs, TOLERANCE_F32, $apply);
            }
        )*

        #[test]
        fn every_operation_of_the_file_is_checked() {
            let checked = BTreeSet::from([$(stringify!($op)),*]);
            let file = file();
            let stored: BTreeSet<_> = file.names().into_iter().map(operation).collect();
            assert_eq!(checked, stored);
        }
    };
}

reference! {
    linear(x, w, b) => |v| ops::linear(&v[0], &v[1], Some(&v[2]));
    layer_norm(x, w, b) => |v| ops::layer_norm(&v[0], &v[1], &v[2], 1e-5);
    rms_norm(x, w) => |v| ops::rms_norm(&v[0], &v[1], 1e-6);
    gelu_erf(x) => |v| ops::gelu_erf(&v[0]);
    gelu_tanh(x) => |v| ops::gelu_tanh(&v[0]);
    silu(x) => |v| ops::silu(&v[0]);
    tanh(x) => |v| ops::tanh(&v[0]);
    softmax(x) => |v| ops::softmax(&v[0]);
    swiglu(gate, up) => |v| ops::swiglu(&v[0], &v[1]);
    causal_attention(q, k, v) => |v| attend(v, &AttentionMask { causal: true, ..AttentionMask::default() });
    padded_attention(q, k, v) => |v| {
        attend(v, &AttentionMask { keys: Some(kept_keys()), ..AttentionMask::default() })
    };
    cross_entropy(logits) => |v| ops::cross_entropy(&v[0], &targets());
    embedding(table) => |v| ops::embedding(&v[0], &ids(), &[3, 5]);
    rope(x) => |v| heads_last(&turned(&heads_last(&v[0])));
}

/// Batch x head x time x channel, the layout of the file, to batch x time x
/// head x channel, ours; and back.
fn heads_last<T: Scalar>(x: &Var<T>) -> Var<T> {
    ops::transpose(x, 1, 2)
}

fn attend<T: Scalar>(inputs: &[Var<T>], mask: &AttentionMask) -> Var<T> {
    let [q, k, v] = [0, 1, 2].map(|input| heads_last(&inputs[input]));
    let scale = T::ONE / T::from_f64(8.0).sqrt();
    heads_last(&ops::attention(&q, &k, &v, scale, None, mask))
}

/// Keys whose additive mask is not minus infinity.
fn kept_keys() -> Array2<bool> {
    let mask = load::<f64>("padded_attention.mask");
    let &[batch, 1, 1, keys] = mask.shape() else {
        panic!("mask of shape {:?}", mask.shape())
    };
    let kept = flat(&mask).iter().map(|&x| x == 0.0).collect();
    Array2::from_shape_vec((batch, keys), kept).expect("one entry per key")
}

/// Negative targets are ignored.
fn targets() -> Vec<Option<usize>> {
    let targets = integers("cross_entropy.targets");
    targets
        .into_iter()
        .map(|target| usize::try_from(target).ok())
        .collect()
}

fn ids() -> Vec<usize> {
    let ids = integers("embedding.ids");
    ids.into_iter()
        .map(|id| usize::try_from(id).expect("an id"))
        .collect()
}

fn turned<T: Scalar>(x: &Var<T>) -> Var<T> {
    let table = Arc::new(RotaryTable::new(5, 8, 1e4));
    ops::rotary(x, &table, &vec![0; x.shape()[0]])
}
