//! `y = x s` with `s = sigmoid(x)`; `dx = dy s (1 + x (1 - s))`.

use ggpo_tensor::parallel::{map, zip_update};
use ggpo_tensor::{Scalar, Tensor, activation};

use crate::{Operation, Saved, Var};

struct Silu<T> {
    x: Saved<T>,
}

impl<T: Scalar> Operation<T> for Silu<T> {
    fn name(&self) -> &'static str {
        "silu"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        let dx = zip_update(gradient, &self.x.value(), |dy, x| {
            dy * activation::silu_slope(x)
        });
        vec![Some(dx)]
    }
}

/// The sigmoid linear unit, also called swish.
pub fn silu<T: Scalar>(x: &Var<T>) -> Var<T> {
    let value = map(x.value(), activation::silu);
    let saved = x.saved();
    x.tape()
        .record(&[x], value, || Silu { x: x.saved() })
        .recomputed(move || map(&saved.value(), activation::silu))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn silu_agrees_with_differences(rows in 1..4usize, columns in 1..5usize, seed: u64) {
            gradcheck(&[normal(seed, &[rows, columns])], |_, v| silu(&v[0])).unwrap();
        }
    }
}
