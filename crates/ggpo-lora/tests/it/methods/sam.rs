//! Laws of SAM.

use ggpo_lora::Perturbation;
use ggpo_lora::perturbation::{Sam, SamConfig, Space};
use proptest::prelude::*;

use super::*;

proptest! {
    /// `eps = rho g / ||g||` on all factors of all layers, under one norm.
    #[test]
    fn sam_moves_the_factors_by_rho_along_the_gradient(
        layers in any_layers(), seed: u64, rho in 1e-3..1.0_f64,
    ) {
        let mut layers = layers;
        let mut sam = Sam::new(SamConfig { rho, space: Space::Factors }).unwrap();
        sam.begin_step(0, &layers);
        prop_assert!(sam.factor_moves(0).is_none());
        layers.stir(seed, 0, 1.0);
        prop_assert!(sam.ascend(&layers));
        let moves: Vec<Vec<f64>> =
            (0..2).flat_map(|layer| sam.factor_moves(layer).unwrap().to_vec()).collect();
        let gradients: Vec<Vec<f64>> =
            layers.0.iter().flat_map(Adapted::factor_gradients).collect();
        let length = norm_of_all(&gradients);
        prop_assert!((norm_of_all(&moves) - rho).abs() <= ROUNDING * rho);
        for (found, gradient) in moves.iter().zip(&gradients) {
            let expected: Vec<f64> = gradient.iter().map(|g| rho * g / length).collect();
            agree(found, &expected, rho)?;
        }
        prop_assert!(sam.noise(0, 0).is_none());
        // Nothing of it remains.
        sam.begin_step(1, &layers);
        prop_assert!(sam.factor_moves(0).is_none());
    }

    /// `eps = rho G / ||G||` on what acts, G its exact gradient, under one norm.
    #[test]
    fn sam_moves_the_merged_weights_by_rho_along_the_gradient(
        layers in any_layers(), seed: u64, rho in 1e-3..1.0_f64,
    ) {
        let mut layers = layers;
        let mut sam = Sam::new(SamConfig { rho, space: Space::Merged }).unwrap();
        prop_assert!(Perturbation::<f64>::reads(&sam).exact);
        sam.begin_step(0, &layers);
        let gradients: Vec<Array2<f64>> = [(5, 7), (4, 6)]
            .iter()
            .map(|&(m, n)| normal(seed ^ m as u64, 30, m, n))
            .collect();
        for (layer, gradient) in layers.0.iter_mut().zip(&gradients) {
            layer.set_gradient(gradient);
        }
        prop_assert!(sam.ascend(&layers));
        let length = gradients.iter().map(|g| norm(g).powi(2)).sum::<f64>().sqrt();
        let mut square = 0.0;
        for (index, gradient) in gradients.iter().enumerate() {
            let eps = noise_of(&sam, index, gradient.view()).unwrap();
            agree(&eps, &gradient.mapv(|g| rho * g / length), rho)?;
            square += norm(&eps).powi(2);
            // The same for some rows alone.
            let mut rows = Array2::zeros((2, gradient.ncols()));
            sam.noise(index, 0).unwrap().add_rows(1, rows.view_mut());
            prop_assert_eq!(&rows, &eps.slice(ndarray::s![1..3, ..]));
        }
        prop_assert!((square.sqrt() - rho).abs() <= ROUNDING * rho);
        prop_assert!(sam.factor_moves(0).is_none());
        sam.begin_step(1, &layers);
        prop_assert!(sam.noise(0, 0).is_none());
    }
}

/// Without a slope there is no direction, and no second pass.
#[test]
fn sam_stays_where_there_is_no_slope() {
    for space in [Space::Factors, Space::Merged] {
        let mut layers = Layers(vec![adapted::<f64>(0, 1, (3, 4), 2, false)]);
        layers.0[0].set_gradient(&Array2::zeros((3, 4)));
        let mut sam = Sam::new(SamConfig { rho: 0.1, space }).unwrap();
        sam.begin_step(0, &layers);
        assert!(!sam.ascend(&layers));
        assert!(sam.factor_moves(0).is_none() && sam.noise(0, 0).is_none());
    }
}
