//! A method in words, as reports say it.

use super::{AdapterKind, MethodConfig};
use crate::perturbation::ggpo::{
    GgpoConfig, GgpoForm, GradientEstimate, NoisePlace, NoiseSpread, SigmaSchedule, WeightTerm,
};
use crate::perturbation::{PerturbationConfig, Sign, Space};

/// Whether noise is guided by gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guidance {
    /// Row by row, by the norms of weights and gradients.
    Guided,
    /// As much noise, the same for every row: a control for the guidance.
    Control,
    /// There is no noise, or its strength depends on no gradient.
    None,
}

impl MethodConfig {
    /// What is trained, in words.
    pub fn trained(&self) -> &'static str {
        match self.adapter {
            AdapterKind::Full => "all weights",
            _ => "adapters and head",
        }
    }

    /// The perturbation in words, with its settings; "none" without one.
    pub fn perturbation_in_words(&self) -> String {
        let words = |config: &PerturbationConfig| config.in_words();
        self.perturbation.as_ref().map_or("none".to_owned(), words)
    }

    /// Whether the method's noise is guided.
    pub fn guidance(&self) -> Guidance {
        match &self.perturbation {
            Some(PerturbationConfig::Ggpo(noise)) => noise.guidance(),
            _ => Guidance::None,
        }
    }
}

impl GgpoConfig {
    fn guidance(&self) -> Guidance {
        let guided = self.gradient != GradientEstimate::None
            && self.beta > 0.0
            && self.form == GgpoForm::Paper;
        match self.spread {
            NoiseSpread::Isotropic | NoiseSpread::Shuffled => Guidance::Control,
            NoiseSpread::Rows if guided => Guidance::Guided,
            NoiseSpread::Rows => Guidance::None,
        }
    }

    fn in_words(&self) -> String {
        let (sigma, beta) = (self.sigma, self.beta);
        let terms = match self.gradient {
            _ if beta == 0.0 => "weight norms only".to_owned(),
            GradientEstimate::None => "weight norms only".to_owned(),
            GradientEstimate::Adapters => {
                format!("weight norms and gradient norms by equation 7, beta {beta}")
            }
            GradientEstimate::Exact => {
                format!("weight norms and exact gradient norms, beta {beta}")
            }
        };
        let terms = match self.weight {
            WeightTerm::Merged => terms,
            WeightTerm::None => terms.replacen("weight norms and ", "", 1),
        };
        let ramp = match self.schedule {
            SigmaSchedule::Constant => "",
            SigmaSchedule::CosineRamp => ", rising from 0 along a cosine",
        };
        let spread = match self.spread {
            NoiseSpread::Rows => "per row",
            NoiseSpread::Isotropic => "the same for all rows of a layer",
            NoiseSpread::Shuffled => "dealt to the rows at random",
        };
        let place = match self.acts_on {
            NoisePlace::Weights => "",
            NoisePlace::Gradients => "; as noise on the gradients alone",
        };
        format!("sigma {sigma}{ramp}; {terms}; {spread}{place}")
    }
}

impl PerturbationConfig {
    fn in_words(&self) -> String {
        let on = |space| match space {
            Space::Factors => "on the factors",
            Space::Merged => "on the merged weights",
        };
        match self {
            PerturbationConfig::Ggpo(config) => config.in_words(),
            PerturbationConfig::Sam(config) => {
                format!("SAM {}, rho {}", on(config.space), config.rho)
            }
            PerturbationConfig::Mgpo(config) => {
                let sign = match config.sign {
                    Sign::Plus => "up",
                    Sign::Minus => "down",
                };
                let (place, rho, beta) = (on(config.space), config.rho, config.beta);
                let mu = match config.space {
                    Space::Factors => format!(", mu {}", config.mu),
                    Space::Merged => String::new(),
                };
                format!("{sign} the momentum {place}, rho {rho}{mu}, beta {beta}")
            }
            PerturbationConfig::Msam(config) => {
                format!(
                    "down the optimiser's momentum of the factors, rho {}",
                    config.rho
                )
            }
            PerturbationConfig::Efm(config) => {
                format!(
                    "B moved along the estimated gradient, rho {}, b {}",
                    config.rho, config.b
                )
            }
        }
    }
}
