//! Perturbations of no strength.

use ggpo_lora::perturbation::{
    EfmLoraConfig, MgpoConfig, MsamConfig, PerturbationConfig, SamConfig, Space,
};
use ggpo_lora::{GgpoConfig, GradientEstimate, Perturbation};
use proptest::prelude::*;

use super::*;

/// Every perturbation at strength 0.
fn nothing() -> Vec<PerturbationConfig> {
    let ggpo = GgpoConfig {
        sigma: 0.0,
        ..GgpoConfig::default()
    };
    let mut all = vec![
        PerturbationConfig::Ggpo(ggpo),
        PerturbationConfig::Ggpo(GgpoConfig {
            gradient: GradientEstimate::Exact,
            ..ggpo
        }),
        PerturbationConfig::Ggpo(GgpoConfig::flat_lora(0.0)),
        PerturbationConfig::Msam(MsamConfig { rho: 0.0 }),
        PerturbationConfig::Efm(EfmLoraConfig {
            rho: 0.0,
            ..EfmLoraConfig::default()
        }),
    ];
    for space in [Space::Factors, Space::Merged] {
        all.push(PerturbationConfig::Sam(SamConfig { rho: 0.0, space }));
        all.push(PerturbationConfig::Mgpo(MgpoConfig {
            rho: 0.0,
            space,
            ..MgpoConfig::default()
        }));
    }
    all
}

fn is_still(perturbation: &dyn Perturbation<f64>) -> bool {
    (0..2).all(|layer| {
        perturbation.noise(layer, 0).is_none()
            && perturbation.merged_move(layer).is_none()
            && perturbation.factor_moves(layer).is_none()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// At strength 0 there is no noise, no move and no second pass at any step.
    #[test]
    fn no_strength_is_no_perturbation(seed: u64, on_base: bool) {
        for config in nothing() {
            let mut layers = Layers(vec![
                adapted::<f64>(0, seed, (5, 7), 2, on_base),
                adapted::<f64>(0, seed ^ 1, (4, 6), 3, false),
            ]);
            let mut perturbation = config.build(seed, 10).unwrap();
            for step in 0..4 {
                perturbation.begin_step(step, &layers);
                prop_assert!(is_still(&*perturbation), "{config:?}");
                layers.stir(seed, step, 1.0);
                perturbation.observe(&layers);
                prop_assert!(!perturbation.ascend(&layers), "{config:?}");
                prop_assert!(is_still(&*perturbation), "{config:?}");
            }
        }
    }
}

#[test]
fn strengths_out_of_range_are_refused_by_name() {
    let bad = [
        PerturbationConfig::Sam(SamConfig {
            rho: -1.0,
            ..SamConfig::default()
        }),
        PerturbationConfig::Msam(MsamConfig { rho: f64::NAN }),
        PerturbationConfig::Mgpo(MgpoConfig {
            rho: f64::INFINITY,
            ..MgpoConfig::default()
        }),
        PerturbationConfig::Efm(EfmLoraConfig {
            rho: -0.1,
            ..EfmLoraConfig::default()
        }),
    ];
    for config in bad {
        assert!(config.validate().unwrap_err().to_string().contains("`rho`"));
    }
    let decays = [
        (
            MgpoConfig {
                mu: 1.0,
                ..MgpoConfig::default()
            },
            "`mu`",
        ),
        (
            MgpoConfig {
                beta: -0.1,
                ..MgpoConfig::default()
            },
            "`beta`",
        ),
    ];
    for (config, field) in decays {
        let message = PerturbationConfig::Mgpo(config).validate().unwrap_err();
        assert!(message.to_string().contains(field));
    }
    let efm = PerturbationConfig::Efm(EfmLoraConfig {
        b: 1.1,
        ..EfmLoraConfig::default()
    });
    assert!(efm.validate().unwrap_err().to_string().contains("`b`"));
}
