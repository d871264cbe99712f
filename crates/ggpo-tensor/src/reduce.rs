//! Sums in one fixed order, whatever the number of threads.

use std::ops::Range;

use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::Scalar;
use crate::raw::dispatch::{self, Kernel};

/// Elements summed in one go before the partial sums are added up.
const PIECE: usize = 1 << 14;
/// Independent accumulators of one go, which make it vectorisable.
const LANES: usize = 16;

/// Folds pairs of elements in one fixed order: element i goes to accumulator
/// i mod 16 by `step`, then `join` halves the number of accumulators four times.
///
/// Every accumulator begins with `start`. Only as many pairs are read as the
/// shorter slice has.
#[inline(always)]
pub(crate) fn fold_lanes<T: Copy, A: Copy, B: Copy>(
    x: &[A],
    y: &[B],
    start: T,
    step: impl Fn(T, A, B) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    let mut lanes = [start; LANES];
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x.iter().zip(y) {
        for lane in 0..LANES {
            lanes[lane] = step(lanes[lane], x[lane], y[lane]);
        }
    }
    for ((lane, &x), &y) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
        *lane = step(*lane, x, y);
    }
    join_lanes(lanes, join)
}

/// Halves the number of accumulators four times.
#[inline(always)]
fn join_lanes<T: Copy>(mut lanes: [T; LANES], join: impl Fn(T, T) -> T) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = join(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// The sum of `term` over pairs of elements, in the order of [`fold_lanes`].
#[inline(always)]
pub(crate) fn sum_lanes<T: Scalar>(x: &[T], y: &[T], term: impl Fn(T, T) -> T) -> T {
    fold_lanes(x, y, T::ZERO, |sum, x, y| sum + term(x, y), |a, b| a + b)
}

/// Replaces every element by `f` of it and returns their sum, in the order of
/// [`fold_lanes`].
#[inline(always)]
pub(crate) fn replace_lanes<T: Scalar>(x: &mut [T], f: impl Fn(T) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = f(chunk[lane]);
            lanes[lane] += chunk[lane];
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *x = f(*x);
        *lane += *x;
    }
    join_lanes(lanes, |a, b| a + b)
}

/// [`sum_lanes`] of one piece.
struct SumPiece<'a, T, F>(&'a [T], &'a [T], &'a F);

impl<T: Scalar, F: Fn(T, T) -> T> Kernel for SumPiece<'_, T, F> {
    type Output = T;

    #[inline(always)]
    fn run(self) -> T {
        sum_lanes(self.0, self.1, self.2)
    }
}

/// The sum of `term` of every pair of elements.
///
/// # Panics
/// If the lengths differ.
pub fn sum_terms<T: Scalar>(x: &[T], y: &[T], term: impl Fn(T, T) -> T + Sync) -> T {
    assert_eq!(x.len(), y.len(), "reduction over two lengths");
    if x.len() <= PIECE {
        return dispatch::run(SumPiece(x, y, &term));
    }
    let partial: Vec<T> = x
        .par_chunks(PIECE)
        .zip(y.par_chunks(PIECE))
        .map(|(x, y)| dispatch::run(SumPiece(x, y, &term)))
        .collect();
    partial
        .into_iter()
        .fold(T::ZERO, |total, part| total + part)
}

/// The sum of all elements.
pub fn sum<T: Scalar>(x: &[T]) -> T {
    sum_terms(x, x, |x, _| x)
}

/// The inner product.
///
/// # Panics
/// If the lengths differ.
pub fn dot<T: Scalar>(x: &[T], y: &[T]) -> T {
    sum_terms(x, y, |x, y| x * y)
}

/// The sum of squares.
pub fn squared_norm<T: Scalar>(x: &[T]) -> T {
    dot(x, x)
}

/// The sum over rows of an m x n matrix in standard layout: a vector of length n.
///
/// # Panics
/// If the matrix is not in standard layout.
pub fn sum_rows<T: Scalar>(x: ArrayView2<'_, T>) -> Vec<T> {
    let columns = x.ncols();
    if columns == 0 {
        return Vec::new();
    }
    let x_all = x.to_slice().expect("standard layout");
    accumulate_rows(x.nrows(), columns, |row, total| {
        for (total, &x) in total.iter_mut().zip(&x_all[row * columns..]) {
            *total += x;
        }
    })
}

/// `add(row, total)` for a range of rows.
struct AddRows<'a, T, F>(Range<usize>, &'a F, &'a mut [T]);

impl<T, F: Fn(usize, &mut [T])> Kernel for AddRows<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let AddRows(rows, add, total) = self;
        for row in rows {
            add(row, total);
        }
    }
}

/// A sum of `rows` vectors of length `columns`: `add(row, total)` adds one of
/// them to a running total.
pub fn accumulate_rows<T: Scalar>(
    rows: usize,
    columns: usize,
    add: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let piece = (PIECE / columns.max(1)).max(1);
    let partial: Vec<Vec<T>> = (0..rows.div_ceil(piece))
        .into_par_iter()
        .map(|index| {
            let mut total = vec![T::ZERO; columns];
            let rows = index * piece..((index + 1) * piece).min(rows);
            dispatch::run(AddRows(rows, &add, &mut total));
            total
        })
        .collect();
    let mut total = vec![T::ZERO; columns];
    for part in partial {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
    total
}
