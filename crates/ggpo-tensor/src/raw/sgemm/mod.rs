//! Single-precision products with AVX-512 or AVX2 and FMA.
//!
//! `matrixmultiply` is the general engine of this crate. It packs both operands
//! element by element, which costs a tenth of the time of a layer's product and
//! most of it where one side is thin (the rank-r factors) or small (attention
//! heads). Here the rows of A are read in place, as the inner kernel needs a
//! single number of each at a time; only B is packed, and only if it is not
//! short. C must have contiguous rows or columns.
//!
//! Every element of C is one sum in the order of K, in stretches whose length
//! depends on K alone, so the bits of an element depend neither on the size of
//! the piece it is calculated in nor on the thread.

mod pack;
mod tile;
#[cfg(target_arch = "x86_64")]
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::cell::RefCell;

use ndarray::{Array2, ArrayView2, ArrayView3, ArrayViewMut2, s};

use crate::Addend;
use crate::packed::{FEW_ROWS, by_columns, pack_in};
use crate::simd::{Level, level};

use tile::{Base, Tile, TileShape};

pub(crate) use pack::transpose_into;

/// Rows of A that are walked for one panel of B.
const BLOCK_ROWS: usize = 256;
/// Numbers of these rows that are walked for one panel: 512 KiB, which stay in a
/// core's second cache.
const BLOCK: usize = 1 << 17;
/// Columns of a result that are too few for its rows to be calculated well.
const THIN: usize = 16;

/// The shape of a level's kernel; none for [`Level::Portable`].
fn shape_at(level: Level) -> Option<TileShape> {
    let shape: Option<&TileShape> = match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => Some(&x86::AVX512),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => Some(&x86::AVX2),
        _ => None,
    };
    shape.copied()
}

/// The shape of the kernel of this process's level.
fn shape() -> Option<TileShape> {
    shape_at(level())
}

/// Columns of a packed panel at this process's level; none without a kernel.
pub(crate) fn panel_columns() -> Option<usize> {
    shape().map(|shape| shape.columns)
}

/// B as the kernel reads it: K rows of contiguous numbers, in panels of columns.
#[derive(Clone, Copy)]
struct Right {
    /// First element.
    start: *const f32,
    /// From one row of a panel to the next.
    row: isize,
    /// From one panel to the next.
    panel: usize,
}

/// A as the kernel reads it, in tiles of rows.
struct Left {
    /// First element.
    start: *const f32,
    /// From one row to the next, and from one number of a row to the next.
    strides: [isize; 2],
    /// From one tile to the next.
    tile: isize,
}

