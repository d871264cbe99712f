//! Sharpness as sharpness-aware minimisation sees it.

use ggpo_tensor::Scalar;
use serde::{Deserialize, Serialize};

use super::error::{Result, finite};
use super::objective::Objective;
use super::vector::{norm, sum};

/// How far the loss rises within a ball.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ascent {
    /// The radius rho.
    pub rho: f64,
    /// `L(w + rho g / ||g||) - L(w)` with the gradient g at w.
    pub rise: f64,
    /// `||g||`. The rise is `rho ||g||` to first order.
    pub gradient_norm: f64,
}

/// `max over ||d|| <= rho of L(w + d) - L(w)`, approximated by one step of length rho
/// along the gradient (Foret and others 2021); no rise where the gradient is 0.
///
/// # Errors
/// If a loss or the gradient is not finite.
pub fn ascent<T: Scalar>(objective: &impl Objective<T>, rho: f64) -> Result<Ascent> {
    let point = objective.point();
    let gradient = objective.gradient(point);
    let gradient_norm = finite("the gradient", norm(&gradient))?;
    let rise = match gradient_norm == 0.0 {
        true => 0.0,
        false => {
            let moved = sum(point, rho / gradient_norm, &gradient);
            finite("the loss", objective.loss(&moved) - objective.loss(point))?
        }
    };
    Ok(Ascent {
        rho,
        rise,
        gradient_norm,
    })
}
