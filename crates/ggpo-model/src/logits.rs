//! Reading logits.

use ggpo_tensor::Scalar;

/// Index of the largest number; the first of equals.
pub fn largest<T: Scalar>(row: &[T]) -> usize {
    (1..row.len()).fold(
        0,
        |best, index| {
            if row[index] > row[best] { index } else { best }
        },
    )
}
