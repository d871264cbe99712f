//! Methods as people write them, and wrote them before.

use ggpo_lora::LoraGaConfig;
use ggpo_lora::adapter::adalora::AdaLoraConfig;
use ggpo_lora::lora_plus::LoraPlusConfig;
use ggpo_lora::method::{InitConfig, METHODS, method};
use ggpo_lora::perturbation::{MgpoConfig, SamConfig};
use ggpo_lora::{AdapterKind, GgpoConfig, LoraConfig, MethodConfig, NoiseKind, PerturbationConfig};
use proptest::prelude::*;
use serde::Deserialize;

fn read(text: &str) -> MethodConfig {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn files_of_before_are_read_to_the_same_settings() {
    assert_eq!(read(""), MethodConfig::default());
    assert_eq!(read("adaptation = \"lora\""), MethodConfig::default());
    let full = read("adaptation = \"full\"");
    assert_eq!(full, method("full").unwrap().config());
    let text = "adaptation = \"lora\"\n\
        perturbation = { sigma = 0.03, beta = 0.01 }\n\
        [lora]\nrank = 4\nalpha = 8\ntargets = [\"query\"]";
    let expected = MethodConfig {
        lora: LoraConfig {
            rank: 4,
            alpha: 8.0,
            targets: ggpo_lora::Targets::Names(vec!["query".into()]),
            ..LoraConfig::default()
        },
        perturbation: Some(PerturbationConfig::Ggpo(GgpoConfig::default())),
        ..MethodConfig::default()
    };
    assert_eq!(read(text), expected);
    let json = r#"{"adaptation": "lora", "lora": {"rank": 4, "alpha": 8, "targets": ["query"]},
        "perturbation": {"sigma": 0.03, "beta": 0.01}}"#;
    assert_eq!(
        serde_json::from_str::<MethodConfig>(json).unwrap(),
        expected
    );
    let none = r#"{"adaptation": "lora", "perturbation": null}"#;
    assert_eq!(
        serde_json::from_str::<MethodConfig>(none).unwrap(),
        MethodConfig::default()
    );
}

/// A name, and the parts in which a method differs from it.
#[test]
fn parts_replace_those_of_the_name() {
    let named = |name: &str| method(name).unwrap().config();
    assert_eq!(
        read("name = \"ggpo\"\nperturbation = \"none\""),
        named("lora")
    );
    assert_eq!(read("name = \"dora\"\nadapter = \"lora\""), named("lora"));
    assert_eq!(read("perturbation = \"sam\""), named("sam"));
    assert_eq!(read("init = \"pissa\""), named("pissa"));
    // Fields of the same kind are kept; another kind has its own defaults.
    let expected = PerturbationConfig::Ggpo(GgpoConfig {
        sigma: 0.1,
        ..GgpoConfig::flat_lora(0.05)
    });
    let found = read("name = \"flat-lora\"\nperturbation = { sigma = 0.1 }");
    assert_eq!(found.perturbation, Some(expected));
    let found = read("name = \"flat-lora\"\nperturbation = { kind = \"sam\", rho = 0.1 }");
    let expected = SamConfig {
        rho: 0.1,
        ..SamConfig::default()
    };
    assert_eq!(found.perturbation, Some(PerturbationConfig::Sam(expected)));
    let found = read("name = \"mgpo\"\nperturbation = { rho = 0.01, mu = 0.8, beta = 0.8 }");
    let expected = MgpoConfig {
        rho: 0.01,
        mu: 0.8,
        beta: 0.8,
        ..MgpoConfig::default()
    };
    assert_eq!(found.perturbation, Some(PerturbationConfig::Mgpo(expected)));
    let found = read("name = \"lora-ga\"\ninit = { gamma = 64 }\nlora = { rank = 4 }");
    let expected = LoraGaConfig {
        gamma: 64.0,
        ..LoraGaConfig::default()
    };
    assert_eq!(found.init, InitConfig::LoraGa(expected));
    assert_eq!(found.lora.factor(), 8.0, "still the scaling of rsLoRA");
    let found = read("name = \"lora-plus\"\nlora_plus = { lambda = 4 }");
    assert_eq!(found.lora_plus, Some(LoraPlusConfig { lambda: 4.0 }));
    let found = read("lora_plus = {}");
    assert_eq!(found, named("lora-plus"));
}

