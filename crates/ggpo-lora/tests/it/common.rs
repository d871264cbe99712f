//! Layers made of plain arrays, and a quadratic bowl to train on.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file uses a part of this module"
)]

use ggpo_lora::{AdaptedLayers, Ggpo, GgpoConfig, LayerView, Perturbation};
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{RowPerturbation, Scalar, matmul, matmul_nt, matmul_tn};
use ndarray::{Array2, ArrayView2, s};
use proptest::prelude::*;

/// A matrix of standard normal numbers; `part` tells the matrices of one seed apart.
pub fn normal<T: Scalar>(seed: u64, part: u32, m: usize, n: usize) -> Array2<T> {
    let stream = Stream::new(seed, Purpose::Data, 0, part);
    Array2::from_shape_fn((m, n), |(i, j)| {
        T::from_f64(f64::from(stream.normal((i * n + j) as u64)))
    })
}

/// One adapted layer with all its parts in plain arrays.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainLayer<T> {
    pub weight: Array2<T>,
    pub a: Array2<T>,
    pub b: Array2<T>,
    pub scaling: T,
    pub grad_a: Option<Array2<T>>,
    pub grad_b: Option<Array2<T>>,
    pub grad_merged: Option<Array2<T>>,
}

impl<T: Scalar> PlainLayer<T> {
    /// Random weights and adapters, and the gradients of a random G.
    pub fn random(seed: u64, m: usize, n: usize, rank: usize, scaling: f64) -> Self {
        let mut layer = PlainLayer {
            weight: normal(seed, 0, m, n),
            a: normal(seed, 1, rank, n),
            b: normal(seed, 2, m, rank),
            scaling: T::from_f64(scaling),
            grad_a: None,
            grad_b: None,
            grad_merged: None,
        };
        layer.set_gradient(normal(seed, 3, m, n));
        layer
    }

    /// `dA = s B^T G` and `dB = s G A^T`.
    pub fn set_gradient(&mut self, gradient: Array2<T>) {
        let s = self.scaling;
        self.grad_a = Some(matmul_tn(self.b.view(), gradient.view()).mapv(|x| s * x));
        self.grad_b = Some(matmul_nt(gradient.view(), self.a.view()).mapv(|x| s * x));
        self.grad_merged = Some(gradient);
    }

    pub fn without_gradients(&self) -> Self {
        PlainLayer {
            grad_a: None,
            grad_b: None,
            grad_merged: None,
            ..self.clone()
        }
    }

    /// W + s B A, formed.
    pub fn merged(&self) -> Array2<T> {
        let product = self.product();
        let mut merged = self.weight.clone();
        merged.zip_mut_with(&product, |w, &p| *w += self.scaling * p);
        merged
    }

    /// B A, formed.
    pub fn product(&self) -> Array2<T> {
        matmul(self.b.view(), self.a.view())
    }

    /// `s ( B dA + dB A )` (eq. 7), formed.
    pub fn estimated_gradient(&self) -> Array2<T> {
        let (grad_a, grad_b) = (self.grad_a.as_ref().unwrap(), self.grad_b.as_ref().unwrap());
        let mut sum = matmul(self.b.view(), grad_a.view());
        sum.zip_mut_with(&matmul(grad_b.view(), self.a.view()), |x, &y| *x += y);
        sum.mapv(|x| self.scaling * x)
    }

    pub fn view(&self) -> LayerView<'_, T> {
        let weight = self.weight.view().into();
        LayerView {
            grad_a: self.grad_a.as_ref().map(|g| g.view()),
            grad_b: self.grad_b.as_ref().map(|g| g.view()),
            grad_merged: self.grad_merged.as_ref().map(|g| g.view()),
            ..LayerView::new(weight, self.a.view(), self.b.view(), self.scaling)
        }
    }
}

/// Some layers, as a model would offer them.
pub struct Plain<T>(pub Vec<PlainLayer<T>>);

impl<T: Scalar> AdaptedLayers<T> for Plain<T> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn layer(&self, index: usize) -> LayerView<'_, T> {
        self.0[index].view()
    }
}

/// `L(W') = 1/2 <vec(W' - C), H vec(W' - C)>` with H symmetric and positive.
#[derive(Clone)]
pub struct Bowl<T> {
    pub layer: PlainLayer<T>,
    pub target: Array2<T>,
    /// H: m n x m n, vec in row-major order.
    pub hessian: Array2<T>,
}

impl<T: Scalar> Bowl<T> {
    /// A random bowl, at the start of training: B = 0 and no gradients.
    pub fn random(seed: u64, m: usize, n: usize, rank: usize) -> Self {
        let mut layer = PlainLayer::random(seed, m, n, rank, 2.0).without_gradients();
        layer.b.fill(T::ZERO);
        let root: Array2<T> = normal(seed, 4, m * n, m * n);
        let size = T::from_f64((m * n) as f64);
        Bowl {
            layer,
            target: normal(seed, 5, m, n),
            hessian: matmul_tn(root.view(), root.view()).mapv(|x| x / size),
        }
    }

    /// G at W': H vec(W' - C).
    pub fn gradient(&self, merged: ArrayView2<'_, T>) -> Array2<T> {
        let mut distance = merged.to_owned();
        distance.zip_mut_with(&self.target, |w, &c| *w -= c);
        let column = distance.into_shape_with_order((self.hessian.nrows(), 1));
        matmul(self.hessian.view(), column.unwrap().view())
            .into_shape_with_order(merged.dim())
            .unwrap()
    }

