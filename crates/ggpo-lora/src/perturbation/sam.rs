//! SAM (Foret and others 2021): the gradient where one step up the slope leads.
//!
//! `eps = rho g / ||g||`, g the gradient at theta. On the factors, theta is all
//! factors of all layers, under one norm; on the merged weights g is the exact
//! gradient of W', under one norm over all layers. Two passes a step.

use std::sync::Arc;

use ggpo_tensor::{RowPerturbation, Scalar};
use ndarray::{Array2, ArrayViewMut2, Axis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FactorMoves, Perturbation, Reads, Space, check_radius, gradients, norm, scaled};
use crate::norms::row_norms_squared;
use crate::{AdaptedLayers, Adapters, LoraError, State};

/// The options of SAM.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SamConfig {
    /// Radius of the move.
    pub rho: f64,
    /// What is moved.
    pub space: Space,
}

impl Default for SamConfig {
    fn default() -> Self {
        SamConfig {
            rho: 0.05,
            space: Space::Factors,
        }
    }
}

impl SamConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`LoraError::Config`] if rho is not a finite number of at least 0.
    pub fn validate(&self) -> Result<(), LoraError> {
        check_radius(self.rho)
    }
}

/// SAM in the course of a run. It has no state.
#[derive(Clone, Debug)]
pub struct Sam<T> {
    config: SamConfig,
    factors: FactorMoves<T>,
    merged: Vec<Arc<DenseMove<T>>>,
}

/// A move of a whole weight, m x n.
#[derive(Debug)]
struct DenseMove<T>(Array2<T>);

impl<T: Scalar> RowPerturbation<T> for DenseMove<T> {
    fn add_rows(&self, first_row: usize, mut panel: ArrayViewMut2<'_, T>) {
        let rows = first_row..first_row + panel.nrows();
        let eps = self.0.slice_axis(Axis(0), rows.into());
        panel.zip_mut_with(&eps, |w, &eps| *w += eps);
    }
}

impl<T: Scalar> Sam<T> {
    /// SAM with these options.
    ///
    /// # Errors
    /// As [`SamConfig::validate`].
    pub fn new(config: SamConfig) -> Result<Self, LoraError> {
        config.validate()?;
        Ok(Sam {
            config,
            factors: Vec::new(),
            merged: Vec::new(),
        })
    }

    fn ascend_factors(&mut self, layers: &dyn AdaptedLayers<T>) -> bool {
        let factors: Vec<_> = (0..layers.count())
            .map(|index| layers.factors(index))
            .collect();
        let gradients = gradients(&factors);
        let norm = norm(gradients.iter().flatten().copied());
        if norm == 0.0 {
            return false;
        }
        let factor = self.config.rho / norm;
        self.factors = gradients
            .iter()
            .map(|layer| {
                layer
                    .iter()
                    .map(|gradient| scaled(gradient, factor))
                    .collect()
            })
            .collect();
        true
    }

    /// With magnitudes, the gradient of what acts is that of W' over `m_i / n_i`.
    fn ascend_merged(&mut self, layers: &dyn AdaptedLayers<T>) -> bool {
        let gradients: Vec<Array2<T>> = (0..layers.count())
            .map(|index| {
                let layer = layers.layer(index);
                let gradient = layer.grad_merged.expect("asked for the exact gradient");
                let mut gradient = gradient.to_owned();
                if let Some(magnitude) = layer.magnitude {
                    let rows = gradient.outer_iter_mut().zip(magnitude.factors());
                    for (mut row, factor) in rows.filter(|(_, factor)| *factor != T::ZERO) {
                        row.map_inplace(|g| *g = *g / factor);
                    }
                }
                gradient
            })
            .collect();
        let square = |gradient: &Array2<T>| {
            let rows = row_norms_squared(gradient.view());
            rows.iter().map(|x| x.value()).sum::<f64>()
        };
        let norm = gradients.iter().map(square).sum::<f64>().sqrt();
        if norm == 0.0 {
            return false;
        }
        let factor = T::from_f64(self.config.rho / norm);
        self.merged = gradients
            .into_iter()
            .map(|mut gradient| {
                gradient.map_inplace(|g| *g *= factor);
                Arc::new(DenseMove(gradient))
            })
            .collect();
        true
    }
}

impl<T: Scalar> Perturbation<T> for Sam<T> {
    fn begin_step(&mut self, _: u32, _: &dyn AdaptedLayers<T>) {
        self.factors.clear();
        self.merged.clear();
    }

    fn noise(&self, layer: usize, _: u32) -> Option<Arc<dyn RowPerturbation<T>>> {
        let eps = self.merged.get(layer)?;
        Some(Arc::clone(eps) as Arc<dyn RowPerturbation<T>>)
    }

    fn factor_moves(&self, layer: usize) -> Option<&[Vec<T>]> {
        self.factors.get(layer).map(Vec::as_slice)
    }

    fn ascend(&mut self, layers: &dyn AdaptedLayers<T>) -> bool {
        match self.config.space {
            _ if self.config.rho == 0.0 => false,
            Space::Factors => self.ascend_factors(layers),
            Space::Merged => self.ascend_merged(layers),
        }
    }

    fn reads(&self) -> Reads {
        Reads {
            exact: self.config.space == Space::Merged && self.config.rho != 0.0,
            ..Reads::default()
        }
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
