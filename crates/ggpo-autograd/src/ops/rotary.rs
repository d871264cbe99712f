//! Rotary position embedding: pairs of channels turned by an angle that grows
//! with the position.
//!
//! `(y1, y2) = (x1 cos - x2 sin, x2 cos + x1 sin)` for channels c and
//! `c + channels / 2`. A rotation's transpose is its inverse, so the gradient
//! is turned back by the same angles.

use std::sync::Arc;

use ggpo_tensor::rotary::RotaryTable;
use ggpo_tensor::{Scalar, Tensor};

use crate::{Operation, Var};

struct Rotary {
    table: Arc<RotaryTable>,
    first: Vec<usize>,
}

impl<T: Scalar> Operation<T> for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        vec![Some(self.table.turn(gradient, &self.first, true))]
    }
}

/// Turns `x` (batch x time x head x channel); time step t of batch row b stands
/// at position `first[b] + t`.
///
/// # Panics
/// If `x` has not four axes with the table's channels, `first` has another
/// length than the batch, or a position is beyond the table.
pub fn rotary<T: Scalar>(x: &Var<T>, table: &Arc<RotaryTable>, first: &[usize]) -> Var<T> {
    let value = table.turn(x.value().clone(), first, false);
    x.tape().record(&[x], value, || Rotary {
        table: Arc::clone(table),
        first: first.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn rotary_agrees_with_differences(
            time in 1..4usize, heads in 1..3usize, pairs in 1..4usize,
            first in prop::collection::vec(0..5usize, 2), seed: u64,
        ) {
            let table = Arc::new(RotaryTable::new(8, 2 * pairs, 100.0));
            let x = normal(seed, &[2, time, heads, 2 * pairs]);
            gradcheck(&[x], |_, v| rotary(&v[0], &table, &first)).unwrap();
        }

        /// Starting at a later position is the same as being that part of a
        /// longer sequence, for every row on its own.
        #[test]
        fn the_first_positions_shift_the_sequences(cuts: [usize; 2], seed: u64) {
            let cuts = cuts.map(|cut| cut % 5);
            let table = Arc::new(RotaryTable::new(6, 4, 1e4));
            let x = crate::Tape::new().constant(normal(seed, &[2, 6, 3, 4]));
            let row = |x: &Var<f64>, row: usize, time: std::ops::Range<usize>| {
                crate::ops::slice(&crate::ops::slice(x, 0, row..row + 1), 1, time)
            };
            let whole = rotary(&x, &table, &[0, 0]);
            let steps = [0, 1].map(|b| row(&x, b, cuts[b]..cuts[b] + 2));
            let part = rotary(&crate::ops::concat(&[&steps[0], &steps[1]], 0), &table, &cuts);
            for b in 0..2 {
                let expected = row(&whole, b, cuts[b]..cuts[b] + 2);
                let found = row(&part, b, 0..2);
                prop_assert_eq!(expected.value(), found.value());
            }
        }
    }
}
