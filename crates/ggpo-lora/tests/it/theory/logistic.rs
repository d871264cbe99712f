//! Logistic loss with every margin positive.

use ndarray::Array2;
use proptest::prelude::*;

use super::rig::{self, Strength};
use super::{ROUNDING, mean_over_normal, norm};
use crate::common::normal;

/// The logistic loss `log(1 + exp(-m))` differentiated by the margin m.
fn slope(margin: f64) -> f64 {
    -1.0 / (1.0 + margin.exp())
}

/// What one example of margin m and disturbance d adds to the radial gradient
/// `<gradient, W'>`, for d and -d together: of plain training, of held noise and
/// of reparameterised noise. `share` is `||W'||^2 / (||W'||^2 + beta ||G||^2)`.
fn radial_pair(m: f64, d: f64, share: f64) -> [f64; 3] {
    let plain = 2.0 * m * slope(m);
    let held = m * (slope(m + d) + slope(m - d));
    let pull = share * d * (slope(m + d) - slope(m - d));
    [plain, held, held + pull]
}

prop_compose! {
    /// Inputs, and one row of weights, which gives every margin its size.
    fn any_classifier()(n in 1_usize..=6, count in 1_usize..=6, seed in any::<u64>()) -> [Array2<f64>; 2] {
        [normal(seed, 30, count, n), normal(seed, 31, 1, n)]
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Law 5: under the logistic loss with every margin positive, for the radial
    /// gradient `<gradient, W'>` (positive means shrinking): held <= plain and
    /// held <= reparameterised. Held noise pushes weights further out.
    ///
    /// Radial gradients are sums of one term for each example, whose disturbance
    /// `eps . x` is normal with variance `v ||x||^2`: each mean is an integral
    /// over one normal number, exact but for rounding. With guidance or without.
    #[test]
    fn law_5_held_noise_pushes_weights_out(
        [x, w] in any_classifier(), sigma in 0.01..0.5_f64, beta in 0.0..10.0_f64,
    ) {
        let margins = x.dot(&w.t()).mapv(f64::abs);
        // Labels that make every margin positive, and the gradient that results.
        let weights = x.dot(&w.t()).mapv(|score| score.signum() * slope(score.abs()));
        let mut layer = rig::full(&w);
        layer.set_gradient(weights.t().dot(&x) / x.nrows() as f64);
        let strength = Strength { sigma, beta, exact: true };
        let deviation = rig::deviations(&layer, strength)[0];
        let share = sigma.powi(2) * norm(&w).powi(2) / (w.len() as f64 * deviation.powi(2));
        let mut sums = [0.0; 3];
        let mut scale = 0.0;
        for (row, &m) in x.rows().into_iter().zip(&margins) {
            let std = deviation * row.dot(&row).sqrt();
            for (kind, sum) in sums.iter_mut().enumerate() {
                *sum += mean_over_normal(|z| radial_pair(m, std * z, share)[kind]) / 2.0;
            }
            scale += m + std;
        }
        let [plain, held, reparameterised] = sums;
        prop_assert!(held <= plain + ROUNDING * scale, "{held} {plain}");
        prop_assert!(held <= reparameterised + ROUNDING * scale, "{held} {reparameterised}");
    }

    /// Law 5, draw by draw: the two inequalities hold for every antithetic pair
    /// of the noise itself, so for any symmetric distribution of it.
    ///
    /// `tanh(a + b) + tanh(a - b) <= 2 tanh(a)` for a >= 0, and the slope of the
    /// loss rises with the margin. Only rounding is allowed.
    #[test]
    fn law_5_holds_for_every_antithetic_pair(
        [x, w] in any_classifier(), sigma in 0.01..5.0_f64, seed: u64,
    ) {
        let strength = Strength::weights_only(sigma);
        let eps = rig::noise(&rig::full(&w), strength, seed);
        let labels = x.dot(&w.t()).mapv(f64::signum);
        let gradient = |weight: &Array2<f64>| {
            let margins = x.dot(&weight.t()) * &labels;
            (margins.mapv(slope) * &labels).t().dot(&x)
        };
        let radial = |eps: &Array2<f64>| (gradient(&(&w + eps)) * &w).sum();
        let pull = |eps: &Array2<f64>| {
            let gradient = gradient(&(&w + eps));
            rig::pull(&rig::full(&w), strength, eps, &gradient)[0] * norm(&w).powi(2)
        };
        let plain = radial(&Array2::zeros(w.dim()));
        let held = (radial(&eps) + radial(&-&eps)) / 2.0;
        let reparameterised = held + (pull(&eps) + pull(&-&eps)) / 2.0;
        let scale = norm(&x) * norm(&w) * (1.0 + norm(&w) / norm(&eps)) * x.nrows() as f64;
        prop_assert!(held <= plain + ROUNDING * scale);
        prop_assert!(held <= reparameterised + ROUNDING * scale);
    }

    /// Law 5, plain against reparameterised: for one example of margin m and
    /// disturbance +-d, without guidance, plain <= reparameterised exactly if
    /// `d coth(d / 2) >= m tanh(m / 2)`.
    ///
    /// The left side is at least 2, so for `m tanh(m / 2) <= 2` (m up to 2.399)
    /// the inequality holds for noise of every size; beyond, it fails for small
    /// noise and holds again for large. Cases within rounding of equality are
    /// left out.
    #[test]
    fn law_5_plain_and_reparameterised_noise_change_places_beyond_margin_2_4(
        m in 0.01..8.0_f64, far in 0.01..20.0_f64, near in -0.2..0.2_f64, closely: bool,
    ) {
        // Half of the cases are near d = m, where the order changes for larger m.
        let d = if closely { (m + near).abs() } else { far };
        let [plain, _, reparameterised] = radial_pair(m, d, 1.0);
        let criterion = d / (d / 2.0).tanh() - m * (m / 2.0).tanh();
        let difference = reparameterised - plain;
        if difference.abs() > ROUNDING * (m + d) {
            prop_assert_eq!(difference > 0.0, criterion > 0.0, "{} {}", difference, criterion);
        }
    }

    /// Law 5, the same in expectation: with every margin below 2.399 plain <=
    /// reparameterised for noise of every size.
    ///
    /// An integral that is exact but for rounding.
    #[test]
    fn law_5_reparameterised_noise_holds_small_margins_back(
        m in 0.01..2.399_f64, std in 0.01..5.0_f64,
    ) {
        let mean = |kind: usize| mean_over_normal(|z| radial_pair(m, std * z, 1.0)[kind]);
        prop_assert!(mean(0) <= mean(2) + ROUNDING * (m + std));
    }

    /// Law 5, far out: under reparameterised noise, however small, the loss along
    /// W' has a finite minimum; plain training and held noise with positive
    /// margins push outwards for ever.
    ///
    /// At t W' the margin is t m and the disturbance has the deviation t d, so the
    /// radial gradient is `E u slope(t u)` with `u = m + d z`. It starts below 0,
    /// never falls as t grows, and tends to `E max(-u, 0) > 0`. (For noise with
    /// `|z| <= c` that is 0 if `c d <= m`, and there is no minimum.) It is shown
    /// for d from 0.4 m on: the less noise, the farther out, and the quadrature
    /// is exact up to `t d = 5`.
    #[test]
    fn law_5_reparameterised_noise_has_a_finite_minimum(
        m in 0.1..3.0_f64, ratio in 0.4..3.0_f64,
    ) {
        let d = ratio * m;
        let reparameterised = |t: f64| mean_over_normal(|z| (m + d * z) * slope(t * (m + d * z)));
        let held = |t: f64| mean_over_normal(|z| m * slope(t * (m + d * z)));
        let (near, far) = (1e-3, 5.0 / d);
        prop_assert!(reparameterised(near) < 0.0 && reparameterised(far) > 0.0);
        for t in [near, far] {
            prop_assert!(held(t) < 0.0 && m * slope(t * m) < 0.0);
        }
    }
}

/// Law 5, its constant: `m tanh(m / 2) = 2` at m = 2.399. There the sign of
/// `reparameterised - plain` under small noise, about
/// `(d^2 / 2) slope' (2 - m tanh(m / 2))`, changes.
///
/// At d = 0.01 the next order is 1e-4 of the first: far less than 0.01 of m.
#[test]
fn law_5_small_noise_changes_sign_at_margin_2_4() {
    let excess = |m: f64| {
        let mean = |kind: usize| mean_over_normal(|z| radial_pair(m, 0.01 * z, 1.0)[kind]);
        mean(2) - mean(0)
    };
    assert!((2.3994_f64 * (2.3994_f64 / 2.0).tanh() - 2.0).abs() < 1e-4);
    assert!(excess(2.389) > 0.0 && excess(2.409) < 0.0);
}

/// Law 5, its limit: guidance weakens the pull by the share
/// `||W'||^2 / (||W'||^2 + beta ||G||^2)` of the weights in v, and plain <=
/// reparameterised then needs `m tanh(m / 2) < 2 share` under small noise.
#[test]
fn law_5_guidance_lowers_the_margin_at_which_the_order_changes() {
    let excess = |m: f64, share: f64| {
        let mean = |kind: usize| mean_over_normal(|z| radial_pair(m, 0.01 * z, share)[kind]);
        mean(2) - mean(0)
    };
    // m tanh(m / 2) = 1 at m = 1.5434.
    assert!(excess(1.53, 0.5) > 0.0 && excess(1.56, 0.5) < 0.0);
    assert!(excess(1.56, 1.0) > 0.0);
}
