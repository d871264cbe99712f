//! `y = x (W + eps)ᵀ + b + s d(x) Aᵀ Bᵀ`: a linear layer with a low-rank
//! path, and noise on the rows of its weight.
//!
//! W is m x n, A r x n, B m x r, s the scaling, d dropout on the low-rank path.
//! The noise eps is made in scratch memory, once here and once in the backward
//! pass, and so are the numbers of a quantised W, which is only read. With `h = d(x) Aᵀ` and `g = s dy B`:
//!
//! ```text
//! dx = dy (W + eps) + d(g A)      dA = gᵀ d(x)      dB = s dyᵀ h
//! dW = dyᵀ x                      db = sum of the rows of dy
//! ```
//!
//! `dW` is also the exact gradient G of the merged weight `W' = W + s B A`
//! (without dropout); it is calculated only if W is a leaf, never if W is
//! quantised.

use std::sync::Arc;

use ggpo_tensor::dropout::Dropout;
use ggpo_tensor::perturb::{matmul_nt_perturbed, matmul_perturbed};
use ggpo_tensor::reduce::sum_rows;
use ggpo_tensor::{
    RowPerturbation, Scalar, Tensor, gemm, matmul, matmul_nt, matmul_tn, tensor, view2,
};
use ndarray::{Array2, ArrayViewMut2};

use super::Weight;
use super::linear::rows_of_bias;
use super::weight::SavedWeight;
use crate::{Operation, Var};

/// How the low-rank path and the noise of a layer act in one step.
#[derive(Debug, Clone)]
pub struct LoraPath<T> {
    /// The factor s of B A.
    pub scaling: T,
    /// Dropout on the input of the low-rank path.
    pub dropout: Option<Dropout>,
    /// Noise on the rows of the weight.
    pub noise: Option<Arc<dyn RowPerturbation<T>>>,
}

struct LoraLinear<T> {
    path: LoraPath<T>,
    x: Tensor<T>,
    weight: SavedWeight<T>,
    a: Tensor<T>,
    b: Tensor<T>,
    /// `d(x) Aᵀ`, tokens x r.
    hidden: Array2<T>,
}

impl<T: Scalar> LoraPath<T> {
    fn dropped(&self, x: &Tensor<T>) -> Tensor<T> {
        match &self.dropout {
            Some(dropout) => dropout.apply(x),
            None => x.clone(),
        }
    }
}

impl<T: Scalar> Operation<T> for LoraLinear<T> {
    fn name(&self) -> &'static str {
        "lora_linear"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, needed: &[bool]) -> Vec<Option<Tensor<T>>> {
        let Self {
            path,
            x,
            weight,
            a,
            b,
            hidden,
        } = *self;
        let dy = view2(&gradient);
        let mut low_rank = matmul(dy, view2(&b));
        low_rank.map_inplace(|g| *g *= path.scaling);

        let dx = needed[0].then(|| {
            let through_path = tensor(
                x.shape(),
                matmul(low_rank.view(), view2(&a))
                    .into_raw_vec_and_offset()
                    .0,
            );
            let mut dx = path.dropped(&through_path);
            let columns = a.shape()[1];
            let out = dx
                .view_mut()
                .into_shape_with_order((dy.nrows(), columns))
                .expect("tokens x in");
            let noise = path.noise.as_deref().filter(|noise| noise.in_backward());
            matmul_perturbed(dy, weight.view(), noise, out);
            dx
        });
        let dw = needed[1].then(|| shared(matmul_tn(dy, view2(&x))));
        let da = needed[2].then(|| {
            let x = path.dropped(&x);
            shared(matmul_tn(low_rank.view(), view2(&x)))
        });
        let db = needed[3].then(|| {
            let mut db = matmul_tn(dy, hidden.view());
            db.map_inplace(|g| *g *= path.scaling);
            shared(db)
        });
        let mut gradients = vec![dx, dw, da, db];
        if let Some(&bias) = needed.get(4) {
            gradients.push(bias.then(|| tensor(&[dy.ncols()], sum_rows(dy))));
        }
        gradients
    }
}

fn shared<T: Scalar>(matrix: Array2<T>) -> Tensor<T> {
    matrix.into_dyn().into_shared()
}

/// A linear layer with a low-rank path: `x` is ... x n, `weight` m x n, `bias`
/// m, `a` r x n, `b` m x r; the result is ... x m.
///
/// # Panics
/// If the shapes do not fit.
pub fn lora_linear<'a, T: Scalar>(
    x: &Var<T>,
    weight: impl Into<Weight<'a, T>>,
    bias: Option<&Var<T>>,
    a: &Var<T>,
    b: &Var<T>,
    path: LoraPath<T>,
) -> Var<T> {
    let weight = weight.into();
    let rows = view2(x.value());
    let (m, n) = weight.view().dim();
    assert_eq!(rows.ncols(), n, "lora_linear: input and weight {m} x {n}");
    assert_eq!(
        (a.shape()[1], b.shape()[0], b.shape()[1]),
        (n, m, a.shape()[0]),
        "lora_linear: A {:?} and B {:?} for a weight {m} x {n}",
        a.shape(),
        b.shape()
    );
    let tokens = rows.nrows();
    let mut out = rows_of_bias(bias.map(Var::value), tokens, m);
    let mut y = ArrayViewMut2::from_shape((tokens, m), &mut out).expect("tokens x out");
    let beta = if bias.is_some() { T::ONE } else { T::ZERO };
    let noise = path.noise.as_deref();
    matmul_nt_perturbed(rows, weight.view(), noise, beta, y.view_mut());
    let dropped = path.dropped(x.value());
    let hidden = matmul_nt(view2(&dropped), view2(a.value()));
    let b_t = view2(b.value()).reversed_axes();
    gemm(path.scaling, hidden.view(), b_t, T::ONE, y);

    let mut shape = x.shape().to_vec();
    *shape.last_mut().expect("an axis") = m;
    let weight_input = weight.input(x.tape());
    let mut inputs = vec![x, &weight_input, a, b];
    inputs.extend(bias);
    x.tape()
        .record(&inputs, tensor(&shape, out), || LoraLinear {
            path,
            x: x.value().clone(),
            weight: weight.saved(),
            a: a.value().clone(),
            b: b.value().clone(),
            hidden,
        })
}

