//! The right-hand operand of a product, rearranged in panels of columns: by
//! [`pack`] wherever a product wants one, and kept as [`Packed`] where all pieces of
//! the left operand use it.

use ndarray::parallel::prelude::*;
use ndarray::{Array3, ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3, Axis, s};

use crate::parallel::zeros;
use crate::{Addend, Scalar};

/// Rows of the left operand per piece of a product: what stays in a core's cache
/// while the panels pass by.
const PIECE_ROWS: usize = 256;
/// Multiply-adds per piece of a product, if that takes more rows, or fewer columns.
const PIECE_WORK: usize = 1 << 21;
/// Pieces of rows from which all threads are busy without cutting columns as well.
const MANY_PIECES: usize = 16;
/// Rows that are packed together.
const PACK_ROWS: usize = 32;

/// Rows of the left operand up to which packing the right one costs more than it
/// saves, as it touches every element several times.
pub(crate) const FEW_ROWS: usize = 48;

/// Writes `b`, k x n, to `panels`, panels x k x columns of a panel: what a product
/// reads as its right-hand operand. Numbers beyond n stay as they are.
///
/// # Panics
/// If a panel does not have k rows.
pub(crate) fn pack<T: Scalar>(b: ArrayView2<'_, T>, mut panels: ArrayViewMut3<'_, T>) {
    let columns = b.axis_chunks_iter(Axis(1), panels.dim().2);
    for (source, mut panel) in columns.zip(panels.outer_iter_mut()) {
        let mut target = panel.slice_mut(s![.., ..source.ncols()]);
        match by_columns(b) {
            true => T::transpose_into(source.reversed_axes(), target),
            false => target.assign(&source),
        }
    }
}

/// Whether the columns of a matrix are contiguous and its rows are not.
pub(crate) fn by_columns<T>(matrix: ArrayView2<'_, T>) -> bool {
    matrix.strides()[0] == 1 && matrix.strides()[1] != 1
}

/// Packs `b`, k x n, in panels of `width` columns, in memory that is used again.
/// Columns beyond n hold any numbers.
pub(crate) fn pack_in<'a, T: Scalar>(
    b: ArrayView2<'_, T>,
    width: usize,
    scratch: &'a mut Vec<T>,
) -> ArrayView3<'a, T> {
    let shape = (b.ncols().div_ceil(width), b.nrows(), width);
    let elements = take(scratch, shape.0 * shape.1 * shape.2);
    let panels = ArrayViewMut3::from_shape(shape, &mut *elements).expect("as many elements");
    pack(b, panels);
    ArrayView3::from_shape(shape, elements).expect("as many elements")
}

/// A matrix B of k x n in panels of columns, each contiguous: panels x k x
/// columns of a panel, zeros beyond n.
#[derive(Debug)]
pub(crate) struct Packed<T> {
    panels: Array3<T>,
    columns: usize,
}

impl<T: Scalar> Packed<T> {
    fn zeros(k: usize, columns: usize) -> Self {
        let width = T::panel_columns();
        let shape = (columns.div_ceil(width), k, width);
        let elements = zeros(shape.0 * shape.1 * shape.2);
        Packed {
            panels: Array3::from_shape_vec(shape, elements).expect("as many elements"),
            columns,
        }
    }

    /// Packs `b`, k x n.
    pub(crate) fn new(b: ArrayView2<'_, T>) -> Self {
        let mut packed = Self::zeros(b.nrows(), b.ncols());
        // Pieces are long where the elements of `b` lie side by side.
        if by_columns(b) {
            let pieces = packed.panels.axis_chunks_iter_mut(Axis(0), 1);
            pieces
                .into_par_iter()
                .zip(b.axis_chunks_iter(Axis(1), T::panel_columns()))
                .for_each(|(panels, b)| pack(b, panels));
        } else {
            let pieces = packed.panels.axis_chunks_iter_mut(Axis(1), PACK_ROWS);
            pieces
                .into_par_iter()
                .zip(b.axis_chunks_iter(Axis(0), PACK_ROWS))
                .for_each(|(panels, b)| pack(b, panels));
        }
        packed
    }

