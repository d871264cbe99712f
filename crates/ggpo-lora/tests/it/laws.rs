//! What follows from the definition of LoRA-GGPO: one test for each law.
//!
//! Comparisons between two ways of computing in `f64` allow 1e-12 of the
//! magnitude of the terms added: some thousand times the machine epsilon, for
//! sums of a few hundred terms. Comparisons with a sample allow six standard
//! errors, which a right program exceeds once in 5e8 times.

use crate::common::*;
use ggpo_lora::{
    Ggpo, GgpoConfig, GgpoForm, GradientEstimate, NoiseKind, NoiseSpread, Perturbation,
    SigmaSchedule, adapter_gradient_row_norms_squared, merged_row_norms_squared, row_norms_squared,
};
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{Real, matmul, matmul_nt, matmul_tn};
use ndarray::{Array2, Axis, concatenate};
use proptest::prelude::*;

const ROUNDING: f64 = 1e-12;
const STANDARD_ERRORS: f64 = 6.0;

/// `sigma^2 / n` times the magnitude of the terms of v_i.
fn magnitudes(config: GgpoConfig, layer: &PlainLayer<f64>) -> Vec<f64> {
    let gradient = match config.gradient {
        GradientEstimate::Exact => layer.grad_merged.clone().unwrap(),
        _ => layer.estimated_gradient(),
    };
    let n = layer.weight.ncols() as f64;
    let terms = merged_magnitudes(layer)
        .into_iter()
        .zip(norms_squared(&gradient));
    terms
        .map(|(w, g)| config.sigma.powi(2) / n * (w + config.beta * g))
        .collect()
}

fn close(found: &[f64], expected: &[f64], magnitudes: &[f64]) -> bool {
    found.len() == expected.len()
        && (0..found.len()).all(|i| (found[i] - expected[i]).abs() <= ROUNDING * magnitudes[i])
}

/// Noise of many steps on a fixed layer.
fn draws(config: GgpoConfig, layer: &PlainLayer<f64>, count: u32) -> Vec<Array2<f64>> {
    let (m, n) = layer.weight.dim();
    let layers = Plain(vec![layer.clone()]);
    let mut ggpo = Ggpo::new(config, 7, count).unwrap();
    let draw = |step| {
        ggpo.begin_step(step, &layers);
        eps(&ggpo, 0, m, n)
    };
    (0..count).map(draw).collect()
}

