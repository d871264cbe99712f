//! Products with the weight that a layer acts by: quantised or dense, merged
//! with a low-rank path, with noise on its rows.
//!
//! The weight is never formed as a whole. A few rows of it at a time are made in
//! scratch memory, `W` copied or dequantised, `s B A` and the noise added, and
//! moved to the packed operand that the product reads anyway, of which there is
//! at most a block of some megabytes. The weight itself is only ever read, and
//! nothing of the sum outlives the product.

use std::fmt::Debug;
use std::ops::Range;

use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};

use crate::packed::{FEW_ROWS, Packed, scratch_rows};
use crate::{Addend, Scalar, WeightView, gemm, matmul, matmul_nt};

/// Noise `eps` (m x n) on a weight matrix, made row by row on demand.
///
/// Asked twice for the same rows, an implementation must give the same values:
/// the forward pass, the backward pass and every thread ask on their own.
pub trait RowPerturbation<T>: Debug + Send + Sync {
    /// Adds rows `first_row..first_row + panel.nrows()` of `eps` to `panel`.
    fn add_rows(&self, first_row: usize, panel: ArrayViewMut2<'_, T>);

    /// Whether the gradient that flows on to the layer's input sees the noise.
    ///
    /// It does in every method of this project; the exception is a form in
    /// circulation that is offered for comparison.
    fn in_backward(&self) -> bool {
        true
    }

    /// Factors f of the rows, length m, if the noise follows the weight in the
    /// gradient: the gradient of row i of W' then gains `f_i <eps_i, G_i> W'_i`.
    /// Without them the noise counts as a constant.
    fn weight_factors(&self) -> Option<&[T]> {
        None
    }

    /// Standard deviations of the rows, length m, of noise that has them.
    fn row_deviations(&self) -> Option<&[T]> {
        None
    }
}

/// Elements of the weight that are packed at a time: 4 MiB in `f32`, which stay
/// in the cache that the cores share.
const BLOCK_ELEMENTS: usize = 1 << 20;

/// Elements of the weight that one thread makes at a time for few rows of the
/// other operand: 128 KiB in `f32`, a share of a core's cache.
const PIECE_ELEMENTS: usize = 1 << 15;

/// Parts of a sum over the weight's rows, at most.
const SHARES: usize = 8;

/// Rows of n numbers that one thread makes at a time.
fn rows_of_a_piece(n: usize) -> usize {
    (PIECE_ELEMENTS / n.max(1)).max(1)
}

/// `s B A` with `b` m x r and `a` r x n.
#[derive(Clone, Copy, Debug)]
pub struct LowRank<'a, T> {
    /// The factor s.
    pub scaling: T,
    /// m x r.
    pub b: ArrayView2<'a, T>,
    /// r x n.
    pub a: ArrayView2<'a, T>,
}

/// `W + s B A + eps`, m x n, of which every part but W is optional.
#[derive(Clone, Copy, Debug)]
pub struct ActingWeight<'a, T> {
    /// W.
    pub weight: WeightView<'a, T>,
    /// `s B A`: an adapter, and beside it what an initialisation took off or a
    /// perturbation moved.
    pub low_rank: [Option<LowRank<'a, T>>; 2],
    /// eps.
    pub noise: Option<&'a dyn RowPerturbation<T>>,
}

impl<'a, T> From<WeightView<'a, T>> for ActingWeight<'a, T> {
    fn from(weight: WeightView<'a, T>) -> Self {
        ActingWeight {
            weight,
            low_rank: [None, None],
            noise: None,
        }
    }
}

