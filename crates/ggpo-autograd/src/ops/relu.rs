//! `y = max(x, 0)`; `dx = dy` where `y > 0`, else 0 (also at the kink).

use ggpo_tensor::parallel::{map, zip_update};
use ggpo_tensor::{Scalar, Tensor, activation};

use crate::{Operation, Var};

struct Relu<T> {
    /// The output: the slope can be read off it.
    y: Tensor<T>,
}

impl<T: Scalar> Operation<T> for Relu<T> {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        let dx = zip_update(
            gradient,
            &self.y,
            |dy, y| {
                if y <= T::ZERO { T::ZERO } else { dy }
            },
        );
        vec![Some(dx)]
    }
}

/// The rectified linear unit.
pub fn relu<T: Scalar>(x: &Var<T>) -> Var<T> {
    let y = map(x.value(), activation::relu);
    x.tape().record(&[x], y.clone(), || Relu { y })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn relu_agrees_with_differences(rows in 1..4usize, columns in 1..5usize, seed: u64) {
            // A difference across the kink is neither slope: stay 100 steps away.
            let away = |x: f64| if x.abs() < 1e-3 { x + 1e-2 } else { x };
            let x = normal(seed, &[rows, columns]).mapv(away).into_shared();
            gradcheck(&[x], |_, v| relu(&v[0])).unwrap();
        }
    }

    #[test]
    fn the_kink_has_slope_zero_and_nan_is_not_hidden() {
        let tape = crate::Tape::new();
        let x = tape.leaf(ggpo_tensor::tensor(&[4], vec![-1.0, 0.0, 2.0, f64::NAN]));
        let y = relu(&x);
        assert_eq!(ggpo_tensor::flat(y.value())[..3], [0.0, 0.0, 2.0]);
        assert!(ggpo_tensor::flat(y.value())[3].is_nan());
        let gradients = tape.backward(&crate::ops::sum(&y));
        let dx = gradients.get(&x).unwrap();
        assert_eq!(ggpo_tensor::flat(dx), [0.0, 0.0, 1.0, 1.0]);
    }
}
