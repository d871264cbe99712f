//! The right-hand operands of a head's products, used for every block of queries.

use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3, Axis, s};

use crate::{Scalar, Start};

/// Queries up to which packing an operand costs more than it saves.
pub(super) const FEW_QUERIES: usize = 8;

/// A matrix B of k x n, of which products may use some rows or columns.
pub(super) enum Operand<'a, T> {
    /// Read where it stands.
    Plain(ArrayView2<'a, T>),
    /// In the panels of [`Scalar::gemm_panels`].
    Panels(ArrayView3<'a, T>),
}

impl<'a, T: Scalar> Operand<'a, T> {
    /// `b`, k x n, for so many queries. A single column stays where it is: the
    /// rows of its products have no stride to speak of.
    pub(super) fn new(b: ArrayView2<'a, T>, queries: usize, scratch: &'a mut Vec<T>) -> Self {
        if queries <= FEW_QUERIES || b.ncols() == 1 {
            return Operand::Plain(b);
        }
        let mut panels = empty_panels(b.dim(), scratch);
        let columns = b.axis_chunks_iter(Axis(1), T::panel_columns());
        for (source, mut panel) in columns.zip(panels.outer_iter_mut()) {
            panel.slice_mut(s![.., ..source.ncols()]).assign(&source);
        }
        Operand::Panels(into_shared(panels))
    }

    /// The transpose of `b`, which is n x k with contiguous rows, for so many
    /// queries.
    pub(super) fn transposed(
        b: ArrayView2<'a, T>,
        queries: usize,
        scratch: &'a mut Vec<T>,
    ) -> Self {
        if queries <= FEW_QUERIES {
            return Operand::Plain(b.reversed_axes());
        }
        let (n, k) = b.dim();
        let mut panels = empty_panels((k, n), scratch);
        let columns = b.axis_chunks_iter(Axis(0), T::panel_columns());
        for (source, mut panel) in columns.zip(panels.outer_iter_mut()) {
            T::transpose_into(source, panel.slice_mut(s![.., ..source.nrows()]));
        }
        Operand::Panels(into_shared(panels))
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
                let panels = panels.slice(s![first / width..(first + n).div_ceil(width), .., ..]);
                T::gemm_panels(alpha, a, panels, Start::Scaled(beta), c);
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
                    T::gemm_panels(alpha, a, panel, Start::Scaled(beta), c);
                }
            }
        }
    }
}

/// Panels for a matrix of k x n, whatever they hold.
fn empty_panels<T: Scalar>((k, n): (usize, usize), scratch: &mut Vec<T>) -> ArrayViewMut3<'_, T> {
    let shape = (n.div_ceil(T::panel_columns()), k, T::panel_columns());
    let elements = take(scratch, shape.0 * shape.1 * shape.2);
    ArrayViewMut3::from_shape(shape, elements).expect("as many elements")
}

fn into_shared<T>(panels: ArrayViewMut3<'_, T>) -> ArrayView3<'_, T> {
    let shape = panels.dim();
    let elements = panels.into_slice().expect("contiguous");
    ArrayView3::from_shape(shape, elements).expect("the same shape")
}

/// The first `count` elements of a scratch buffer, which grows if need be.
pub(super) fn take<T: Scalar>(scratch: &mut Vec<T>, count: usize) -> &mut [T] {
    if scratch.len() < count {
        scratch.resize(count, T::ZERO);
    }
    &mut scratch[..count]
}
