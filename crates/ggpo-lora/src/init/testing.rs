//! What the tests of initialisations share.

use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{BlockFormat, QuantizedMatrix};
use ndarray::{Array2, ArrayView2, aview1};
use proptest::prelude::*;

use super::decompositions::thin_qr;

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
