//! The standard deviation of every row, by either form.

use ggpo_tensor::random::Stream;
use ggpo_tensor::{Scalar, WeightView, flat};

use super::{GgpoConfig, GgpoForm, GradientEstimate, NoiseGradient, NoiseSpread, WeightTerm};
use crate::norms::{
    adapter_gradient_row_norms_squared, merged_row_norms_squared, product_row_norms_squared,
    row_norms_squared,
};
use crate::{LayerView, NoiseStatistics};

/// Rows that the form `SdScripts` samples at most.
const SAMPLED_ROWS: usize = 1000;

/// What a form needs of the frozen weight of one layer.
#[derive(Clone, Debug)]
pub(super) enum RowScales<T> {
    /// `||W_i||^2`, length m.
    Paper(Vec<T>),
    /// The mean of `||W_i||` over sampled rows.
    SdScripts(T),
}

/// What is made of one layer at a refresh.
pub(super) struct Deviations<T> {
    /// The deviations at the schedule's factor 1, length m.
    pub(super) row_std: Vec<T>,
    /// `1 / ( ||W'_i||^2 + beta ||G_i||^2 )`, length m, 0 where that is; only for
    /// noise that follows the weight.
    pub(super) weight_factors: Option<Vec<T>>,
    /// A summary.
    pub(super) statistics: NoiseStatistics,
}

/// The two terms of a row's variance or deviation, each of length m.
struct Terms<T> {
    weight: Vec<T>,
    gradient: Vec<T>,
}

impl<T: Scalar> RowScales<T> {
    pub(super) fn new(config: &GgpoConfig, weight: WeightView<'_, T>, stream: Stream) -> Self {
        match config.form {
            GgpoForm::Paper => RowScales::Paper(row_norms_squared(weight)),
            GgpoForm::SdScripts => RowScales::SdScripts(sampled_mean_norm(weight, stream)),
        }
    }

    /// Numbers held.
    pub(super) fn len(&self) -> usize {
        match self {
            RowScales::Paper(norms_squared) => norms_squared.len(),
            RowScales::SdScripts(_) => 1,
        }
    }

    /// The deviations of a layer as it is now; `deal` deals them to other rows, if that
    /// is asked for.
    pub(super) fn deviations(
        &self,
        config: &GgpoConfig,
        layer: &LayerView<'_, T>,
        deal: Stream,
    ) -> Deviations<T> {
        let weight_squared = self.weight_norms_squared(layer);
        let gradient_squared = gradient_norms_squared(config.gradient, layer);
        let mut statistics = NoiseStatistics {
            weight_norm: mean_root(&weight_squared),
            grad_norm: mean_root(&gradient_squared),
            ..NoiseStatistics::default()
        };
        let gradient = times(&gradient_squared, config.beta);
        let (m, n) = layer.weight.dim();
        let mut weight_factors = None;
        let mut row_std = match self {
            RowScales::Paper(_) => {
                let weight = match config.weight {
                    WeightTerm::Merged => weight_squared,
                    WeightTerm::None => vec![T::ZERO; m],
                };
                let terms = Terms { weight, gradient };
                statistics.gradient_share = terms.gradient_share();
                if config.noise_gradient == NoiseGradient::Reparameterised {
                    let inverse = |sum| if sum == T::ZERO { sum } else { T::ONE / sum };
                    weight_factors = Some(terms.sums(inverse));
                }
                let factor = T::from_f64(config.sigma / (n as f64).sqrt());
                terms.sums(|sum| factor * sum.sqrt())
            }
            RowScales::SdScripts(_) => {
                let norms: Vec<T> = weight_squared.into_iter().map(T::sqrt).collect();
                let terms = Terms {
                    weight: times(&norms, config.sigma),
                    gradient,
                };
                statistics.gradient_share = terms.gradient_share();
                let factor = T::from_f64(1.0 / (m as f64).sqrt());
                terms.sums(|sum| factor * sum)
            }
        };
        match config.spread {
            NoiseSpread::Rows => {}
            NoiseSpread::Isotropic => make_isotropic(&mut row_std),
            NoiseSpread::Shuffled => deal.shuffle(&mut row_std),
        }
        statistics.row_std = mean(&row_std);
        Deviations {
            row_std,
            weight_factors,
            statistics,
        }
    }

