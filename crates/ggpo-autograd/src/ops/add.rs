//! `y = a + b`; both gradients are the gradient of y.

use ggpo_tensor::parallel::zip_map;
use ggpo_tensor::{Scalar, Tensor};

use crate::{Operation, Var};

struct Add;

impl<T: Scalar> Operation<T> for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, needed: &[bool]) -> Vec<Option<Tensor<T>>> {
        // The only one to get the gradient may calculate in its place.
        match *needed {
            [true, true] => vec![Some(gradient.clone()), Some(gradient)],
            [true, _] => vec![Some(gradient), None],
            _ => vec![None, Some(gradient)],
        }
    }
}

/// The elementwise sum of two variables of the same shape.
///
/// # Panics
/// If the shapes differ.
pub fn add<T: Scalar>(a: &Var<T>, b: &Var<T>) -> Var<T> {
    let value = zip_map(a.value(), b.value(), |a, b| a + b);
    a.tape().record(&[a, b], value, || Add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn add_agrees_with_differences(rows in 1..4usize, columns in 1..5usize, seed: u64) {
            let inputs = [normal(seed, &[rows, columns]), normal(!seed, &[rows, columns])];
            gradcheck(&inputs, |_, v| add(&v[0], &v[1])).unwrap();
        }
    }
}
