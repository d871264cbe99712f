//! A weight matrix as a product reads it: dense or quantised, in panels of rows.

use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};

use crate::{QuantizedMatrix, Scalar};

/// A weight of m x n that is only read.
#[derive(Clone, Copy, Debug)]
pub enum WeightView<'a, T> {
    /// Every element is in memory.
    Dense(ArrayView2<'a, T>),
    /// Blocks are in memory, and elements are made when they are needed.
    Quantized(&'a QuantizedMatrix),
    /// Every element is 0, and nothing is in memory: m and n.
    Zero(usize, usize),
}

impl<'a, T> From<ArrayView2<'a, T>> for WeightView<'a, T> {
    fn from(matrix: ArrayView2<'a, T>) -> Self {
        WeightView::Dense(matrix)
    }
}

impl<'a, T> From<&'a QuantizedMatrix> for WeightView<'a, T> {
    fn from(matrix: &'a QuantizedMatrix) -> Self {
        WeightView::Quantized(matrix)
    }
}

/// Elements of the scratch panel: 256 KiB in `f32`, a share of a core's cache.
const PANEL_ELEMENTS: usize = 1 << 16;
/// Elements per piece when a panel is filled by several threads.
const FILL_ELEMENTS: usize = 1 << 13;

impl<T: Scalar> WeightView<'_, T> {
    /// Rows m and columns n.
    pub fn dim(&self) -> (usize, usize) {
        match self {
            WeightView::Dense(matrix) => matrix.dim(),
            WeightView::Quantized(matrix) => matrix.dim(),
            WeightView::Zero(m, n) => (*m, *n),
        }
    }

    /// The same view for a shorter time, as for
    /// [`ArrayView2::reborrow`](ndarray::ArrayView2::reborrow).
    pub fn reborrow(&self) -> WeightView<'_, T> {
        match self {
            WeightView::Dense(matrix) => WeightView::Dense(matrix.view()),
            WeightView::Quantized(matrix) => WeightView::Quantized(matrix),
            WeightView::Zero(m, n) => WeightView::Zero(*m, *n),
        }
    }

    /// Rows m.
    pub fn nrows(&self) -> usize {
        self.dim().0
    }

    /// Columns n.
    pub fn ncols(&self) -> usize {
        self.dim().1
    }

    /// Copies of the rows of the given indices: `indices.len()` x n.
    ///
    /// # Panics
    /// If an index is not below m.
    pub fn rows(&self, indices: &[usize]) -> Array2<T> {
        match self {
            WeightView::Dense(matrix) => matrix.select(Axis(0), indices),
            WeightView::Quantized(matrix) => matrix.rows(indices),
            WeightView::Zero(_, n) => Array2::from_elem((indices.len(), *n), T::ZERO),
        }
    }

    /// Calls `work(first, panel)` for the rows of the weight, from the first to the
    /// last; `panel` holds the rows from number `first` on.
    ///
    /// A dense weight is one panel. Those of a quantised one are made in one
    /// scratch buffer that fits in cache, in pieces fixed by the shape.
    pub fn for_panels(self, mut work: impl FnMut(usize, ArrayView2<'_, T>)) {
        if let WeightView::Dense(matrix) = self {
            return work(0, matrix);
        }
        let (m, n) = self.dim();
        let panel_rows = (PANEL_ELEMENTS / n.max(1)).clamp(1, m.max(1));
        let fill_rows = (FILL_ELEMENTS / n.max(1)).max(1);
        let mut scratch = vec![T::ZERO; panel_rows * n];
        for first in (0..m).step_by(panel_rows) {
            let rows = panel_rows.min(m - first);
            let mut panel = ArrayViewMut2::from_shape((rows, n), &mut scratch[..rows * n])
                .expect("the scratch buffer holds one panel");
            panel
                .axis_chunks_iter_mut(Axis(0), fill_rows)
                .into_par_iter()
                .enumerate()
                .for_each(|(piece, panel)| self.fill(first + piece * fill_rows, panel));
            work(first, panel.view());
        }
    }

    /// Writes the rows from number `first` on to `panel`.
    pub(crate) fn fill(&self, first: usize, mut panel: ArrayViewMut2<'_, T>) {
        match self {
            WeightView::Dense(matrix) => {
                let rows = first..first + panel.nrows();
                panel.assign(&matrix.slice(s![rows, ..]));
            }
            WeightView::Quantized(matrix) => matrix.dequantize_rows(first, panel),
            WeightView::Zero(..) => panel.fill(T::ZERO),
        }
    }
}
