//! What every method must do, one law a test.
//!
//! Layers here have adapters of any form. Comparisons in `f64` of two ways to
//! calculate the same allow [`ROUNDING`] of the terms added: some thousand times the
//! machine epsilon, for sums of up to some hundred terms.

mod adalora;
mod allocator;
mod controls;
mod dora;
mod efm;
mod forms;
mod lora_plus;
mod mgpo;
mod msam;
mod product_decay;
mod refusals;
mod resume;
mod sam;
mod starts;
mod strength;
mod table;
mod written;

use std::borrow::Cow;

use ggpo_lora::adapter::adalora::AdaLora;
use ggpo_lora::adapter::dora::Dora;
use ggpo_lora::{
    Acting, ActingGradients, AdaptedLayers, Adapter, FactorView, LayerView, Lora, Perturbation,
};
use ggpo_tensor::{Scalar, Tensor, flat, matmul, matmul_nt, matmul_tn, tensor, view2};
use ndarray::{Array2, ArrayView2};
use proptest::prelude::*;

use crate::common::normal;

const ROUNDING: f64 = 1e-12;

/// A layer with an adapter of any form, the gradient of what acts in it, and the
/// optimiser's momenta.
#[derive(Clone, Debug)]
struct Adapted<T: Scalar> {
    weight: Array2<T>,
    adapter: Adapter<T>,
    acting: Acting<T>,
    /// The gradients of `W' = W + s B A + U V` and of what acts.
    gradients: Option<(Array2<T>, ActingGradients<T>)>,
    momenta: Option<Vec<Vec<T>>>,
}

impl<T: Scalar> Adapted<T> {
    fn new(weight: Array2<T>, adapter: Adapter<T>) -> Self {
        let acting = adapter.acting(weight.view().into());
        Adapted {
            weight,
            adapter,
            acting,
            gradients: None,
            momenta: None,
        }
    }

    /// `W + s B A + U V`, formed.
    fn direction(&self) -> Array2<T> {
        let mut sum = self.weight.clone();
        let product = matmul(view2(&self.acting.b), view2(&self.acting.a));
        sum.zip_mut_with(&product, |w, &p| *w += self.acting.scaling * p);
        if let Some([u, v]) = &self.acting.constant {
            sum.zip_mut_with(&matmul(view2(u), view2(v)), |w, &p| *w += p);
        }
        sum
    }

    /// `m_i / n_i`, or 1 without magnitudes: length m.
    fn row_factors(&self) -> Vec<T> {
        match &self.acting.magnitude {
            Some(magnitude) => magnitude.factors(),
            None => vec![T::ONE; self.weight.nrows()],
        }
    }

    /// Takes the gradient G of the acting weight, m x n: with `G' = diag(m / n) G`,
    /// `dA = s B^T G'`, `dB = s G' A^T` and `dm_i = <G_i, W'_i> / n_i`.
    fn set_gradient(&mut self, gradient: &Array2<T>) {
        let Acting {
            a, b, scaling: s, ..
        } = &self.acting;
        let mut of_direction = gradient.clone();
        for (mut row, factor) in of_direction.outer_iter_mut().zip(self.row_factors()) {
            row.map_inplace(|g| *g *= factor);
        }
        let scaled = |x: Array2<T>| x.mapv(|x| *s * x).into_dyn().into_shared();
        let direction = self.direction();
        let magnitude = self.acting.magnitude.as_ref().map(|magnitude| {
            let rows = gradient.outer_iter().zip(direction.outer_iter());
            let slopes = rows.zip(&magnitude.norms).map(|((g, w), &norm)| {
                let pairs = g.iter().zip(w.iter());
                pairs.fold(T::ZERO, |sum, (&g, &w)| sum + g * w) / norm
            });
            tensor(&[magnitude.norms.len()], slopes.collect())
        });
        let gradients = ActingGradients {
            a: scaled(matmul_tn(view2(b), of_direction.view())),
            b: scaled(matmul_nt(of_direction.view(), view2(a))),
            magnitude,
        };
        self.gradients = Some((of_direction, gradients));
    }

    /// `s ( B dA + dB A )` (eq. 7), formed.
    fn estimated_gradient(&self) -> Array2<T> {
        let (_, gradients) = self.gradients.as_ref().expect("there are gradients");
        let mut sum = matmul(view2(&self.acting.b), view2(&gradients.a));
        let other = matmul(view2(&gradients.b), view2(&self.acting.a));
        sum.zip_mut_with(&other, |x, &y| *x += y);
        sum.mapv(|x| self.acting.scaling * x)
    }

    /// Random gradients and momenta, of a size.
    fn stir(&mut self, seed: u64, size: f64) {
        let (m, n) = self.weight.dim();
        let scaled = |x: Array2<T>| x.mapv(|x| T::from_f64(size) * x);
        self.set_gradient(&scaled(normal(seed, 20, m, n)));
        let factors = self.adapter.factors();
        let momenta = factors.iter().enumerate().map(|(factor, (_, value))| {
            let momentum = scaled(normal(seed, 21 + factor as u32, 1, value.len()));
            momentum.into_iter().collect()
        });
        self.momenta = Some(momenta.collect());
    }

    /// Gradients of the factors, in their order.
    fn factor_gradients(&self) -> Vec<Vec<T>> {
        let (_, gradients) = self.gradients.as_ref().expect("there are gradients");
        let all = self.adapter.pull_back(gradients);
        all.iter().map(|gradient| flat(gradient).to_vec()).collect()
    }
}

