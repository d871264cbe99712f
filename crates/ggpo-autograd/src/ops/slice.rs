//! A part of one axis; the gradient outside the part is 0.

use std::ops::Range;

use ggpo_tensor::layout::{place_in_axis, slice_axis};
use ggpo_tensor::{Scalar, Tensor};

use crate::{Operation, Var};

struct Slice {
    axis: usize,
    first: usize,
    /// Length of the whole axis.
    length: usize,
}

impl<T: Scalar> Operation<T> for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        vec![Some(place_in_axis(
            &gradient,
            self.axis,
            self.first,
            self.length,
        ))]
    }
}

/// The positions `range` of one axis; the elements are copied.
///
/// # Panics
/// If the axis does not exist or the range leaves it.
pub fn slice<T: Scalar>(x: &Var<T>, axis: usize, range: Range<usize>) -> Var<T> {
    let first = range.start;
    let value = slice_axis(x.value(), axis, range);
    x.tape().record(&[x], value, || Slice {
        axis,
        first,
        length: x.shape()[axis],
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
        fn slice_agrees_with_differences(
            shape in prop::collection::vec(1..4usize, 1..4), axis: usize,
            ends: [usize; 2], seed: u64,
        ) {
            let axis = axis % shape.len();
            let [a, b] = ends.map(|end| end % (shape[axis] + 1));
            let range = a.min(b)..a.max(b);
            gradcheck(&[normal(seed, &shape)], |_, v| slice(&v[0], axis, range.clone())).unwrap();
        }
    }
}
