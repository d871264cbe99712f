//! The options of the perturbation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::LoraError;

/// Where the gradient term `||G_i||^2` of the variance comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GradientEstimate {
    /// `G ~= s * ( B dA + dB A )` (eq. 7), from the adapter's own gradients.
    #[default]
    Adapters,
    /// The gradient of W', which costs as much as training W; for audits.
    Exact,
    /// No gradient term.
    None,
}

/// Where the weight term `||W'_i||^2` of the variance comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightTerm {
    /// The norm of the merged row.
    #[default]
    Merged,
    /// No weight term: the noise follows the gradient norms alone.
    None,
}

/// What the noise is added to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoisePlace {
    /// The merged weights, where gradients are taken.
    #[default]
    Weights,
    /// The gradients of the factors alone: a control. Gradients are taken at the
    /// weights themselves, and get gaussian noise of the norm by which the noise on
    /// the weights would have changed them. Two passes a step.
    Gradients,
}

/// How sigma changes in the course of training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SigmaSchedule {
    /// sigma at every step.
    #[default]
    Constant,
    /// `sigma * (1 - cos(pi t / T)) / 2` at step t of T, Flat-LoRA's; t counts
    /// from 0, and sigma after the last step.
    CosineRamp,
}

impl SigmaSchedule {
    /// The factor on sigma at `step` (from 0) of `total_steps`.
    pub fn factor(self, step: u32, total_steps: u32) -> f64 {
        match self {
            SigmaSchedule::Constant => 1.0,
            SigmaSchedule::CosineRamp if step >= total_steps => 1.0,
            SigmaSchedule::CosineRamp => {
                let progress = f64::from(step) / f64::from(total_steps);
                0.5 * (1.0 - (std::f64::consts::PI * progress).cos())
            }
        }
    }
}

/// The distribution of the noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoiseKind {
    /// `eps_ij ~ N(0, v_i)`.
    #[default]
    Gaussian,
    /// The same conditioned on `|eps_ij| <= c sqrt(v_i)` for this c. It is not
    /// rescaled: its variance is `v_i (1 - 2 c phi(c) / (2 Phi(c) - 1))`.
    Truncated(f32),
}

/// Which formula gives the standard deviation of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GgpoForm {
    /// `v_i = (sigma^2 / n) * ( ||W'_i||^2 + beta * ||G_i||^2 )` (eq. 6, 8).
    #[default]
    Paper,
    /// A form in circulation that departs from the paper in several ways, for
    /// comparison only: the standard deviation is
    /// `(sigma * sqrt(w^2 + ||(B A)_i||^2) + beta * ||G_i||^2) / sqrt(m)`, where
    /// w is the mean of `||W_i||` over at most 1000 sampled rows, and no
    /// gradient flows through the noise to earlier layers.
    SdScripts,
}

/// How the noise of a layer is spread over its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoiseSpread {
    /// Row i has the variance v_i.
    #[default]
    Rows,
    /// Every row has the mean of all v_i: the same expected squared norm, but
    /// no guidance within the layer.
    Isotropic,
    /// The v_i of all rows, dealt to the rows at random, anew at every refresh: a
    /// control for the guidance with the very same variances.
    Shuffled,
}

/// Whether the gradient sees that the deviation of the noise depends on the weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoiseGradient {
    /// v_i counts as a constant, as in every implementation known.
    #[default]
    Held,
    /// `eps_i = sqrt(v_i(W')) z_i` is differentiated through `||W'_i||`; the gradient
    /// norm counts as a constant. It costs one more product of the layer's size.
    Reparameterised,
}

/// The options of LoRA-GGPO.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GgpoConfig {
    /// Strength of the noise, relative to the norm of a row.
    pub sigma: f64,
    /// Weight of the squared gradient norm.
    pub beta: f64,
    /// Where the gradient norm comes from.
    pub gradient: GradientEstimate,
    /// Where the weight norm comes from.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(!skip_serializing_if)]
    pub weight: WeightTerm,
    /// Course of sigma.
    pub schedule: SigmaSchedule,
    /// Steps from one refresh of the row norms to the next.
    pub refresh_every: u32,
    /// Distribution of the noise.
    pub noise: NoiseKind,
    /// Formula of the standard deviation.
    pub form: GgpoForm,
    /// Spread over the rows of a layer.
    pub spread: NoiseSpread,
    /// Fresh noise for every micro-batch of a step, which otherwise share it.
    pub per_micro_batch: bool,
    /// Whether the gradient sees that the deviation depends on the weight.
    pub noise_gradient: NoiseGradient,
    /// What the noise is added to.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(!skip_serializing_if)]
    pub acts_on: NoisePlace,
}

/// Files of before these settings stay as they were.
fn is_default<C: Default + PartialEq>(config: &C) -> bool {
    *config == C::default()
}

impl Default for GgpoConfig {
    fn default() -> Self {
        GgpoConfig {
            sigma: 0.03,
            beta: 0.01,
            gradient: GradientEstimate::Adapters,
            weight: WeightTerm::Merged,
            schedule: SigmaSchedule::Constant,
            refresh_every: 1,
            noise: NoiseKind::Gaussian,
            form: GgpoForm::Paper,
            spread: NoiseSpread::Rows,
            per_micro_batch: false,
            noise_gradient: NoiseGradient::Held,
            acts_on: NoisePlace::Weights,
        }
    }
}

impl GgpoConfig {
    /// Flat-LoRA: GGPO with beta = 0 and the cosine ramp. The papers' sigma is
    /// 0.05 or 0.10.
    pub fn flat_lora(sigma: f64) -> Self {
        GgpoConfig {
            sigma,
            beta: 0.0,
            gradient: GradientEstimate::None,
            schedule: SigmaSchedule::CosineRamp,
            ..GgpoConfig::default()
        }
    }

    /// Isotropic noise of the same expected squared norm per layer as GGPO's.
    pub fn isotropic() -> Self {
        GgpoConfig {
            spread: NoiseSpread::Isotropic,
            ..GgpoConfig::default()
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`LoraError::Config`] if sigma or beta is not a finite number of at
    /// least 0, the limit of truncated noise is not a finite number above 0, or
    /// `refresh_every` is 0.
    pub fn validate(&self) -> Result<(), LoraError> {
        for (field, value) in [("sigma", self.sigma), ("beta", self.beta)] {
            if !(value.is_finite() && value >= 0.0) {
                let expected = "a finite number of at least 0";
                return Err(LoraError::config(field, expected, value));
            }
        }
        if let NoiseKind::Truncated(limit) = self.noise
            && !(limit.is_finite() && limit > 0.0)
        {
            let expected = "truncated at a finite number above 0";
            return Err(LoraError::config("noise", expected, limit));
        }
        if self.refresh_every == 0 {
            return Err(LoraError::config("refresh_every", "at least 1", 0));
        }
        if self.form == GgpoForm::SdScripts && self.weight != WeightTerm::Merged {
            let expected = "merged, unless form is paper";
            return Err(LoraError::config("weight", expected, "none"));
        }
        if self.noise_gradient == NoiseGradient::Reparameterised {
            let usual = self.form == GgpoForm::Paper
                && self.spread == NoiseSpread::Rows
                && self.weight == WeightTerm::Merged;
            if !usual || self.refresh_every > 1 {
                let expected = "held, unless form is paper, spread is rows, weight is merged \
                     and refresh_every is 1";
                return Err(LoraError::config(
                    "noise_gradient",
                    expected,
                    "reparameterised",
                ));
            }
        }
        Ok(())
    }
}
