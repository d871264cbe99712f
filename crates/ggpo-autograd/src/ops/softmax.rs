//! `y = exp(x) / sum exp(x)` over the last axis; `dx = y * (dy - sum(dy * y))`.

use ggpo_tensor::parallel::for_row_pieces;
use ggpo_tensor::reduce::dot;
use ggpo_tensor::{Scalar, Tensor, flat, softmax as kernel, tensor};

use crate::{Operation, Var};

struct Softmax<T> {
    y: Tensor<T>,
}

impl<T: Scalar> Operation<T> for Softmax<T> {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        let y = flat(&self.y);
        let width = self.y.shape().last().copied().unwrap_or(1).max(1);
        let mut out = flat(&gradient).to_vec();
        for_row_pieces(&mut out, width, |first, rows| {
            for (offset, dx) in rows.chunks_exact_mut(width).enumerate() {
                let y = &y[(first + offset) * width..][..width];
                let inner = dot(dx, y);
                for (dx, &y) in dx.iter_mut().zip(y) {
                    *dx = y * (*dx - inner);
                }
            }
        });
        vec![Some(tensor(self.y.shape(), out))]
    }
}

/// Softmax over the last axis.
pub fn softmax<T: Scalar>(x: &Var<T>) -> Var<T> {
    let y = kernel::softmax(x.value());
    x.tape().record(&[x], y.clone(), || Softmax { y })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn softmax_agrees_with_differences(rows in 1..4usize, columns in 1..6usize, seed: u64) {
            gradcheck(&[normal(seed, &[2, rows, columns])], |_, v| softmax(&v[0])).unwrap();
        }
    }
}
