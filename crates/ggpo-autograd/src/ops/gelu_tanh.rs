//! `y = x / 2 (1 + t)` with `t = tanh(u)`, `u = sqrt(2 / pi) (x + 0.044715 x^3)`;
//! `dx = dy ((1 + t) / 2 + x / 2 (1 - t^2) du/dx)`.

use ggpo_tensor::parallel::{map, zip_update};
use ggpo_tensor::{Scalar, Tensor, activation};

use crate::{Operation, Saved, Var};

struct GeluTanh<T> {
    x: Saved<T>,
}

impl<T: Scalar> Operation<T> for GeluTanh<T> {
    fn name(&self) -> &'static str {
        "gelu_tanh"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        let dx = zip_update(gradient, &self.x.value(), |dy, x| {
            dy * activation::gelu_tanh_slope(x)
        });
        vec![Some(dx)]
    }
}

/// The Gaussian error linear unit, in its approximation by tanh.
pub fn gelu_tanh<T: Scalar>(x: &Var<T>) -> Var<T> {
    let value = map(x.value(), activation::gelu_tanh);
    let saved = x.saved();
    x.tape()
        .record(&[x], value, || GeluTanh { x: x.saved() })
        .recomputed(move || map(&saved.value(), activation::gelu_tanh))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn gelu_tanh_agrees_with_differences(rows in 1..4usize, columns in 1..5usize, seed: u64) {
            gradcheck(&[normal(seed, &[rows, columns])], |_, v| gelu_tanh(&v[0])).unwrap();
        }
    }
}
