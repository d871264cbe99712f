//! `y = z w` with `z = x / sqrt(mean(x^2) + eps)`, over the last axis.
//!
//! Backward, per row, with `g = dy w` and means over the row:
//!
//! ```text
//! dx = (g - z mean(g z)) / sqrt(mean(x^2) + eps)
//! dw = sum over the rows of dy z
//! ```

use std::rc::Rc;

use ggpo_tensor::norm::{normalise, rms_statistics};
use ggpo_tensor::parallel::update_rows;
use ggpo_tensor::reduce::dot;
use ggpo_tensor::{Scalar, Tensor, flat};

use super::layer_norm::weight_gradient;
use crate::{Operation, Saved, Var};

struct RmsNorm<T> {
    x: Saved<T>,
    weight: Tensor<T>,
    /// Per row: 0 and the inverse root mean square.
    statistics: Rc<[[T; 2]]>,
}

impl<T: Scalar> Operation<T> for RmsNorm<T> {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, needed: &[bool]) -> Vec<Option<Tensor<T>>> {
        let x = self.x.value();
        let dw = needed[1].then(|| weight_gradient(&gradient, &x, &self.statistics));
        let dx =
            needed[0].then(|| input_gradient(gradient, &x, flat(&self.weight), &self.statistics));
        vec![dx, dw]
    }
}

/// dx, in the place of dy where nothing else holds it.
fn input_gradient<T: Scalar>(
    dy: Tensor<T>,
    x: &Tensor<T>,
    weight: &[T],
    statistics: &[[T; 2]],
) -> Tensor<T> {
    let x = flat(x);
    let width = weight.len();
    let count = T::from_f64(width as f64);
    update_rows(dy, width, |first, rows| {
        for (offset, g) in rows.chunks_exact_mut(width).enumerate() {
            let row = first + offset;
            let [_, inverse] = statistics[row];
            let x = &x[row * width..][..width];
            for (g, &weight) in g.iter_mut().zip(weight) {
                *g *= weight;
            }
            let mean_gz = dot(g, x) * inverse / count;
            for (g, &x) in g.iter_mut().zip(x) {
                *g = (*g - x * inverse * mean_gz) * inverse;
            }
        }
    })
}

/// Root-mean-square normalisation over the last axis: `x` is ... x width,
/// `weight` has length width.
///
/// # Panics
/// If the shapes do not fit.
pub fn rms_norm<T: Scalar>(x: &Var<T>, weight: &Var<T>, eps: f64) -> Var<T> {
    assert_eq!(weight.shape().len(), 1, "rms_norm: axes of the weight");
    let statistics: Rc<[_]> = rms_statistics(x.value(), eps).into();
    let w = weight.value().clone();
    let value = normalise(x.value(), &statistics, flat(&w), None);
    let (saved, same) = (x.saved(), Rc::clone(&statistics));
    x.tape()
        .record(&[x, weight], value, || RmsNorm {
            x: x.saved(),
            weight: weight.value().clone(),
            statistics,
        })
        .recomputed(move || normalise(&saved.value(), &same, flat(&w), None))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn rms_norm_agrees_with_differences(rows in 1..4usize, width in 1..12usize, seed: u64) {
            let inputs = [normal(seed, &[2, rows, width]), normal(seed ^ 1, &[width])];
            // With a small eps, a row of numbers near 0 bends too sharply for a
            // difference.
            gradcheck(&inputs, |_, v| rms_norm(&v[0], &v[1], 0.1)).unwrap();
        }
    }
}
