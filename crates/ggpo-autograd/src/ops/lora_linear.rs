//! `y = x (W + U V + eps)ᵀ + b + s d(x) Aᵀ Bᵀ`: a linear layer with a low-rank
//! path, a constant term of low rank and noise on the rows of its weight.
//!
//! W is m x n, A r x n, B m x r, s the scaling, d dropout on the low-rank path,
//! U m x k and V k x n. Without dropout, which is the usual case, all of them act
//! as one weight, `W' + eps` with `W' = W + s B A + U V`, in one product forward
//! and one backward; with it, the low-rank path is calculated beside the weight.
//! The sum is made in scratch memory, once here and once in the backward pass, and
//! so are the numbers of a quantised W, which is only read. With `h = d(x) Aᵀ` and
//! `g = s dy B`:
//!
//! ```text
//! dx = dy (W + U V + eps) + d(g A)      dA = gᵀ d(x)      dB = s dyᵀ h
//! dW = dyᵀ x                            db = sum of the rows of dy
//! ```
//!
//! `dW` is also the exact gradient G of the merged weight W' (without dropout); it
//! is calculated only if W is a leaf, never if W is quantised.
//!
//! The noise counts as a constant, unless it has
//! [`weight_factors`](RowPerturbation::weight_factors) f. Then G of row i gains
//! `c_i W'_i`, with `c_i = f_i <eps_i, G_i>` and
//! `<eps_i, G_i> = sum over tokens t of dy_ti (x epsᵀ)_ti`, hence
//!
//! ```text
//! dA += s (diag(c) B)ᵀ W'      dB += s diag(c) W' Aᵀ      dW += diag(c) W'
//! ```

use std::sync::Arc;

use ggpo_tensor::dropout::Dropout;
use ggpo_tensor::parallel::{zeros, zip_update};
use ggpo_tensor::reduce::sum_rows;
use ggpo_tensor::{
    ActingWeight, Addend, LowRank, RowPerturbation, Scalar, Tensor, WeightView, gemm, matmul,
    matmul_nt, matmul_tn, tensor, view2,
};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;

use super::Weight;
use super::linear::start;
use super::weight::SavedWeight;
use crate::{Operation, Saved, Var};

/// How the low-rank path and the noise of a layer act in one step.
#[derive(Debug, Clone)]
pub struct LoraPath<T> {
    /// The factor s of B A.
    pub scaling: T,
    /// Dropout on the input of the low-rank path.
    pub dropout: Option<Dropout>,
    /// A constant term `U V` of the weight: U m x k, V k x n.
    pub constant: Option<[Tensor<T>; 2]>,
    /// Noise on the rows of the weight.
    pub noise: Option<Arc<dyn RowPerturbation<T>>>,
}

struct LoraLinear<T> {
    path: LoraPath<T>,
    x: Saved<T>,
    weight: SavedWeight<T>,
    a: Tensor<T>,
    b: Tensor<T>,
}

impl<T: Scalar> LoraPath<T> {
    fn dropped(&self, x: &Tensor<T>) -> Tensor<T> {
        match &self.dropout {
            Some(dropout) => dropout.apply(x.clone()),
            None => x.clone(),
        }
    }

