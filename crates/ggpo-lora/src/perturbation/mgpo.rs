//! LoRA-MGPO (arXiv 2502.14538, versions 2 and 3): a move along the momentum of the
//! gradients, its length by their norm.
//!
//! On the factors theta of all layers together:
//!
//! ```text
//! eps_t  = rho m_{t-1} / ||m_{t-1}|| * 1 / gbar_{t-1}              (eq. 3)
//! m_t    = mu m_{t-1} + g_t,  g_t the gradient at theta_t + eps_t  (eq. 4)
//! gbar_t = beta gbar_{t-1} + (1 - beta) ||g_t||                    (eq. 6)
//! ```
//!
//! m starts at 0, so the first step has no move, and gbar at the first norm.
//!
//! On the merged weights, as the authors' trainer has it, layer by layer:
//! `eps = rho D / ||D|| * min(1 / gbar, 10)` with `D = s ( m_B A + B m_A )`, m the
//! optimiser's running mean of the gradients, and gbar as above of the layer's norm
//! by equation 7, after every micro-batch. D has rank 2r and is never formed.

use ggpo_tensor::Scalar;
use ndarray::{ArrayView2, Axis, concatenate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    FactorMoves, LowRankMove, Perturbation, Reads, Space, check_radius, gradients, norm, scaled,
};
use crate::norms::{adapter_gradient_row_norms_squared, product_row_norms_squared};
use crate::{AdaptedLayers, Adapters, LoraError, State};

/// The largest `1 / gbar` on the merged weights.
const LARGEST: f64 = 10.0;

/// The direction of a move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// Up the momentum, as in the paper.
    #[default]
    Plus,
    /// Down the momentum, as in the authors' trainer and in momentum SAM.
    Minus,
}

/// The options of LoRA-MGPO.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MgpoConfig {
    /// Radius of the move.
    pub rho: f64,
    /// Decay of the momentum; on the merged weights the optimiser's momentum is used.
    pub mu: f64,
    /// Decay of the mean gradient norm.
    pub beta: f64,
    /// Direction of the move.
    pub sign: Sign,
    /// What is moved.
    pub space: Space,
}

impl Default for MgpoConfig {
    fn default() -> Self {
        MgpoConfig {
            rho: 0.05,
            mu: 0.9,
            beta: 0.9,
            sign: Sign::Plus,
            space: Space::Factors,
        }
    }
}

impl MgpoConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`LoraError::Config`] if rho is not a finite number of at least 0, or mu or beta
    /// is not in [0, 1).
    pub fn validate(&self) -> Result<(), LoraError> {
        check_radius(self.rho)?;
        for (field, decay) in [("mu", self.mu), ("beta", self.beta)] {
            if !(0.0..1.0).contains(&decay) {
                return Err(LoraError::config(field, "a number in [0, 1)", decay));
            }
        }
        Ok(())
    }

    /// rho with its sign.
    fn signed(&self) -> f64 {
        match self.sign {
            Sign::Plus => self.rho,
            Sign::Minus => -self.rho,
        }
    }
}

/// LoRA-MGPO in the course of a run.
#[derive(Clone, Debug)]
pub struct Mgpo<T> {
    config: MgpoConfig,
    /// m, factor by factor; empty before the first gradient and on merged weights.
    momentum: FactorMoves<T>,
    /// gbar: one on the factors, one for each layer on merged weights.
    mean_norms: Vec<f64>,
    factor_moves: FactorMoves<T>,
    merged_moves: Vec<Option<LowRankMove<T>>>,
}

impl<T: Scalar> Mgpo<T> {
    /// LoRA-MGPO with these options.
    ///
    /// # Errors
    /// As [`MgpoConfig::validate`].
    pub fn new(config: MgpoConfig) -> Result<Self, LoraError> {
        config.validate()?;
        Ok(Mgpo {
            config,
            momentum: Vec::new(),
            mean_norms: Vec::new(),
            factor_moves: Vec::new(),
            merged_moves: Vec::new(),
        })
    }

    /// Equations 4 and 6 for the gradients of the last step, then equation 3.
    fn move_factors(&mut self, layers: &dyn AdaptedLayers<T>) {
        let factors: Vec<_> = (0..layers.count())
            .map(|index| layers.factors(index))
            .collect();
        let gradients = gradients(&factors);
        if gradients
            .iter()
            .flatten()
            .all(|gradient| gradient.is_empty())
        {
            return;
        }
        if self.momentum.is_empty() {
            let nothing = |layer: &Vec<&[T]>| vec![Vec::new(); layer.len()];
            self.momentum = gradients.iter().map(nothing).collect();
        }
        let mu = T::from_f64(self.config.mu);
        let pairs = self
            .momentum
            .iter_mut()
            .flatten()
            .zip(gradients.iter().flatten());
        for (momentum, gradient) in pairs {
            if momentum.is_empty() {
                momentum.resize(gradient.len(), T::ZERO);
            }
            for (m, &g) in momentum.iter_mut().zip(*gradient) {
                *m = mu * *m + g;
            }
        }
        self.average(0, norm(gradients.iter().flatten().copied()));
        let norm = norm(self.momentum.iter().flatten().map(Vec::as_slice));
        let mean_norm = self.mean_norms[0];
        if norm == 0.0 || mean_norm == 0.0 {
            return self.factor_moves.clear();
        }
        let factor = self.config.signed() / norm / mean_norm;
        let moves = |layer: &Vec<Vec<T>>| layer.iter().map(|m| scaled(m, factor)).collect();
        self.factor_moves = self.momentum.iter().map(moves).collect();
    }

