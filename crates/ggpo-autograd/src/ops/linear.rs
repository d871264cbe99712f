//! `y = x Wᵀ + b` for W of out x in.
//!
//! Backward: `dx = dy W`, `dW = dyᵀ x`, `db = sum of the rows of dy`. A quantised
//! W is made in scratch memory, here and in the backward pass, and has no dW.

use ggpo_tensor::parallel::zeros;
use ggpo_tensor::reduce::sum_rows;
use ggpo_tensor::{ActingWeight, Addend, Scalar, Tensor, flat, matmul_tn, tensor, view2};
use ndarray::ArrayViewMut2;

use super::Weight;
use super::weight::SavedWeight;
use crate::{Operation, Saved, Var};

struct Linear<T> {
    /// Saved only if the weight needs a gradient.
    x: Option<Saved<T>>,
    weight: SavedWeight<T>,
    input_shape: Vec<usize>,
}

impl<T: Scalar> Operation<T> for Linear<T> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, needed: &[bool]) -> Vec<Option<Tensor<T>>> {
        let dy = view2(&gradient);
        let dx = needed[0].then(|| {
            let weight = self.weight.view();
            let shape = (dy.nrows(), weight.ncols());
            let mut dx = zeros(shape.0 * shape.1);
            let out = ArrayViewMut2::from_shape(shape, &mut dx).expect("rows x in");
            ActingWeight::from(weight).times(dy, T::ZERO, out);
            tensor(&self.input_shape, dx)
        });
        let dw = needed[1].then(|| {
            let x = self.x.as_ref().expect("saved for the weight's gradient");
            matmul_tn(dy, view2(&x.value())).into_dyn().into_shared()
        });
        let mut gradients = vec![dx, dw];
        if let Some(&bias) = needed.get(2) {
            gradients.push(bias.then(|| tensor(&[dy.ncols()], sum_rows(dy))));
        }
        gradients
    }
}

/// A linear layer: `x` is ... x in, `weight` out x in, `bias` out; the result
/// is ... x out.
///
/// # Panics
/// If the shapes do not fit.
pub fn linear<'a, T: Scalar>(
    x: &Var<T>,
    weight: impl Into<Weight<'a, T>>,
    bias: Option<&Var<T>>,
) -> Var<T> {
    let weight = weight.into();
    let (outputs, inputs) = weight.view().dim();
    let mut shape = x.shape().to_vec();
    let last = shape
        .last_mut()
        .expect("a linear layer's input has an axis");
    assert_eq!(
        *last, inputs,
        "linear: input and weight {outputs} x {inputs}"
    );
    *last = outputs;
    let rows = view2(x.value());
    let mut out = zeros(rows.nrows() * outputs);
    let y = ArrayViewMut2::from_shape((rows.nrows(), outputs), &mut out).expect("rows x out");
    let acting = ActingWeight::from(weight.view());
    acting.times_transposed(rows, start(bias, outputs), y);

    let weight_input = weight.input(x.tape());
    let mut inputs = vec![x, &weight_input];
    inputs.extend(bias);
    x.tape().record(&inputs, tensor(&shape, out), || Linear {
        x: weight.needs_gradient().then(|| x.saved()),
        weight: weight.saved(),
        input_shape: x.shape().to_vec(),
    })
}

/// What a product of `width` columns is added to: the bias, or nothing.
///
/// # Panics
/// If the bias has another length than `width`.
pub(super) fn start<T: Scalar>(bias: Option<&Var<T>>, width: usize) -> Addend<'_, T> {
    bias.map_or(Addend::Scaled(T::ZERO), |bias| {
        assert_eq!(bias.shape(), [width], "linear: shape of the bias");
        Addend::Row(flat(bias.value()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::testing::{normal, quantized};
    use crate::{Tape, gradcheck};

    proptest! {
        #[test]
        fn linear_agrees_with_differences(
            rows in 1..4usize, inputs in 1..5usize, outputs in 1..5usize, seed: u64,
        ) {
            let shapes = [
                normal(seed, &[2, rows, inputs]),
                normal(seed ^ 1, &[outputs, inputs]),
                normal(seed ^ 2, &[outputs]),
            ];
            gradcheck(&shapes, |_, v| linear(&v[0], &v[1], Some(&v[2]))).unwrap();
            gradcheck(&shapes[..2], |_, v| linear(&v[0], &v[1], None)).unwrap();
        }

        #[test]
        fn a_quantised_weight_acts_as_the_numbers_it_stands_for(
            rows in 1..4usize, blocks in 1..3usize, outputs in 1..5usize, seed: u64,
        ) {
            let weight = quantized(seed, outputs, 32 * blocks);
            let inputs = [normal(seed, &[2, rows, 32 * blocks]), normal(!seed, &[outputs])];
            gradcheck(&inputs, |_, v| linear(&v[0], &weight, Some(&v[1]))).unwrap();

            let tape = Tape::new();
            let [x, b] = inputs.map(|input| tape.leaf(input));
            let dense = tape.constant(weight.dequantize().into_dyn().into_shared());
            let ys = [linear(&x, &dense, Some(&b)), linear(&x, &weight, Some(&b))];
            prop_assert_eq!(ys[0].value(), ys[1].value());
            let [dense, quantized] = ys.map(|y| {
                let gradients = tape.backward_from(&y, normal(seed ^ 1, y.shape()));
                [&x, &b].map(|leaf| gradients.get(leaf).unwrap().clone())
            });
            prop_assert_eq!(dense, quantized);
        }
    }

    #[test]
    fn a_frozen_weight_saves_no_input() {
        let tape = Tape::<f64>::new();
        let x = tape.leaf(normal(1, &[3, 4]));
        let w = tape.constant(normal(2, &[5, 4]));
        let y = linear(&x, &w, None);
        let value = x.value().clone();
        drop(x);
        assert!(
            value.try_into_owned_nocopy().is_ok(),
            "the tape still holds the input"
        );
        assert_eq!(
            tape.to_string(),
            "%0 = leaf [3, 4]\n%1 = linear(%0, constant) [3, 5]\n"
        );
        drop(y);
    }
}
