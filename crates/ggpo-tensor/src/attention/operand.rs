//! The right-hand operands of a head's products, used for every block of queries.

use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, Axis, s};

use crate::packed::pack_in;
use crate::{Addend, Scalar};

/// Queries up to which packing an operand costs more than it saves.
pub(super) const FEW_QUERIES: usize = 8;

/// A matrix B of k x n, of which products may use some rows or columns.
pub(super) enum Operand<'a, T> {
    /// Read where it stands.
    Plain(ArrayView2<'a, T>),
    /// In the panels of [`Products::gemm_panels`](crate::Products::gemm_panels).
    Panels(ArrayView3<'a, T>),
}

impl<'a, T: Scalar> Operand<'a, T> {
    /// `b`, k x n, for n queries at a time. A single column stays where it is: the
    /// rows of its products have no stride to speak of.
    pub(super) fn new(b: ArrayView2<'a, T>, queries: usize, scratch: &'a mut Vec<T>) -> Self {
        if queries <= FEW_QUERIES || b.ncols() == 1 {
            return Operand::Plain(b);
        }
        Operand::Panels(pack_in(b, T::panel_columns(), scratch))
    }

    /// The transpose of `b`, which is n x k with contiguous rows, for that many
    /// queries.
    pub(super) fn transposed(
        b: ArrayView2<'a, T>,
        queries: usize,
        scratch: &'a mut Vec<T>,
    ) -> Self {
        let b = b.reversed_axes();
        if queries <= FEW_QUERIES {
            return Operand::Plain(b);
        }
        Operand::Panels(pack_in(b, T::panel_columns(), scratch))
    }

    /// `c <- alpha a B + beta c` with the first rows of B, as many as `a` has
    /// columns, and the columns from number `first` on, as many as `c` has. `first`
    /// is a multiple of [`KEYS`](super::KEYS), so that it begins a panel.
    pub(super) fn product_columns(
        &self,
        alpha: T,
        a: ArrayView2<'_, T>,
        first: usize,
        beta: T,
        c: ArrayViewMut2<'_, T>,
    ) {
        let (k, n) = (a.ncols(), c.ncols());
        match self {
            Operand::Plain(b) => {
                T::gemm_serial(alpha, a, b.slice(s![..k, first..first + n]), beta, c);
            }
            Operand::Panels(panels) => {
                let width = panels.dim().2;
                assert!(
                    first.is_multiple_of(width),
                    "a block of keys begins a panel"
                );
                let panels = panels.slice(s![first / width..(first + n).div_ceil(width), .., ..]);
                T::gemm_panels(alpha, a, panels, Addend::Scaled(beta), c);
            }
        }
    }

    /// `c <- alpha a B + beta c` with the rows of B from number `first` on, as many
    /// as `a` has columns.
    pub(super) fn product_rows(
        &self,
        alpha: T,
        a: ArrayView2<'_, T>,
        first: usize,
        beta: T,
        mut c: ArrayViewMut2<'_, T>,
    ) {
        let rows = first..first + a.ncols();
        match self {
            Operand::Plain(b) => T::gemm_serial(alpha, a, b.slice(s![rows, ..]), beta, c),
            // Some rows are contiguous in one panel only.
            Operand::Panels(panels) => {
                let columns = c.axis_chunks_iter_mut(Axis(1), panels.dim().2);
                for (c, panel) in columns.zip(panels.axis_chunks_iter(Axis(0), 1)) {
                    let panel = panel.slice_move(s![.., rows.clone(), ..]);
                    T::gemm_panels(alpha, a, panel, Addend::Scaled(beta), c);
                }
            }
        }
    }
}
