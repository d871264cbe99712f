//! The space of the merged weights: every number of every adapted layer's W' moves by
//! itself.

use std::collections::BTreeMap;

use ggpo_model::{Adapters, Number, Parameters};
use ggpo_tensor::{Dual, Scalar, flat, tensor};

use super::error::{Result, SharpnessError};
use super::objective::{Block, Objective};
use super::subject::{Subject, in_numbers, weight_of};

/// The mean loss as a function of the merged weights `W'` of all adapted layers, one
/// block of m x n for each, in the order of the adapters. Everything else (embeddings,
/// norms, biases, the head) stays where it is.
///
/// It holds the model once in T and once in dual numbers, three times its size.
pub struct MergedWeights<'s, 'a, T: Scalar> {
    subject: &'s Subject<'a, T>,
    /// The model with its adapters merged.
    parameters: Parameters<T>,
    /// The same, without tangents.
    dual: Parameters<Dual<T>>,
    blocks: Vec<Block>,
    point: Vec<T>,
}

impl<'s, 'a, T: Number> MergedWeights<'s, 'a, T> {
    /// The space at the point where the model is.
    ///
    /// # Errors
    /// [`SharpnessError::Quantized`] if a weight of an adapted layer is quantised.
    pub fn new(subject: &'s Subject<'a, T>) -> Result<Self> {
        if let Some(name) = subject.quantized() {
            return Err(SharpnessError::Quantized { name });
        }
        let mut parameters = subject.parameters.clone();
        let (mut blocks, mut point) = (Vec::new(), Vec::new());
        for (module, adapter) in &subject.adapters {
            let name = weight_of(module);
            let weight = parameters.weight(&name);
            let merged = adapter.acting(weight.reborrow()).to_dense(weight);
            let (rows, columns) = merged.dim();
            point.extend(merged.iter().copied());
            parameters.insert(name.clone(), merged.into_dyn().into_shared());
            blocks.push(Block {
                name,
                rows,
                columns,
            });
        }
        Ok(MergedWeights {
            subject,
            dual: in_numbers(&parameters, Dual::constant),
            parameters,
            blocks,
            point,
        })
    }

    /// The gradient at parameters that have no adapters.
    fn gradient_of<U: Number>(&self, parameters: &Parameters<U>) -> Vec<U> {
        let names: Vec<String> = self.blocks.iter().map(|block| block.name.clone()).collect();
        let (none, acting) = (Adapters::new(), BTreeMap::new());
        let found = self.subject.gradients(parameters, &none, &acting, &names);
        let mut gradient = Vec::with_capacity(self.point.len());
        for block in &self.blocks {
            match found.parameters.get(&block.name) {
                Some(part) => gradient.extend_from_slice(flat(part)),
                None => gradient.resize(gradient.len() + block.rows * block.columns, U::ZERO),
            }
        }
        gradient
    }

    /// Parameters with other merged weights.
    fn placed<U: Scalar>(&self, parameters: &Parameters<U>, weights: Vec<U>) -> Parameters<U> {
        assert_eq!(
            weights.len(),
            self.point.len(),
            "one number for each weight"
        );
        let mut placed = parameters.clone();
        let mut rest = weights.into_iter();
        for block in &self.blocks {
            let (rows, columns) = (block.rows, block.columns);
            let elements = rest.by_ref().take(rows * columns).collect();
            placed.insert(block.name.clone(), tensor(&[rows, columns], elements));
        }
        placed
    }
}

impl<T: Number> Objective<T> for MergedWeights<'_, '_, T>
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
        let placed = self.placed(&self.parameters, x.to_vec());
        self.subject.loss_with(&placed, &Adapters::new())
    }

    fn gradient(&self, x: &[T]) -> Vec<T> {
        self.gradient_of(&self.placed(&self.parameters, x.to_vec()))
    }

    fn hessian_product(&self, v: &[T]) -> Vec<T> {
        let moving = moving(&self.point, v);
        let gradient = self.gradient_of(&self.placed(&self.dual, moving));
        gradient.into_iter().map(|g| g.tangent).collect()
    }
}

/// `x + v e`.
pub(super) fn moving<T: Scalar>(x: &[T], v: &[T]) -> Vec<Dual<T>> {
    let pairs = x.iter().zip(v);
    pairs
        .map(|(&value, &tangent)| Dual { value, tangent })
        .collect()
}
