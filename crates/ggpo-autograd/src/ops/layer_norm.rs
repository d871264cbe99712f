//! `y = z w + b` with `z = (x - mean) / sqrt(variance + eps)`, over the last axis.
//!
//! The variance is the biased one. Backward, per row, with `g = dy w` and means
//! over the row:
//!
//! ```text
//! dx = (g - mean(g) - z mean(g z)) / sqrt(variance + eps)
//! dw = sum over the rows of dy z      db = sum over the rows of dy
//! ```

use std::rc::Rc;

use ggpo_tensor::norm::{layer_statistics, normalise};
use ggpo_tensor::parallel::update_rows;
use ggpo_tensor::reduce::{accumulate_rows, sum, sum_rows, sum_terms};
use ggpo_tensor::{Scalar, Tensor, flat, tensor, view2};

use crate::{Operation, Saved, Var};

struct LayerNorm<T> {
    x: Saved<T>,
    weight: Tensor<T>,
    /// Per row: mean and inverse deviation.
    statistics: Rc<[[T; 2]]>,
}

impl<T: Scalar> Operation<T> for LayerNorm<T> {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, needed: &[bool]) -> Vec<Option<Tensor<T>>> {
        let x = self.x.value();
        let dw = needed[1].then(|| weight_gradient(&gradient, &x, &self.statistics));
        let db = needed[2].then(|| tensor(self.weight.shape(), sum_rows(view2(&gradient))));
        let dx =
            needed[0].then(|| input_gradient(gradient, &x, flat(&self.weight), &self.statistics));
        vec![dx, dw, db]
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
            let [mean, inverse] = statistics[row];
            let x = &x[row * width..][..width];
            for (g, &weight) in g.iter_mut().zip(weight) {
                *g *= weight;
            }
            let mean_g = sum(g) / count;
            let mean_gz = sum_terms(g, x, |g, x| g * ((x - mean) * inverse)) / count;
            for (g, &x) in g.iter_mut().zip(x) {
                let z = (x - mean) * inverse;
                *g = (*g - mean_g - z * mean_gz) * inverse;
            }
        }
    })
}

/// The sum over the rows of `dy (x - mean) inverse`, for both normalisations.
pub(super) fn weight_gradient<T: Scalar>(
    dy: &Tensor<T>,
    x: &Tensor<T>,
    statistics: &[[T; 2]],
) -> Tensor<T> {
    let width = view2(x).ncols();
    let (x, dy) = (flat(x), flat(dy));
    let total = accumulate_rows(statistics.len(), width, |row, total| {
        let [mean, inverse] = statistics[row];
        let (x, dy) = (&x[row * width..][..width], &dy[row * width..][..width]);
        for ((total, &x), &dy) in total.iter_mut().zip(x).zip(dy) {
            *total += dy * ((x - mean) * inverse);
        }
    });
    tensor(&[width], total)
}

/// Layer normalisation over the last axis: `x` is ... x width, `weight` and
/// `bias` have length width.
///
/// # Panics
/// If the shapes do not fit.
pub fn layer_norm<T: Scalar>(x: &Var<T>, weight: &Var<T>, bias: &Var<T>, eps: f64) -> Var<T> {
    assert_eq!(weight.shape(), bias.shape(), "layer_norm: weight and bias");
    assert_eq!(weight.shape().len(), 1, "layer_norm: axes of the weight");
    let statistics: Rc<[_]> = layer_statistics(x.value(), eps).into();
    let (w, b) = (weight.value().clone(), bias.value().clone());
    let value = normalise(x.value(), &statistics, flat(&w), Some(flat(&b)));
    let (saved, same) = (x.saved(), Rc::clone(&statistics));
    x.tape()
        .record(&[x, weight, bias], value, || LayerNorm {
            x: x.saved(),
            weight: weight.value().clone(),
            statistics,
        })
        .recomputed(move || normalise(&saved.value(), &same, flat(&w), Some(flat(&b))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn layer_norm_agrees_with_differences(
            rows in 1..4usize, width in 1..12usize, seed: u64,
        ) {
            let inputs = [
                normal(seed, &[2, rows, width]),
                normal(seed ^ 1, &[width]),
                normal(seed ^ 2, &[width]),
            ];
            // With a small eps, a row of nearly equal numbers bends too sharply
            // for a difference.
            gradcheck(&inputs, |_, v| layer_norm(&v[0], &v[1], &v[2], 0.1)).unwrap();
        }
    }

    /// A mean far larger than the deviation must not spoil the gradient: it is
    /// the same as without that mean.
    #[test]
    fn a_large_mean_cancels() {
        let gradient = |shift: f64| {
            let tape = crate::Tape::new();
            let shifted = normal(1, &[4, 64]).mapv(|x| x + shift).into_shared();
            let x = tape.leaf(shifted);
            let [w, b] = [normal(2, &[64]), normal(3, &[64])].map(|value| tape.constant(value));
            let y = layer_norm(&x, &w, &b, 1e-5);
            tape.backward_from(&y, normal(4, &[4, 64]))
                .take(&x)
                .unwrap()
        };
        let (plain, shifted) = (gradient(0.0), gradient(1e6));
        // A number near 1e6 carries an absolute error of 1e-10.
        assert!(
            plain
                .iter()
                .zip(&shifted)
                .all(|(a, b)| (a - b).abs() < 1e-8)
        );
    }
}
