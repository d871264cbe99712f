//! Vectors of d numbers: sums in `f64` and in one order, random directions.

use ggpo_tensor::Scalar;
use ggpo_tensor::random::{Purpose, Stream};
use rayon::prelude::*;

/// Numbers that one thread takes at a time.
const PIECE: usize = 1 << 14;

/// The inner product, in `f64`, by pieces in a fixed order.
pub(super) fn dot<T: Scalar>(x: &[T], y: &[T]) -> f64 {
    let pieces = x.par_chunks(PIECE).zip(y.par_chunks(PIECE));
    let of_piece = |(x, y): (&[T], &[T])| -> f64 {
        let products = x.iter().zip(y).map(|(x, y)| x.value() * y.value());
        products.sum()
    };
    let parts: Vec<f64> = pieces.map(of_piece).collect();
    parts.into_iter().sum()
}

/// The Euclidean norm.
pub(super) fn norm<T: Scalar>(x: &[T]) -> f64 {
    dot(x, x).sqrt()
}

/// `x + factor y`.
pub(super) fn sum<T: Scalar>(x: &[T], factor: f64, y: &[T]) -> Vec<T> {
    let mut sum = x.to_vec();
    add(&mut sum, factor, y);
    sum
}

/// `x <- x + factor y`.
pub(super) fn add<T: Scalar>(x: &mut [T], factor: f64, y: &[T]) {
    let factor = T::from_f64(factor);
    let pairs = x.par_iter_mut().with_min_len(PIECE).zip(y);
    pairs.for_each(|(x, &y)| *x += factor * y);
}

/// `x - y`.
pub(super) fn difference<T: Scalar>(x: &[T], y: &[T]) -> Vec<T> {
    sum(x, -1.0, y)
}

/// `factor x`.
pub(super) fn scaled<T: Scalar>(x: &[T], factor: f64) -> Vec<T> {
    let factor = T::from_f64(factor);
    x.iter().map(|&x| factor * x).collect()
}

/// What a random direction is for. With a seed and the number of the sample it names
/// the stream that the direction is made of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Probe {
    /// The start of a power iteration.
    Power = 0,
    /// A sample of a trace.
    Trace = 1,
    /// The start of a run of Lanczos.
    Density = 2,
    /// A sample of the trace that noise of different rows weights.
    WeightedTrace = 3,
    /// A direction of a landscape.
    Landscape = 4,
}

fn stream(seed: u64, probe: Probe, sample: usize) -> Stream {
    Stream::new(seed, Purpose::Probe, sample as u32, probe as u32)
}

/// Numbers -1 and 1 with equal probability (Rademacher).
pub(super) fn signs<T: Scalar>(seed: u64, probe: Probe, sample: usize, length: usize) -> Vec<T> {
    let mut bits = vec![0; length];
    stream(seed, probe, sample).fill_bits(0, &mut bits);
    let sign = |bits: u32| if bits >> 31 == 0 { T::ONE } else { -T::ONE };
    bits.into_iter().map(sign).collect()
}

/// Standard normal numbers.
pub(super) fn normal<T: Scalar>(seed: u64, probe: Probe, sample: usize, length: usize) -> Vec<T> {
    let mut z = vec![0.0_f32; length];
    stream(seed, probe, sample).fill_normal(0, &mut z);
    z.into_iter().map(|z| T::from_f64(z.into())).collect()
}
