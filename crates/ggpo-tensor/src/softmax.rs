//! Softmax and log-sum-exp over the last axis.
//!
//! A row is walked several times with simple loops, each of which is vector
//! code: it stays in the nearest cache. Maxima and sums have the fixed order of
//! [`reduce`](crate::reduce), so a row gives the same bits wherever it stands.

use crate::parallel::for_row_pieces;
use crate::raw::dispatch::{self, Kernel};
use crate::reduce::{fold_lanes, sum_lanes};
use crate::{Scalar, Tensor, flat, tensor};

/// Softmax over the last axis, `exp(x - max) / sum`.
pub fn softmax<T: Scalar>(x: &Tensor<T>) -> Tensor<T> {
    let mut out = flat(x).to_vec();
    let width = x.shape().last().copied().unwrap_or(1).max(1);
    for_row_pieces(&mut out, width, |_, rows| {
        dispatch::run(Softmax { rows, width });
    });
    tensor(x.shape(), out)
}

/// `ln sum exp` of a row, without overflow; minus infinity of an empty one.
pub fn log_sum_exp<T: Scalar>(row: &[T]) -> T {
    dispatch::run(LogSumExp { row })
}

/// The largest of some numbers; of none, `None`.
#[inline(always)]
pub(crate) fn largest<T: Scalar>(values: &[T]) -> Option<T> {
    let first = *values.first()?;
    Some(fold_lanes(
        values,
        values,
        first,
        |largest, x, _| largest.max(x),
        T::max,
    ))
}

/// Divides a row of exponentials by its sum.
#[inline(always)]
fn divide_by_sum<T: Scalar>(row: &mut [T]) {
    let inverse = T::ONE / sum_lanes(row, row, |x, _| x);
    for x in row {
        *x *= inverse;
    }
}

/// Softmax of every row of the given width.
struct Softmax<'a, T> {
    rows: &'a mut [T],
    width: usize,
}

impl<T: Scalar> Kernel for Softmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for row in self.rows.chunks_exact_mut(self.width.max(1)) {
            let Some(max) = largest(row) else { continue };
            for x in row.iter_mut() {
                *x = (*x - max).exp();
            }
            divide_by_sum(row);
        }
    }
}

/// Logarithm of the sum of the exponentials of one row.
struct LogSumExp<'a, T> {
    row: &'a [T],
}

impl<T: Scalar> Kernel for LogSumExp<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run(self) -> T {
        match largest(self.row) {
            None => T::from_f64(f64::NEG_INFINITY),
            Some(max) => max + sum_lanes(self.row, self.row, |x, _| (x - max).exp()).ln(),
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
        for width in (1..70).chain([128, 1000]) {
            let mut row = vec![0.0_f32; width];
            Stream::new(7, Purpose::Perturbation, 0, width as u32).fill_normal(0, &mut row);
            let at = |level| {
                let mut out = row.clone();
                run_at(
                    level,
                    Softmax {
                        rows: &mut out,
                        width,
                    },
                );
                out.push(run_at(level, LogSumExp { row: &row }));
                out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            for level in Level::available() {
                assert_eq!(at(level), at(Level::Portable), "{level:?}, {width}");
            }
        }
    }
}
