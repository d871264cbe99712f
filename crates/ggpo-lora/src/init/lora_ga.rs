//! LoRA-GA: singular vectors of the gradient of the weight.

use ggpo_tensor::{Scalar, WeightView};
use ndarray::{ArrayView2, Axis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Factors;
use super::decompositions::thin_svd;
use crate::LoraError;

/// The options of LoRA-GA.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoraGaConfig {
    /// The paper's gamma: the factors are divided by its root.
    pub gamma: f64,
    /// Rows of the training data from which the gradient is estimated.
    pub rows: usize,
}

impl Default for LoraGaConfig {
    fn default() -> Self {
        LoraGaConfig {
            gamma: 16.0,
            rows: 8,
        }
    }
}

impl LoraGaConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`LoraError::Config`] if gamma is not a finite number above 0, or rows
    /// is 0.
    pub fn validate(&self) -> Result<(), LoraError> {
        if !(self.gamma.is_finite() && self.gamma > 0.0) {
            let expected = "a finite number above 0";
            return Err(LoraError::config("gamma", expected, self.gamma));
        }
        if self.rows == 0 {
            return Err(LoraError::config("rows", "at least 1", self.rows));
        }
        Ok(())
    }
}

/// LoRA-GA (arXiv 2407.05000) for a layer whose weight has the gradient G,
/// m x n, and the given rank r: with `G = U S V^T`,
///
/// `A0 = c V[:, :r]^T` and `B0 = c U[:, r:2r]`, `c = m^(1/4) / sqrt(gamma)`,
///
/// m the number of outputs. The first step of gradient descent then moves the
/// merged weight along `B0 B0^T G + G A0^T A0`, which is c^2 times the best
/// approximation of G of rank 2r. The paper goes with the rsLoRA scaling
/// `s = alpha / sqrt(r)`; the factors do not depend on it, nor on the size of
/// G. Where singular values are equal or 0 (G = 0, in the extreme) the vectors
/// are some orthonormal ones.
///
/// # Errors
/// [`LoraError::Config`] as [`LoraGaConfig::validate`] says, or if r is not
/// from 1 to min(m, n) / 2, and [`LoraError::Decomposition`] if an element of G
/// is not finite or the iteration for the singular values does not end.
pub fn lora_ga<T: Scalar>(
    gradient: ArrayView2<'_, T>,
    rank: usize,
    config: &LoraGaConfig,
) -> Result<Factors<T>, LoraError> {
    config.validate()?;
    let (m, n) = gradient.dim();
    if rank == 0 || rank > m.min(n) / 2 {
        return Err(LoraError::config(
            "rank",
            "from 1 to half the smaller side of the layer",
            format_args!("{rank} for a layer of {m} x {n}"),
        ));
    }
    let svd = thin_svd(WeightView::from(gradient))?;
    let size = (m as f64).sqrt().sqrt() / config.gamma.sqrt();
    let a = &svd.v_transposed.slice_axis(Axis(0), (..rank).into()) * size;
    let b = &svd.u.slice_axis(Axis(1), (rank..2 * rank).into()) * size;
    Ok(Factors::rounded(&a, &b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::testing::*;
    use ndarray::Array2;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn factors_are_orthogonal_singular_vectors(
            (m, n, rank) in shape_and_rank(2), seed: u64, gamma in 0.1..100.0_f64,
        ) {
            let (gradient, singular_values) = with_singular_values(seed, m, n);
            let config = LoraGaConfig { gamma, ..LoraGaConfig::default() };
            let factors = lora_ga(gradient.view(), rank, &config).unwrap();
            prop_assert_eq!(factors.a.dim(), (rank, n));
            prop_assert_eq!(factors.b.dim(), (m, rank));
            let size = (m as f64).powf(0.25) / gamma.sqrt();
            let a = &factors.a / size;
            let b = &factors.b / size;
            assert_orthonormal_rows(a.view());
            assert_orthonormal_rows(b.t());
            // ||G v_k|| = S_k for the rows of A, ||G^T u_k|| = S_(r + k) for the
            // columns of B.
            for k in 0..rank {
                let image = gradient.dot(&a.row(k));
                let back = gradient.t().dot(&b.column(k));
                for (image, expected) in [
                    (image, singular_values[k]),
                    (back, singular_values[rank + k]),
                ] {
                    let found = image.dot(&image).sqrt();
                    prop_assert!((found - expected).abs() <= 1e-12 * singular_values[0]);
                }
            }
            // The first step is the best approximation of rank 2r.
            let step = b.dot(&b.t()).dot(&gradient) + gradient.dot(&a.t()).dot(&a);
            let tail: f64 = singular_values[2 * rank..].iter().map(|x| x * x).sum();
            let left = norm(&(&gradient - &step));
            prop_assert!((left - tail.sqrt()).abs() <= 1e-12 * norm(&gradient));
        }
    }

    /// Calculated in `f64` and stored in `f32`: the elements of the factors are
    /// rounded by up to 6e-8 each, and so are those of the gradient, whose
    /// roundings the gaps between singular values magnify. These are up to 60
    /// times smaller than the norm, but one direction gets only `1 / sqrt(m n)`
    /// of random roundings, which is about as much again; 3e-7 is some times both.
    #[test]
    fn factors_agree_with_pytorch() {
        let reference = Reference::read("lora_ga");
        for layer in LAYERS {
            let gradient = reference.matrix(&format!("{layer}.grad"));
            let factors = lora_ga(gradient.view(), 4, &LoraGaConfig::default()).unwrap();
            reference.check_vectors(layer, &factors, 3e-7);
        }
    }

    #[test]
    fn a_zero_gradient_gives_orthonormal_factors() {
        let config = LoraGaConfig::default();
        let factors = lora_ga(Array2::<f64>::zeros((16, 6)).view(), 3, &config).unwrap();
        // 16^(1/4) / sqrt(16) = 1/2.
        assert_orthonormal_rows((factors.a * 2.0).view());
        assert_orthonormal_rows((factors.b * 2.0).t());
    }

    #[test]
    fn ranks_above_half_the_smaller_side_are_refused() {
        let gradient = Array2::<f64>::ones((8, 12));
        let config = LoraGaConfig::default();
        assert!(lora_ga(gradient.view(), 4, &config).is_ok());
        let error = lora_ga(gradient.view(), 5, &config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`rank` must be from 1 to half the smaller side of the layer, \
             but it is 5 for a layer of 8 x 12"
        );
        assert!(lora_ga(gradient.view(), 0, &config).is_err());
    }

    #[test]
    fn options_are_checked_and_unknown_ones_refused() {
        for gamma in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let config = LoraGaConfig {
                gamma,
                ..LoraGaConfig::default()
            };
            let error = config.validate().unwrap_err();
            assert!(error.to_string().starts_with("`gamma` must be"));
        }
        let config = LoraGaConfig {
            rows: 0,
            ..LoraGaConfig::default()
        };
        let error = config.validate().unwrap_err();
        assert_eq!(error.to_string(), "`rows` must be at least 1, but it is 0");
        let read = |text| serde_json::from_str::<LoraGaConfig>(text);
        assert_eq!(read("{}").unwrap(), LoraGaConfig::default());
        assert_eq!(read(r#"{"gamma": 64.0}"#).unwrap().gamma, 64.0);
        assert!(read(r#"{"gama": 64.0}"#).is_err());
    }
}
