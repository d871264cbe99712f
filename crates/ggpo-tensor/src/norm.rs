//! Statistics of the two normalisations, one pair of numbers per row.

use crate::parallel::{for_costly_row_pieces, new_rows};
use crate::raw::dispatch::{self, Kernel};
use crate::reduce::sum_lanes;
use crate::{Scalar, Tensor, flat, tensor};

/// Per row of the last axis: the mean, and `1 / sqrt(variance + eps)` with the
/// biased variance. This is what layer norm needs of a row, forward and backward.
pub fn layer_statistics<T: Scalar>(x: &Tensor<T>, eps: f64) -> Vec<[T; 2]> {
    statistics::<T, true>(x, eps)
}

/// Per row of the last axis: 0, and `1 / sqrt(mean of x^2 + eps)`. This is what
/// RMS norm needs of a row.
pub fn rms_statistics<T: Scalar>(x: &Tensor<T>, eps: f64) -> Vec<[T; 2]> {
    statistics::<T, false>(x, eps)
}

fn statistics<T: Scalar, const CENTRED: bool>(x: &Tensor<T>, eps: f64) -> Vec<[T; 2]> {
    let width = x.shape().last().copied().unwrap_or(1).max(1);
    let source = flat(x);
    let mut out = vec![[T::ZERO; 2]; source.len() / width];
    for_costly_row_pieces(&mut out, 1, width, |first, out| {
        dispatch::run(Statistics::<T, CENTRED> {
            rows: &source[first * width..][..out.len() * width],
            width,
            eps: T::from_f64(eps),
            out,
        });
    });
    out
}

/// The statistics of some rows, about their mean or about 0.
struct Statistics<'a, T, const CENTRED: bool> {
    rows: &'a [T],
    width: usize,
    eps: T,
    out: &'a mut [[T; 2]],
}

impl<T: Scalar, const CENTRED: bool> Kernel for Statistics<'_, T, CENTRED> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let count = T::from_f64(self.width as f64);
        for (out, row) in self.out.iter_mut().zip(self.rows.chunks_exact(self.width)) {
            let (mean, squares) = if CENTRED {
                let mean = sum_lanes(row, row, |x, _| x) / count;
                (mean, sum_lanes(row, row, |x, _| (x - mean) * (x - mean)))
            } else {
                (T::ZERO, sum_lanes(row, row, |x, _| x * x))
            };
            *out = [mean, T::ONE / (squares / count + self.eps).sqrt()];
        }
    }
}

/// `(x - mean) * inverse_deviation * weight + bias`, row by row.
///
/// # Panics
/// If the lengths do not fit.
pub fn normalise<T: Scalar>(
    x: &Tensor<T>,
    statistics: &[[T; 2]],
    weight: &[T],
    bias: Option<&[T]>,
) -> Tensor<T> {
    let width = weight.len();
    assert_eq!(x.shape().last(), Some(&width), "norm: length of the weight");
    let source = flat(x);
    let out = new_rows(source.len(), width, |first, out: &mut [T]| {
        dispatch::run(Normalise {
            rows: &source[first * width..][..out.len()],
            statistics: &statistics[first..][..out.len() / width],
            weight,
            bias,
            out,
        });
    });
    tensor(x.shape(), out)
}

/// [`normalise`] for some rows.
struct Normalise<'a, T> {
    rows: &'a [T],
    statistics: &'a [[T; 2]],
    weight: &'a [T],
    bias: Option<&'a [T]>,
    out: &'a mut [T],
}

impl<T: Scalar> Kernel for Normalise<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let weight = self.weight;
        let rows = self.rows.chunks_exact(weight.len());
        let outs = self.out.chunks_exact_mut(weight.len());
        for ((row, out), &[mean, inverse]) in rows.zip(outs).zip(self.statistics) {
            let terms = out.iter_mut().zip(row).zip(weight);
            match self.bias {
                Some(bias) => {
                    for (((out, &x), &weight), &bias) in terms.zip(bias) {
                        *out = (x - mean) * inverse * weight + bias;
                    }
                }
                None => {
                    for ((out, &x), &weight) in terms {
                        *out = (x - mean) * inverse * weight;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use crate::raw::dispatch::run_at;
    use crate::simd::Level;

    #[test]
    fn all_levels_give_the_same_bits() {
        for width in (1..70).chain([768]) {
            let mut rows = vec![0.0_f32; 3 * width];
            Stream::new(7, Purpose::Perturbation, 0, width as u32).fill_normal(0, &mut rows);
            let (rows, weight) = rows.split_at(2 * width);
            let at = |level| {
                let (mut statistics, mut out) = ([[0.0; 2]; 2], vec![0.0; 2 * width]);
                run_at(
                    level,
                    Statistics::<f32, true> {
                        rows,
                        width,
                        eps: 1e-5,
                        out: &mut statistics,
                    },
                );
                run_at(
                    level,
                    Normalise {
                        rows,
                        statistics: &statistics,
                        weight,
                        bias: Some(weight),
                        out: &mut out,
                    },
                );
                out.extend(statistics.as_flattened());
                out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            for level in Level::available() {
                assert_eq!(at(level), at(Level::Portable), "{level:?}, {width}");
            }
        }
    }
}
