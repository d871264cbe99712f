//! What is reported of the noise, and what is saved of it.

use serde::{Deserialize, Serialize};

use crate::LoraError;

/// A summary of the noise of one layer at one step; means are over its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseStatistics {
    /// Mean standard deviation of a row at this step, the schedule included.
    pub row_std: f64,
    /// The part of the noise that is due to the gradient, from 0 to 1:
    /// `sum beta ||G_i||^2 / sum ( ||W'_i||^2 + beta ||G_i||^2 )`, 0 if there is
    /// no gradient. It is a share of the variance; in the form `SdScripts`,
    /// which adds the two terms before squaring, it is the share of the
    /// standard deviation:
    /// `sum beta ||G_i||^2 / sum ( sigma sqrt(w^2 + ||(B A)_i||^2) + beta ||G_i||^2 )`.
    pub gradient_share: f64,
    /// Mean `||W'_i||` at the last refresh; in the form `SdScripts` the mean of
    /// its estimate `sqrt(w^2 + ||(B A)_i||^2)`.
    pub weight_norm: f64,
    /// Mean `||G_i||` at the last refresh, by the estimate in use.
    pub grad_norm: f64,
}

/// The state of a [`Ggpo`](crate::Ggpo) between two steps, one entry for each
/// layer. Numbers of `f32` are held exactly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GgpoState {
    /// Row standard deviations at the schedule's factor 1, of the last refresh.
    pub row_std: Vec<Vec<f64>>,
    /// Summaries of the last step.
    pub statistics: Vec<NoiseStatistics>,
}

impl GgpoState {
    pub(super) fn validate(&self) -> Result<(), LoraError> {
        let error = |reason| Err(LoraError::State { reason });
        let (layers, summaries) = (self.row_std.len(), self.statistics.len());
        if layers != summaries {
            return error(format!("it has {layers} layers but {summaries} summaries"));
        }
        for (layer, row_std) in self.row_std.iter().enumerate() {
            for (row, &std) in row_std.iter().enumerate() {
                if !(std.is_finite() && std >= 0.0) {
                    return error(format!(
                        "the deviation of row {row} of layer {layer} is {std}"
                    ));
                }
            }
        }
        Ok(())
    }
}
