//! EFlat-LoRA (arXiv 2508.00522): SAM's move of the merged weight, estimated from the
//! gradients of the step before and carried by B alone.
//!
//! ```text
//! g_W = ( dB (A^T)^+ + (B^T)^+ dA ) / 2s       E_W = rho g_W / ||g_W||
//! E_B <- (1 - b) E_B + b E_W A^+ / s           B is moved by E_B
//! ```
//!
//! layer by layer, `^+` the pseudo-inverse. g_W has rank 2r and is never formed. Other
//! people's codes differ in the order of these steps: there is no agreed one.

use ggpo_tensor::{Scalar, matmul};
use ndarray::{Array2, Axis, concatenate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Perturbation, Reads, check_radius};
use crate::init::pseudo_inverse;
use crate::norms::product_row_norms_squared;
use crate::{AdaptedLayers, Adapters, LayerView, LoraError, State};

/// The options of EFlat-LoRA.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EfmLoraConfig {
    /// Radius of the move.
    pub rho: f64,
    /// Weight of the newest move in the running mean.
    pub b: f64,
}

impl Default for EfmLoraConfig {
    fn default() -> Self {
        EfmLoraConfig { rho: 0.05, b: 0.9 }
    }
}

impl EfmLoraConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`LoraError::Config`] if rho is not a finite number of at least 0, or b is not
    /// in [0, 1].
    pub fn validate(&self) -> Result<(), LoraError> {
        check_radius(self.rho)?;
        if !(0.0..=1.0).contains(&self.b) {
            return Err(LoraError::config("b", "a number in [0, 1]", self.b));
        }
        Ok(())
    }
}

/// EFlat-LoRA in the course of a run.
#[derive(Clone, Debug)]
pub struct EfmLora<T> {
    config: EfmLoraConfig,
    /// Moves of A, which are empty, and of B, which are `E_B`, layer by layer.
    moves: Vec<[Vec<T>; 2]>,
}

impl<T: Scalar> EfmLora<T> {
    /// EFlat-LoRA with these options.
    ///
    /// # Errors
    /// As [`EfmLoraConfig::validate`].
    pub fn new(config: EfmLoraConfig) -> Result<Self, LoraError> {
        config.validate()?;
        Ok(EfmLora {
            config,
            moves: Vec::new(),
        })
    }

    /// `E_W A^+ / s` of a layer, m x r; none without gradients.
    fn newest(&self, layer: &LayerView<'_, T>) -> Option<Array2<T>> {
        let (da, db) = (layer.grad_a?, layer.grad_b?);
        let inverse_a = pseudo_inverse(layer.a).ok()?;
        let inverse_b = pseudo_inverse(layer.b).ok()?;
        let up = concatenate(Axis(1), &[db, inverse_b.t()]).expect("dB has the rows of B");
        let down = concatenate(Axis(0), &[inverse_a.t(), da]).expect("dA has the columns of A");
        let squares = product_row_norms_squared(up.view(), down.view());
        let norm = squares.iter().map(|x| x.value()).sum::<f64>().sqrt();
        if norm == 0.0 {
            return None;
        }
        // The factor 1 / 2s goes out of g_W / ||g_W||.
        let mut newest = matmul(up.view(), matmul(down.view(), inverse_a.view()).view());
        let factor = T::from_f64(self.config.rho / norm / layer.scaling.value());
        newest.map_inplace(|x| *x *= factor);
        Some(newest)
    }
}

impl<T: Scalar> Perturbation<T> for EfmLora<T> {
    fn begin_step(&mut self, _: u32, layers: &dyn AdaptedLayers<T>) {
        if self.config.rho == 0.0 {
            return;
        }
        let b = T::from_f64(self.config.b);
        for index in 0..layers.count() {
            let layer = layers.layer(index);
            let Some(newest) = self.newest(&layer) else {
                continue;
            };
            // A layer before this one may have had no gradient yet.
            if self.moves.len() <= index {
                self.moves.resize(index + 1, Default::default());
            }
            let [_, mean] = &mut self.moves[index];
            mean.resize(newest.len(), T::ZERO);
            for (mean, &newest) in mean.iter_mut().zip(&newest) {
                *mean = (T::ONE - b) * *mean + b * newest;
            }
        }
    }

    fn factor_moves(&self, layer: usize) -> Option<&[Vec<T>]> {
        self.moves.get(layer).map(|moves| moves.as_slice())
    }

    fn reads(&self) -> Reads {
        Reads {
            layers: self.config.rho != 0.0,
            ..Reads::default()
        }
    }

    fn state(&self) -> State {
        let moves = self.moves.iter().map(|[_, of_b]| of_b.as_slice());
        State::default().with("moves", moves)
    }

    fn restore(&mut self, mut state: State) -> Result<(), LoraError> {
        let moves: Vec<Vec<T>> = state.take("moves")?;
        state.finish()?;
        self.moves = moves.into_iter().map(|of_b| [Vec::new(), of_b]).collect();
        Ok(())
    }

    fn fits(&self, adapters: &Adapters<T>) -> bool {
        super::moves_fit(self.moves.iter().map(|moves| moves.as_slice()), adapters)
    }
}