    /// The weight of the layer's one product.
    fn acting<'a>(
        &'a self,
        weight: impl Into<ActingWeight<'a, T>>,
        a: &'a Tensor<T>,
        b: &'a Tensor<T>,
    ) -> ActingWeight<'a, T> {
        let low_rank = LowRank {
            scaling: self.scaling,
            b: view2(b),
            a: view2(a),
        };
        let constant = self.constant.as_ref().map(|[u, v]| LowRank {
            scaling: T::ONE,
            b: view2(u),
            a: view2(v),
        });
        ActingWeight {
            low_rank: [self.dropout.is_none().then_some(low_rank), constant],
            noise: self.noise.as_deref(),
            ..weight.into()
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
        } = *self;
        let dy = view2(&gradient);
        let x = x.into_value();
        let mut dw = needed[1].then(|| matmul_tn(dy, view2(&x)));
        let mut factors = (needed[2] || needed[3]).then(|| {
            let x = path.dropped(&x);
            factor_gradients(dy, view2(&x), view2(&a), view2(&b), path.scaling)
        });
        if let Some(noise) = &path.noise
            && let Some(row_factors) = noise.weight_factors()
        {
            let merged = ActingWeight {
                noise: None,
                ..path.acting(weight.view(), &a, &b)
            };
            let inner = noise_times_gradient(noise.as_ref(), view2(&x), dy);
            let c: Vec<T> = inner
                .iter()
                .zip(row_factors)
                .map(|(&e, &f)| e * f)
                .collect();
            if let Some([da, db]) = &mut factors {
                add_weight_term(merged, &c, path.scaling, [da, db], [&a, &b]);
            }
            if let Some(dw) = &mut dw {
                let weight = merged.to_dense();
                for ((mut dw, w), &c) in dw.outer_iter_mut().zip(weight.outer_iter()).zip(&c) {
                    dw.zip_mut_with(&w, |dw, &w| *dw += c * w);
                }
            }
        }
        let dw = dw.map(shared);
        let [da, db] = match factors {
            Some(gradients) => gradients.map(|gradient| Some(shared(gradient))),
            None => [None, None],
        };
        // The gradient of x takes as much memory as x: that is free from here on.
        let shape = x.shape().to_vec();
        drop(x);
        let dx = needed[0].then(|| {
            let mut dx = zeros(dy.nrows() * a.shape()[1]);
            let out = ArrayViewMut2::from_shape((dy.nrows(), a.shape()[1]), &mut dx);
            let mut acting = path.acting(weight.view(), &a, &b);
            acting.noise = acting.noise.filter(|noise| noise.in_backward());
            acting.times(dy, T::ZERO, out.expect("tokens x in"));
            let dx = tensor(&shape, dx);
            match &path.dropout {
                None => dx,
                Some(dropout) => {
                    let mut g = matmul(dy, view2(&b));
                    g.map_inplace(|g| *g *= path.scaling);
                    let through_path = matmul(g.view(), view2(&a));
                    let through_path = through_path.into_raw_vec_and_offset().0;
                    let through_path = dropout.apply(tensor(&shape, through_path));
                    zip_update(dx, &through_path, |dx, part| dx + part)
                }
            }
        });
        let mut gradients = vec![dx, dw, da.filter(|_| needed[2]), db.filter(|_| needed[3])];
        if let Some(&bias) = needed.get(4) {
            gradients.push(bias.then(|| tensor(&[dy.ncols()], sum_rows(dy))));
        }
        gradients
    }
}

/// Tokens per piece of the gradients of A and B, which are summed in order.
const PIECE_TOKENS: usize = 512;

/// `dA = gᵀ x` and `dB = s dyᵀ h` with `h = x Aᵀ` and `g = s dy B`.
///
/// x and dy are read once, a piece of tokens at a time.
fn factor_gradients<T: Scalar>(
    dy: ArrayView2<'_, T>,
    x: ArrayView2<'_, T>,
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    scaling: T,
) -> [Array2<T>; 2] {
    let product = |alpha, left: ArrayView2<'_, T>, right: ArrayView2<'_, T>| {
        let mut out = Array2::from_elem((left.nrows(), right.ncols()), T::ZERO);
        T::gemm_serial(alpha, left, right, T::ZERO, out.view_mut());
        out
    };
    let pieces: Vec<[Array2<T>; 2]> = dy
        .axis_chunks_iter(Axis(0), PIECE_TOKENS)
        .into_par_iter()
        .zip(x.axis_chunks_iter(Axis(0), PIECE_TOKENS))
        .map(|(dy, x)| {
            let h = product(T::ONE, x, a.t());
            let g = product(scaling, dy, b);
            // The transpose of dB: its long rows are those of dy.
            [product(T::ONE, g.t(), x), product(scaling, h.t(), dy)]
        })
        .collect();
    let [mut da, mut db_t] = [a.raw_dim(), b.t().raw_dim()].map(Array2::default);
    for [a, b_t] in pieces {
        da += &a;
        db_t += &b_t;
    }
    [da, db_t.t().as_standard_layout().into_owned()]
}

/// `<eps_i, G_i> = sum over tokens t of dy_ti (x epsᵀ)_ti` for `G = dyᵀ x`: length
/// m.
fn noise_times_gradient<T: Scalar>(
    noise: &dyn RowPerturbation<T>,
    x: ArrayView2<'_, T>,
    dy: ArrayView2<'_, T>,
) -> Vec<T> {
    let noise = ActingWeight {
        noise: Some(noise),
        ..WeightView::Zero(dy.ncols(), x.ncols()).into()
    };
    let mut through_noise = Array2::from_elem(dy.raw_dim(), T::ZERO);
    noise.times_transposed(x, Addend::Scaled(T::ZERO), through_noise.view_mut());
    through_noise.zip_mut_with(&dy, |z, &dy| *z *= dy);
    sum_rows(through_noise.view())
}