/// One sentence with the field and what was expected.
#[test]
fn what_is_unknown_is_named_with_what_there_is() {
    let cases: [(&str, &[&str]); 18] = [
        (
            "name = \"sgd\"",
            &["name", "sgd", "lora-plus", "mgpo-merged"],
        ),
        (
            "optimiser = \"sgd\"",
            &["optimiser", "adapter", "lora_plus"],
        ),
        (
            "adapter = \"prefix\"",
            &["adapter", "prefix", "full", "adalora"],
        ),
        ("init = \"svd\"", &["init", "svd", "pissa", "lora_ga"]),
        (
            "init = { kind = \"pissa\", rows = 8 }",
            &["init", "pissa", "rows"],
        ),
        (
            "init = { kind = \"lora_ga\", steps = 8 }",
            &["init", "steps", "gamma"],
        ),
        (
            "perturbation = \"adam\"",
            &["perturbation", "adam", "ggpo", "efm"],
        ),
        (
            "perturbation = { rho = 1 }",
            &["perturbation", "rho", "sigma"],
        ),
        (
            "perturbation = { kind = \"sam\", sigma = 1 }",
            &["perturbation", "sigma", "rho"],
        ),
        (
            "perturbation = { kind = \"msam\", rho = \"x\" }",
            &["perturbation", "x", "f64"],
        ),
        ("adapter = 8", &["adapter", "a name", "8"]),
        ("lora = 8", &["lora", "a table", "8"]),
        ("init = 8", &["init", "a name or a table", "8"]),
        (
            "perturbation = true",
            &["perturbation", "a name or a table", "true"],
        ),
        ("perturbation = { kind = 8 }", &["perturbation", "8"]),
        ("lora = { r = 8 }", &["lora", "`r`", "rank"]),
        ("adalora = { tinit = 8 }", &["adalora", "tinit", "t_init"]),
        (
            "lora_plus = { ratio = 8 }",
            &["lora_plus", "ratio", "lambda"],
        ),
    ];
    for (text, words) in cases {
        let value: toml::Value = toml::from_str(text).unwrap();
        let error = MethodConfig::deserialize(value).unwrap_err();
        let message = error.message().to_owned();
        assert_eq!(message.lines().count(), 1, "{message}");
        for word in words {
            assert!(message.contains(word), "{text}: {message}");
        }
        let json = serde_json::to_string(&toml::from_str::<toml::Value>(text).unwrap()).unwrap();
        let message = serde_json::from_str::<MethodConfig>(&json)
            .unwrap_err()
            .to_string();
        for word in words {
            assert!(message.contains(word), "{json}: {message}");
        }
    }
}

prop_compose! {
    /// A method of the table with other numbers.
    fn any_method()(
        entry in 0..METHODS.len(), rank in 1_usize..64, alpha in 0.1..100.0_f64,
        dropout in 0.0..0.9_f32, strength in 0.0..10.0_f64, steps in 0_u32..1000,
        truncated in prop::option::of(0.1..4.0_f32),
    ) -> MethodConfig {
        let mut config = METHODS[entry].config();
        config.lora = LoraConfig { rank, alpha, dropout, ..config.lora };
        config.adalora = AdaLoraConfig { init_rank: rank + 1, t_init: steps, ..config.adalora };
        if config.adapter != AdapterKind::Adalora {
            config.adalora = AdaLoraConfig::default();
        }
        match &mut config.perturbation {
            None => {}
            Some(PerturbationConfig::Ggpo(ggpo)) => {
                ggpo.sigma = strength;
                ggpo.refresh_every = steps + 1;
                ggpo.noise = truncated.map_or(NoiseKind::Gaussian, NoiseKind::Truncated);
            }
            Some(PerturbationConfig::Sam(sam)) => sam.rho = strength,
            Some(PerturbationConfig::Mgpo(mgpo)) => mgpo.rho = strength,
            Some(PerturbationConfig::Msam(msam)) => msam.rho = strength,
            Some(PerturbationConfig::Efm(efm)) => efm.rho = strength,
        }
        config
    }
}

proptest! {
    /// Whatever its numbers, a method is the same after a file; numbers in files have
    /// all their digits.
    #[test]
    fn settings_survive_toml_and_json(config in any_method()) {
        prop_assert!(config.validate().is_ok());
        let toml = toml::to_string(&config).unwrap();
        prop_assert_eq!(&toml::from_str::<MethodConfig>(&toml).unwrap(), &config, "{}", toml);
        let json = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(&serde_json::from_str::<MethodConfig>(&json).unwrap(), &config);
    }
}
