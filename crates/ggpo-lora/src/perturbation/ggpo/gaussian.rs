//! Gaussian noise of one standard deviation per row, made where it is needed.

use std::sync::Arc;

use ggpo_tensor::random::Stream;
use ggpo_tensor::{RowPerturbation, Scalar};
use ndarray::ArrayViewMut2;

use super::NoiseKind;

/// Truncated numbers made at a time, in a buffer on the stack.
const BUFFER: usize = 512;

/// Noise `eps` (m x n) with `eps_ij = row_std_i * z`, where z is the normal
/// number of a [`Stream`] at position `(draw m + i) n + j`.
///
/// Nothing of size m x n is stored, and the same element is the same number
/// whoever asks for it, in whatever pieces.
#[derive(Clone, Debug)]
pub struct GaussianRows<T> {
    stream: Stream,
    draw: u64,
    columns: usize,
    row_std: Arc<[T]>,
    kind: NoiseKind,
    in_backward: bool,
    weight_factors: Option<Arc<[T]>>,
}

impl<T: Scalar> GaussianRows<T> {
    /// Noise on a weight of m x n, where m is the length of `row_std` and n is
    /// `columns`. Different values of `draw` give independent noise.
    pub fn new(
        stream: Stream,
        draw: u32,
        columns: usize,
        row_std: Arc<[T]>,
        kind: NoiseKind,
    ) -> Self {
        GaussianRows {
            stream,
            draw: u64::from(draw),
            columns,
            row_std,
            kind,
            in_backward: true,
            weight_factors: None,
        }
    }

    /// The same noise, but not seen by the gradient that flows on to the
    /// layer's input.
    pub fn detached(mut self) -> Self {
        self.in_backward = false;
        self
    }

    /// The same noise, its deviation differentiated through the norm of the weight
    /// with these factors of the rows; see
    /// [`RowPerturbation::weight_factors`].
    pub fn following(mut self, weight_factors: Option<Arc<[T]>>) -> Self {
        self.weight_factors = weight_factors;
        self
    }

    /// Standard deviations of the rows, length m. Of the gaussian: truncation
    /// makes the actual ones smaller.
    pub fn row_std(&self) -> &[T] {
        &self.row_std
    }

    /// Adds the noise of the rows from number `first_row` on, which follow each
    /// other in `rows`.
    fn add_contiguous(&self, first_row: usize, rows: &mut [T]) {
        let n = self.columns;
        let scales = &self.row_std[first_row..][..rows.len() / n.max(1)];
        let first = (self.draw * self.row_std.len() as u64 + first_row as u64) * n as u64;
        match self.kind {
            NoiseKind::Gaussian => self.stream.add_normal_rows(first, n, scales, rows),
            NoiseKind::Truncated(limit) => {
                let of_rows = rows.chunks_mut(n.max(1)).zip(scales);
                for (first, (row, &std)) in (first..).step_by(n.max(1)).zip(of_rows) {
                    self.add_truncated(first, limit, std, row);
                }
            }
        }
    }

    /// Adds `std` times the truncated normals from number `first` on.
    fn add_truncated(&self, first: u64, limit: f32, std: T, row: &mut [T]) {
        let mut buffer = [0.0_f32; BUFFER];
        for (piece, chunk) in row.chunks_mut(BUFFER).enumerate() {
            let normals = &mut buffer[..chunk.len()];
            let start = first + (piece * BUFFER) as u64;
            self.stream.fill_truncated_normal(start, limit, normals);
            for (element, &z) in chunk.iter_mut().zip(&*normals) {
                *element += std * T::from_f64(f64::from(z));
            }
        }
    }
}

impl<T: Scalar> RowPerturbation<T> for GaussianRows<T> {
    /// # Panics
    /// If the panel is not n wide or reaches beyond row m.
    fn add_rows(&self, first_row: usize, mut panel: ArrayViewMut2<'_, T>) {
        assert_eq!(panel.ncols(), self.columns, "a panel is n wide");
        match panel.as_slice_mut() {
            Some(rows) => self.add_contiguous(first_row, rows),
            None => {
                let mut contiguous = panel.as_standard_layout().into_owned();
                let rows = contiguous.as_slice_mut().expect("standard layout");
                self.add_contiguous(first_row, rows);
                panel.assign(&contiguous);
            }
        }
    }

    fn in_backward(&self) -> bool {
        self.in_backward
    }

    fn weight_factors(&self) -> Option<&[T]> {
        self.weight_factors.as_deref()
    }

    fn row_deviations(&self) -> Option<&[T]> {
        Some(&self.row_std)
    }
}
