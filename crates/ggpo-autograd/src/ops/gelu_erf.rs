//! `y = x Phi(x)`; `dx = dy (Phi(x) + x phi(x))`, with the distribution function
//! Phi and the density phi of the standard normal law.

use ggpo_tensor::parallel::{map, zip_update};
use ggpo_tensor::{Scalar, Tensor, activation};

use crate::{Operation, Saved, Var};

struct GeluErf<T> {
    x: Saved<T>,
}

impl<T: Scalar> Operation<T> for GeluErf<T> {
    fn name(&self) -> &'static str {
        "gelu_erf"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        let dx = zip_update(gradient, &self.x.value(), |dy, x| {
            dy * activation::gelu_erf_slope(x)
        });
        vec![Some(dx)]
    }
}

/// The Gaussian error linear unit, exact form.
pub fn gelu_erf<T: Scalar>(x: &Var<T>) -> Var<T> {
    let value = map(x.value(), activation::gelu_erf);
    let saved = x.saved();
    x.tape()
        .record(&[x], value, || GeluErf { x: x.saved() })
        .recomputed(move || map(&saved.value(), activation::gelu_erf))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn gelu_erf_agrees_with_differences(rows in 1..4usize, columns in 1..5usize, seed: u64) {
            gradcheck(&[normal(seed, &[rows, columns])], |_, v| gelu_erf(&v[0])).unwrap();
        }
    }
}
