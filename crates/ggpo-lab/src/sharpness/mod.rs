//! How sharp the loss is around a trained model, by exact products of its Hessian.
//!
//! A gradient that the tape calculates on [`Dual`](ggpo_tensor::Dual) numbers carries the product of the
//! Hessian with a direction (forward mode over reverse mode). No difference is taken,
//! and no matrix of d x d is formed; a product costs a few gradients.
//!
//! Two spaces are looked at, in which sharpness differs: the [`MergedWeights`] of all
//! adapted layers, each number for itself, and the [`Factors`] of the adapters, of
//! whichever form. The loss is the mean over all answers of given batches, without
//! dropout and noise.
//!
//! | measure | function |
//! |---|---|
//! | largest eigenvalue of the Hessian | [`extremes`] |
//! | its trace | [`trace`] |
//! | density of its eigenvalues | [`density`] |
//! | rise of the loss in a ball | [`ascent`] |
//! | rise of the mean loss under noise | [`noise_sharpness`] |
//! | the loss along random directions | [`landscape`](fn@landscape) |
//!
//! [`measure`] does all but the last. They ask an [`Objective`] for losses, gradients
//! and products, so they serve any function; [`calibrate`] holds them against functions
//! whose Hessian is known.
//!
//! All that is random comes from the seed of the settings, and no result depends on
//! the number of threads.

mod ascent;
mod calibration;
mod error;
mod estimate;
mod factors;
mod figure;
mod lanczos;
mod landscape;
mod merged;
mod noise;
mod objective;
mod on_tape;
mod power;
mod run;
mod settings;
mod subject;
mod trace;
mod vector;

use ggpo_model::batch::Batch;
use ggpo_model::{Adapters, Model, Number, Parameters};
use ggpo_tensor::parallel::in_pool;
use serde::{Deserialize, Serialize};

pub use ascent::{Ascent, ascent};
pub use calibration::{CalibrationCheck, calibrate};
pub use error::{Result, SharpnessError};
pub use estimate::Estimate;
pub use factors::Factors;
pub use figure::figures;
pub use lanczos::{Density, DensityConfig, DensityPoint, density};
pub use landscape::{Curve, Landscape, LandscapeConfig, Surface, landscape, landscape_of};
pub use merged::MergedWeights;
pub use noise::{NoiseConfig, NoiseSharpness, noise_sharpness};
pub use objective::{Block, Objective, hessian_by_differences, hessian_product_by_differences};
pub use on_tape::{OnTape, TapeFunction};
pub use power::{Eigenvalue, Extremes, PowerConfig, extremes};
pub use run::{measure_run, training_batches};
pub use settings::{SharpnessConfig, Space};
pub use subject::Subject;
pub use trace::{row_weighted_trace, trace};

use error::finite;

/// How sharp the loss is around a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sharpness {
    /// The mean loss, in nats, or a mean squared error.
    pub loss: f64,
    /// Answers that it is the mean over.
    pub targets: usize,
    /// In the space of the merged weights.
    pub merged: Option<SpaceSharpness>,
    /// In the space of the factors; none of a model without an adapter.
    pub factors: Option<SpaceSharpness>,
    /// Under the noise of LoRA-GGPO, which is on the weights that act, whatever gave
    /// rise to them: it has no counterpart in the space of the factors.
    pub noise: NoiseSharpness,
}

/// How sharp the loss is in one space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpaceSharpness {
    /// Numbers that move.
    pub dimension: usize,
    /// The rise in a ball.
    pub ascent: Ascent,
    /// The ends of the Hessian's spectrum.
    pub eigenvalues: Extremes,
    /// The trace of the Hessian.
    pub trace: Estimate,
    /// The density of its eigenvalues.
    pub density: Density,
}

/// Measures everything in the spaces that the settings ask for.
///
/// `parameters` and `adapters` are those of the model as it was trained, `batches` what
/// the loss is the mean over.
///
/// # Errors
/// If a setting cannot be used, there is no answer in the batches, the merged weights
/// of a quantised base or the factors of a model without an adapter are asked for, or a
/// result is not finite.
pub fn measure(
    model: &Model,
    parameters: &Parameters<f32>,
    adapters: &Adapters<f32>,
    batches: &[Batch],
    config: &SharpnessConfig,
) -> Result<Sharpness> {
    config.validate()?;
    in_pool(|| {
        let subject = Subject::<f64>::new(model, parameters, adapters, batches)?;
        measure_subject(&subject, config)
    })
}

fn measure_subject(subject: &Subject<'_, f64>, config: &SharpnessConfig) -> Result<Sharpness> {
    let loss = finite("the loss", subject.loss())?;
    let asked = |space| config.space.is_none_or(|only| only == space);
    let weights = match asked(Space::Merged) {
        true => Some(MergedWeights::new(subject)?),
        false => None,
    };
    let noise = noise_sharpness(subject, weights.as_ref(), &config.noise, config.seed)?;
    let merged = weights
        .map(|weights| measure_space(&weights, config))
        .transpose()?;
    // Without a choice the factors are measured where there are any.
    let factors = match config.space == Some(Space::Factors)
        || (config.space.is_none() && subject.has_factors())
    {
        true => Some(measure_space(&Factors::new(subject)?, config)?),
        false => None,
    };
    Ok(Sharpness {
        loss,
        targets: subject.targets(),
        merged,
        factors,
        noise,
    })
}

/// Measures a function at its point.
///
/// # Errors
/// If a result is not finite.
pub fn measure_space<T: Number>(
    objective: &impl Objective<T>,
    config: &SharpnessConfig,
) -> Result<SpaceSharpness> {
    let seed = config.seed;
    Ok(SpaceSharpness {
        dimension: objective.point().len(),
        ascent: ascent(objective, config.rho)?,
        eigenvalues: extremes(objective, &config.power, seed)?,
        trace: trace(objective, config.trace_samples, seed)?,
        density: density(objective, &config.density, seed)?,
    })
}
