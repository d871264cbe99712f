//! Options, targets and single adapters.

use crate::common::{bits, normal};
use ggpo_lora::{Adapter, Lora, LoraConfig, LoraError, ScalingRule, Targets};
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{flat, view2};
use ndarray::Array2;
use proptest::prelude::*;

const NAMES: [&str; 5] = [
    "layers.0.attention.query",
    "layers.0.attention.subquery",
    "layers.0.mlp.dense",
    "layers.1.attention.query",
    "query",
];

fn init() -> Stream {
    Stream::new(3, Purpose::Init, 0, 0)
}

fn select(targets: Targets) -> Result<Vec<String>, LoraError> {
    targets.select(NAMES.into_iter())
}

#[test]
fn a_list_matches_whole_names_and_whole_ends() {
    let found = select(Targets::Names(vec!["query".into()])).unwrap();
    assert_eq!(found, [NAMES[0], NAMES[3], NAMES[4]]);
    let found = select(Targets::Names(vec!["mlp.dense".into(), "query".into()])).unwrap();
    assert_eq!(found, [NAMES[0], NAMES[2], NAMES[3], NAMES[4]]);
}

#[test]
fn a_pattern_matches_the_whole_name() {
    let found = select(Targets::Pattern(r".*\.query|query".into())).unwrap();
    assert_eq!(found, [NAMES[0], NAMES[3], NAMES[4]]);
    let found = select(Targets::Pattern("query".into())).unwrap();
    assert_eq!(found, [NAMES[4]]);
}

#[test]
fn by_default_every_module_offered_is_a_target() {
    assert!(Targets::default().is_all_linear());
    assert_eq!(select(Targets::default()).unwrap(), NAMES);
}

#[test]
fn targets_that_match_nothing_are_named_with_what_there_is() {
    for targets in [
        Targets::Names(vec!["value".into()]),
        Targets::Pattern("value".into()),
    ] {
        let message = select(targets).unwrap_err().to_string();
        assert!(
            message.contains("value") && message.contains(NAMES[0]),
            "{message}"
        );
    }
    let many: Vec<String> = (0..20).map(|i| format!("layer.{i}")).collect();
    let error = Targets::Names(vec!["x".into()]).select(many.iter().map(String::as_str));
    assert!(
        error
            .unwrap_err()
            .to_string()
            .ends_with("layer.7 and 12 more")
    );
    assert!(matches!(
        select(Targets::Pattern("(".into())),
        Err(LoraError::Pattern { .. })
    ));
}

#[test]
fn options_are_read_and_checked() {
    let config: LoraConfig =
        serde_json::from_str(r#"{"rank": 4, "scaling": "rslora", "targets": ["query"]}"#).unwrap();
    assert_eq!(config.rank, 4);
    assert_eq!(config.targets, Targets::Names(vec!["query".into()]));
    assert_eq!(config.factor(), 8.0);
    assert_eq!(LoraConfig::default().factor(), 2.0);
    assert_eq!(ScalingRule::Lora.factor(16.0, 4), 4.0);
    let default: LoraConfig = serde_json::from_str("{}").unwrap();
    assert_eq!(default, LoraConfig::default());
    assert!(default.validate().is_ok());
    assert!(serde_json::from_str::<LoraConfig>(r#"{"r": 4}"#).is_err());
    let error = serde_json::from_str::<LoraConfig>(r#"{"targets": 4}"#).unwrap_err();
    assert!(
        error.to_string().contains("a list of module names"),
        "{error}"
    );

    let base = LoraConfig::default();
    let cases = [
        (
            LoraConfig {
                rank: 0,
                ..base.clone()
            },
            "`rank`",
        ),
        (
            LoraConfig {
                alpha: 0.0,
                ..base.clone()
            },
            "`alpha`",
        ),
        (
            LoraConfig {
                alpha: f64::NAN,
                ..base.clone()
            },
            "`alpha`",
        ),
        (
            LoraConfig {
                dropout: 1.0,
                ..base.clone()
            },
            "`dropout`",
        ),
        (
            LoraConfig {
                targets: Targets::Names(vec![]),
                ..base.clone()
            },
            "`targets`",
        ),
    ];
    for (config, field) in cases {
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains(field), "{message}");
        assert!(Lora::<f32>::kaiming(&config, 20, 20, init()).is_err());
    }
}

#[test]
fn a_rank_that_does_not_fit_is_refused() {
    let config = LoraConfig::default();
    let message = Lora::<f32>::kaiming(&config, 7, 20, init())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("rank 8") && message.contains("7 x 20"),
        "{message}"
    );
    assert!(message.ends_with("from 1 to 7"), "{message}");
    assert!(Lora::<f32>::kaiming(&config, 8, 8, init()).is_ok());
}

#[test]
fn a_starts_uniform_and_b_at_zero() {
    let (m, n) = (300, 400);
    let config = LoraConfig {
        rank: 50,
        ..LoraConfig::default()
    };
    let adapter = Lora::<f32>::kaiming(&config, m, n, init()).unwrap();
    assert_eq!(
        (adapter.a.shape(), adapter.b.shape()),
        (&[50, n][..], &[m, 50][..])
    );
    assert_eq!(Adapter::new(adapter.clone()).rank(), 50);
    assert!(flat(&adapter.b).iter().all(|&b| b == 0.0));
    let bound = 1.0 / (n as f64).sqrt();
    let a: Vec<f64> = flat(&adapter.a).iter().map(|&a| f64::from(a)).collect();
    // Rounding to `f32` may carry a number onto the rounded bound.
    assert!(a.iter().all(|a| a.abs() <= bound * (1.0 + 1e-7)));
    let count = a.len() as f64;
    let mean = a.iter().sum::<f64>() / count;
    let second = a.iter().map(|a| a * a).sum::<f64>() / count;
    // Variance bound^2 / 3, fourth moment bound^4 / 5; six standard errors.
    assert!(mean.abs() <= 6.0 * bound / (3.0 * count).sqrt());
    let error = bound * bound * (4.0 / 45.0 / count).sqrt();
    assert!((second - bound * bound / 3.0).abs() <= 6.0 * error);

    let double = Lora::<f64>::kaiming(&config, m, n, init()).unwrap();
    for (&single, &double) in flat(&adapter.a).iter().zip(flat(&double.a)) {
        assert_eq!(
            single, double as f32,
            "both types start from the same numbers"
        );
    }
}

proptest! {
    #[test]
    fn merge_adds_s_b_a(
        seed: u64, m in 4_usize..12, n in 4_usize..12, rank in 1_usize..5,
    ) {
        let config = LoraConfig { rank, ..LoraConfig::default() };
        let mut lora = Lora::<f64>::kaiming(&config, m, n, init()).unwrap();
        let adapter = Adapter::new(lora.clone());
        let weight: Array2<f64> = normal(seed, 0, m, n);
        prop_assert_eq!(bits(&adapter.merge(weight.view())), bits(&weight), "B = 0");
        lora.b = normal(seed, 1, m, rank).into_dyn().into_shared();
        let merged = Adapter::new(lora.clone()).merge(weight.view());
        let (a, b) = (view2(&lora.a), view2(&lora.b));
        for ((i, j), &found) in merged.indexed_iter() {
            let product: f64 = (0..rank).map(|k| b[[i, k]] * a[[k, j]]).sum();
            // A handful of roundings of numbers up to about 100.
            prop_assert!((found - weight[[i, j]] - lora.scaling * product).abs() <= 1e-12);
        }
    }
}
