//! Laws of the decay of the update.

use std::collections::BTreeMap;

use ggpo_lora::adapter::{Adapters, Regulator, parameter_name};
use ggpo_lora::product_decay::ProductDecayConfig;
use proptest::prelude::*;

use super::*;

fn adapters(seed: u64) -> Adapters<f64> {
    let one = |seed, dim, rank| adapted::<f64>(0, seed, dim, rank, false).adapter;
    Adapters::from([
        ("first".to_owned(), one(seed, (5, 7), 2)),
        ("second".to_owned(), one(seed ^ 1, (4, 6), 3)),
    ])
}

fn penalty(decay: ProductDecayConfig, adapters: &Adapters<f64>) -> f64 {
    decay.penalty(adapters, &mut BTreeMap::new())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// `c ||s B A||_F^2`, formed.
    #[test]
    fn the_penalty_is_that_of_the_formed_product(seed: u64, strength in 0.0..2.0_f64) {
        let adapters = adapters(seed);
        let expected: f64 = adapters
            .values()
            .map(|adapter| {
                let (m, n) = adapter.dim();
                let update = adapter.merge(Array2::<f64>::zeros((m, n)).view());
                strength * update.iter().map(|x| x * x).sum::<f64>()
            })
            .sum();
        let found = penalty(ProductDecayConfig { strength }, &adapters);
        prop_assert!((found - expected).abs() <= ROUNDING * (1.0 + expected));
    }

    /// The gradient is that of the penalty, by central differences: exact but for
    /// rounding up to the third derivative, which is linear in the step's square.
    #[test]
    fn the_gradient_is_that_of_the_penalty(seed: u64) {
        let decay = ProductDecayConfig { strength: 0.3 };
        let mut adapters = adapters(seed);
        let mut gradients = BTreeMap::new();
        for (module, adapter) in &adapters {
            for (factor, value) in adapter.factors() {
                let zeros = Tensor::<f64>::zeros(value.raw_dim());
                gradients.insert(parameter_name(module, factor), zeros);
            }
        }
        decay.penalty(&adapters, &mut gradients);
        let step = 1e-4;
        for module in ["first", "second"] {
            for factor in ["lora_A.weight", "lora_B.weight"] {
                let gradient = gradients[&parameter_name(module, factor)].clone();
                for index in 0..gradient.len() {
                    let mut at = |shift: f64| {
                        let adapter = adapters.get_mut(module).unwrap();
                        let value = adapter.factor_mut(factor).unwrap();
                        value.as_slice_mut().unwrap()[index] += shift;
                        penalty(decay, &adapters)
                    };
                    let (up, down) = (at(step), at(-2.0 * step));
                    at(step);
                    let expected = (up - down) / (2.0 * step);
                    let found = flat(&gradient)[index];
                    let scale = 1.0 + expected.abs();
                    prop_assert!((found - expected).abs() <= 1e-6 * scale, "{found} {expected}");
                }
            }
        }
    }
}

#[test]
fn no_strength_is_no_penalty() {
    let mut gradients = BTreeMap::new();
    let decay = ProductDecayConfig { strength: 0.0 };
    assert_eq!(decay.penalty(&adapters(1), &mut gradients), 0.0);
    assert!(ProductDecayConfig { strength: -1.0 }.validate().is_err());
    assert!(
        ProductDecayConfig { strength: f64::NAN }
            .validate()
            .is_err()
    );
}