/// `dA += s (diag(c) B)ᵀ W'` and `dB += s diag(c) W' Aᵀ`.
fn add_weight_term<T: Scalar>(
    merged: ActingWeight<'_, T>,
    c: &[T],
    scaling: T,
    [da, db]: [&mut Array2<T>; 2],
    [a, b]: [&Tensor<T>; 2],
) {
    let mut cb = view2(b).to_owned();
    let mut sca = Array2::from_elem((a.shape()[0], b.shape()[0]), T::ZERO);
    for (mut row, &c) in cb.outer_iter_mut().zip(c) {
        row.map_inplace(|b| *b *= scaling * c);
    }
    let cb_t = cb.t().as_standard_layout().into_owned();
    merged.times(cb_t.view(), T::ONE, da.view_mut());
    merged.times_transposed(view2(a), Addend::Scaled(T::ZERO), sca.view_mut());
    for ((mut row, image), &c) in db.outer_iter_mut().zip(sca.columns()).zip(c) {
        row.zip_mut_with(&image, |db, &image| *db += scaling * c * image);
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
    let mut out = zeros(rows.nrows() * m);
    let mut y = ArrayViewMut2::from_shape((rows.nrows(), m), &mut out).expect("tokens x out");
    let acting = path.acting(weight.view(), a.value(), b.value());
    acting.times_transposed(rows, start(bias, m), y.view_mut());
    if let Some(dropout) = &path.dropout {
        let dropped = dropout.apply(x.value().clone());
        let hidden = matmul_nt(view2(&dropped), view2(a.value()));
        let b_t = view2(b.value()).reversed_axes();
        gemm(path.scaling, hidden.view(), b_t, T::ONE, y);
    }

    let mut shape = x.shape().to_vec();
    *shape.last_mut().expect("an axis") = m;
    let weight_input = weight.input(x.tape());
    let mut inputs = vec![x, &weight_input, a, b];
    inputs.extend(bias);
    x.tape()
        .record(&inputs, tensor(&shape, out), || LoraLinear {
            path,
            x: x.saved(),
            weight: weight.saved(),
            a: a.value().clone(),
            b: b.value().clone(),
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

    /// Noise `sqrt(||W'_i||^2 + 1) z` that follows its weight in the gradient.
    #[derive(Debug)]
    struct Following {
        eps: Tensor<f64>,
        factors: Vec<f64>,
    }

    impl Following {
        fn new(merged: &Array2<f64>, z: &Tensor<f64>) -> Self {
            let squares: Vec<f64> = merged.outer_iter().map(|w| w.dot(&w) + 1.0).collect();
            let mut eps = z.clone();
            for (mut row, square) in eps.outer_iter_mut().zip(&squares) {
                row.map_inplace(|z| *z *= square.sqrt());
            }
            let factors = squares.iter().map(|square| 1.0 / square).collect();
            Following { eps, factors }
        }
    }

    impl RowPerturbation<f64> for Following {
        fn add_rows(&self, first_row: usize, mut panel: ArrayViewMut2<'_, f64>) {
            let rows = first_row..first_row + panel.nrows();
            panel += &view2(&self.eps).slice(s![rows, ..]);
        }

        fn weight_factors(&self) -> Option<&[f64]> {
            Some(&self.factors)
        }
    }

    fn path(noise: Option<Tensor<f64>>, dropout: Option<Dropout>) -> LoraPath<f64> {
        LoraPath {
            scaling: 1.7,
            dropout,
            constant: None,
            noise: noise.map(|eps| Arc::new(Given(eps)) as Arc<dyn RowPerturbation<f64>>),
        }
    }

    proptest! {
        #[test]
        fn lora_linear_agrees_with_differences(
            rows in 1..4usize, n in 1..6usize, m in 1..6usize, r in 1..3usize,
            noisy: bool, dropped: bool, moved: bool, seed: u64,
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
            let constant = moved.then(|| [normal(seed ^ 6, &[m, 3]), normal(seed ^ 7, &[3, n])]);
            gradcheck(&inputs, |_, v| {
                let path = LoraPath {
                    constant: constant.clone(),
                    ..path(noise.clone(), dropout)
                };
                lora_linear(&v[0], &v[1], Some(&v[2]), &v[3], &v[4], path)
            })
            .unwrap();
        }

        /// Noise whose deviation is differentiated, too.
        #[test]
        fn noise_that_follows_the_weight_agrees_with_differences(
            rows in 1..4usize, n in 1..6usize, m in 1..6usize, r in 1..3usize, seed: u64,
        ) {
            let inputs = [
                normal(seed, &[rows, n]),
                normal(seed ^ 1, &[m, n]),
                normal(seed ^ 3, &[r, n]),
                normal(seed ^ 4, &[m, r]),
            ];
            let z = normal(seed ^ 5, &[m, n]);
            let constant = [normal(seed ^ 6, &[m, 2]), normal(seed ^ 7, &[2, n])];
            gradcheck(&inputs, |_, v| {
                let [w, a, b] = [1, 2, 3].map(|input| view2(v[input].value()));
                let merged = &w + &(1.7 * b.dot(&a)) + view2(&constant[0]).dot(&view2(&constant[1]));
                let path = LoraPath {
                    constant: Some(constant.clone()),
                    noise: Some(Arc::new(Following::new(&merged, &z))),
                    ..path(None, None)
                };
                lora_linear(&v[0], &v[1], None, &v[2], &v[3], path)
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
