//! What the tests of initialisations share.

use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{BlockFormat, QuantizedMatrix};
use ndarray::{Array2, ArrayView2, Axis, aview1};
use proptest::prelude::*;
use safetensors::SafeTensors;

use super::Factors;
use super::decompositions::{thin_qr, thin_svd};

/// Layers of the reference files: square, wide and tall.
pub(super) const LAYERS: [&str; 4] = [
    "model.layers.0.self_attn.q_proj",
    "model.layers.0.self_attn.v_proj",
    "model.layers.0.mlp.gate_proj",
    "model.layers.1.mlp.down_proj",
];

/// Standard normal numbers; `part` tells the matrices of one seed apart.
pub(super) fn normal(seed: u64, part: u32, m: usize, n: usize) -> Array2<f64> {
    let stream = Stream::new(seed, Purpose::Data, 0, part);
    Array2::from_shape_fn((m, n), |(i, j)| {
        f64::from(stream.normal((i * n + j) as u64))
    })
}

/// A random matrix of m x n and its singular values, which fall from 1 in equal
/// steps and are above 0.1.
pub(super) fn with_singular_values(seed: u64, m: usize, n: usize) -> (Array2<f64>, Vec<f64>) {
    let k = m.min(n);
    let basis = |part, size| {
        thin_qr(normal(seed, part, size, k).view().into())
            .unwrap()
            .q
    };
    let singular_values: Vec<f64> = (0..k).map(|i| 1.0 - 0.9 * i as f64 / k as f64).collect();
    let scaled = basis(0, m) * aview1(&singular_values);
    (scaled.dot(&basis(1, n).t()), singular_values)
}

/// A matrix of blocks of four bits; `n` is a multiple of 32.
pub(super) fn quantized(seed: u64, m: usize, n: usize) -> QuantizedMatrix {
    let mut bytes = Vec::new();
    for block in normal(seed, 0, m * n / 32, 16).rows() {
        bytes.extend(0x3000_u16.to_le_bytes());
        bytes.extend(block.iter().map(|x| (x * 1e3) as i64 as u8));
    }
    QuantizedMatrix::new(BlockFormat::Q4_0, m, n, bytes).unwrap()
}

/// m, n and a rank that fits `times` times into the smaller side.
pub(super) fn shape_and_rank(times: usize) -> impl Strategy<Value = (usize, usize, usize)> {
    (times..=30, times..=30).prop_flat_map(move |(m, n)| (Just(m), Just(n), 1..=m.min(n) / times))
}

/// The Frobenius norm.
pub(super) fn norm(x: &Array2<f64>) -> f64 {
    let largest = x.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    let squares = x.iter().map(|x| (x / largest).powi(2));
    largest * squares.sum::<f64>().sqrt()
}

/// Sums of at most some tens of terms in `f64`: 1e-13 of the whole is hundreds
/// of roundings.
#[track_caller]
pub(super) fn assert_close(found: &Array2<f64>, expected: &Array2<f64>) {
    let difference = norm(&(found - expected));
    assert!(difference <= 1e-13 * norm(expected), "{difference:e}");
}

/// Of unit length and orthogonal to each other.
#[track_caller]
pub(super) fn assert_orthonormal_rows(rows: ArrayView2<'_, f64>) {
    assert_close(&rows.dot(&rows.t()), &Array2::eye(rows.nrows()));
}

/// How far the first `count` singular vectors of a matrix may turn if its elements
/// are rounded to `f32`, relative to their length 1.
///
/// The matrix of the roundings, 6e-8 of each element, has at most 6e-8 times the
/// norm of the matrix; by Wedin's theorem a vector turns by at most twice that
/// over its distance from the next singular value. Its own elements are rounded
/// as well.
pub(super) fn turn_by_rounding(x: &Array2<f64>, count: usize) -> f64 {
    let singular_values = thin_svd(x.view().into()).unwrap().singular_values;
    let gaps = singular_values.windows(2).take(count).map(|s| s[0] - s[1]);
    let smallest = gaps.fold(f64::INFINITY, f64::min);
    6e-8 * (1.0 + 2.0 * norm(x) / smallest)
}

/// A file of reference values.
pub(super) struct Reference(Vec<u8>);

impl Reference {
    pub(super) fn read(name: &str) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/init");
        Reference(std::fs::read(format!("{folder}/{name}.safetensors")).unwrap())
    }

    /// A matrix of `f32` numbers.
    pub(super) fn matrix(&self, name: &str) -> Array2<f64> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        let (words, _) = tensor.data().as_chunks::<4>();
        let numbers = words
            .iter()
            .map(|&word| f64::from(f32::from_le_bytes(word)));
        let shape = (tensor.shape()[0], tensor.shape()[1]);
        Array2::from_shape_vec(shape, numbers.collect()).unwrap()
    }

    /// Row k of A and column k of B, whose signs are free together.
    pub(super) fn check_factors(&self, layer: &str, found: &Factors<f64>, tolerance: f64) {
        self.check(layer, found, tolerance, true);
    }

    /// Row k of A and column k of B, whose signs are free one by one: they are
    /// singular vectors of different singular values.
    pub(super) fn check_vectors(&self, layer: &str, found: &Factors<f64>, tolerance: f64) {
        self.check(layer, found, tolerance, false);
    }

    fn check(&self, layer: &str, found: &Factors<f64>, tolerance: f64, paired: bool) {
        let a = self.matrix(&format!("{layer}.lora_A"));
        let b = self.matrix(&format!("{layer}.lora_B"));
        assert_eq!(found.a.dim(), a.dim(), "{layer}");
        assert_eq!(found.b.dim(), b.dim(), "{layer}");
        for k in 0..a.nrows() {
            let sign_of_a = found.a.row(k).dot(&a.row(k)).signum();
            let sign_of_b = found.b.column(k).dot(&b.column(k)).signum();
            assert!(!paired || sign_of_a == sign_of_b, "{layer} {k}");
            for (found, expected, sign) in [
                (found.a.row(k), a.row(k), sign_of_a),
                (found.b.column(k), b.column(k), sign_of_b),
            ] {
                let difference = (&found * sign - expected).insert_axis(Axis(0));
                let size = norm(&expected.to_owned().insert_axis(Axis(0)));
                let relative = norm(&difference) / size;
                assert!(relative <= tolerance, "{layer} {k}: {relative:e}");
            }
        }
    }
}
