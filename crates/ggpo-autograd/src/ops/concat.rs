//! Variables one after the other along an axis; each gets its part of the gradient.

use ggpo_tensor::{Scalar, Tensor, layout};

use crate::{Operation, Var};

struct Concat {
    axis: usize,
    /// Length of each input along the axis.
    lengths: Vec<usize>,
}

impl<T: Scalar> Operation<T> for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, needed: &[bool]) -> Vec<Option<Tensor<T>>> {
        let mut end = 0;
        self.lengths
            .iter()
            .zip(needed)
            .map(|(&length, needed)| {
                end += length;
                needed.then(|| layout::slice_axis(&gradient, self.axis, end - length..end))
            })
            .collect()
    }
}

/// The `parts` one after the other along one axis; their other axes are equal.
///
/// # Panics
/// If there is none, the axis does not exist, or another axis differs.
pub fn concat<T: Scalar>(parts: &[&Var<T>], axis: usize) -> Var<T> {
    let values: Vec<&Tensor<T>> = parts.iter().map(|part| part.value()).collect();
    let value = layout::concat(&values, axis);
    parts[0].tape().record(parts, value, || Concat {
        axis,
        lengths: parts.iter().map(|part| part.shape()[axis]).collect(),
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
        fn concat_agrees_with_differences(
            shape in prop::collection::vec(1..4usize, 1..4), axis: usize,
            lengths in prop::collection::vec(0..4usize, 1..4), seed: u64,
        ) {
            let axis = axis % shape.len();
            let inputs: Vec<_> = lengths
                .iter()
                .zip(seed..)
                .map(|(&length, seed)| {
                    let mut shape = shape.clone();
                    shape[axis] = length;
                    normal(seed, &shape)
                })
                .collect();
            gradcheck(&inputs, |_, v| concat(&v.iter().collect::<Vec<_>>(), axis)).unwrap();
            // A constant among the parts shifts the others, and gets nothing.
            gradcheck(&inputs, |t, v| {
                let constant = t.constant(inputs[0].clone());
                let parts = v.iter().flat_map(|part| [&constant, part]);
                concat(&parts.collect::<Vec<_>>(), axis)
            })
            .unwrap();
        }
    }
}
