//! DoRA (Liu and others 2024): the direction of a row from LoRA, its magnitude
//! trained by itself.
//!
//! `y = (m / ||W'||_row) * (x W'^T) + b`, the bias outside; m starts at `||W||_row`,
//! and the norm counts as a constant in the gradient.

use std::sync::OnceLock;

use ggpo_tensor::{Scalar, Tensor, tensor, view2};

use super::lora::{A, B, Lora};
use super::{Acting, ActingGradients, Adapter, AdapterForm, Base, Magnitude, merged_norms};
use crate::LayerView;
use crate::norms::row_norms_squared;
use crate::peft::{PeftForm, Side};

/// The name of m.
pub const MAGNITUDE: &str = "lora_magnitude_vector";

/// A, B and the magnitudes of one layer.
#[derive(Clone, Debug)]
pub struct Dora<T> {
    lora: Lora<T>,
    /// The magnitudes m, length m.
    magnitude: Tensor<T>,
    /// `||W_i||^2`, length m; W does not change.
    weight_norms_squared: OnceLock<Vec<T>>,
}

impl<T: Scalar> Dora<T> {
    /// The start on a base: the magnitudes are the norms of the rows that act
    /// without them, so that nothing changes.
    pub fn new(lora: Lora<T>, base: Base<'_, T>) -> Self {
        let rows = lora.b.shape()[0];
        let mut form = Self::with_magnitude(lora, tensor(&[rows], vec![T::ZERO; rows]));
        form.magnitude = tensor(&[rows], form.norms(base));
        form
    }

    /// A and B with magnitudes that are known, length m.
    pub fn with_magnitude(lora: Lora<T>, magnitude: Tensor<T>) -> Self {
        Dora {
            lora,
            magnitude,
            weight_norms_squared: OnceLock::new(),
        }
    }

    /// `||W'_i||` of `W' = W + s B A + U V`, length m.
    fn norms(&self, base: Base<'_, T>) -> Vec<T> {
        let known = &self.weight_norms_squared;
        let of_weight = known.get_or_init(|| row_norms_squared(base.weight.reborrow()));
        let (a, b) = (view2(&self.lora.a), view2(&self.lora.b));
        let layer = LayerView {
            constant: base.constant.map(|[u, v]| [view2(u), view2(v)]),
            ..LayerView::new(base.weight.reborrow(), a, b, self.lora.scaling)
        };
        merged_norms(of_weight, &layer)
    }
}

/// The form in PEFT's files.
pub const PEFT: PeftForm = PeftForm {
    title: "DoRA",
    peft_type: "LORA",
    use_dora: true,
    budget: false,
    factors: &[
        (A, &[Side::Rank, Side::Inputs]),
        (B, &[Side::Outputs, Side::Rank]),
        (MAGNITUDE, &[Side::Outputs]),
    ],
};

/// An adapter of A, B and m.
pub(crate) fn of_factors<T: Scalar>(factors: Vec<Tensor<T>>, scaling: T) -> Adapter<T> {
    let [a, b, magnitude] = factors.try_into().expect("the factors of the form");
    Adapter::new(Dora::with_magnitude(Lora { a, b, scaling }, magnitude))
}

impl<T: Scalar> AdapterForm<T> for Dora<T> {
    fn peft(&self) -> &'static PeftForm {
        &PEFT
    }

    fn factors(&self) -> Vec<(&'static str, &Tensor<T>)> {
        let Lora { a, b, .. } = &self.lora;
        vec![(A, a), (B, b), (MAGNITUDE, &self.magnitude)]
    }

    fn factors_mut(&mut self) -> Vec<(&'static str, &mut Tensor<T>)> {
        let Lora { a, b, .. } = &mut self.lora;
        vec![(A, a), (B, b), (MAGNITUDE, &mut self.magnitude)]
    }

    fn dim(&self) -> (usize, usize) {
        self.lora.dim()
    }

    fn rank(&self) -> usize {
        self.lora.rank()
    }

    fn scaling(&self) -> T {
        self.lora.scaling
    }

    fn acting(&self, base: Base<'_, T>) -> Acting<T> {
        Acting {
            magnitude: Some(Magnitude {
                value: self.magnitude.clone(),
                norms: self.norms(base),
            }),
            ..self.lora.acting(base)
        }
    }

    fn pull_back(&self, gradients: &ActingGradients<T>) -> Vec<Tensor<T>> {
        let magnitude = gradients.magnitude.clone();
        let mut all = self.lora.pull_back(gradients);
        all.push(magnitude.expect("the magnitudes act"));
        all
    }

    fn boxed(&self) -> Box<dyn AdapterForm<T>> {
        Box::new(self.clone())
    }
}
