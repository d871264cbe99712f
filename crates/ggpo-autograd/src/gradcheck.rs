//! Gradients against central differences.

use std::fmt;

use ggpo_tensor::{Tensor, flat};

use crate::{Tape, Var};

/// Where a gradient and the central difference disagree.
#[derive(Debug, Clone, PartialEq)]
pub struct GradcheckError {
    /// Which input.
    pub input: usize,
    /// Which element of it, in row-major order.
    pub element: usize,
    /// What the backward pass gave.
    pub gradient: f64,
    /// What the central difference gave.
    pub difference: f64,
}

impl fmt::Display for GradcheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "input {}, element {}: the backward pass gives {:e}, the central difference {:e}",
            self.input, self.element, self.gradient, self.difference
        )
    }
}

impl std::error::Error for GradcheckError {}

/// Step of the difference. The truncation error is about step^2 = 1e-10, the
/// rounding error about 1e-16 / step = 1e-11, both times values of order one.
const STEP: f64 = 1e-5;

/// The default tolerance, relative to `max(1, |difference|)`: a hundred times
/// the error expected of the difference itself.
const TOLERANCE: f64 = 1e-7;

/// Checks the gradients of `f` with respect to all `inputs` against central
/// differences, in `f64`.
///
/// The output may have any shape: its elements are summed with fixed weights
/// that are all different, so that no error can cancel.
///
/// # Errors
/// The first element whose gradient differs by more than the tolerance.
pub fn gradcheck(
    inputs: &[Tensor<f64>],
    f: impl Fn(&Tape<f64>, &[Var<f64>]) -> Var<f64>,
) -> Result<(), GradcheckError> {
    gradcheck_within(TOLERANCE, inputs, f)
}

/// [`gradcheck`] with a tolerance relative to `max(1, |difference|)`.
///
/// # Errors
/// As [`gradcheck`].
pub fn gradcheck_within(
    tolerance: f64,
    inputs: &[Tensor<f64>],
    f: impl Fn(&Tape<f64>, &[Var<f64>]) -> Var<f64>,
) -> Result<(), GradcheckError> {
    let weighted = |inputs: &[Tensor<f64>]| -> f64 {
        let tape = Tape::new();
        let vars: Vec<_> = inputs.iter().map(|x| tape.constant(x.clone())).collect();
        let output = f(&tape, &vars);
        flat(output.value())
            .iter()
            .zip(weights())
            .map(|(x, w)| x * w)
            .sum()
    };
    let tape = Tape::new();
    let leaves: Vec<_> = inputs.iter().map(|x| tape.leaf(x.clone())).collect();
    let output = f(&tape, &leaves);
    let seed = weights().take(output.value().len()).collect();
    let seed = ggpo_tensor::tensor(output.shape(), seed);
    let mut gradients = tape.backward_from(&output, seed);

    for (input, (leaf, value)) in leaves.iter().zip(inputs).enumerate() {
        let gradient = gradients
            .take(leaf)
            .unwrap_or_else(|| Tensor::from_elem(value.shape(), 0.0));
        for element in 0..value.len() {
            let shifted = |step: f64| {
                let mut inputs = inputs.to_vec();
                let mut elements = flat(value).to_vec();
                elements[element] += step;
                inputs[input] = ggpo_tensor::tensor(value.shape(), elements);
                weighted(&inputs)
            };
            let difference = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
            let gradient = flat(&gradient)[element];
            let error = (gradient - difference).abs();
            if error.is_nan() || error > tolerance * difference.abs().max(1.0) {
                return Err(GradcheckError {
                    input,
                    element,
                    gradient,
                    difference,
                });
            }
        }
    }
    Ok(())
}

/// Weights between 0.5 and 1.5 without a pattern: multiples of the golden
/// ratio, modulo 1.
fn weights() -> impl Iterator<Item = f64> {
    (1..).map(|i| 0.5 + (f64::from(i) * 0.618_033_988_749_894_8).fract())
}
