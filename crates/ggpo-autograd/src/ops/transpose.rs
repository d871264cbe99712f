//! Two axes swapped; the gradient has them swapped back.

use ggpo_tensor::layout::swap_axes;
use ggpo_tensor::{Scalar, Tensor};

use crate::{Operation, Var};

struct Transpose {
    axes: [usize; 2],
}

impl<T: Scalar> Operation<T> for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        let [first, second] = self.axes;
        vec![Some(swap_axes(&gradient, first, second))]
    }
}

/// Axes `first` and `second` swapped; the elements are copied.
///
/// # Panics
/// If an axis does not exist.
pub fn transpose<T: Scalar>(x: &Var<T>, first: usize, second: usize) -> Var<T> {
    let value = swap_axes(x.value(), first, second);
    x.tape().record(&[x], value, || Transpose {
        axes: [first, second],
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
        fn transpose_agrees_with_differences(
            shape in prop::collection::vec(1..4usize, 2..5), first: usize, second: usize, seed: u64,
        ) {
            let (first, second) = (first % shape.len(), second % shape.len());
            gradcheck(&[normal(seed, &shape)], |_, v| transpose(&v[0], first, second)).unwrap();
        }
    }
}
