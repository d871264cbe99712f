//! `y = mean of (x - target)^2`; `dx = 2 dy (x - target) / count`.

use ggpo_tensor::parallel::{for_row_pieces, map};
use ggpo_tensor::{Scalar, Tensor, flat, reduce, tensor};

use crate::{Operation, Var};

struct MeanSquaredError<T> {
    /// `x - target`.
    difference: Tensor<T>,
}

impl<T: Scalar> Operation<T> for MeanSquaredError<T> {
    fn name(&self) -> &'static str {
        "mean_squared_error"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        let count = self.difference.len() as f64;
        let factor = flat(&gradient)[0] * T::from_f64(2.0 / count);
        vec![Some(map(&self.difference, |difference| {
            factor * difference
        }))]
    }
}

/// The mean squared difference of `x` from a constant `target` (its elements in
/// row-major order), of shape `[1]`.
///
/// # Panics
/// If the numbers of elements differ, or there is none.
pub fn mean_squared_error<T: Scalar>(x: &Var<T>, target: &[T]) -> Var<T> {
    let mut difference = flat(x.value()).to_vec();
    assert!(
        !target.is_empty() && target.len() == difference.len(),
        "mean squared error of shape {:?} from {} targets",
        x.shape(),
        target.len()
    );
    for_row_pieces(&mut difference, 1, |first, piece| {
        for (x, &target) in piece.iter_mut().zip(&target[first..]) {
            *x -= target;
        }
    });
    let value = reduce::squared_norm(&difference) / T::from_f64(target.len() as f64);
    x.tape()
        .record(&[x], tensor(&[1], vec![value]), || MeanSquaredError {
            difference: tensor(x.shape(), difference),
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
        fn mean_squared_error_agrees_with_differences(
            rows in 1..4usize, columns in 1..5usize, seed: u64,
        ) {
            let target = normal(!seed, &[rows, columns]);
            let x = normal(seed, &[rows, columns]);
            gradcheck(&[x], |_, v| mean_squared_error(&v[0], flat(&target))).unwrap();
        }
    }

    #[test]
    fn the_mean_is_over_all_elements() {
        let x = crate::Tape::new().constant(tensor(&[2, 1], vec![1.0, 4.0]));
        assert_eq!(mean_squared_error(&x, &[3.0, 5.0]).item(), 2.5);
    }
}
