//! `out = y + x epsᵀ` for noise eps (m x n) on a weight: what the noise adds to a
//! layer whose product was taken without it.
//!
//! [`lora_linear`](super::lora_linear()) adds noise to its own weight at no such cost.
//! This is for layers in which something stands between the product and the output,
//! as DoRA's magnitudes do. Backward: `dy` as it is, `dx = dout eps`.

use std::sync::Arc;

use ggpo_tensor::parallel::zeros;
use ggpo_tensor::{
    ActingWeight, Addend, RowPerturbation, Scalar, Tensor, WeightView, tensor, view2,
};
use ndarray::{ArrayViewMut2, Ix2};

use crate::{Operation, Var};

struct WeightNoise<T> {
    noise: Arc<dyn RowPerturbation<T>>,
    /// Shape of x.
    shape: Vec<usize>,
}

/// The noise alone as a weight of m x n.
fn alone<T: Scalar>(noise: &dyn RowPerturbation<T>, m: usize, n: usize) -> ActingWeight<'_, T> {
    ActingWeight {
        noise: Some(noise),
        ..WeightView::Zero(m, n).into()
    }
}

impl<T: Scalar> Operation<T> for WeightNoise<T> {
    fn name(&self) -> &'static str {
        "weight_noise"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, needed: &[bool]) -> Vec<Option<Tensor<T>>> {
        let dx = needed[1].then(|| {
            let dy = view2(&gradient);
            let n = *self.shape.last().expect("an axis");
            let mut dx = zeros(dy.nrows() * n);
            let out = ArrayViewMut2::from_shape((dy.nrows(), n), &mut dx).expect("tokens x in");
            alone(self.noise.as_ref(), dy.ncols(), n).times(dy, T::ZERO, out);
            tensor(&self.shape, dx)
        });
        vec![needed[0].then_some(gradient), dx]
    }
}

/// `y` (... x m) with the noise on the weight that gave it from `x` (... x n).
///
/// # Panics
/// If y and x do not have the same rows, or the noise is not m x n.
pub fn weight_noise<T: Scalar>(
    y: &Var<T>,
    x: &Var<T>,
    noise: Arc<dyn RowPerturbation<T>>,
) -> Var<T> {
    let rows = view2(x.value());
    let (m, n) = (view2(y.value()).ncols(), rows.ncols());
    let mut out = y.value().clone();
    let shape = (rows.nrows(), m);
    let mut matrix = out
        .view_mut()
        .into_shape_with_order(shape)
        .expect("the rows of x");
    let matrix = matrix
        .view_mut()
        .into_dimensionality::<Ix2>()
        .expect("a matrix");
    alone(noise.as_ref(), m, n).times_transposed(rows, Addend::Scaled(T::ONE), matrix);
    x.tape().record(&[y, x], out, || WeightNoise {
        noise,
        shape: x.shape().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use ndarray::s;
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    #[derive(Debug)]
    struct Given(Tensor<f64>);

    impl RowPerturbation<f64> for Given {
        fn add_rows(&self, first_row: usize, mut panel: ArrayViewMut2<'_, f64>) {
            let rows = first_row..first_row + panel.nrows();
            panel += &view2(&self.0).slice(s![rows, ..]);
        }
    }

    proptest! {
        #[test]
        fn weight_noise_agrees_with_differences(
            rows in 1..60usize, n in 1..6usize, m in 1..6usize, seed: u64,
        ) {
            let inputs = [normal(seed, &[2, rows, m]), normal(seed ^ 1, &[2, rows, n])];
            let eps = normal(seed ^ 2, &[m, n]);
            gradcheck(&inputs, |_, v| weight_noise(&v[0], &v[1], Arc::new(Given(eps.clone()))))
                .unwrap();
        }
    }
}
