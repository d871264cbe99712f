//! Laws of a layer with AdaLoRA.

use ggpo_lora::LoraConfig;
use ggpo_lora::adapter::adalora::{AdaLoraConfig, E, P, Q, scaling};
use ggpo_tensor::random::{Purpose, Stream};
use proptest::prelude::*;

use super::*;
use crate::common::bits;

proptest! {
    /// E is 0, so nothing is added: not a bit of W changes.
    #[test]
    fn adalora_starts_as_the_base(seed: u64, m in 3_usize..9, n in 3_usize..40) {
        let config = AdaLoraConfig { init_rank: 3, ..AdaLoraConfig::default() };
        let lora = LoraConfig { rank: 2, ..LoraConfig::default() };
        let stream = Stream::new(seed, Purpose::Init, 0, 0);
        let form = AdaLora::<f64>::normal(&config, &lora, m, n, stream).unwrap();
        let adapter = Adapter::new(form);
        let weight: Array2<f64> = normal(seed, 0, m, n);
        prop_assert_eq!(bits(&adapter.merge(weight.view())), bits(&weight));
        let shapes = [Q, P, E].map(|factor| adapter.factor(factor).unwrap().shape().to_vec());
        prop_assert_eq!(shapes, [vec![3, n], vec![m, 3], vec![3, 1]]);
        prop_assert_eq!(adapter.rank(), 3);
        // alpha / (r + 1e-5) for the r of the start.
        prop_assert_eq!(adapter.scaling(), 16.0 / 3.00001);
        prop_assert_eq!(adapter.scaling(), scaling(16.0, 3));
    }

    /// `W + s P diag(E) Q`.
    #[test]
    fn what_acts_is_the_sum_of_the_triples(seed: u64) {
        let layer = adapted::<f64>(2, seed, (4, 6), 3, false);
        let [q, p, e] = [Q, P, E].map(|factor| view2(layer.adapter.factor(factor).unwrap()));
        let mut expected = layer.weight.clone();
        for ((i, j), w) in expected.indexed_iter_mut() {
            for k in 0..3 {
                *w += 1.5 * p[[i, k]] * e[[k, 0]] * q[[k, j]];
            }
        }
        agree(&layer.adapter.merge(layer.weight.view()), &expected, 1e2)?;
    }
}

/// Mean 0 and deviation 0.02, within six standard errors.
#[test]
fn p_and_q_start_from_a_normal_distribution() {
    let (m, n) = (300, 400);
    let config = AdaLoraConfig {
        init_rank: 50,
        ..AdaLoraConfig::default()
    };
    let stream = Stream::new(5, Purpose::Init, 0, 0);
    let form = AdaLora::<f64>::normal(&config, &LoraConfig::default(), m, n, stream).unwrap();
    for part in [&form.p, &form.q] {
        let count = part.len() as f64;
        let mean = part.iter().sum::<f64>() / count;
        let square = part.iter().map(|x| x * x).sum::<f64>() / count;
        assert!(mean.abs() <= 6.0 * 0.02 / count.sqrt(), "{mean}");
        let error = 4e-4 * (2.0 / count).sqrt();
        assert!((square - 4e-4).abs() <= 6.0 * error, "{square}");
    }
    assert_ne!(form.p.as_slice().unwrap()[0], form.q.as_slice().unwrap()[0]);
}
