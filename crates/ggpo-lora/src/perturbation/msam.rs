//! Momentum SAM (arXiv 2401.12033): SAM's move along the optimiser's momentum, which
//! costs no second pass.
//!
//! `eps = -rho m / ||m||` on all factors of all layers, under one norm; m is the
//! optimiser's running mean of the gradients, 0 before the first step.

use ggpo_tensor::Scalar;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FactorMoves, Perturbation, Reads, check_radius, norm, scaled};
use crate::{AdaptedLayers, Adapters, LoraError, State};

/// The options of momentum SAM.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MsamConfig {
    /// Radius of the move.
    pub rho: f64,
}

impl Default for MsamConfig {
    fn default() -> Self {
        MsamConfig { rho: 0.3 }
    }
}

impl MsamConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`LoraError::Config`] if rho is not a finite number of at least 0.
    pub fn validate(&self) -> Result<(), LoraError> {
        check_radius(self.rho)
    }
}

/// Momentum SAM in the course of a run. Its momentum is the optimiser's.
#[derive(Clone, Debug)]
pub struct Msam<T> {
    config: MsamConfig,
    moves: FactorMoves<T>,
}

impl<T: Scalar> Msam<T> {
    /// Momentum SAM with these options.
    ///
    /// # Errors
    /// As [`MsamConfig::validate`].
    pub fn new(config: MsamConfig) -> Result<Self, LoraError> {
        config.validate()?;
        Ok(Msam {
            config,
            moves: Vec::new(),
        })
    }
}

impl<T: Scalar> Perturbation<T> for Msam<T> {
    fn begin_step(&mut self, _: u32, layers: &dyn AdaptedLayers<T>) {
        self.moves.clear();
        let factors: Vec<_> = (0..layers.count())
            .map(|index| layers.factors(index))
            .collect();
        let all = factors.iter().flatten();
        let norm = norm(all.filter_map(|factor| factor.momentum.as_deref()));
        if self.config.rho == 0.0 || norm == 0.0 {
            return;
        }
        let factor = -self.config.rho / norm;
        let moves = factors.iter().map(|layer| {
            let momenta = layer
                .iter()
                .map(|it| it.momentum.as_deref().unwrap_or_default());
            momenta.map(|momentum| scaled(momentum, factor)).collect()
        });
        self.moves = moves.collect();
    }

    fn factor_moves(&self, layer: usize) -> Option<&[Vec<T>]> {
        self.moves.get(layer).map(Vec::as_slice)
    }

    fn reads(&self) -> Reads {
        Reads::default()
    }

    fn state(&self) -> State {
        State::default()
    }

    fn restore(&mut self, state: State) -> Result<(), LoraError> {
        state.finish()
    }

    fn fits(&self, _: &Adapters<T>) -> bool {
        true
    }
}