    /// The EMA of a norm, which starts at the first.
    fn average(&mut self, index: usize, norm: f64) {
        let beta = self.config.beta;
        match self.mean_norms.get_mut(index) {
            Some(mean) => *mean = beta * *mean + (1.0 - beta) * norm,
            None => self.mean_norms.push(norm),
        }
    }

    fn merged_moves(&self, layers: &dyn AdaptedLayers<T>) -> Vec<Option<LowRankMove<T>>> {
        (0..layers.count())
            .map(|index| {
                let layer = layers.layer(index);
                let factors = layers.factors(index);
                let [m_a, m_b] = [(0, layer.a), (1, layer.b)].map(|(factor, like)| {
                    let momentum = factors.get(factor)?.momentum.as_deref()?;
                    ArrayView2::from_shape(like.dim(), momentum).ok()
                });
                let (m_a, m_b) = (m_a?, m_b?);
                let up = concatenate(Axis(1), &[m_b, layer.b]).expect("m_B has the shape of B");
                let down = concatenate(Axis(0), &[layer.a, m_a]).expect("m_A has the shape of A");
                // The scaling s goes out of D / ||D||.
                let squares = product_row_norms_squared(up.view(), down.view());
                let norm = squares.iter().map(|x| x.value()).sum::<f64>().sqrt();
                let step = (1.0 / self.mean_norms.get(index)?).min(LARGEST);
                let factor = T::from_f64(self.config.signed() * step / norm);
                (norm > 0.0).then(|| LowRankMove {
                    up: up.map(|&u| factor * u),
                    down,
                })
            })
            .collect()
    }
}

impl<T: Scalar> Perturbation<T> for Mgpo<T> {
    fn begin_step(&mut self, _: u32, layers: &dyn AdaptedLayers<T>) {
        match self.config.space {
            _ if self.config.rho == 0.0 => {}
            Space::Factors => self.move_factors(layers),
            Space::Merged => self.merged_moves = self.merged_moves(layers),
        }
    }

    fn merged_move(&self, layer: usize) -> Option<&LowRankMove<T>> {
        self.merged_moves.get(layer)?.as_ref()
    }

    fn factor_moves(&self, layer: usize) -> Option<&[Vec<T>]> {
        self.factor_moves.get(layer).map(Vec::as_slice)
    }

    fn observe(&mut self, layers: &dyn AdaptedLayers<T>) {
        if self.config.space == Space::Merged && self.config.rho != 0.0 {
            for index in 0..layers.count() {
                let squares = adapter_gradient_row_norms_squared(&layers.layer(index));
                let norm = squares.iter().map(|x| x.value()).sum::<f64>().sqrt();
                self.average(index, norm);
            }
        }
    }

    fn reads(&self) -> Reads {
        let acts = self.config.rho != 0.0;
        Reads {
            factors: acts && self.config.space == Space::Factors,
            micro_batches: acts && self.config.space == Space::Merged,
            ..Reads::default()
        }
    }

    fn state(&self) -> State {
        State::default()
            .with(
                "momentum",
                self.momentum.iter().flatten().map(Vec::as_slice),
            )
            .with("parts", [part_counts(&self.momentum).as_slice()])
            .with("mean_norms", [self.mean_norms.as_slice()])
    }

    fn restore(&mut self, mut state: State) -> Result<(), LoraError> {
        let momentum: Vec<Vec<T>> = state.take("momentum")?;
        let parts: Vec<Vec<f64>> = state.take("parts")?;
        let mean_norms: Vec<Vec<f64>> = state.take("mean_norms")?;
        state.finish()?;
        let parts: Vec<f64> = parts.into_iter().flatten().collect();
        let whole = parts
            .iter()
            .all(|parts| parts.fract() == 0.0 && *parts >= 0.0);
        if !whole || parts.iter().sum::<f64>() != momentum.len() as f64 {
            let reason = "its parts do not add up to its momentum".to_owned();
            return Err(LoraError::State { reason });
        }
        let mut momentum = momentum.into_iter();
        let parts = parts.into_iter();
        self.momentum = parts
            .map(|parts| momentum.by_ref().take(parts as usize).collect())
            .collect();
        self.mean_norms = mean_norms.into_iter().flatten().collect();
        self.factor_moves.clear();
        self.merged_moves.clear();
        Ok(())
    }

    fn fits(&self, adapters: &Adapters<T>) -> bool {
        self.mean_norms.len() <= adapters.len().max(1)
            && super::moves_fit(self.momentum.iter().map(Vec::as_slice), adapters)
    }
}

/// Factors of each layer.
fn part_counts<T>(layers: &FactorMoves<T>) -> Vec<f64> {
    layers.iter().map(|layer| layer.len() as f64).collect()
}
