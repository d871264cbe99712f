//! Laws of the controls of LoRA-GGPO: dealt variances, one term alone, noise on the
//! gradients.

use ggpo_lora::Ggpo;
use ggpo_lora::perturbation::ggpo::{GgpoConfig, NoisePlace, NoiseSpread, WeightTerm};
use proptest::prelude::*;

use super::*;

fn layers(seed: u64) -> Layers<f64> {
    let mut layers = Layers(vec![
        adapted::<f64>(0, seed, (9, 7), 2, false),
        adapted::<f64>(0, seed ^ 1, (4, 6), 3, false),
    ]);
    layers.stir(seed, 0, 1.0);
    layers
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The very same variances, on other rows.
    #[test]
    fn shuffled_variances_are_those_of_ggpo_on_other_rows(seed: u64, step in 0_u32..9) {
        let layers = layers(seed);
        let config = GgpoConfig { sigma: 0.1, beta: 10.0, ..GgpoConfig::default() };
        let shuffled = GgpoConfig { spread: NoiseSpread::Shuffled, ..config };
        let [mut own, mut dealt] =
            [config, shuffled].map(|config| Ggpo::<f64>::new(config, seed, 10).unwrap());
        own.begin_step(step, &layers);
        dealt.begin_step(step, &layers);
        for layer in 0..2 {
            prop_assert_eq!(sorted(own.row_std(layer)), sorted(dealt.row_std(layer)));
        }
        // Anew at every refresh: of 9 rows one order in 362,880 stays.
        let before = dealt.row_std(0).to_vec();
        dealt.begin_step(step + 1, &layers);
        prop_assert_ne!(before, dealt.row_std(0));
    }

    /// `v_i = (sigma^2 / n) beta ||G_i||^2`: what is left of v without its weight term.
    #[test]
    fn without_the_weight_term_the_rest_of_the_variance_stays(seed: u64) {
        let layers = layers(seed);
        let config = GgpoConfig { sigma: 0.1, beta: 10.0, ..GgpoConfig::default() };
        let deviations = |config| {
            let mut noise = Ggpo::<f64>::new(config, seed, 10).unwrap();
            noise.begin_step(1, &layers);
            noise.row_std(0).to_vec()
        };
        let both = deviations(config);
        let weight = deviations(GgpoConfig { beta: 0.0, ..config });
        let gradient = deviations(GgpoConfig { weight: WeightTerm::None, ..config });
        for ((both, weight), gradient) in both.iter().zip(&weight).zip(&gradient) {
            let squares = weight * weight + gradient * gradient;
            prop_assert!((both * both - squares).abs() <= ROUNDING * squares);
        }
    }

    /// Gradients are taken at the weights, and changed by as much as the noise on the
    /// weights would have changed them, factor by factor.
    #[test]
    fn noise_on_gradients_changes_them_as_far_as_noise_on_weights(seed: u64) {
        let mut layers = layers(seed);
        let config = GgpoConfig { acts_on: NoisePlace::Gradients, ..GgpoConfig::default() };
        let mut noise = Ggpo::<f64>::new(config, seed, 10).unwrap();
        noise.begin_step(0, &layers);
        prop_assert!(noise.noise(0, 0).is_none());
        let plain: Vec<_> = layers.0.iter().map(Adapted::factor_gradients).collect();
        prop_assert!(noise.ascend(&layers));
        prop_assert!(noise.noise(0, 0).is_some());
        layers.stir(seed ^ 7, 1, 1.0);
        for (layer, plain) in plain.iter().enumerate() {
            let noisy = layers.0[layer].factor_gradients();
            for (factor, (plain, noisy)) in plain.iter().zip(&noisy).enumerate() {
                let mut found = noisy.clone();
                noise.settle(layer, factor, &mut found);
                let distance = |a: &[f64]| {
                    a.iter().zip(plain).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
                };
                let expected = distance(noisy);
                prop_assert!((distance(&found) - expected).abs() <= ROUNDING * expected);
                prop_assert_ne!(&found, noisy);
            }
        }
    }
}

/// Without noise there is no second pass, and no gradient changes.
#[test]
fn noise_of_no_strength_leaves_gradients_alone() {
    let layers = layers(3);
    let config = GgpoConfig {
        sigma: 0.0,
        acts_on: NoisePlace::Gradients,
        ..GgpoConfig::default()
    };
    let mut noise = Ggpo::<f64>::new(config, 3, 10).unwrap();
    noise.begin_step(0, &layers);
    assert!(!noise.ascend(&layers));
    let mut gradient = vec![1.0, 2.0];
    noise.settle(0, 0, &mut gradient);
    assert_eq!(gradient, [1.0, 2.0]);
}
