//! The space of the factors: what training changes of an adapter, of whichever form.

use ggpo_lora::{Acting, ActingGradients, parameter_name};
use ggpo_model::{Adapters, Number, Parameters, acting_weights};
use ggpo_tensor::{Addend, Dual, Scalar, WeightView, flat, view2};
use ndarray::Array2;

use super::error::{Result, SharpnessError};
use super::merged::moving;
use super::objective::{Block, Objective};
use super::subject::{Subject, in_numbers, weight_of};

/// The mean loss as a function of the factors of all adapters, one block for each
/// factor: for LoRA A (r x n) and B (m x r) of every layer. A vector is a block of one
/// row. Base weights may be quantised.
///
/// The gradient is that of the loss, also where training takes another: it goes
/// through the norms of DoRA's rows, which training holds constant. Entries of AdaLoRA
/// that were given up count as factors that are 0.
///
/// It holds the model once in T and once in dual numbers, three times its size.
pub struct Factors<'s, 'a, T: Scalar> {
    subject: &'s Subject<'a, T>,
    /// The base in dual numbers without tangents.
    dual: Parameters<Dual<T>>,
    /// The adapters in dual numbers without tangents.
    adapters: Adapters<Dual<T>>,
    blocks: Vec<Block>,
    point: Vec<T>,
}

impl<'s, 'a, T: Number> Factors<'s, 'a, T> {
    /// The space at the point where the model is.
    ///
    /// # Errors
    /// [`SharpnessError::NoFactors`] if the model has no adapter.
    pub fn new(subject: &'s Subject<'a, T>) -> Result<Self> {
        if !subject.has_factors() {
            return Err(SharpnessError::NoFactors);
        }
        let (mut blocks, mut point) = (Vec::new(), Vec::new());
        for (module, adapter) in &subject.adapters {
            for (factor, value) in adapter.factors() {
                let columns = value.shape().last().copied().unwrap_or(1);
                blocks.push(Block {
                    name: parameter_name(module, factor),
                    rows: value.len() / columns.max(1),
                    columns,
                });
                point.extend_from_slice(flat(value));
            }
        }
        let adapters = subject.adapters.iter();
        let adapters = adapters.map(|(name, it)| (name.clone(), it.map(Dual::constant)));
        Ok(Factors {
            subject,
            dual: in_numbers(&subject.parameters, Dual::constant),
            adapters: adapters.collect(),
            blocks,
            point,
        })
    }

    /// Adapters with other factors.
    fn placed<U: Scalar>(&self, adapters: &Adapters<U>, factors: &[U]) -> Adapters<U> {
        assert_eq!(
            factors.len(),
            self.point.len(),
            "one number for each factor"
        );
        let mut placed = adapters.clone();
        let mut rest = factors;
        for adapter in placed.values_mut() {
            for (_, factor) in adapter.factors_mut() {
                let (own, after) = rest.split_at(factor.len());
                for (element, &value) in factor.iter_mut().zip(own) {
                    *element = value;
                }
                rest = after;
            }
        }
        placed
    }

    fn gradient_of<U: Number>(&self, parameters: &Parameters<U>, adapters: &Adapters<U>) -> Vec<U> {
        let acting = acting_weights(parameters, adapters);
        let mut found = self.subject.gradients(parameters, adapters, &acting, &[]);
        let mut gradient = Vec::with_capacity(self.point.len());
        for (module, adapter) in adapters {
            match found.acting.get_mut(module) {
                Some(gradients) => {
                    let weight = parameters.weight(&weight_of(module));
                    through_norms(&acting[module], weight, gradients);
                    let factors = adapter.pull_back(gradients);
                    factors.iter().for_each(|part| gradient.extend(flat(part)));
                }
                None => {
                    let factors = adapter.factors().into_iter();
                    let count: usize = factors.map(|(_, factor)| factor.len()).sum();
                    gradient.resize(gradient.len() + count, U::ZERO);
                }
            }
        }
        gradient
    }
}

/// Adds what flows through the norms of the rows, where there are magnitudes m. With
/// `W'_i = m_i V_i / n_i` for `V = W + s B A + U V` and `n_i = ||V_i||`, held norms
/// give the gradient `(m_i / n_i) G_i` of V_i; the whole one is less by `c_i V_i` with
/// `c_i = m_i dm_i / n_i^2`, where `dm_i = <G_i, V_i> / n_i`. Hence
///
/// `dA -= s (diag(c) B)^T V`, `dB -= s diag(c) V A^T`.
fn through_norms<T: Scalar>(
    acting: &Acting<T>,
    weight: WeightView<'_, T>,
    gradients: &mut ActingGradients<T>,
) {
    let (Some(magnitude), Some(slopes)) = (&acting.magnitude, &gradients.magnitude) else {
        return;
    };
    let factors = magnitude.factors().into_iter().zip(&magnitude.norms);
    let c: Vec<T> = factors
        .zip(slopes)
        .map(|((factor, &norm), &slope)| match norm == T::ZERO {
            true => T::ZERO,
            false => acting.scaling * factor * slope / norm,
        })
        .collect();
    let (m, n) = weight.dim();
    let r = acting.a.shape()[0];
    let direction = acting.direction(weight.reborrow());
    let mut image = Array2::from_elem((r, m), T::ZERO);
    direction.times_transposed(view2(&acting.a), Addend::Scaled(T::ZERO), image.view_mut());
    let b = view2(&acting.b);
    let weighted = Array2::from_shape_fn((r, m), |(k, i)| c[i] * b[(i, k)]);
    let mut back = Array2::from_elem((r, n), T::ZERO);
    direction.times(weighted.view(), T::ZERO, back.view_mut());
    gradients
        .a
        .zip_mut_with(&back.into_dyn(), |da, &x| *da -= x);
    for (index, db) in gradients.b.indexed_iter_mut() {
        let (i, k) = (index[0], index[1]);
        *db -= c[i] * image[(k, i)];
    }
}

impl<T: Number> Objective<T> for Factors<'_, '_, T>
where
    Dual<T>: Number,
{
    fn point(&self) -> &[T] {
        &self.point
    }

    fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    fn loss(&self, x: &[T]) -> f64 {
        let placed = self.placed(&self.subject.adapters, x);
        self.subject.loss_with(&self.subject.parameters, &placed)
    }

    fn gradient(&self, x: &[T]) -> Vec<T> {
        let placed = self.placed(&self.subject.adapters, x);
        self.gradient_of(&self.subject.parameters, &placed)
    }

    fn hessian_product(&self, v: &[T]) -> Vec<T> {
        let placed = self.placed(&self.adapters, &moving(&self.point, v));
        let gradient = self.gradient_of(&self.dual, &placed);
        gradient.into_iter().map(|g| g.tangent).collect()
    }
}