    fn weight_norms_squared(&self, layer: &LayerView<'_, T>) -> Vec<T> {
        if let Some(magnitude) = layer.magnitude {
            return flat(&magnitude.value).iter().map(|&m| m * m).collect();
        }
        match self {
            RowScales::Paper(norms_squared) => merged_row_norms_squared(norms_squared, layer),
            RowScales::SdScripts(norm) => product_row_norms_squared(layer.b, layer.a)
                .into_iter()
                .map(|product| *norm * *norm + product)
                .collect(),
        }
    }
}

impl<T: Scalar> Terms<T> {
    fn sums(&self, deviation: impl Fn(T) -> T) -> Vec<T> {
        let pairs = self.weight.iter().zip(&self.gradient);
        pairs.map(|(&w, &g)| deviation(w + g)).collect()
    }

    fn gradient_share(&self) -> f64 {
        let total = |terms: &[T]| terms.iter().map(|term| term.value()).sum::<f64>();
        let gradient = total(&self.gradient);
        if gradient == 0.0 {
            0.0
        } else {
            gradient / (total(&self.weight) + gradient)
        }
    }
}

/// `||G_i||^2` by the estimate asked for, length m; zeros without gradients. With
/// magnitudes, the gradient of a row that acts is that of W'_i over `m_i / n_i`.
fn gradient_norms_squared<T: Scalar>(
    estimate: GradientEstimate,
    layer: &LayerView<'_, T>,
) -> Vec<T> {
    let mut squares = direction_gradient_norms_squared(estimate, layer);
    if let Some(magnitude) = layer.magnitude {
        for (square, factor) in squares.iter_mut().zip(magnitude.factors()) {
            *square = match factor == T::ZERO {
                true => T::ZERO,
                false => *square / (factor * factor),
            };
        }
    }
    squares
}

/// The same of W', before magnitudes.
fn direction_gradient_norms_squared<T: Scalar>(
    estimate: GradientEstimate,
    layer: &LayerView<'_, T>,
) -> Vec<T> {
    match (estimate, layer.grad_merged) {
        (GradientEstimate::Adapters, _) => adapter_gradient_row_norms_squared(layer),
        (GradientEstimate::Exact, Some(grad_merged)) => {
            assert_eq!(
                grad_merged.dim(),
                layer.weight.dim(),
                "G has the shape of W"
            );
            row_norms_squared(grad_merged)
        }
        (GradientEstimate::Exact, None) => {
            let first_step = layer.grad_a.is_none() && layer.grad_b.is_none();
            assert!(first_step, "the exact gradient estimate needs grad_merged");
            vec![T::ZERO; layer.weight.nrows()]
        }
        (GradientEstimate::None, _) => vec![T::ZERO; layer.weight.nrows()],
    }
}

/// `factor * x`, but zeros for the factor 0 even where x is not finite.
fn times<T: Scalar>(x: &[T], factor: f64) -> Vec<T> {
    if factor == 0.0 {
        return vec![T::ZERO; x.len()];
    }
    let factor = T::from_f64(factor);
    x.iter().map(|&x| factor * x).collect()
}

/// Gives every row the root of the mean variance.
fn make_isotropic<T: Scalar>(row_std: &mut [T]) {
    let rows = T::from_f64(row_std.len() as f64);
    let sum = row_std.iter().fold(T::ZERO, |sum, &std| sum + std * std);
    row_std.fill((sum / rows).sqrt());
}

fn sampled_mean_norm<T: Scalar>(weight: WeightView<'_, T>, stream: Stream) -> T {
    let mut rows: Vec<usize> = (0..weight.nrows()).collect();
    if rows.len() > SAMPLED_ROWS {
        stream.shuffle(&mut rows);
        rows.truncate(SAMPLED_ROWS);
        rows.sort_unstable();
    }
    let sampled = weight.rows(&rows);
    let count = T::from_f64(rows.len() as f64);
    let norms = row_norms_squared(sampled.view());
    norms
        .into_iter()
        .fold(T::ZERO, |sum, norm| sum + norm.sqrt())
        / count
}

/// The mean; 0 for none.
pub(super) fn mean<T: Scalar>(x: &[T]) -> f64 {
    x.iter().map(|x| x.value()).sum::<f64>() / x.len().max(1) as f64
}

fn mean_root<T: Scalar>(squares: &[T]) -> f64 {
    squares.iter().map(|x| x.value().sqrt()).sum::<f64>() / squares.len().max(1) as f64
}
