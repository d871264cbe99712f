//! `y = sum of all x / count`; the gradient of every element is `dy / count`.

use ggpo_tensor::{Scalar, Tensor, flat, reduce, tensor};

use crate::{Operation, Var};

struct Mean {
    shape: Vec<usize>,
}

impl<T: Scalar> Operation<T> for Mean {
    fn name(&self) -> &'static str {
        "mean"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        let count = self.shape.iter().product::<usize>();
        let gradient = flat(&gradient)[0] / T::from_f64(count as f64);
        vec![Some(Tensor::from_elem(self.shape, gradient))]
    }
}

/// The mean of all elements, of shape `[1]`.
///
/// # Panics
/// If there is no element.
pub fn mean<T: Scalar>(x: &Var<T>) -> Var<T> {
    let elements = flat(x.value());
    assert!(!elements.is_empty(), "mean of shape {:?}", x.shape());
    let value = reduce::sum(elements) / T::from_f64(elements.len() as f64);
    let shape = x.shape().to_vec();
    x.tape()
        .record(&[x], tensor(&[1], vec![value]), || Mean { shape })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn mean_agrees_with_differences(rows in 1..4usize, columns in 1..5usize, seed: u64) {
            gradcheck(&[normal(seed, &[rows, columns])], |_, v| mean(&v[0])).unwrap();
        }
    }

    #[test]
    fn the_mean_is_the_sum_over_the_count() {
        let x = crate::Tape::new().constant(tensor(&[2, 2], vec![1.0, 2.0, 4.0, -1.0]));
        assert_eq!(mean(&x).item(), 1.5);
    }
}