    /// Packs a matrix of k x n whose rows from number `first` on are written by
    /// `fill(first, rows)`; it is called for every row once.
    pub(crate) fn by_rows<F>(k: usize, n: usize, fill: F) -> Self
    where
        F: Fn(usize, ArrayViewMut2<'_, T>) + Sync,
    {
        let mut packed = Self::zeros(k, n);
        let pack_piece = |scratch: &mut Vec<T>, (piece, panels): (usize, ArrayViewMut3<'_, T>)| {
            let mut rows = scratch_rows(scratch, (panels.dim().1, n));
            fill(piece * PACK_ROWS, rows.view_mut());
            pack(rows.view(), panels);
        };
        packed
            .panels
            .axis_chunks_iter_mut(Axis(1), PACK_ROWS)
            .into_par_iter()
            .enumerate()
            .for_each_init(Vec::new, pack_piece);
        packed
    }

    /// Packs the transpose of a matrix of n x k whose rows from number `first`
    /// on are written by `fill(first, rows)`; it is called for every row once.
    pub(crate) fn transposed<F>(n: usize, k: usize, fill: F) -> Self
    where
        F: Fn(usize, ArrayViewMut2<'_, T>) + Sync,
    {
        let mut packed = Self::zeros(k, n);
        let width = T::panel_columns();
        let pack_panel = |scratch: &mut Vec<T>, (panel, out): (usize, ArrayViewMut3<'_, T>)| {
            let first = panel * width;
            let mut rows = scratch_rows(scratch, (width.min(n - first), k));
            fill(first, rows.view_mut());
            pack(rows.t(), out);
        };
        packed
            .panels
            .axis_chunks_iter_mut(Axis(0), 1)
            .into_par_iter()
            .enumerate()
            .for_each_init(Vec::new, pack_panel);
        packed
    }

    /// `c <- alpha a B + start`: `a` is m x k, `c` m x n with contiguous rows.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub(crate) fn product(
        &self,
        alpha: T,
        a: ArrayView2<'_, T>,
        start: Addend<'_, T>,
        mut c: ArrayViewMut2<'_, T>,
    ) {
        assert_eq!(c.dim(), (a.nrows(), self.columns), "shape of the product");
        let (m, k) = a.dim();
        let rows = PIECE_ROWS.max(PIECE_WORK / (k * self.columns).max(1));
        let panels = match m.div_ceil(rows) >= MANY_PIECES {
            true => self.panels.dim().0,
            false => PIECE_WORK.div_ceil((m.min(rows) * k * T::panel_columns()).max(1)),
        };
        let columns = panels * T::panel_columns();
        let row_of_pieces = |(a, mut c): (ArrayView2<'_, T>, ArrayViewMut2<'_, T>)| {
            let one = |(index, (panels, c)): (usize, (ArrayView3<'_, T>, ArrayViewMut2<'_, T>))| {
                let start = match start {
                    Addend::Row(row) => Addend::Row(&row[index * columns..][..c.ncols()]),
                    scaled => scaled,
                };
                T::gemm_panels(alpha, a, panels, start, c);
            };
            if c.ncols() <= columns {
                return one((0, (self.panels.view(), c)));
            }
            self.panels
                .axis_chunks_iter(Axis(0), panels)
                .into_par_iter()
                .zip(c.axis_chunks_iter_mut(Axis(1), columns))
                .enumerate()
                .for_each(one);
        };
        if m <= rows {
            return row_of_pieces((a, c));
        }
        a.axis_chunks_iter(Axis(0), rows)
            .into_par_iter()
            .zip(c.axis_chunks_iter_mut(Axis(0), rows))
            .for_each(row_of_pieces);
    }
}

/// A matrix in memory that is used again and holds any numbers.
pub(crate) fn scratch_rows<T: Scalar>(
    scratch: &mut Vec<T>,
    (rows, columns): (usize, usize),
) -> ArrayViewMut2<'_, T> {
    let elements = take(scratch, rows * columns);
    ArrayViewMut2::from_shape((rows, columns), elements).expect("as many elements")
}

/// The first `count` elements of memory that is used again, whatever they hold; it
/// grows if need be.
pub(crate) fn take<T: Scalar>(scratch: &mut Vec<T>, count: usize) -> &mut [T] {
    if scratch.len() < count {
        scratch.resize(count, T::ZERO);
    }
    &mut scratch[..count]
}
