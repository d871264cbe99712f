//! Perturbations: at which point near the weights the gradient of a step is taken.
//!
//! A perturbation is one file (GGPO, which has several forms, a folder) and one entry
//! in [`PerturbationConfig`]. It sees a model through [`AdaptedLayers`] and answers
//! with noise on the rows of a layer's weight, with a move of the merged weight of low
//! rank, or with moves of the trained factors; those who ask know nothing else of it.

mod config;
mod efm;
pub mod ggpo;
mod mgpo;
mod msam;
mod sam;

use std::fmt::Debug;
use std::sync::Arc;

use ggpo_tensor::{RowPerturbation, Scalar, Tensor};
use ndarray::Array2;

pub use config::PerturbationConfig;
pub use efm::{EfmLora, EfmLoraConfig};
pub use mgpo::{Mgpo, MgpoConfig, Sign};
pub use msam::{Msam, MsamConfig};
pub use sam::{Sam, SamConfig};

use crate::{AdaptedLayers, Adapters, FactorView, LoraError, NoiseStatistics, State};

/// Where a perturbation acts.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Space {
    /// On the trained factors.
    #[default]
    Factors,
    /// On the merged weights.
    Merged,
}

/// Which gradients a perturbation reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Those of A and B, of the step before.
    pub layers: bool,
    /// Those of the factors, of the step before.
    pub factors: bool,
    /// The exact ones of the merged weights, too.
    pub exact: bool,
    /// Those of every micro-batch by itself.
    pub micro_batches: bool,
}

/// A move `U V` of a merged weight: U m x k, V k x n.
#[derive(Clone, Debug)]
pub struct LowRankMove<T> {
    /// U, m x k.
    pub up: Array2<T>,
    /// V, k x n.
    pub down: Array2<T>,
}

/// A perturbation in the course of a run.
///
/// A step is: [`begin_step`](Self::begin_step); a forward and a backward pass for
/// every micro-batch, at the point that [`noise`](Self::noise),
/// [`merged_move`](Self::merged_move) and [`factor_moves`](Self::factor_moves) say,
/// each followed by [`observe`](Self::observe); [`ascend`](Self::ascend), and if that
/// says so all passes once more, at the point that is now said; then
/// [`settle`](Self::settle) for the gradient of every factor. What is drawn depends
/// on the seed, the step, the layer and the position in the matrix, and on nothing
/// else. Nothing of a perturbation remains after its step.
pub trait Perturbation<T: Scalar>: Debug + Send + Sync {
    /// Begins step `step` (from 0): the layers are as they are now, with the gradients
    /// of the step before.
    fn begin_step(&mut self, step: u32, layers: &dyn AdaptedLayers<T>);

    /// The noise on the weight that acts in `layer`, if there is any. `micro_batch`
    /// counts from 0 within the step.
    fn noise(&self, _layer: usize, _micro_batch: u32) -> Option<Arc<dyn RowPerturbation<T>>> {
        None
    }

    /// The move of the merged weight of `layer`, if there is any.
    fn merged_move(&self, _layer: usize) -> Option<&LowRankMove<T>> {
        None
    }

    /// The moves of the factors of `layer`, one for each in their order, the elements
    /// in one row; an empty one leaves its factor where it is.
    fn factor_moves(&self, _layer: usize) -> Option<&[Vec<T>]> {
        None
    }

    /// Sees the gradients of one micro-batch, averaged over its own targets.
    fn observe(&mut self, _layers: &dyn AdaptedLayers<T>) {}

    /// Sees the gradients of the whole step, and says whether the passes are to be
    /// done again.
    fn ascend(&mut self, _layers: &dyn AdaptedLayers<T>) -> bool {
        false
    }

    /// Changes the gradient of a factor of a layer after the passes, the elements in one
    /// row: what the optimiser gets.
    fn settle(&self, _layer: usize, _factor: usize, _gradient: &mut [T]) {}

    /// What it reads.
    fn reads(&self) -> Reads;

    /// One summary of the noise for each layer, in their order; empty without noise
    /// and before the first step.
    fn statistics(&self) -> &[NoiseStatistics] {
        &[]
    }

    /// What must be saved with a checkpoint to continue a run exactly.
    fn state(&self) -> State;

    /// Continues from a saved state: the next steps are those of the run that was
    /// saved, bit for bit.
    ///
    /// # Errors
    /// [`LoraError::State`] if the state is not one of this perturbation.
    fn restore(&mut self, state: State) -> Result<(), LoraError>;

    /// Whether what was restored is of these layers: as many vectors, as long.
    fn fits(&self, adapters: &Adapters<T>) -> bool;
}

/// Whether there are no moves yet, or one for every factor of every layer; one that
/// is empty has not begun.
fn moves_fit<'a, T: Scalar>(
    moves: impl ExactSizeIterator<Item = &'a [Vec<T>]>,
    adapters: &Adapters<T>,
) -> bool {
    moves.len() <= adapters.len()
        && moves.zip(adapters.values()).all(|(moves, adapter)| {
            let factors = adapter.factors();
            let fits = |(by, (_, factor)): (&Vec<T>, &(&str, &Tensor<T>))| {
                by.is_empty() || by.len() == factor.len()
            };
            moves.len() <= factors.len() && moves.iter().zip(&factors).all(fits)
        })
}

/// A radius is a finite number of at least 0.
fn check_radius(rho: f64) -> Result<(), LoraError> {
    if rho.is_finite() && rho >= 0.0 {
        return Ok(());
    }
    Err(LoraError::config(
        "rho",
        "a finite number of at least 0",
        rho,
    ))
}

/// The norm of vectors taken as one, by sums in a fixed order.
fn norm<'a, T: Scalar>(vectors: impl IntoIterator<Item = &'a [T]>) -> f64 {
    let squares = vectors
        .into_iter()
        .map(|x| ggpo_tensor::reduce::squared_norm(x).value());
    squares.sum::<f64>().sqrt()
}

/// The gradients of all factors, layer by layer; an empty one where there is none, so
/// that the others keep their places.
fn gradients<'a, T: Scalar>(factors: &'a [Vec<FactorView<'_, T>>]) -> Vec<Vec<&'a [T]>> {
    let of_layer = |layer: &'a Vec<FactorView<'_, T>>| {
        let all = layer.iter();
        all.map(|factor| factor.gradient.as_deref().unwrap_or_default())
            .collect()
    };
    factors.iter().map(of_layer).collect()
}

/// Numbers times a factor.
fn scaled<T: Scalar>(x: &[T], factor: f64) -> Vec<T> {
    let factor = T::from_f64(factor);
    x.iter().map(|&x| factor * x).collect()
}

/// Vectors of all factors, layer by layer.
type FactorMoves<T> = Vec<Vec<Vec<T>>>;