/// Some of them, as a model would offer them.
#[derive(Clone, Debug)]
struct Layers<T: Scalar>(Vec<Adapted<T>>);

impl<T: Scalar> AdaptedLayers<T> for Layers<T> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn layer(&self, index: usize) -> LayerView<'_, T> {
        let layer = &self.0[index];
        let view = layer.acting.view(layer.weight.view().into());
        match &layer.gradients {
            None => view,
            Some((of_direction, gradients)) => LayerView {
                grad_a: Some(view2(&gradients.a)),
                grad_b: Some(view2(&gradients.b)),
                grad_merged: Some(of_direction.view()),
                ..view
            },
        }
    }

    fn factors(&self, index: usize) -> Vec<FactorView<'_, T>> {
        let layer = &self.0[index];
        let gradients = layer.gradients.as_ref().map(|_| layer.factor_gradients());
        let count = layer.adapter.factors().len();
        let of_factor = |factor: usize| FactorView {
            gradient: gradients
                .as_ref()
                .map(|all| Cow::Owned(all[factor].clone())),
            momentum: layer
                .momenta
                .as_ref()
                .map(|all| Cow::Borrowed(&all[factor][..])),
        };
        (0..count).map(of_factor).collect()
    }
}

impl<T: Scalar> Layers<T> {
    /// Random gradients and momenta, of a size, other ones for every step.
    fn stir(&mut self, seed: u64, step: u32, size: f64) {
        for (index, layer) in self.0.iter_mut().enumerate() {
            layer.stir(seed ^ u64::from(step) << 20 ^ (index as u64) << 40, size);
        }
    }
}

/// The forms, by number.
const FORMS: usize = 3;

fn random<T: Scalar>(seed: u64, part: u32, m: usize, n: usize) -> Tensor<T> {
    normal(seed, part, m, n).into_dyn().into_shared()
}

/// A layer in the course of training: all factors are random.
fn adapted<T: Scalar>(
    form: usize,
    seed: u64,
    (m, n): (usize, usize),
    rank: usize,
    on_base: bool,
) -> Adapted<T> {
    let lora = Lora {
        a: random(seed, 1, rank, n),
        b: random(seed, 2, m, rank),
        scaling: T::from_f64(1.5),
    };
    let adapter = match form {
        0 => Adapter::new(lora),
        1 => {
            let magnitude = normal::<T>(seed, 3, 1, m).into_iter().collect();
            Adapter::new(Dora::with_magnitude(lora, tensor(&[m], magnitude)))
        }
        _ => Adapter::new(AdaLora {
            q: lora.a,
            p: lora.b,
            e: random(seed, 4, rank, 1),
            scaling: lora.scaling,
        }),
    };
    let adapter = match on_base {
        true => adapter.on_base([random(seed, 5, m, 2), random(seed, 6, 2, n)]),
        false => adapter,
    };
    Adapted::new(normal(seed, 0, m, n), adapter)
}

prop_compose! {
    /// A layer of up to 7 x 11 of any form.
    fn any_adapted()(m in 1_usize..=7, n in 1_usize..=11)(
        rank in 1..=m.min(n).min(4),
        m in Just(m),
        n in Just(n),
        form in 0..FORMS,
        seed in any::<u64>(),
        on_base in any::<bool>(),
    ) -> Adapted<f64> {
        adapted(form, seed, (m, n), rank, on_base)
    }
}

prop_compose! {
    /// Two layers of one form.
    fn any_layers()(
        form in 0..FORMS, seed in any::<u64>(), on_base in any::<bool>(),
    ) -> Layers<f64> {
        Layers(vec![
            adapted(form, seed, (5, 7), 2, on_base),
            adapted(form, seed ^ 1, (4, 6), 3, false),
        ])
    }
}

fn norm(matrix: &Array2<f64>) -> f64 {
    matrix.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The norm of vectors taken as one.
fn norm_of_all<'a>(vectors: impl IntoIterator<Item = &'a Vec<f64>>) -> f64 {
    let all = vectors.into_iter().flatten();
    all.map(|x| x * x).sum::<f64>().sqrt()
}

/// Whether all elements agree to [`ROUNDING`] of `scale`.
fn agree<'a>(
    found: impl IntoIterator<Item = &'a f64>,
    expected: impl IntoIterator<Item = &'a f64>,
    scale: f64,
) -> Result<(), TestCaseError> {
    let found: Vec<f64> = found.into_iter().copied().collect();
    let expected: Vec<f64> = expected.into_iter().copied().collect();
    prop_assert_eq!(found.len(), expected.len());
    for (x, y) in found.iter().zip(&expected) {
        prop_assert!((x - y).abs() <= ROUNDING * scale, "{x} {y}, scale {scale}");
    }
    Ok(())
}

/// What the noise adds to the acting weight: m x n.
fn noise_of<T: Scalar>(
    perturbation: &dyn Perturbation<T>,
    layer: usize,
    like: ArrayView2<'_, T>,
) -> Option<Array2<T>> {
    let noise = perturbation.noise(layer, 0)?;
    let mut eps = Array2::from_elem(like.dim(), T::ZERO);
    noise.add_rows(0, eps.view_mut());
    Some(eps)
}
