//! Laws of momentum SAM.

use ggpo_lora::Perturbation;
use ggpo_lora::perturbation::{Msam, MsamConfig};
use proptest::prelude::*;

use super::*;

proptest! {
    /// `eps = -rho m / ||m||` on all factors of all layers, under one norm.
    #[test]
    fn msam_moves_by_rho_against_the_momentum(
        layers in any_layers(), seed: u64, rho in 1e-3..1.0_f64,
    ) {
        let mut layers = layers;
        let mut msam = Msam::new(MsamConfig { rho }).unwrap();
        msam.begin_step(0, &layers);
        prop_assert!(msam.factor_moves(0).is_none(), "there is no momentum yet");
        layers.stir(seed, 0, 1.0);
        msam.begin_step(1, &layers);
        let momenta: Vec<Vec<f64>> =
            layers.0.iter().flat_map(|layer| layer.momenta.clone().unwrap()).collect();
        let length = norm_of_all(&momenta);
        let moves: Vec<Vec<f64>> =
            (0..2).flat_map(|layer| msam.factor_moves(layer).unwrap().to_vec()).collect();
        prop_assert!((norm_of_all(&moves) - rho).abs() <= ROUNDING * rho);
        for (found, momentum) in moves.iter().zip(&momenta) {
            let expected: Vec<f64> = momentum.iter().map(|m| -rho * m / length).collect();
            agree(found, &expected, rho)?;
        }
        prop_assert!(!msam.ascend(&layers), "one pass is enough");
    }
}