impl<T: Scalar> ActingWeight<'_, T> {
    /// `out <- x (W + s B A + eps)ᵀ + start`: `x` is t x n, `out` t x m with
    /// contiguous rows.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn times_transposed(
        &self,
        x: ArrayView2<'_, T>,
        start: Addend<'_, T>,
        mut out: ArrayViewMut2<'_, T>,
    ) {
        let n = self.weight.dim().1;
        if x.nrows() > FEW_ROWS {
            for block in self.blocks() {
                let fill = |first, rows: ArrayViewMut2<'_, T>| self.fill(block.start + first, rows);
                let packed = Packed::transposed(block.len(), n, fill);
                let start = match start {
                    Addend::Row(row) => Addend::Row(&row[block.clone()]),
                    scaled => scaled,
                };
                packed.product(T::ONE, x, start, out.slice_mut(s![.., block]));
            }
            return;
        }
        let beta = match start {
            Addend::Scaled(beta) => beta,
            Addend::Row(row) => {
                out.assign(&ndarray::aview1(row));
                T::ONE
            }
        };
        match self.as_it_is() {
            Some(weight) => gemm(T::ONE, x, weight.reversed_axes(), beta, out.view_mut()),
            None => self.few_times_transposed(x, beta, out.view_mut()),
        }
        for LowRank { scaling, b, a } in self.low_rank.into_iter().flatten() {
            let hidden = matmul_nt(x, a);
            let b = b.reversed_axes();
            gemm(scaling, hidden.view(), b, T::ONE, out.view_mut());
        }
    }

    /// `out <- y (W + s B A + eps) + beta out`: `y` is t x m, `out` t x n with
    /// contiguous rows.
    ///
    /// With `beta` zero the old contents of `out` are not read.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn times(&self, y: ArrayView2<'_, T>, beta: T, mut out: ArrayViewMut2<'_, T>) {
        let (m, n) = self.weight.dim();
        if m == 0 {
            return gemm(T::ONE, y, Array2::default((0, n)).view(), beta, out);
        }
        if y.nrows() > FEW_ROWS {
            for block in self.blocks() {
                let fill = |first, rows: ArrayViewMut2<'_, T>| self.fill(block.start + first, rows);
                let packed = Packed::by_rows(block.len(), n, fill);
                let beta = if block.start == 0 { beta } else { T::ONE };
                let y = y.slice(s![.., block]);
                packed.product(T::ONE, y, Addend::Scaled(beta), out.view_mut());
            }
            return;
        }
        match self.as_it_is() {
            Some(weight) => gemm(T::ONE, y, weight, beta, out.view_mut()),
            None => self.few_times(y, beta, out.view_mut()),
        }
        for LowRank { scaling, b, a } in self.low_rank.into_iter().flatten() {
            let hidden = matmul(y, b);
            gemm(scaling, hidden.view(), a, T::ONE, out.view_mut());
        }
    }

    /// The weight as a whole, m x n: for merging, and for what is looked at once.
    pub fn to_dense(&self) -> Array2<T> {
        let (m, n) = self.weight.dim();
        let mut dense = Array2::from_elem((m, n), T::ZERO);
        let rows = rows_of_a_piece(n);
        dense
            .axis_chunks_iter_mut(Axis(0), rows)
            .into_par_iter()
            .enumerate()
            .for_each(|(piece, panel)| self.fill(piece * rows, panel));
        dense
    }

    /// The weight, if a product can read it where it is.
    fn as_it_is(&self) -> Option<ArrayView2<'_, T>> {
        match (self.weight, self.noise) {
            (WeightView::Dense(matrix), None) => Some(matrix),
            _ => None,
        }
    }

    /// `out <- x (W + eps)ᵀ + beta out` for few rows of x: every piece of the
    /// weight's rows is made in scratch memory and gives its columns of the result.
    fn few_times_transposed(&self, x: ArrayView2<'_, T>, beta: T, mut out: ArrayViewMut2<'_, T>) {
        let n = self.weight.ncols();
        let rows = rows_of_a_piece(n);
        out.axis_chunks_iter_mut(Axis(1), rows)
            .into_par_iter()
            .enumerate()
            .for_each_init(Vec::new, |scratch, (piece, out)| {
                let mut panel = scratch_rows(scratch, (out.ncols(), n));
                self.fill_without_low_rank(piece * rows, panel.view_mut());
                T::gemm_serial(T::ONE, x, panel.t(), beta, out);
            });
    }

    /// `out <- y (W + eps) + beta out` for few rows of y: every share of the
    /// weight's rows gives a part of the sum, and the parts are added in order.
    fn few_times(&self, y: ArrayView2<'_, T>, beta: T, mut out: ArrayViewMut2<'_, T>) {
        let (m, n) = self.weight.dim();
        let rows = rows_of_a_piece(n);
        let share = m.div_ceil(rows).div_ceil(SHARES) * rows;
        let part = |scratch: &mut Vec<T>, first: usize| {
            let mut part = Array2::from_elem((y.nrows(), n), T::ZERO);
            for piece in (first..m.min(first + share)).step_by(rows) {
                let end = m.min(first + share).min(piece + rows);
                let mut panel = scratch_rows(scratch, (end - piece, n));
                self.fill_without_low_rank(piece, panel.view_mut());
                let y = y.slice(s![.., piece..end]);
                T::gemm_serial(T::ONE, y, panel.view(), T::ONE, part.view_mut());
            }
            part
        };
        let firsts: Vec<usize> = (0..m).step_by(share).collect();
        let parts: Vec<Array2<T>> = firsts.into_par_iter().map_init(Vec::new, part).collect();
        for (index, part) in parts.iter().enumerate() {
            match index == 0 && beta == T::ZERO {
                true => out.assign(part),
                false => {
                    let beta = if index == 0 { beta } else { T::ONE };
                    out.zip_mut_with(part, |out, &part| *out = beta * *out + part);
                }
            }
        }
    }

    /// The rows of the weight in blocks of much the same size, whole panels all
    /// but the last.
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let (m, n) = self.weight.dim();
        let count = (m * n).div_ceil(BLOCK_ELEMENTS).max(1);
        let rows = m.div_ceil(count).max(1);
        let rows = rows.next_multiple_of(T::panel_columns());
        (0..m)
            .step_by(rows)
            .map(move |first| first..m.min(first + rows))
    }

    /// Writes the rows of `W + eps` from number `first` on to `rows`.
    fn fill_without_low_rank(&self, first: usize, mut rows: ArrayViewMut2<'_, T>) {
        self.weight.fill(first, rows.view_mut());
        if let Some(noise) = self.noise {
            noise.add_rows(first, rows);
        }
    }

    /// Writes the rows from number `first` on to `rows`.
    fn fill(&self, first: usize, mut rows: ArrayViewMut2<'_, T>) {
        self.weight.fill(first, rows.view_mut());
        for LowRank { scaling, b, a } in self.low_rank.into_iter().flatten() {
            let b = b.slice(s![first..first + rows.nrows(), ..]);
            T::gemm_serial(scaling, b, a, T::ONE, rows.view_mut());
        }
        if let Some(noise) = self.noise {
            noise.add_rows(first, rows);
        }
    }
}
