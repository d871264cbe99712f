//! What the noise of a step costs, against the second order of the loss.

use ggpo_lora::{GaussianRows, NoiseKind};
use ggpo_model::batch::Batch;
use ggpo_model::{Adapters, Model, Parameters};
use ggpo_tensor::RowPerturbation;
use ggpo_tensor::random::{Purpose, Stream};
use ndarray::ArrayViewMut2;

use super::Result;
use super::document::Curvature;
use crate::sharpness::{Estimate, MergedWeights, Objective, Subject, row_weighted_trace};

/// Merged weights up to which all diagonal elements of the Hessian are calculated.
const EXACT: usize = 1 << 10;
/// Merged weights up to which their weighted sum is estimated.
const ESTIMATED: usize = 1 << 20;
/// Random vectors of the estimate.
const PROBES: usize = 32;
/// Pairs of fresh draws.
const DRAWS: usize = 32;

/// What a step's loss is a function of.
pub(super) struct Point<'a> {
    pub(super) model: &'a Model,
    pub(super) parameters: &'a Parameters<f32>,
    pub(super) adapters: &'a Adapters<f32>,
    pub(super) batches: &'a [Batch],
}

/// Measures the curvature under noise of the given deviations, one vector of them for
/// each layer.
pub(super) fn curvature(
    point: &Point<'_>,
    deviations: &[Vec<f32>],
    (seed, step): (u64, u32),
) -> Result<Curvature> {
    let dims: Vec<(usize, usize)> = point.adapters.values().map(|it| it.dim()).collect();
    let count: usize = dims.iter().map(|(m, n)| m * n).sum();
    let skipped = |reason: String| Ok(Curvature::Skipped(reason));
    if count > ESTIMATED {
        return skipped(format!(
            "the adapted layers have {count} merged weights, more than the {ESTIMATED} up to \
             which products with their Hessian are taken"
        ));
    }
    if deviations.iter().flatten().all(|&std| std == 0.0) {
        return skipped("there is no noise at this step".to_owned());
    }
    let Point {
        model,
        parameters,
        adapters,
        batches,
    } = *point;
    let subject = Subject::<f64>::new(model, parameters, adapters, batches)?;
    if let Some(name) = parameters.quantized.keys().next() {
        return skipped(format!(
            "{name} is quantised, and has no gradient of its own"
        ));
    }
    let weights = MergedWeights::new(&subject)?;
    let noise = |draw: u32| -> Vec<f64> {
        let layers = deviations.iter().zip(&dims).enumerate();
        let of_layer = layers.flat_map(|(layer, (std, &(m, n)))| {
            let std: Vec<f64> = std.iter().map(|&std| std.into()).collect();
            let stream = Stream::new(seed, Purpose::Perturbation, step, layer as u32);
            let rows = GaussianRows::new(stream, draw, n, std.into(), NoiseKind::Gaussian);
            let mut eps = vec![0.0; m * n];
            let view = ArrayViewMut2::from_shape((m, n), &mut eps).expect("m x n");
            rows.add_rows(0, view);
            eps
        });
        of_layer.collect()
    };
    let at = weights.point();
    let moved = |eps: &[f64], sign: f64| -> f64 {
        let x: Vec<f64> = at.iter().zip(eps).map(|(w, e)| w + sign * e).collect();
        weights.loss(&x)
    };
    let plain = weights.loss(at);
    // Draw 0 is the one that the step has made; fresh ones follow it in the stream.
    let eps = noise(0);
    let rises: Vec<f64> = (1..=DRAWS as u32)
        .map(|draw| {
            let eps = noise(draw);
            (moved(&eps, 1.0) + moved(&eps, -1.0)) / 2.0 - plain
        })
        .collect();
    let row_std: Vec<f64> = deviations.iter().flatten().map(|&std| std.into()).collect();
    let (expected, by_layer) = match count <= EXACT {
        true => {
            let parts = exact_parts(&weights, &row_std);
            let sum = parts.iter().sum();
            let exact = Estimate {
                value: sum,
                standard_error: None,
                samples: count,
            };
            (exact, Some(parts))
        }
        false => (
            row_weighted_trace(&weights, &row_std, PROBES, seed)?.times(0.5),
            None,
        ),
    };
    Ok(Curvature::Found {
        rise: moved(&eps, 1.0) - plain,
        first: dot(&weights.gradient(at), &eps),
        second: 0.5 * dot(&eps, &weights.hessian_product(&eps)),
        mean_rise: Estimate::of(&rises),
        expected,
        by_layer,
    })
}

/// `(1/2) sum over the rows of each layer of v_i tr H_ii`, from a product with the
/// Hessian for every weight.
fn exact_parts(weights: &MergedWeights<'_, '_, f64>, row_std: &[f64]) -> Vec<f64> {
    let mut direction = vec![0.0; weights.point().len()];
    let (mut next, mut row) = (0, 0);
    let blocks = weights.blocks().iter();
    let of_block = blocks.map(|block| {
        let mut sum = 0.0;
        for std in &row_std[row..row + block.rows] {
            for _ in 0..block.columns {
                direction[next] = 1.0;
                sum += 0.5 * std * std * weights.hessian_product(&direction)[next];
                direction[next] = 0.0;
                next += 1;
            }
        }
        row += block.rows;
        sum
    });
    of_block.collect()
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}
