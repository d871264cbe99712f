//! Laws of DoRA.

use ggpo_lora::adapter::dora::{Dora, MAGNITUDE};
use ggpo_lora::adapter::{Base, lora};
use ggpo_lora::{Ggpo, GgpoConfig, LoraConfig, Perturbation};
use ggpo_tensor::random::{Purpose, Stream};
use proptest::prelude::*;

use super::*;
use crate::common::bits;

fn start(seed: u64, m: usize, n: usize) -> Adapted<f64> {
    let weight: Array2<f64> = normal(seed, 0, m, n);
    let config = LoraConfig {
        rank: 1,
        ..LoraConfig::default()
    };
    let stream = Stream::new(seed, Purpose::Init, 0, 0);
    let lora = Lora::kaiming(&config, m, n, stream).unwrap();
    let base = Base {
        weight: weight.view().into(),
        constant: None,
    };
    let adapter = Adapter::new(Dora::new(lora, base));
    Adapted::new(weight, adapter)
}

proptest! {
    /// The magnitudes are the norms by the same sums, so their quotients are 1 and not
    /// a bit is lost.
    #[test]
    fn dora_starts_as_the_base(seed: u64, m in 1_usize..9, n in 1_usize..80) {
        let layer = start(seed, m, n);
        prop_assert_eq!(bits(&layer.adapter.merge(layer.weight.view())), bits(&layer.weight));
        let magnitude = layer.adapter.factor(MAGNITUDE).unwrap();
        let norms = crate::common::norms_squared(&layer.weight);
        for (m, square) in flat(magnitude).iter().zip(norms) {
            // Sums of 80 squares in two orders.
            prop_assert!((m * m - square).abs() <= ROUNDING * square);
        }
    }

    /// The norm of row i of what acts is `|m_i|`, wherever the direction goes.
    #[test]
    fn the_magnitude_is_the_norm_of_the_row(seed: u64, on_base: bool) {
        let layer = adapted::<f64>(1, seed, (5, 9), 2, on_base);
        let norms = crate::common::norms_squared(&layer.adapter.merge(layer.weight.view()));
        let magnitude = layer.adapter.factor(MAGNITUDE).unwrap();
        for (m, square) in flat(magnitude).iter().zip(norms) {
            // The terms of a row's norm may cancel to a ten thousandth.
            prop_assert!((m * m - square).abs() <= 1e-8 * square, "{m} {square}");
        }
    }

    /// The norm counts as a constant, so the gradients of A and B are those of plain
    /// LoRA under `diag(m / n)`.
    #[test]
    fn the_norm_is_detached(seed: u64) {
        let mut layer = adapted::<f64>(1, seed, (5, 9), 2, false);
        layer.stir(seed, 1.0);
        let (of_direction, _) = layer.gradients.clone().unwrap();
        let (a, b) = (layer.adapter.factor(lora::A), layer.adapter.factor(lora::B));
        let form = Lora { a: a.unwrap().clone(), b: b.unwrap().clone(), scaling: 1.5 };
        let mut plain = Adapted::new(layer.weight.clone(), Adapter::new(form));
        plain.set_gradient(&of_direction);
        prop_assert_eq!(&plain.factor_gradients()[..], &layer.factor_gradients()[..2]);
    }

    /// At beta = 0 the noise on row i has the deviation `sigma |m_i| / sqrt(n)`.
    #[test]
    fn the_noise_on_a_row_follows_its_magnitude(
        seed: u64, sigma in 1e-3..1.0_f64, on_base: bool,
    ) {
        let layer = adapted::<f64>(1, seed, (6, 8), 3, on_base);
        let magnitude = flat(layer.adapter.factor(MAGNITUDE).unwrap()).to_vec();
        let config = GgpoConfig { sigma, beta: 0.0, ..GgpoConfig::default() };
        let mut ggpo = Ggpo::new(config, seed, 1).unwrap();
        ggpo.begin_step(0, &Layers(vec![layer]));
        for (std, m) in ggpo.row_std(0).iter().zip(&magnitude) {
            let expected = sigma * m.abs() / 8.0_f64.sqrt();
            // A product, a square and two roots.
            prop_assert!((std - expected).abs() <= 1e-14 * expected, "{std} {expected}");
        }
    }
}