#[cfg(test)]
mod tests {
    use ggpo_tensor::random::{Purpose, Stream};
    use ndarray::s;
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::{normal, quantized};
    use crate::ops::{add, linear};

    /// A given noise matrix.
    #[derive(Debug)]
    struct Given(Tensor<f64>);

    impl RowPerturbation<f64> for Given {
        fn add_rows(&self, first_row: usize, mut panel: ArrayViewMut2<'_, f64>) {
            let rows = first_row..first_row + panel.nrows();
            panel += &view2(&self.0).slice(s![rows, ..]);
        }
    }

    fn path(noise: Option<Tensor<f64>>, dropout: Option<Dropout>) -> LoraPath<f64> {
        LoraPath {
            scaling: 1.7,
            dropout,
            noise: noise.map(|eps| Arc::new(Given(eps)) as Arc<dyn RowPerturbation<f64>>),
        }
    }

    proptest! {
        #[test]
        fn lora_linear_agrees_with_differences(
            rows in 1..4usize, n in 1..6usize, m in 1..6usize, r in 1..3usize,
            noisy: bool, dropped: bool, seed: u64,
        ) {
            let inputs = [
                normal(seed, &[2, rows, n]),
                normal(seed ^ 1, &[m, n]),
                normal(seed ^ 2, &[m]),
                normal(seed ^ 3, &[r, n]),
                normal(seed ^ 4, &[m, r]),
            ];
            let noise = noisy.then(|| normal(seed ^ 5, &[m, n]));
            let dropout =
                dropped.then(|| Dropout::new(Stream::new(seed, Purpose::Dropout, 0, 0), 0.4));
            gradcheck(&inputs, |_, v| {
                lora_linear(&v[0], &v[1], Some(&v[2]), &v[3], &v[4], path(noise.clone(), dropout))
            })
            .unwrap();
        }

        #[test]
        fn a_quantised_weight_acts_as_the_numbers_it_stands_for(
            rows in 1..4usize, blocks in 1..3usize, m in 1..6usize, r in 1..3usize,
            noisy: bool, dropped: bool, seed: u64,
        ) {
            let n = 32 * blocks;
            let weight = quantized(seed, m, n);
            let inputs = [
                normal(seed, &[2, rows, n]),
                normal(seed ^ 2, &[m]),
                normal(seed ^ 3, &[r, n]),
                normal(seed ^ 4, &[m, r]),
            ];
            let noise = noisy.then(|| normal(seed ^ 5, &[m, n]));
            let dropout =
                dropped.then(|| Dropout::new(Stream::new(seed, Purpose::Dropout, 0, 0), 0.4));
            let path = || path(noise.clone(), dropout);
            gradcheck(&inputs, |_, v| {
                lora_linear(&v[0], &weight, Some(&v[1]), &v[2], &v[3], path())
            })
            .unwrap();

            let tape = crate::Tape::new();
            let [x, bias, a, b] = inputs.map(|input| tape.leaf(input));
            let dense = tape.constant(weight.dequantize().into_dyn().into_shared());
            let ys = [
                lora_linear(&x, &dense, Some(&bias), &a, &b, path()),
                lora_linear(&x, &weight, Some(&bias), &a, &b, path()),
            ];
            prop_assert_eq!(ys[0].value(), ys[1].value());
            let [dense, quantized] = ys.map(|y| {
                let gradients = tape.backward_from(&y, normal(seed ^ 6, y.shape()));
                [&x, &bias, &a, &b].map(|leaf| gradients.get(leaf).unwrap().clone())
            });
            prop_assert_eq!(dense, quantized);
        }

        /// The noise acts as if it had been added to the weight.
        #[test]
        fn noise_is_a_change_of_the_weight(m in 1..300usize, n in 1..600usize, seed: u64) {
            let tape = crate::Tape::new();
            let [x, w, eps] = [
                normal(seed, &[3, n]), normal(seed ^ 1, &[m, n]), normal(seed ^ 2, &[m, n]),
            ];
            let x = tape.leaf(x);
            let (a, b) = (normal(seed ^ 3, &[2, n]), normal(seed ^ 4, &[m, 2]));
            let (a, b) = (tape.constant(a), tape.constant(b));
            let frozen = tape.constant(w.clone());
            let y = lora_linear(&x, &frozen, None, &a, &b, path(Some(eps.clone()), None));
            let perturbed = tape.constant((&w + &eps).into_shared());
            let low_rank = linear(&linear(&x, &a, None), &b, None);
            let scaled = tape.leaf(low_rank.value().mapv(|v| 1.7 * v).into_shared());
            let expected = add(&linear(&x, &perturbed, None), &scaled);
            // The order of summation differs: n terms of order one.
            let close = |a: &Tensor<f64>, b: &Tensor<f64>| {
                a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12 * (n as f64 + m as f64))
            };
            prop_assert!(close(y.value(), expected.value()));
        }
    }
}