thread_local! {
    /// Scratch of a thread for packed operands.
    static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// `c <- alpha a b + beta c` on the calling thread. False, and nothing done, if
/// there is no kernel for the processor or the layout of `c`.
///
/// The shapes must fit: `a` m x k, `b` k x n, `c` m x n.
pub(crate) fn sgemm(
    alpha: f32,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    beta: f32,
    c: ArrayViewMut2<'_, f32>,
) -> bool {
    shape().is_some_and(|shape| sgemm_with(shape, alpha, a, b, beta, c))
}

/// [`sgemm`] with the kernel of one instruction set, which the processor has.
fn sgemm_with(
    shape: TileShape,
    alpha: f32,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    beta: f32,
    mut c: ArrayViewMut2<'_, f32>,
) -> bool {
    if c.strides()[1] != 1 {
        if c.strides()[0] != 1 {
            return false;
        }
        let (a, b) = (b.reversed_axes(), a.reversed_axes());
        return sgemm_with(shape, alpha, a, b, beta, c.reversed_axes());
    }
    let ((m, k), n) = (a.dim(), b.ncols());
    // A thin result of a long sum reads the wide operand along its rows, and
    // with few rows of A, B is read in place as the left operand.
    let thin = n < THIN && m > n && by_columns(a) && !by_columns(b);
    let few_rows = m <= FEW_ROWS && n > m && by_columns(b);
    if thin || few_rows {
        let mut transposed = Array2::from_elem((n, m), 0.0);
        if beta != 0.0 {
            transpose_into(c.view(), transposed.view_mut());
        }
        let (a, b) = (b.reversed_axes(), a.reversed_axes());
        sgemm_with(shape, alpha, a, b, beta, transposed.view_mut());
        transpose_into(transposed.view(), c);
        return true;
    }
    SCRATCH.with_borrow_mut(|[packed, left]| {
        let in_place = b.strides()[1] == 1 && (m <= FEW_ROWS || n <= shape.columns);
        let right = if in_place {
            Right {
                start: b.as_ptr(),
                row: b.strides()[0],
                panel: shape.columns,
            }
        } else {
            let width = shape.columns.min(n.next_multiple_of(THIN));
            Right {
                start: pack_in(b, width, packed).as_ptr(),
                row: width as isize,
                panel: k * width,
            }
        };
        let start = Addend::Scaled(beta);
        // SAFETY: either B itself, whose rows of n numbers are contiguous, or
        // panels that were packed for this shape, or one that is narrower.
        unsafe { product(shape, alpha, a, right, start, c.view_mut(), left) }
    });
    true
}

/// `c <- alpha a b + start` on the calling thread, with `b` packed in panels as
/// [`Products::gemm_panels`](crate::Products::gemm_panels) says. False, and nothing
/// done, if there is no kernel for the processor.
///
/// # Panics
/// If the shapes do not fit, or `panels` or the rows of `c` are not contiguous.
pub(crate) fn sgemm_panels(
    alpha: f32,
    a: ArrayView2<'_, f32>,
    panels: ArrayView3<'_, f32>,
    start: Addend<'_, f32>,
    c: ArrayViewMut2<'_, f32>,
) -> bool {
    let Some(shape) = shape() else {
        return false;
    };
    let (count, k, columns) = panels.dim();
    let wanted = (a.ncols(), shape.columns);
    assert_eq!((k, columns), wanted, "panels of another product");
    assert!(
        c.nrows() == a.nrows() && c.ncols() <= count * columns,
        "shape of c"
    );
    assert!(c.strides()[1] == 1 || c.is_empty(), "rows are contiguous");
    if let Addend::Row(row) = start {
        assert_eq!(row.len(), c.ncols(), "length of the row");
    }
    let right = Right {
        start: panels.as_slice().expect("contiguous panels").as_ptr(),
        row: columns as isize,
        panel: k * columns,
    };
    // SAFETY: the panels have the shape's columns and as many numbers as were
    // checked.
    SCRATCH.with_borrow_mut(|[_, left]| unsafe {
        product(shape, alpha, a, right, start, c, left);
    });
    true
}

/// # Safety
/// `right` must have k rows and panels for all columns of `c`, in panels of
/// `shape.columns`; the rows of `c` must be contiguous, and the shapes fit.
unsafe fn product(
    shape: TileShape,
    alpha: f32,
    a: ArrayView2<'_, f32>,
    right: Right,
    start: Addend<'_, f32>,
    mut c: ArrayViewMut2<'_, f32>,
    left_scratch: &mut Vec<f32>,
) {
    let ((m, k), n) = (a.dim(), c.ncols());
    let shape = shape.of_result(n);
    let stretches = k.div_ceil(shape.stretch).max(1);
    let stretch = k.div_ceil(stretches).max(1);
    let span = (BLOCK / (BLOCK_ROWS * stretch)).max(1) * stretch;
    let steps = k.max(1);
    let c_stride = c.strides()[0];
    let c = c.as_mut_ptr();
    let full = shape.rows_for(n);
    let repack = a.strides()[1] != 1 && n > panels_in_place(a) * shape.columns;
    for block in (0..m).step_by(BLOCK_ROWS) {
        let rows = BLOCK_ROWS.min(m - block);
        let part = a.slice(s![block..block + rows, ..]);
        let left = match repack {
            true => pack::tiles(part, full, left_scratch),
            false => Left {
                start: part.as_ptr(),
                strides: [part.strides()[0], part.strides()[1]],
                tile: full as isize * part.strides()[0],
            },
        };
        for from in (0..steps).step_by(span) {
            let to = steps.min(from + span);
            for (panel, column) in (0..n).step_by(shape.columns).enumerate() {
                for first in (from..to).step_by(stretch) {
                    let base = match start {
                        _ if first > 0 => Base::Scaled(1.0),
                        Addend::Scaled(0.0) => Base::Zero,
                        Addend::Scaled(beta) => Base::Scaled(beta),
                        Addend::Row(row) => Base::Row(row[column..].as_ptr()),
                    };
                    let step = first as isize;
                    let ahead = n <= shape.lanes && !repack;
                    let mut i = 0;
                    while i < rows {
                        let count = match repack {
                            true => full.min(rows - i),
                            false => shape.next_rows(n, rows - i),
                        };
                        let (index, row) = ((i / full) as isize, (i % full) as isize);
                        if ahead && i + count < rows {
                            let next = part.slice(s![i + count.., first..]);
                            prefetch_rows(next, count, stretch.min(k - first));
                        }
                        // An operand without elements has no place that an offset
                        // could stay in, so none here claims to.
                        let row = index * left.tile + row * left.strides[0];
                        let b = right.start.wrapping_add(panel * right.panel);
                        let c_row = (block + i) as isize * c_stride;
                        let tile = Tile {
                            k: stretch.min(k - first),
                            a: left
                                .start
                                .wrapping_offset(row)
                                .wrapping_offset(step * left.strides[1]),
                            a_strides: left.strides,
                            b: b.wrapping_offset(step * right.row),
                            b_stride: right.row,
                            c: c.wrapping_offset(c_row).wrapping_add(column),
                            c_stride,
                            columns: shape.columns.min(n - column),
                            alpha,
                            base,
                        };
                        // SAFETY: the processor has the kernel's instruction set, and
                        // the elements of the tile are inside the operands, whose
                        // bounds the views and the caller vouch for.
                        unsafe { (shape.kernel)(count, tile) };
                        i += count;
                    }
                }
            }
        }
    }
}

/// Asks for the first `columns` numbers of the first `count` rows, to be in cache
/// when the next tile reads them. A thin product does so little with each number of
/// A that it would wait for memory instead.
#[inline]
fn prefetch_rows(rows: ArrayView2<'_, f32>, count: usize, columns: usize) {
    #[cfg(target_arch = "x86_64")]
    for row in rows.outer_iter().take(count) {
        for number in (0..columns).step_by(16) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let address = row
                .as_ptr()
                .wrapping_offset(number as isize * row.strides()[0]);
            // SAFETY: a prefetch reads nothing, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (rows, count, columns);
}

/// Panels of B for which the rows of A are read where they are, though their
/// numbers are not contiguous. If its columns are, a step of a tile reads one
/// piece of memory, and only the way from step to step is long.
fn panels_in_place(a: ArrayView2<'_, f32>) -> usize {
    if a.strides()[0] == 1 { 4 } else { 1 }
}

#[cfg(test)]
mod tests;