/// Every kind of perturbation.
fn all_kinds() -> Vec<GgpoConfig> {
    let base = GgpoConfig {
        sigma: 0.2,
        // More, and noise and gradient drive each other up on the bowl.
        beta: 1e-6,
        ..GgpoConfig::default()
    };
    vec![
        base,
        GgpoConfig::flat_lora(0.1),
        GgpoConfig {
            beta: base.beta,
            ..GgpoConfig::isotropic()
        },
        GgpoConfig {
            gradient: GradientEstimate::Exact,
            ..base
        },
        GgpoConfig {
            noise: NoiseKind::Truncated(1.5),
            ..base
        },
        GgpoConfig {
            form: GgpoForm::SdScripts,
            ..base
        },
        GgpoConfig {
            spread: NoiseSpread::Isotropic,
            refresh_every: 3,
            ..base
        },
        GgpoConfig {
            per_micro_batch: true,
            schedule: SigmaSchedule::CosineRamp,
            ..base
        },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sigma_zero_is_plain_lora_bit_for_bit(seed: u64, kind in 0_usize..8) {
        let mut plain = Bowl::<f32>::random(seed, 5, 6, 2);
        let mut perturbed = plain.clone();
        let config = GgpoConfig { sigma: 0.0, ..all_kinds()[kind] };
        let mut ggpo = Ggpo::new(config, seed, 10).unwrap();
        for step in 0..10 {
            plain.descend(None);
            perturbed.train(&mut ggpo, step..step + 1);
            prop_assert!(ggpo.noise(0, 0).is_none());
        }
        prop_assert_eq!(bits(&plain.layer.a), bits(&perturbed.layer.a));
        prop_assert_eq!(bits(&plain.layer.b), bits(&perturbed.layer.b));
    }

    #[test]
    fn beta_zero_with_cosine_ramp_is_flat_lora(
        layer in any_layer(), sigma in 0.01..1.0_f64, step in 1_u32..100,
    ) {
        let (m, n) = layer.weight.dim();
        let config = GgpoConfig {
            sigma,
            beta: 0.0,
            schedule: SigmaSchedule::CosineRamp,
            ..GgpoConfig::default()
        };
        let ggpo = begun(config, step, &layer);
        let noise = eps(&ggpo, 0, m, n);
        let flat = eps(&begun(GgpoConfig::flat_lora(sigma), step, &layer), 0, m, n);
        prop_assert_eq!(bits(&noise), bits(&flat));

        // Flat-LoRA's own formula: (1 - cos(pi t / T)) / 2 * sigma ||W'_i|| / sqrt(n).
        let ramp = (1.0 - (std::f64::consts::PI * f64::from(step) / 100.0).cos()) / 2.0;
        let factor = ramp * ramp * sigma * sigma / n as f64;
        let expected: Vec<f64> =
            norms_squared(&layer.merged()).iter().map(|w| factor * w).collect();
        let found: Vec<f64> = ggpo.row_std(0).iter().map(|std| std * std).collect();
        let scale: Vec<f64> = merged_magnitudes(&layer).iter().map(|w| factor * w).collect();
        prop_assert!(close(&found, &expected, &scale), "{found:?} {expected:?}");
    }

    #[test]
    fn beta_zero_does_not_depend_on_any_gradient(layer in any_layer(), sigma in 0.01..1.0_f64) {
        let config = GgpoConfig { sigma, beta: 0.0, ..GgpoConfig::default() };
        let expected = variances(config, &layer.without_gradients());
        let mut wild = layer.clone();
        wild.set_gradient(layer.weight.mapv(|_| f64::INFINITY));
        for gradient in [GradientEstimate::Adapters, GradientEstimate::Exact, GradientEstimate::None] {
            let config = GgpoConfig { gradient, ..config };
            prop_assert_eq!(&variances(config, &layer), &expected);
            prop_assert_eq!(&variances(config, &wild), &expected);
        }
    }

    #[test]
    fn variances_are_nonnegative_and_grow_with_sigma_beta_weights_and_gradients(
        layer in any_layer(), config in any_config(), growth in 1.01..10.0_f64,
    ) {
        let before = variances(config, &layer);
        prop_assert!(before.iter().all(|&v| v >= 0.0));
        let scale = magnitudes(config, &layer);
        // All of W' grows if W and B do; the gradients grow with G alone.
        let mut heavier = layer.clone();
        heavier.weight.mapv_inplace(|w| growth * w);
        heavier.b.mapv_inplace(|b| growth * b);
        heavier.grad_a = layer.grad_a.as_ref().map(|g| g / growth);
        heavier.grad_b = layer.grad_b.clone();
        let mut steeper = layer.clone();
        steeper.set_gradient(layer.grad_merged.as_ref().unwrap() * growth);
        let larger = [
            variances(GgpoConfig { sigma: growth * config.sigma, ..config }, &layer),
            variances(GgpoConfig { beta: growth * config.beta, ..config }, &layer),
            variances(config, &heavier),
            variances(config, &steeper),
        ];
        for after in larger {
            for i in 0..before.len() {
                prop_assert!(after[i] >= before[i] - ROUNDING * scale[i]);
            }
        }
    }

    #[test]
    fn scales_as_the_square_of_sigma(
        layer in any_layer(), config in any_config(), c in 0.01..10.0_f64,
    ) {
        let scaled = GgpoConfig { sigma: c * config.sigma, ..config };
        let expected: Vec<f64> = variances(config, &layer).iter().map(|v| c * c * v).collect();
        prop_assert!(close(&variances(scaled, &layer), &expected, &expected));
    }

    #[test]
    fn unchanged_by_an_orthogonal_change_of_the_input_basis(
        layer in any_layer(), config in any_config(), seed: u64, exact: bool,
    ) {
        let gradient = if exact { GradientEstimate::Exact } else { GradientEstimate::Adapters };
        let config = GgpoConfig { gradient, ..config };
        let q = orthogonal(seed, layer.weight.ncols());
        let mut turned = layer.clone();
        turned.weight = matmul(layer.weight.view(), q.view());
        turned.a = matmul(layer.a.view(), q.view());
        turned.set_gradient(matmul(layer.grad_merged.as_ref().unwrap().view(), q.view()));
        let scale = magnitudes(config, &layer);
        // The turned matrices are themselves rounded, and dA and dB are products
        // of them, so that their terms count too: ten times the usual.
        let scale: Vec<f64> = scale.iter().map(|x| 10.0 * x).collect();
        let (found, expected) = (variances(config, &turned), variances(config, &layer));
        prop_assert!(close(&found, &expected, &scale), "{found:?} {expected:?}");
    }

    #[test]
    fn permutes_with_the_rows(layer in any_layer(), config in any_config(), seed: u64) {
        let mut order: Vec<usize> = (0..layer.weight.nrows()).collect();
        Stream::new(seed, Purpose::Shuffle, 0, 0).shuffle(&mut order);
        let mut permuted = layer.clone();
        permuted.weight = layer.weight.select(Axis(0), &order);
        permuted.b = layer.b.select(Axis(0), &order);
        permuted.grad_b = layer.grad_b.as_ref().map(|g| g.select(Axis(0), &order));
        permuted.grad_merged = layer.grad_merged.as_ref().map(|g| g.select(Axis(0), &order));
        for gradient in [GradientEstimate::Adapters, GradientEstimate::Exact] {
            let config = GgpoConfig { gradient, ..config };
            let (before, scale) = (variances(config, &layer), magnitudes(config, &layer));
            let pick = |x: &[f64]| order.iter().map(|&i| x[i]).collect::<Vec<_>>();
            prop_assert!(close(&variances(config, &permuted), &pick(&before), &pick(&scale)));
        }
    }

    #[test]
    fn merged_norm_changes_by_at_most_s_b_a(layer in any_layer()) {
        let base = row_norms_squared(layer.weight.view());
        let merged = merged_row_norms_squared(&base, &layer.view());
        let a = spectral_norm(&layer.a);
        let ups = norms_squared(&layer.b);
        let scale = merged_magnitudes(&layer);
        for i in 0..base.len() {
            let change = (merged[i].sqrt() - base[i].sqrt()).abs();
            // Rounding of the square by 1e-12 of its terms moves the root by at
            // most the root of that.
            let slack = (ROUNDING * scale[i]).sqrt();
            prop_assert!(change <= layer.scaling * ups[i].sqrt() * a + slack);
        }
    }

    #[test]
    fn equation_7_of_the_exact_gradient_is_a_projection(layer in any_layer(), at_start: bool) {
        let mut layer = layer;
        if at_start {
            layer.b.fill(0.0);
        }
        let gradient = layer.grad_merged.clone().unwrap();
        layer.set_gradient(gradient.clone());
        // s^2 ( B B^T G + G A^T A )
        let (a, b, g) = (layer.a.view(), layer.b.view(), gradient.view());
        let left = matmul(matmul_nt(b, b).view(), g);
        let right = matmul(g, matmul_tn(a, a).view());
        if at_start {
            prop_assert!(left.iter().all(|&x| x == 0.0));
        }
        let projected = (left + right) * layer.scaling * layer.scaling;
        let estimate = layer.estimated_gradient();
        let scale = norms_squared(&projected).iter().sum::<f64>().sqrt();
        for (x, y) in estimate.iter().zip(&projected) {
            prop_assert!((x - y).abs() <= 1e-11 * scale, "{x} {y}");
        }
        let found = adapter_gradient_row_norms_squared(&layer.view());
        let scale = vec![10.0 * scale * scale; found.len()];
        prop_assert!(close(&found, &norms_squared(&projected), &scale));
    }

    #[test]
    fn the_base_weight_keeps_its_bits_in_training(seed: u64, kind in 0_usize..8) {
        let mut bowl = Bowl::<f32>::random(seed, 6, 5, 2);
        let before = bits(&bowl.layer.weight);
        let start = bowl.layer.a.clone();
        let mut ggpo = Ggpo::new(all_kinds()[kind], seed, 20).unwrap();
        bowl.train(&mut ggpo, 0..20);
        prop_assert_eq!(before, bits(&bowl.layer.weight));
        prop_assert!(bowl.layer.a.iter().all(|a| a.is_finite()));
        prop_assert_ne!(start, bowl.layer.a, "the adapter was trained");
    }

    #[test]
    fn truncated_noise_is_bounded_always(
        layer in any_layer(), sigma in 0.01..1.0_f64, c in 0.1..4.0_f32,
    ) {
        let config = GgpoConfig { sigma, noise: NoiseKind::Truncated(c), ..GgpoConfig::default() };
        let (variances, n) = (variances(config, &layer), layer.weight.ncols() as f64);
        for eps in draws(config, &layer, 20) {
            for (square, v) in norms_squared(&eps).into_iter().zip(&variances) {
                let bound = f64::from(c) * (n * v).sqrt();
                // The products and sums behind both sides are rounded.
                prop_assert!(square.sqrt() <= bound * (1.0 + ROUNDING));
            }
        }
    }

    #[test]
    fn the_gradient_share_is_its_part_of_the_variances(layer in any_layer(), config in any_config()) {
        let gradient: f64 = norms_squared(&layer.estimated_gradient()).iter().sum();
        let weight: f64 = norms_squared(&layer.merged()).iter().sum();
        let expected = config.beta * gradient / (weight + config.beta * gradient);
        let found = begun(config, 0, &layer).statistics()[0].gradient_share;
        prop_assert!((found - expected).abs() <= 1e-9, "{found} {expected}");
        let without = begun(config, 0, &layer.without_gradients());
        prop_assert_eq!(without.statistics()[0].gradient_share, 0.0);
        prop_assert_eq!(without.statistics()[0].grad_norm, 0.0);
    }
}

proptest! {
    // Each case draws a sample of thousands of matrices.
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn expected_squared_norm_is_sigma_squared_times_the_norms(
        layer in any_layer(), config in any_config(),
    ) {
        const DRAWS: u32 = 2000;
        let n = layer.weight.ncols() as f64;
        let mut means = vec![0.0; layer.weight.nrows()];
        for eps in draws(config, &layer, DRAWS) {
            for (mean, square) in means.iter_mut().zip(norms_squared(&eps)) {
                *mean += square / f64::from(DRAWS);
            }
        }
        let weights = norms_squared(&layer.merged());
        let gradients = norms_squared(&layer.estimated_gradient());
        for i in 0..means.len() {
            let expected = config.sigma.powi(2) * (weights[i] + config.beta * gradients[i]);
            // ||eps_i||^2 / v_i is chi-squared with n degrees: variance 2 n.
            let error = expected * (2.0 / (n * f64::from(DRAWS))).sqrt();
            let off = (means[i] - expected).abs();
            prop_assert!(off <= STANDARD_ERRORS * error, "{} {expected}", means[i]);
        }
    }

    #[test]
    fn laurent_massart_bound_holds(layer in any_layer(), config in any_config()) {
        const DRAWS: u32 = 2000;
        let (m, n) = layer.weight.dim();
        let variances = variances(config, &layer);
        let draws = draws(config, &layer, DRAWS);
        let samples = f64::from(DRAWS) * m as f64;
        for t in [0.1, 0.5, 1.0, 2.0, 4.0_f64] {
            let n = n as f64;
            let bound = n + 2.0 * (n * t).sqrt() + 2.0 * t;
            let beyond = |eps: &Array2<f64>| {
                let rows = norms_squared(eps).into_iter().zip(&variances);
                rows.filter(|(square, v)| *square > **v * bound).count()
            };
            let share = draws.iter().map(beyond).sum::<usize>() as f64 / samples;
            let most = (-t).exp();
            let error = (most * (1.0 - most) / samples).sqrt();
            prop_assert!(share <= most + STANDARD_ERRORS * error, "t {t}: {share}");
        }
    }

    #[test]
    fn inner_product_with_an_input_is_normal_with_variance_v_x_squared(
        layer in any_layer(), config in any_config(), seed: u64,
    ) {
        let (m, n) = layer.weight.dim();
        let x: Array2<f64> = normal(seed, 6, 1, n);
        let length = norms_squared(&x)[0].sqrt();
        let variances = variances(config, &layer);
        let mut scores = Vec::new();
        for eps in draws(config, &layer, 2000) {
            let products = matmul_nt(x.view(), eps.view());
            scores.extend((0..m).map(|i| products[[0, i]] / (variances[i].sqrt() * length)));
        }
        // Kolmogorov-Smirnov; by Dvoretzky, Kiefer, Wolfowitz and Massart the
        // distance exceeds this limit with probability at most 1e-9.
        let limit = ((2.0 / 1e-9_f64).ln() / (2.0 * scores.len() as f64)).sqrt();
        prop_assert!(distance_to_normal(scores) <= limit);
    }

    #[test]
    fn expected_loss_rises_by_half_the_weighted_traces(seed: u64) {
        let (m, n) = (4, 5);
        let mut bowl = Bowl::<f64>::random(seed, m, n, 2);
        bowl.descend(None);
        let config = GgpoConfig { sigma: 0.3, beta: 1.0, ..GgpoConfig::default() };
        let variances = variances(config, &bowl.layer);

        let traces = bowl.traces();
        let rise: f64 = (0..m).map(|i| 0.5 * variances[i] * traces[i]).sum();
        // The expectation over eps is exact on a quadratic: 1/2 tr(H Cov(eps)).
        let covariance = Array2::from_shape_fn((m * n, m * n), |(p, q)| {
            if p == q { variances[p / n] } else { 0.0 }
        });
        let product = matmul(bowl.hessian.view(), covariance.view());
        let exact = 0.5 * product.diag().sum();
        prop_assert!((rise - exact).abs() <= ROUNDING * exact);

        let merged = bowl.layer.merged();
        let base = bowl.loss(merged.view());
        let rises: Vec<f64> = draws(config, &bowl.layer, 4000)
            .into_iter()
            .map(|eps| bowl.loss((&merged + &eps).view()) - base)
            .collect();
        let count = rises.len() as f64;
        let mean = rises.iter().sum::<f64>() / count;
        let variance = rises.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let error = (variance / count).sqrt();
        prop_assert!((mean - rise).abs() <= STANDARD_ERRORS * error, "{mean} {rise} {error}");
    }
}

/// A random orthogonal matrix: Gram-Schmidt, twice for accuracy.
fn orthogonal(seed: u64, n: usize) -> Array2<f64> {
    let mut q: Array2<f64> = normal(seed, 7, n, n);
    for i in 0..n {
        for _ in 0..2 {
            for j in 0..i {
                let other = q.row(j).to_owned();
                let along = q.row(i).dot(&other);
                q.row_mut(i).scaled_add(-along, &other);
            }
        }
        let length = q.row(i).dot(&q.row(i)).sqrt();
        q.row_mut(i).mapv_inplace(|x| x / length);
    }
    q
}

/// `||A||_2` from above, by a factor below 1 + 1e-8: with M = A A^T the limit of
/// tr(M^p)^(1/2p), at p = 2^30.
fn spectral_norm(a: &Array2<f64>) -> f64 {
    let mut power = matmul_nt(a.view(), a.view());
    let mut log = 0.0;
    let mut exponent = 1.0_f64;
    for _ in 0..30 {
        let trace = power.diag().sum();
        log += trace.ln() / exponent;
        power.mapv_inplace(|x| x / trace);
        power = matmul(power.view(), power.view());
        exponent *= 2.0;
    }
    ((log + power.diag().sum().ln() / exponent) / 2.0).exp()
}

/// The greatest distance of the empirical distribution from N(0, 1).
fn distance_to_normal(mut scores: Vec<f64>) -> f64 {
    scores.sort_by(f64::total_cmp);
    let count = scores.len() as f64;
    let distances = scores.iter().enumerate().map(|(rank, &z)| {
        let cdf = 0.5 * (1.0 + Real::erf(z / std::f64::consts::SQRT_2));
        let (below, above) = (rank as f64 / count, (rank as f64 + 1.0) / count);
        (cdf - below).abs().max((above - cdf).abs())
    });
    distances.fold(0.0, f64::max)
}

#[test]
fn the_estimated_gradient_is_one_product_of_rank_2r() {
    let layer = PlainLayer::<f64>::random(3, 7, 9, 2, 1.5);
    let (grad_a, grad_b) = (
        layer.grad_a.as_ref().unwrap(),
        layer.grad_b.as_ref().unwrap(),
    );
    let up = concatenate![Axis(1), layer.b, *grad_b];
    let down = concatenate![Axis(0), *grad_a, layer.a];
    let product = matmul(up.view(), down.view()) * layer.scaling;
    for (x, y) in product.iter().zip(&layer.estimated_gradient()) {
        // Two orders of summing some ten terms of size up to about 100.
        assert!((x - y).abs() <= 1e-12 * 1e3, "{x} {y}");
    }
}
