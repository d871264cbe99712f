//! Which parts go together.

use ggpo_lora::LoraGaConfig;
use ggpo_lora::adapter::ScalingRule;
use ggpo_lora::lora_plus::LoraPlusConfig;
use ggpo_lora::method::{InitConfig, refusal};
use ggpo_lora::perturbation::{
    EfmLoraConfig, MgpoConfig, MsamConfig, PerturbationConfig, SamConfig, Space,
};
use ggpo_lora::{
    AdapterKind, GgpoConfig, GgpoForm, LoraConfig, LoraError, MethodConfig, NoiseGradient,
};

fn starts() -> [InitConfig; 4] {
    [
        InitConfig::Kaiming,
        InitConfig::Pissa,
        InitConfig::Olora,
        InitConfig::LoraGa(LoraGaConfig::default()),
    ]
}

fn perturbations() -> Vec<PerturbationConfig> {
    let ggpo = GgpoConfig::default();
    let mut all = vec![
        PerturbationConfig::Ggpo(ggpo),
        PerturbationConfig::Ggpo(GgpoConfig {
            form: GgpoForm::SdScripts,
            ..ggpo
        }),
        PerturbationConfig::Ggpo(GgpoConfig {
            noise_gradient: NoiseGradient::Reparameterised,
            ..ggpo
        }),
        PerturbationConfig::Msam(MsamConfig::default()),
        PerturbationConfig::Efm(EfmLoraConfig::default()),
    ];
    for space in [Space::Factors, Space::Merged] {
        all.push(PerturbationConfig::Sam(SamConfig {
            space,
            ..SamConfig::default()
        }));
        all.push(PerturbationConfig::Mgpo(MgpoConfig {
            space,
            ..MgpoConfig::default()
        }));
    }
    all
}

/// Whether a pair of an adapter form and a perturbation is defined.
fn is_defined(adapter: AdapterKind, perturbation: &PerturbationConfig) -> bool {
    match (adapter, perturbation) {
        (AdapterKind::Full, _) => false,
        (AdapterKind::Lora, _) => true,
        (_, PerturbationConfig::Efm(_)) => false,
        (_, PerturbationConfig::Mgpo(mgpo)) => mgpo.space == Space::Factors,
        (_, PerturbationConfig::Ggpo(ggpo)) if ggpo.form == GgpoForm::SdScripts => false,
        (AdapterKind::Dora, PerturbationConfig::Ggpo(ggpo)) => {
            ggpo.noise_gradient == NoiseGradient::Held
        }
        _ => true,
    }
}

/// The sentence of a refusal names both parts and gives a reason.
fn check(config: &MethodConfig, defined: bool, parts: [&str; 2]) {
    match refusal(config) {
        None => {
            assert!(defined, "{parts:?}");
            config.validate().unwrap();
        }
        Some(error) => {
            assert!(!defined, "{error}");
            assert!(matches!(&error, LoraError::Undefined { reason, .. } if !reason.is_empty()));
            let message = error.to_string();
            assert_eq!(message.lines().count(), 1);
            for part in parts {
                assert!(message.contains(part), "{parts:?}: {message}");
            }
            assert_eq!(config.validate().unwrap_err().to_string(), message);
        }
    }
}

#[test]
fn perturbations_that_an_adapter_form_does_not_define_are_refused() {
    for adapter in AdapterKind::ALL {
        for perturbation in perturbations() {
            let config = MethodConfig {
                adapter,
                perturbation: Some(perturbation),
                ..MethodConfig::default()
            };
            let parts = [perturbation.title(), adapter.title()];
            check(&config, is_defined(adapter, &perturbation), parts);
        }
    }
}

#[test]
fn starts_that_an_adapter_form_does_not_define_are_refused() {
    for adapter in AdapterKind::ALL {
        for init in starts() {
            let config = MethodConfig {
                adapter,
                init,
                ..MethodConfig::default()
            };
            let has_factors = matches!(adapter, AdapterKind::Lora | AdapterKind::Dora);
            let defined = has_factors || init == InitConfig::Kaiming;
            check(&config, defined, [init.title(), adapter.title()]);
        }
    }
}

/// It counts the norm of B A alone, which is not what a start with a product adds.
#[test]
fn the_form_in_circulation_is_for_plain_lora_only() {
    for init in starts() {
        for perturbation in perturbations() {
            let config = MethodConfig {
                init,
                perturbation: Some(perturbation),
                ..MethodConfig::default()
            };
            let in_circulation = matches!(
                perturbation,
                PerturbationConfig::Ggpo(GgpoConfig {
                    form: GgpoForm::SdScripts,
                    ..
                })
            );
            let defined = !in_circulation || init == InitConfig::Kaiming;
            check(&config, defined, [perturbation.title(), init.title()]);
        }
    }
}

#[test]
fn lora_plus_and_rslora_are_refused_where_they_would_be_ignored() {
    for adapter in AdapterKind::ALL {
        let config = MethodConfig {
            adapter,
            lora_plus: Some(LoraPlusConfig::default()),
            ..MethodConfig::default()
        };
        check(
            &config,
            adapter != AdapterKind::Full,
            ["LoRA+", adapter.title()],
        );
        let config = MethodConfig {
            adapter,
            lora: LoraConfig {
                scaling: ScalingRule::RsLora,
                ..LoraConfig::default()
            },
            ..MethodConfig::default()
        };
        check(
            &config,
            adapter != AdapterKind::Adalora,
            ["rsLoRA", adapter.title()],
        );
    }
}
