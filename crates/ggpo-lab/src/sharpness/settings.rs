//! What is measured, how long, and in which numbers.

pub use ggpo_lora::perturbation::Space;
use serde::{Deserialize, Serialize};

use super::error::{Result, setting};
use super::lanczos::DensityConfig;
use super::noise::NoiseConfig;
use super::power::PowerConfig;

/// Settings of [`measure`](super::measure).
///
/// All is calculated in double precision. A model is held once in `f64` and once in
/// dual numbers, 24 bytes for every parameter, beside 8 for every number of the space
/// in every step of Lanczos.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharpnessConfig {
    /// What all random directions, and the noise, come from.
    pub seed: u64,
    /// The space; without it, all that there are.
    pub space: Option<Space>,
    /// Radius of the ball of the ascent.
    pub rho: f64,
    /// The power iteration.
    pub power: PowerConfig,
    /// Hessian-vector products of the trace.
    pub trace_samples: usize,
    /// The density of eigenvalues.
    pub density: DensityConfig,
    /// The noise.
    pub noise: NoiseConfig,
}

impl Default for SharpnessConfig {
    fn default() -> Self {
        SharpnessConfig {
            seed: 0,
            space: None,
            rho: 0.05,
            power: PowerConfig::default(),
            trace_samples: 32,
            density: DensityConfig::default(),
            noise: NoiseConfig::default(),
        }
    }
}

impl SharpnessConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn validate(&self) -> Result<()> {
        if !(self.rho.is_finite() && self.rho > 0.0) {
            return Err(setting("rho", "a finite number above 0", self.rho));
        }
        if !(self.power.tolerance > 0.0 && self.power.tolerance < 1.0) {
            let expected = "a number between 0 and 1";
            return Err(setting("power.tolerance", expected, self.power.tolerance));
        }
        let counts = [
            ("power.iterations", self.power.iterations),
            ("trace_samples", self.trace_samples),
            ("density.steps", self.density.steps),
            ("density.runs", self.density.runs),
            ("noise.draws", self.noise.draws),
            ("noise.samples", self.noise.samples),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((field, count)) => Err(setting(field, "at least 1", count)),
            None => Ok(self.noise.ggpo.validate()?),
        }
    }
}
