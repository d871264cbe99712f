//! `y = c x` for a constant number c; `dx = c dy`.

use ggpo_tensor::parallel::{map, update_rows};
use ggpo_tensor::{Scalar, Tensor};

use crate::{Operation, Var};

struct Scale<T> {
    factor: T,
}

impl<T: Scalar> Operation<T> for Scale<T> {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        let scaled = update_rows(gradient, 1, |_, dy| {
            dy.iter_mut().for_each(|dy| *dy = self.factor * *dy);
        });
        vec![Some(scaled)]
    }
}

/// The product with a constant number.
pub fn scale<T: Scalar>(x: &Var<T>, factor: T) -> Var<T> {
    let value = map(x.value(), |x| factor * x);
    x.tape().record(&[x], value, || Scale { factor })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn scale_agrees_with_differences(
            rows in 1..4usize, columns in 1..5usize, factor in -3.0..3.0, seed: u64,
        ) {
            gradcheck(&[normal(seed, &[rows, columns])], |_, v| scale(&v[0], factor)).unwrap();
        }
    }

    #[test]
    fn every_element_is_multiplied() {
        let x = crate::Tape::new().constant(ggpo_tensor::tensor(&[3], vec![1.0, -2.0, 0.5]));
        assert_eq!(
            ggpo_tensor::flat(scale(&x, -3.0).value()),
            [-3.0, 6.0, -1.5]
        );
    }
}
