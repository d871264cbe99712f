//! Matrices as they are written: whole, or the row and the column of an element.

use ggpo_tensor::Scalar;
use ndarray::ArrayView2;
use serde::Serialize;

/// A matrix, or what is needed of it to follow one element.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Slices {
    /// All rows.
    Whole(Vec<Vec<f32>>),
    /// The row and the column of the element, empty where they are not needed.
    Part {
        /// The row.
        row: Vec<f32>,
        /// The column.
        column: Vec<f32>,
    },
}

/// Which slices are kept.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keep {
    /// All.
    Whole,
    /// Row and column of these numbers, as far as they are given.
    Part(Option<usize>, Option<usize>),
}

impl Slices {
    /// All of a matrix, or its one row.
    pub(super) fn of_rows(matrix: ArrayView2<'_, f32>, whole: bool) -> Self {
        match whole {
            true => Slices::Whole(rows_of(matrix)),
            false => Slices::of(matrix, Keep::Part(Some(0), None)),
        }
    }

    /// The slices of a matrix.
    pub(super) fn of<T: Scalar>(matrix: ArrayView2<'_, T>, keep: Keep) -> Self {
        match keep {
            Keep::Whole => Slices::Whole(rows_of(matrix)),
            Keep::Part(row, column) => Slices::Part {
                row: row.map_or_else(Vec::new, |i| numbers(matrix.row(i))),
                column: column.map_or_else(Vec::new, |j| numbers(matrix.column(j))),
            },
        }
    }
}

/// The rows of a matrix.
pub(super) fn rows_of<T: Scalar>(matrix: ArrayView2<'_, T>) -> Vec<Vec<f32>> {
    matrix.outer_iter().map(numbers).collect()
}

/// Numbers as they are in single precision.
pub(super) fn numbers<'a, T: Scalar>(row: impl IntoIterator<Item = &'a T>) -> Vec<f32> {
    row.into_iter().map(|x| x.value() as f32).collect()
}
