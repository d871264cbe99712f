//! The methods by name.

use ggpo_lora::method::{METHODS, acting_weight, method};
use ggpo_lora::{GgpoConfig, MethodConfig, PerturbationConfig};
use std::collections::BTreeSet;

#[test]
fn every_method_is_valid_and_found_by_its_name() {
    let names: BTreeSet<&str> = METHODS.iter().map(|method| method.name).collect();
    assert_eq!(names.len(), METHODS.len(), "names are unique");
    for entry in METHODS {
        entry.config().validate().unwrap();
        let found = method(entry.name).unwrap();
        assert_eq!((found.name, found.title), (entry.name, entry.title));
        for text in [
            entry.title,
            entry.about,
            entry.formula,
            entry.passes,
            entry.memory,
        ] {
            assert!(!text.is_empty(), "{}", entry.name);
        }
        assert_eq!(entry.source.is_empty(), entry.name == "full");
        if let Some(perturbation) = &entry.config().perturbation {
            assert!(!acting_weight(entry.config().adapter, perturbation).is_empty());
        }
    }
    assert!(method("sgd").is_none());
}

#[test]
fn every_method_survives_toml_and_json() {
    for entry in METHODS {
        let config = entry.config();
        let toml = toml::to_string(&config).unwrap();
        assert_eq!(
            toml::from_str::<MethodConfig>(&toml).unwrap(),
            config,
            "{toml}"
        );
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<MethodConfig>(&json).unwrap(),
            config,
            "{json}"
        );
        let by_name: MethodConfig = toml::from_str(&format!("name = \"{}\"", entry.name)).unwrap();
        assert_eq!(by_name, config);
    }
}

/// The defaults of the papers.
#[test]
fn defaults_are_those_of_the_papers() {
    let config = |name: &str| method(name).unwrap().config();
    assert_eq!(
        (config("lora").lora.rank, config("lora").lora.alpha),
        (8, 16.0)
    );
    assert_eq!(config("rslora").lora.factor(), 16.0 / 8.0_f64.sqrt());
    assert_eq!(config("lora-ga").lora.factor(), 16.0 / 8.0_f64.sqrt());
    assert_eq!(config("lora-plus").lora_plus.unwrap().lambda, 16.0);
    let adalora = config("adalora").adalora;
    assert_eq!((adalora.init_rank, config("adalora").lora.rank), (12, 8));
    assert_eq!(
        (adalora.beta1, adalora.beta2, adalora.penalty),
        (0.85, 0.85, 0.5)
    );
    assert_eq!(
        (adalora.t_init, adalora.t_final, adalora.delta_t),
        (0, 0, 1)
    );
    let perturbation = |name: &str| config(name).perturbation.unwrap();
    let PerturbationConfig::Ggpo(ggpo) = perturbation("ggpo") else {
        panic!()
    };
    assert_eq!((ggpo.sigma, ggpo.beta), (0.03, 0.01));
    let flat = perturbation("flat-lora");
    assert_eq!(flat, PerturbationConfig::Ggpo(GgpoConfig::flat_lora(0.05)));
    let PerturbationConfig::Sam(sam) = perturbation("sam") else {
        panic!()
    };
    assert_eq!(sam.rho, 0.05);
    let PerturbationConfig::Mgpo(mgpo) = perturbation("mgpo") else {
        panic!()
    };
    assert_eq!((mgpo.rho, mgpo.mu, mgpo.beta), (0.05, 0.9, 0.9));
    let PerturbationConfig::Msam(msam) = perturbation("msam") else {
        panic!()
    };
    assert_eq!(msam.rho, 0.3);
    let PerturbationConfig::Efm(efm) = perturbation("efm-lora") else {
        panic!()
    };
    assert_eq!((efm.rho, efm.b), (0.05, 0.9));
}
