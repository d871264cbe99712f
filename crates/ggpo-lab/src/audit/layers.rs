//! What is measured of every layer in a step.

use ggpo_lora::{Acting, AdaptedLayers, adapter_gradient_row_norms_squared, row_norms_squared};
use ggpo_tensor::{RowPerturbation, Tensor, WeightView, view2};
use ggpo_train::metrics::spearman;
use ggpo_train::trainer::Layers;
use sha2::{Digest, Sha256};
use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::document::{NoiseTest, Rows, Update};

/// Norms of the rows of this step's gradient, by the adapters and exactly.
pub(super) struct Gradients {
    pub(super) by_adapters: Vec<f32>,
    pub(super) exact: Option<Vec<f32>>,
}

impl Gradients {
    /// Those of a layer, which has the gradients of this step.
    pub(super) fn of(layers: &Layers<'_, f32>, index: usize) -> Self {
        let layer = layers.layer(index);
        let roots = |squares: Vec<f32>| squares.into_iter().map(f32::sqrt).collect();
        Gradients {
            by_adapters: roots(adapter_gradient_row_norms_squared(&layer)),
            exact: layer
                .grad_merged
                .map(|exact| roots(row_norms_squared(exact))),
        }
    }

    /// Spearman's correlation of the two over the rows.
    pub(super) fn rank_correlation(&self) -> Option<f64> {
        let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| x.into()).collect() };
        spearman(&wide(&self.by_adapters), &wide(self.exact.as_ref()?))
    }
}

/// The norm of all rows together, from theirs.
pub(super) fn total(norms: &[f32]) -> f64 {
    let squares = norms.iter().map(|&norm| f64::from(norm).powi(2));
    squares.sum::<f64>().sqrt()
}

/// What is written of the rows.
pub(super) fn rows(weight_squared: &[f32], gradients: Gradients, deviation: &[f32]) -> Rows {
    Rows {
        weight: weight_squared.iter().map(|square| square.sqrt()).collect(),
        gradient_by_adapters: gradients.by_adapters,
        gradient_exact: gradients.exact,
        deviation: deviation.to_vec(),
    }
}

/// Holds the noise that was really added against its variances: what `W' + eps`, made
/// as a product makes it, differs by from W'.
pub(super) fn noise_test(
    acting: &Acting<f32>,
    weight: WeightView<'_, f32>,
    noise: &dyn RowPerturbation<f32>,
) -> Option<NoiseTest> {
    let deviations = noise.row_deviations()?;
    let plain = acting.direction(weight.reborrow());
    let mut noisy = plain;
    noisy.noise = Some(noise);
    let (noisy, plain) = (noisy.to_dense(), plain.to_dense());
    let (mut chi_square, mut squares, mut degrees) = (0.0, 0.0, 0);
    let rows = noisy.outer_iter().zip(plain.outer_iter()).zip(deviations);
    for ((noisy, plain), &std) in rows.filter(|(_, std)| **std > 0.0) {
        let differences = noisy.iter().zip(plain);
        let sum: f64 = differences
            .map(|(&noisy, &plain)| (f64::from(noisy) - f64::from(plain)).powi(2))
            .sum();
        squares += sum;
        chi_square += sum / f64::from(std).powi(2);
        degrees += noisy.len();
    }
    let law = ChiSquared::new(degrees as f64).ok()?;
    let variances = deviations.iter().map(|&std| f64::from(std).powi(2));
    Some(NoiseTest {
        theoretical: variances.sum::<f64>() / deviations.len() as f64,
        empirical: squares / (noisy.len() as f64),
        chi_square,
        degrees,
        p: (2.0 * law.cdf(chi_square).min(law.sf(chi_square))).min(1.0),
    })
}

/// SHA-256 of the bits of a weight, row by row, each number as four bytes in little
/// endian; a quantised one as the numbers that products read.
pub(super) fn digest(weight: WeightView<'_, f32>) -> String {
    let mut hash = Sha256::new();
    weight.for_panels(|_, panel| {
        for row in panel.outer_iter() {
            let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
            hash.update(&bytes);
        }
    });
    hex(&hash.finalize())
}

/// Bytes in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A and B.
pub(super) type Factors = [Tensor<f32>; 2];

/// What a step did to `s B A`, from `before` to `after`, and to `without` noise.
pub(super) fn update(before: &Factors, after: &Factors, without: &Factors, scaling: f32) -> Update {
    let product = |[a, b]: &Factors| {
        let wide = |x: &Tensor<f32>| view2(x).mapv(f64::from);
        wide(b).dot(&wide(a)) * f64::from(scaling)
    };
    let start = product(before);
    let (with, without) = (product(after) - &start, product(without) - &start);
    let inner = |x: &ndarray::Array2<f64>, y: &ndarray::Array2<f64>| -> f64 {
        x.iter().zip(y).map(|(x, y)| x * y).sum()
    };
    let (norm, norm_without) = (inner(&with, &with).sqrt(), inner(&without, &without).sqrt());
    let lengths = norm * norm_without;
    Update {
        norm,
        norm_without,
        cosine: (lengths > 0.0).then(|| inner(&with, &without) / lengths),
    }
}
