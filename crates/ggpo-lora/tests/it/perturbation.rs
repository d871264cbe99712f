//! How the noise is drawn, refreshed, saved and summarised.

use std::sync::Arc;

use crate::common::*;
use ggpo_lora::{
    GaussianRows, Ggpo, GgpoConfig, GgpoForm, GradientEstimate, LoraError, NoiseGradient,
    NoiseKind, NoisePlace, NoiseSpread, Perturbation, SigmaSchedule, State, WeightTerm,
};
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{RowPerturbation, Scalar};
use ndarray::{Array2, s};
use proptest::prelude::*;

fn two_layers(seed: u64) -> Plain<f64> {
    Plain(vec![
        PlainLayer::random(seed, 6, 8, 2, 2.0),
        PlainLayer::random(seed + 1, 4, 5, 2, 2.0),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any rows, cut anyhow and asked for in any order, get the same noise; the
    /// width goes beyond the buffer of the generator.
    #[test]
    fn noise_does_not_depend_on_how_it_is_cut(
        seed: u64, m in 1_usize..9, n in 1_usize..1200, draw in 0_u32..4, truncated: bool,
        ranges in prop::collection::vec((0_usize..9, 0_usize..9), 1..8),
    ) {
        let kind = if truncated { NoiseKind::Truncated(2.0) } else { NoiseKind::Gaussian };
        let stream = Stream::new(seed, Purpose::Perturbation, 3, 1);
        let row_std: Arc<[f64]> = (0..m).map(|i| i as f64 / 10.0).collect();
        let noise = GaussianRows::new(stream, draw, n, row_std.clone(), kind);
        let mut whole = Array2::zeros((m, n));
        noise.add_rows(0, whole.view_mut());
        for (x, y) in ranges {
            let (first, end) = (x.min(y).min(m), x.max(y).min(m));
            let mut panel = Array2::zeros((end - first, n));
            noise.add_rows(first, panel.view_mut());
            prop_assert_eq!(&panel, &whole.slice(s![first..end, ..]));
            // The same in a transposed panel, whose rows are not contiguous.
            let mut turned = Array2::zeros((n, end - first));
            noise.add_rows(first, turned.view_mut().reversed_axes());
            prop_assert_eq!(&turned.t(), &panel);
        }
        for (i, j) in [(0, 0), (m - 1, n - 1), (m / 2, n / 2)] {
            let position = ((u64::from(draw) * m as u64) + i as u64) * n as u64 + j as u64;
            let mut z = [0.0];
            match kind {
                NoiseKind::Gaussian => stream.fill_normal(position, &mut z),
                NoiseKind::Truncated(c) => stream.fill_truncated_normal(position, c, &mut z),
            }
            prop_assert_eq!(whole[[i, j]], row_std[i] * f64::from(z[0]));
        }
    }

    /// Three steps with the old deviations, then new ones; also after a resume.
    #[test]
    fn a_restored_run_continues_bit_for_bit(
        seed: u64, refresh_every in 1_u32..5, stop in 0_u32..12, ramp: bool, isotropic: bool,
    ) {
        let config = GgpoConfig {
            sigma: 0.1,
            // More, and noise and gradient drive each other up on this bowl.
            beta: 1e-6,
            refresh_every,
            schedule: if ramp { SigmaSchedule::CosineRamp } else { SigmaSchedule::Constant },
            spread: if isotropic { NoiseSpread::Isotropic } else { NoiseSpread::Rows },
            ..GgpoConfig::default()
        };
        continues::<f32>(seed, config, stop)?;
        continues::<f64>(seed, config, stop)?;
    }

    #[test]
    fn isotropic_noise_has_the_same_expected_squared_norm(layer in any_layer(), config in any_config()) {
        let rows = variances(config, &layer);
        let isotropic = variances(GgpoConfig { spread: NoiseSpread::Isotropic, ..config }, &layer);
        prop_assert!(isotropic.windows(2).all(|pair| pair[0] == pair[1]));
        let (sum, expected) = (isotropic.iter().sum::<f64>(), rows.iter().sum::<f64>());
        // A dozen sums, roots and squares.
        prop_assert!((sum - expected).abs() <= 1e-13 * expected);
    }

    #[test]
    fn the_form_in_circulation_is_as_documented(layer in any_layer(), config in any_config()) {
        let config = GgpoConfig { form: GgpoForm::SdScripts, ..config };
        let ggpo = begun(config, 0, &layer);
        let m = layer.weight.nrows() as f64;
        let mean = norms_squared(&layer.weight).iter().map(|w| w.sqrt()).sum::<f64>() / m;
        let products = norms_squared(&layer.product());
        let gradients = norms_squared(&layer.estimated_gradient());
        let mut sums = (0.0, 0.0);
        for (i, &std) in ggpo.row_std(0).iter().enumerate() {
            let weight = config.sigma * (mean * mean + products[i]).sqrt();
            let gradient = config.beta * gradients[i];
            let expected = (weight + gradient) / m.sqrt();
            sums = (sums.0 + weight, sums.1 + gradient);
            // Gradient norms may cancel to a thousandth of their terms.
            prop_assert!((std - expected).abs() <= 1e-9 * expected, "{std} {expected}");
        }
        let share = ggpo.statistics()[0].gradient_share;
        prop_assert!((share - sums.1 / (sums.0 + sums.1)).abs() <= 1e-9);
        prop_assert!(!ggpo.noise(0, 0).unwrap().in_backward());
        prop_assert!(begun(any_paper(), 0, &layer).noise(0, 0).unwrap().in_backward());
    }
}

fn any_paper() -> GgpoConfig {
    GgpoConfig::default()
}

fn continues<T: Scalar>(seed: u64, config: GgpoConfig, stop: u32) -> Result<(), TestCaseError> {
    let mut straight = Bowl::<T>::random(seed, 5, 4, 2);
    let mut resumed = straight.clone();
    let mut ggpo = Ggpo::new(config, seed, 12).unwrap();
    straight.train(&mut ggpo, 0..12);
    prop_assert!(straight.layer.a.iter().all(|a| a.value().is_finite()));

    let mut first = Ggpo::new(config, seed, 12).unwrap();
    resumed.train(&mut first, 0..stop);
    let text = serde_json::to_string(&first.state()).unwrap();
    let mut second = Ggpo::new(config, seed, 12).unwrap();
    second
        .restore(serde_json::from_str(&text).unwrap())
        .unwrap();
    prop_assert_eq!(second.statistics(), first.statistics());
    resumed.train(&mut second, stop..12);

    prop_assert_eq!(bits(&straight.layer.a), bits(&resumed.layer.a));
    prop_assert_eq!(bits(&straight.layer.b), bits(&resumed.layer.b));
    prop_assert_eq!(ggpo.state(), second.state());
    Ok(())
}

#[test]
fn deviations_are_refreshed_every_k_steps() {
    let config = GgpoConfig {
        refresh_every: 3,
        ..GgpoConfig::default()
    };
    let mut ggpo = Ggpo::new(config, 1, 100).unwrap();
    let kept: Vec<Vec<f64>> = (0..7)
        .map(|step| {
            let mut layers = two_layers(5);
            layers.0[0].b *= 1.0 + f64::from(step);
            ggpo.begin_step(step, &layers);
            ggpo.row_std(0).to_vec()
        })
        .collect();
    assert_eq!(kept[0], kept[1]);
    assert_eq!(kept[0], kept[2]);
    assert_ne!(kept[2], kept[3]);
    assert_eq!(kept[3], kept[5]);
    assert_ne!(kept[5], kept[6]);

    // A run that starts between two refreshes knows nothing, so it refreshes.
    let mut late = Ggpo::new(config, 1, 100).unwrap();
    late.begin_step(4, &two_layers(5));
    assert_eq!(late.row_std(0), kept[0]);
}

#[test]
fn noise_is_fresh_for_every_step_layer_and_seed_but_the_same_within_a_step() {
    let layers = Plain(vec![PlainLayer::<f64>::random(1, 4, 5, 2, 2.0); 2]);
    let noise = |seed, step, layer| {
        let mut ggpo = Ggpo::new(GgpoConfig::default(), seed, 10).unwrap();
        ggpo.begin_step(step, &layers);
        assert_eq!(eps(&ggpo, layer, 4, 5), eps(&ggpo, layer, 4, 5));
        eps(&ggpo, layer, 4, 5)
    };
    let first = noise(1, 0, 0);
    for other in [noise(2, 0, 0), noise(1, 1, 0), noise(1, 0, 1)] {
        assert!(first.iter().zip(&other).all(|(x, y)| x != y));
    }
}

#[test]
fn micro_batches_share_the_noise_unless_asked_not_to() {
    let layers = two_layers(1);
    let noise = |per_micro_batch, micro_batch| {
        let config = GgpoConfig {
            per_micro_batch,
            ..GgpoConfig::default()
        };
        let mut ggpo = Ggpo::new(config, 1, 10).unwrap();
        ggpo.begin_step(2, &layers);
        let mut eps = Array2::zeros((6, 8));
        let noise = ggpo.noise(0, micro_batch).unwrap();
        noise.add_rows(0, eps.view_mut());
        eps
    };
    assert_eq!(noise(false, 0), noise(false, 1));
    assert_eq!(noise(false, 0), noise(true, 0));
    let (first, second) = (noise(true, 0), noise(true, 1));
    assert!(first.iter().zip(&second).all(|(x, y)| x != y));
}

#[test]
fn the_ramp_rises_from_nothing_to_sigma() {
    let layers = two_layers(1);
    let mut ggpo = Ggpo::new(GgpoConfig::flat_lora(0.05), 1, 10).unwrap();
    assert!(ggpo.noise(0, 0).is_none(), "no step has begun");
    ggpo.begin_step(0, &layers);
    assert!(ggpo.noise(0, 0).is_none());
    assert_eq!(ggpo.statistics()[0].row_std, 0.0);
    ggpo.begin_step(5, &layers);
    let half = ggpo.row_std(0).to_vec();
    assert!(ggpo.noise(0, 0).is_some());
    ggpo.begin_step(10, &layers);
    for (half, full) in half.iter().zip(ggpo.row_std(0)) {
        // The cosine of a quarter turn is 6e-17 in `f64`.
        assert!((2.0 * half - full).abs() <= 1e-15 * full);
    }
    assert_eq!(SigmaSchedule::CosineRamp.factor(11, 10), 1.0);
}

#[test]
fn statistics_are_means_over_the_rows() {
    let layers = two_layers(9);
    let mut ggpo = Ggpo::new(GgpoConfig::default(), 1, 10).unwrap();
    assert!(ggpo.statistics().is_empty());
    ggpo.begin_step(0, &layers);
    assert_eq!(ggpo.statistics().len(), 2);
    for (layer, statistics) in layers.0.iter().zip(ggpo.statistics()) {
        let mean = |squares: Vec<f64>| {
            squares.iter().map(|x| x.sqrt()).sum::<f64>() / squares.len() as f64
        };
        // Sums of at most eight terms.
        let close = |x: f64, y: f64| assert!((x - y).abs() <= 1e-12 * y, "{x} {y}");
        close(statistics.weight_norm, mean(norms_squared(&layer.merged())));
        close(
            statistics.grad_norm,
            mean(norms_squared(&layer.estimated_gradient())),
        );
        close(
            statistics.row_std,
            mean(variances(GgpoConfig::default(), layer)),
        );
    }
    assert!(ggpo.bytes() >= 3 * 10 * size_of::<f64>());
}

#[test]
fn the_form_in_circulation_samples_at_most_a_thousand_rows() {
    let m = 1500;
    let mut layer = PlainLayer::<f64>::random(1, m, 3, 1, 1.0).without_gradients();
    layer.b.fill(0.0);
    let config = GgpoConfig {
        form: GgpoForm::SdScripts,
        ..GgpoConfig::default()
    };
    let norm = |layer: &PlainLayer<f64>| begun(config, 0, layer).statistics()[0].weight_norm;
    let norms: Vec<f64> = norms_squared(&layer.weight)
        .iter()
        .map(|w| w.sqrt())
        .collect();
    let mean = norms.iter().sum::<f64>() / m as f64;
    let spread = norms.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / m as f64;
    let off = (norm(&layer) - mean).abs();
    assert!(off > 0.0, "not all rows are sampled");
    // Six standard errors of the mean of 1000 rows.
    assert!(off <= 6.0 * (spread / 1000.0).sqrt());
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let base = GgpoConfig::default();
    let cases = [
        (
            GgpoConfig {
                sigma: -0.1,
                ..base
            },
            "`sigma`",
            "-0.1",
        ),
        (
            GgpoConfig {
                sigma: f64::NAN,
                ..base
            },
            "`sigma`",
            "NaN",
        ),
        (
            GgpoConfig {
                beta: f64::INFINITY,
                ..base
            },
            "`beta`",
            "inf",
        ),
        (
            GgpoConfig {
                noise: NoiseKind::Truncated(0.0),
                ..base
            },
            "`noise`",
            "is 0",
        ),
        (
            GgpoConfig {
                refresh_every: 0,
                ..base
            },
            "`refresh_every`",
            "is 0",
        ),
    ];
    for (config, field, found) in cases {
        let message = Ggpo::<f32>::new(config, 0, 1).unwrap_err().to_string();
        assert!(
            message.contains(field) && message.contains(found),
            "{message}"
        );
    }
    let ramp = Ggpo::<f32>::new(GgpoConfig::flat_lora(0.05), 0, 0);
    assert!(matches!(
        ramp,
        Err(LoraError::Config {
            field: "total_steps",
            ..
        })
    ));
}

#[test]
fn options_are_read_by_the_names_documented() {
    let text = r#"{
        "sigma": 0.1, "gradient": "exact", "schedule": "cosine_ramp", "refresh_every": 4,
        "noise": {"truncated": 2.5}, "form": "sd_scripts", "spread": "isotropic",
        "acts_on": "gradients"
    }"#;
    let expected = GgpoConfig {
        sigma: 0.1,
        beta: 0.01,
        gradient: GradientEstimate::Exact,
        schedule: SigmaSchedule::CosineRamp,
        refresh_every: 4,
        noise: NoiseKind::Truncated(2.5),
        form: GgpoForm::SdScripts,
        spread: NoiseSpread::Isotropic,
        per_micro_batch: false,
        noise_gradient: NoiseGradient::Held,
        weight: WeightTerm::Merged,
        acts_on: NoisePlace::Gradients,
    };
    let read: GgpoConfig = serde_json::from_str(text).unwrap();
    assert_eq!(read, expected);
    let written = serde_json::to_string(&expected).unwrap();
    assert_eq!(
        serde_json::from_str::<GgpoConfig>(&written).unwrap(),
        expected
    );
    let default: GgpoConfig = serde_json::from_str(r#"{"noise": "gaussian"}"#).unwrap();
    assert_eq!(default, GgpoConfig::default());
    let unknown = serde_json::from_str::<GgpoConfig>(r#"{"sigmma": 0.1}"#).unwrap_err();
    assert!(unknown.to_string().contains("sigmma"));
}

#[test]
fn states_that_do_not_fit_are_refused() {
    let mut ggpo = Ggpo::<f64>::new(GgpoConfig::default(), 0, 1).unwrap();
    ggpo.begin_step(0, &two_layers(1));
    let good = ggpo.state();
    let mut short = good.clone();
    short.statistics.pop();
    let mut negative = good.clone();
    negative.vectors.get_mut("row_std").unwrap()[1][2] = -1.0;
    for (state, word) in [(short, "summaries"), (negative, "row 2 of layer 1 is -1")] {
        let message = ggpo.restore(state).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
    let nothing = State::default().with::<f64>("row_std", []);
    assert!(ggpo.restore(nothing.clone()).is_ok());
    for (state, word) in [
        (State::default(), "it has no row_std"),
        (nothing.with::<f64>("momentum", []), "its momentum"),
    ] {
        let message = ggpo.restore(state).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
}

#[test]
#[should_panic(expected = "needs grad_merged")]
fn the_exact_estimate_without_an_exact_gradient_is_a_mistake() {
    let mut layer = PlainLayer::<f64>::random(1, 4, 5, 2, 2.0);
    layer.grad_merged = None;
    let config = GgpoConfig {
        gradient: GradientEstimate::Exact,
        ..GgpoConfig::default()
    };
    begun(config, 0, &layer);
}

#[test]
#[should_panic(expected = "the number of layers changed")]
fn a_state_of_another_number_of_layers_is_a_mistake() {
    let mut one = begun(GgpoConfig::default(), 0, &two_layers(1).0[0]);
    let state = one.state();
    one.restore(state).unwrap();
    one.begin_step(1, &two_layers(1));
}
