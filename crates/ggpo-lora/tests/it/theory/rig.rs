//! What the laws take from the crate: the deviations of the rows and the noise.

use ggpo_lora::{Ggpo, GgpoConfig, GradientEstimate, NoiseGradient, Perturbation};
use ndarray::Array2;

use crate::common::{Plain, PlainLayer, eps};

pub(super) type Layer = PlainLayer<f64>;

/// How strong the noise is, and whether `||G_i||` is the exact one or that of
/// equation 7.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strength {
    pub(super) sigma: f64,
    pub(super) beta: f64,
    pub(super) exact: bool,
}

impl Strength {
    /// Noise in proportion to the norms of the weights alone.
    pub(super) fn weights_only(sigma: f64) -> Self {
        Strength {
            sigma,
            beta: 0.0,
            exact: false,
        }
    }

    fn config(self) -> GgpoConfig {
        GgpoConfig {
            sigma: self.sigma,
            beta: self.beta,
            gradient: match self.exact {
                true => GradientEstimate::Exact,
                false => GradientEstimate::Adapters,
            },
            ..GgpoConfig::default()
        }
    }
}

/// A layer whose merged weight is `weight`: B = 0, no gradients yet.
pub(super) fn full(weight: &Array2<f64>) -> Layer {
    let (m, n) = weight.dim();
    let mut layer = Layer::random(0, m, n, 1, 1.0).without_gradients();
    layer.weight = weight.clone();
    layer.b.fill(0.0);
    layer
}

/// The perturbation of one layer in the course of a run.
pub(super) struct Run {
    ggpo: Ggpo<f64>,
}

impl Run {
    pub(super) fn new(strength: Strength, seed: u64, steps: u32) -> Self {
        Run {
            ggpo: Ggpo::new(strength.config(), seed, steps).unwrap(),
        }
    }

    /// eps of the layer at `step`: m x n.
    pub(super) fn noise(&mut self, step: u32, layer: &Plain<f64>) -> Array2<f64> {
        self.ggpo.begin_step(step, layer);
        let (m, n) = layer.0[0].weight.dim();
        eps(&self.ggpo, 0, m, n)
    }
}

/// The roots of v_i: length m.
pub(super) fn deviations(layer: &Layer, strength: Strength) -> Vec<f64> {
    let mut run = Run::new(strength, 0, 1);
    run.ggpo.begin_step(0, &Plain(vec![layer.clone()]));
    run.ggpo.row_std(0).to_vec()
}

/// eps at the first step of a run of this seed: m x n.
pub(super) fn noise(layer: &Layer, strength: Strength, seed: u64) -> Array2<f64> {
    Run::new(strength, seed, 1).noise(0, &Plain(vec![layer.clone()]))
}

/// c_i of reparameterised noise, whose gradient is `G_i + c_i W'_i`: length m.
///
/// `c_i = f_i <eps_i, G_i>` with the crate's factors f, which depend on the norms
/// alone, so that any eps will do.
pub(super) fn pull(
    layer: &Layer,
    strength: Strength,
    eps: &Array2<f64>,
    gradient: &Array2<f64>,
) -> Vec<f64> {
    let config = GgpoConfig {
        noise_gradient: NoiseGradient::Reparameterised,
        ..strength.config()
    };
    let mut ggpo = Ggpo::new(config, 0, 1).unwrap();
    ggpo.begin_step(0, &Plain(vec![layer.clone()]));
    let noise = ggpo.noise(0, 0).expect("sigma is not 0");
    let factors = noise.weight_factors().expect("it follows the weight");
    let products = (eps * gradient).sum_axis(ndarray::Axis(1));
    let pairs = factors.iter().zip(&products);
    pairs.map(|(factor, product)| factor * product).collect()
}
