//! `y = x * mask / (1 - p)`, where the mask keeps an element with probability `1 - p`.
//!
//! The map is linear in x and its own transpose: the gradient goes through the
//! same mask, which is made again rather than stored.

use ggpo_tensor::dropout::Dropout;
use ggpo_tensor::{Scalar, Tensor};

use crate::{Operation, Var};

struct Dropped {
    dropout: Dropout,
}

impl<T: Scalar> Operation<T> for Dropped {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        vec![Some(self.dropout.apply(gradient))]
    }
}

/// Sets the elements to 0 that the mask drops and scales up the others.
pub fn dropout<T: Scalar>(x: &Var<T>, dropout: Dropout) -> Var<T> {
    let value = dropout.apply(x.value().clone());
    x.tape().record(&[x], value, || Dropped { dropout })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use ggpo_tensor::random::{Purpose, Stream};

    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn dropout_agrees_with_differences(
            rows in 1..5usize, columns in 1..40usize, probability in 0.0..0.9f32, seed: u64,
        ) {
            let mask = Dropout::new(Stream::new(seed, Purpose::Dropout, 0, 0), probability);
            gradcheck(&[normal(seed, &[rows, columns])], |_, v| dropout(&v[0], mask)).unwrap();
        }
    }

    #[test]
    fn about_half_is_kept_and_doubled() {
        let tape = crate::Tape::new();
        let ones = tape.constant(Tensor::from_elem(&[100, 100][..], 1.0_f64));
        let mask = Dropout::new(Stream::new(7, Purpose::Dropout, 0, 0), 0.5);
        let y = dropout(&ones, mask);
        assert!(y.value().iter().all(|&y| y == 0.0 || y == 2.0));
        // 10^4 independent elements of deviation 1: the mean deviates by 0.01.
        assert!((y.value().mean().unwrap() - 1.0).abs() < 0.05);
    }
}