    pub fn loss(&self, merged: ArrayView2<'_, T>) -> f64 {
        let gradient = self.gradient(merged);
        let terms = gradient.iter().zip(merged).zip(&self.target);
        0.5 * terms
            .map(|((&g, &w), &c)| (g * (w - c)).value())
            .sum::<f64>()
    }

    /// tr(H_ii), H_ii the Hessian block of row i: length m.
    pub fn traces(&self) -> Vec<f64> {
        let (m, n) = self.target.dim();
        let diagonal = self.hessian.diag();
        (0..m)
            .map(|i| {
                let block = diagonal.slice(s![i * n..(i + 1) * n]);
                block.iter().map(|h| h.value()).sum()
            })
            .collect()
    }

    /// One step of gradient descent on A and B, with the gradient at W' + eps.
    pub fn descend(&mut self, noise: Option<&dyn RowPerturbation<T>>) {
        let mut merged = self.layer.merged();
        if let Some(noise) = noise {
            noise.add_rows(0, merged.view_mut());
        }
        let gradient = self.gradient(merged.view());
        self.layer.set_gradient(gradient);
        let rate = T::from_f64(1e-3);
        let PlainLayer {
            a,
            b,
            grad_a,
            grad_b,
            ..
        } = &mut self.layer;
        a.zip_mut_with(grad_a.as_ref().unwrap(), |p, &g| *p -= rate * g);
        b.zip_mut_with(grad_b.as_ref().unwrap(), |p, &g| *p -= rate * g);
    }

    /// Steps `steps` with the perturbation.
    pub fn train(&mut self, ggpo: &mut Ggpo<T>, steps: std::ops::Range<u32>) {
        for step in steps {
            ggpo.begin_step(step, self);
            let noise = ggpo.noise(0, 0);
            self.descend(noise.as_deref());
        }
    }
}

impl<T: Scalar> AdaptedLayers<T> for Bowl<T> {
    fn count(&self) -> usize {
        1
    }

    fn layer(&self, _index: usize) -> LayerView<'_, T> {
        self.layer.view()
    }
}

/// A perturbation at `step` of 100, on one layer.
pub fn begun<T: Scalar>(config: GgpoConfig, step: u32, layer: &PlainLayer<T>) -> Ggpo<T> {
    let mut ggpo = Ggpo::new(config, 1, 100).unwrap();
    ggpo.begin_step(step, &Plain(vec![layer.clone()]));
    ggpo
}

/// v_i at the first step under a constant schedule, length m.
pub fn variances<T: Scalar>(config: GgpoConfig, layer: &PlainLayer<T>) -> Vec<f64> {
    let ggpo = begun(config, 0, layer);
    ggpo.row_std(0)
        .iter()
        .map(|std| std.value().powi(2))
        .collect()
}

/// eps of a layer at the current step: m x n.
pub fn eps<T: Scalar>(ggpo: &Ggpo<T>, index: usize, m: usize, n: usize) -> Array2<T> {
    let mut eps = Array2::from_elem((m, n), T::ZERO);
    if let Some(noise) = ggpo.noise(index, 0) {
        noise.add_rows(0, eps.view_mut());
    }
    eps
}

/// `||row||^2` of every row, straight from the definition.
pub fn norms_squared<T: Scalar>(matrix: &Array2<T>) -> Vec<f64> {
    let rows = matrix.rows().into_iter();
    rows.map(|row| row.iter().map(|x| x.value().powi(2)).sum())
        .collect()
}

/// What bounds the rounding errors of the Gram identities in row i, up to a
/// multiple of the machine epsilon: `(||W_i|| + s ||B_i|| ||A||)^2`.
pub fn merged_magnitudes<T: Scalar>(layer: &PlainLayer<T>) -> Vec<f64> {
    let a: f64 = norms_squared(&layer.a).iter().sum::<f64>().sqrt();
    let weights = norms_squared(&layer.weight);
    let ups = norms_squared(&layer.b);
    let s = layer.scaling.value().abs();
    let rows = weights.iter().zip(ups);
    rows.map(|(w, b)| (w.sqrt() + s * b.sqrt() * a).powi(2))
        .collect()
}

/// Bits of a matrix, to compare without tolerance.
pub fn bits<T: Scalar>(matrix: &Array2<T>) -> Vec<u64> {
    matrix.iter().map(|x| x.value().to_bits()).collect()
}

prop_compose! {
    /// A random layer of up to 12 x 24.
    pub fn any_layer()(m in 1_usize..=12, n in 1_usize..=24)(
        m in Just(m),
        n in Just(n),
        rank in 1..=m.min(n).min(5),
        seed in any::<u64>(),
        scaling in 0.25..4.0_f64,
    ) -> PlainLayer<f64> {
        PlainLayer::random(seed, m, n, rank, scaling)
    }
}

prop_compose! {
    /// Any options of the paper's form at a constant sigma.
    pub fn any_config()(sigma in 1e-3..1.0_f64, beta in 1e-3..100.0_f64) -> GgpoConfig {
        GgpoConfig { sigma, beta, ..GgpoConfig::default() }
    }
}
