//! `y = sum of all x`; the gradient of every element is the gradient of y.

use ggpo_tensor::{Scalar, Tensor, flat, reduce, tensor};

use crate::{Operation, Var};

struct Sum {
    shape: Vec<usize>,
}

impl<T: Scalar> Operation<T> for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        let gradient = flat(&gradient)[0];
        vec![Some(Tensor::from_elem(self.shape, gradient))]
    }
}

/// The sum of all elements, of shape `[1]`.
pub fn sum<T: Scalar>(x: &Var<T>) -> Var<T> {
    let value = tensor(&[1], vec![reduce::sum(flat(x.value()))]);
    let shape = x.shape().to_vec();
    x.tape().record(&[x], value, || Sum { shape })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn sum_agrees_with_differences(rows in 1..4usize, columns in 1..5usize, seed: u64) {
            gradcheck(&[normal(seed, &[rows, columns])], |_, v| sum(&v[0])).unwrap();
        }
    }
}
