//! `y = tanh(x)`; `dx = dy (1 - y^2)`.

use ggpo_tensor::parallel::{map, zip_update};
use ggpo_tensor::{Scalar, Tensor};

use crate::{Operation, Var};

struct Tanh<T> {
    /// The output: the slope can be read off it.
    y: Tensor<T>,
}

impl<T: Scalar> Operation<T> for Tanh<T> {
    fn name(&self) -> &'static str {
        "tanh"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        let dx = zip_update(gradient, &self.y, |dy, y| dy * (T::ONE - y * y));
        vec![Some(dx)]
    }
}

/// The hyperbolic tangent.
pub fn tanh<T: Scalar>(x: &Var<T>) -> Var<T> {
    let y = map(x.value(), T::tanh);
    x.tape().record(&[x], y.clone(), || Tanh { y })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn tanh_agrees_with_differences(rows in 1..4usize, columns in 1..5usize, seed: u64) {
            gradcheck(&[normal(seed, &[rows, columns])], |_, v| tanh(&v[0])).unwrap();
        }
    }
}
