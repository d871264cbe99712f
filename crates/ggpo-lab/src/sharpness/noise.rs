//! How much the noise of LoRA-GGPO costs: the mean loss under it, and what the
//! Hessian predicts of that.

use std::collections::BTreeMap;
use std::sync::Arc;

use ggpo_autograd::Tape;
use ggpo_lora::{
    Ggpo, GgpoConfig, GradientEstimate, NoiseGradient, NoiseKind, Perturbation, SigmaSchedule,
};
use ggpo_model::{ActingWeights, Graph, LayerPerturbation, Number, acting_weights};
use ggpo_tensor::parallel::in_pool;
use ggpo_tensor::{Dual, RowPerturbation, Scalar};
use ggpo_train::trainer::{LayerGradients, Layers};
use ndarray::ArrayViewMut2;
use serde::{Deserialize, Serialize};

use super::error::{Result, SharpnessError, finite};
use super::estimate::Estimate;
use super::merged::MergedWeights;
use super::subject::Subject;
use super::trace::row_weighted_trace;

/// The expected sharpness under a noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NoiseSharpness {
    /// sigma of the noise.
    pub sigma: f64,
    /// beta of the noise.
    pub beta: f64,
    /// Share of the gradient term in the variance, a mean over the layers.
    pub gradient_share: f64,
    /// `E[L(W' + eps)] - L(W')`, from pairs `(L(W' + eps) + L(W' - eps)) / 2`, in which
    /// the slope of L cancels.
    pub rise: Estimate,
    /// `(1/2) sum over i of v_i tr H_ii`, with H_ii the block of row i: the same to
    /// second order. None for a quantised base, whose weights have no Hessian.
    pub predicted: Option<Estimate>,
}

/// How the expectation is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoiseConfig {
    /// The noise. It acts at its full sigma whatever the schedule says, and the
    /// gradient norms are those of the measured batches at the measured point.
    pub ggpo: GgpoConfig,
    /// Pairs of draws.
    pub draws: usize,
    /// Hessian-vector products of the prediction.
    pub samples: usize,
}

impl Default for NoiseConfig {
    fn default() -> Self {
        NoiseConfig {
            ggpo: GgpoConfig::default(),
            draws: 32,
            samples: 32,
        }
    }
}

/// The mean rise of the loss under GGPO's noise on the weights that act, with its
/// prediction to second order if there are merged weights to ask for their Hessian.
///
/// # Errors
/// If a setting of the noise cannot be used, it needs the exact gradient of a
/// quantised weight, or a loss is not finite.
pub fn noise_sharpness<T: Number>(
    subject: &Subject<'_, T>,
    weights: Option<&MergedWeights<'_, '_, T>>,
    config: &NoiseConfig,
    seed: u64,
) -> Result<NoiseSharpness>
where
    Dual<T>: Number,
{
    let settings = GgpoConfig {
        schedule: SigmaSchedule::Constant,
        // Neither changes what is drawn; the deviations are made once.
        noise_gradient: NoiseGradient::Held,
        refresh_every: u32::MAX,
        ..config.ggpo
    };
    let mut noise = Ggpo::<T>::new(settings, seed, 1)?;
    let acting = acting_weights(&subject.parameters, &subject.adapters);
    let gradients = gradients(subject, &acting, settings.gradient)?;
    let layers = Layers {
        parameters: &subject.parameters,
        adapters: &subject.adapters,
        acting: &acting,
        gradients: &gradients,
        optimizer: None,
    };
    let at_rest = finite("the loss", subject.loss())?;
    let mut rises = Vec::with_capacity(config.draws);
    for draw in 0..config.draws {
        noise.begin_step(draw as u32, &layers);
        let [one, other] = [false, true].map(|opposite| {
            let loss = perturbed_loss(subject, &acting, &noise, opposite);
            finite("the loss under noise", loss)
        });
        rises.push((one? + other?) / 2.0 - at_rest);
    }
    let shares = noise.statistics().iter().map(|layer| layer.gradient_share);
    let gradient_share = shares.sum::<f64>() / subject.adapters.len() as f64;
    let predicted = weights.map(|weights| {
        let factor = T::from_f64(deviation(settings.noise));
        let rows = (0..subject.adapters.len()).flat_map(|layer| noise.row_std(layer));
        let deviations: Vec<T> = rows.map(|&std| factor * std).collect();
        let trace = row_weighted_trace(weights, &deviations, config.samples, seed)?;
        Ok::<_, SharpnessError>(trace.times(0.5))
    });
    Ok(NoiseSharpness {
        sigma: settings.sigma,
        beta: settings.beta,
        gradient_share,
        rise: Estimate::of(&rises),
        predicted: predicted.transpose()?,
    })
}

/// The gradients that the variance depends on.
fn gradients<T: Number>(
    subject: &Subject<'_, T>,
    acting: &ActingWeights<T>,
    estimate: GradientEstimate,
) -> Result<LayerGradients<T>> {
    let named = match estimate {
        GradientEstimate::None => return Ok(LayerGradients::default()),
        GradientEstimate::Adapters => Vec::new(),
        GradientEstimate::Exact => match subject.quantized() {
            Some(name) => return Err(SharpnessError::Quantized { name }),
            None => subject.weights(),
        },
    };
    let Subject {
        parameters,
        adapters,
        ..
    } = subject;
    let found = subject.gradients(parameters, adapters, acting, &named);
    Ok(LayerGradients {
        acting: found.acting,
        merged: found.parameters,
        factors: BTreeMap::new(),
    })
}

/// The mean loss under the noise of the current step, or its opposite.
fn perturbed_loss<T: Number>(
    subject: &Subject<'_, T>,
    acting: &ActingWeights<T>,
    noise: &Ggpo<T>,
    opposite: bool,
) -> f64 {
    let of_layer = |layer| LayerPerturbation {
        noise: noise.noise(layer, 0).map(|noise| match opposite {
            true => Arc::new(Opposite(noise)) as Arc<dyn RowPerturbation<T>>,
            false => noise,
        }),
        low_rank: None,
    };
    in_pool(|| {
        subject.mean(|batch| {
            let layers = (0..subject.adapters.len()).map(of_layer).collect();
            let (parameters, adapters) = (&subject.parameters, &subject.adapters);
            let graph = Graph::for_evaluation(Tape::new(), parameters, adapters)
                .with_acting(acting)
                .perturbed(layers);
            subject.model.loss(&graph, batch).item().value()
        })
    })
}

/// The standard deviation of the noise with a scale of 1.
fn deviation(kind: NoiseKind) -> f64 {
    match kind {
        NoiseKind::Gaussian => 1.0,
        NoiseKind::Truncated(limit) => {
            let c = f64::from(limit);
            let density = (-0.5 * c * c).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let inside = ggpo_tensor::Real::erf(c / std::f64::consts::SQRT_2);
            (1.0 - 2.0 * c * density / inside).sqrt()
        }
    }
}

/// The noise with the other sign.
#[derive(Debug)]
struct Opposite<T>(Arc<dyn RowPerturbation<T>>);

impl<T: Scalar> RowPerturbation<T> for Opposite<T> {
    fn add_rows(&self, first_row: usize, mut panel: ArrayViewMut2<'_, T>) {
        let before = panel.to_owned();
        self.0.add_rows(first_row, panel.view_mut());
        panel.zip_mut_with(&before, |x, &before| *x = before + before - *x);
    }
}
