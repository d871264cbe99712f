//! Laws of LoRA-MGPO.

use ggpo_lora::Perturbation;
use ggpo_lora::perturbation::{Mgpo, MgpoConfig, Sign, Space};
use proptest::prelude::*;

use super::*;

const STEPS: u32 = 5;

prop_compose! {
    fn any_mgpo(space: Space)(
        rho in 1e-3..1.0_f64, mu in 0.0..0.95_f64, beta in 0.0..0.95_f64, minus: bool,
    ) -> MgpoConfig {
        let sign = if minus { Sign::Minus } else { Sign::Plus };
        MgpoConfig { rho, mu, beta, sign, space }
    }
}

fn signed(config: &MgpoConfig) -> f64 {
    match config.sign {
        Sign::Plus => config.rho,
        Sign::Minus => -config.rho,
    }
}

/// The EMA of norms that starts at the first.
fn average(mean: &mut Option<f64>, norm: f64, beta: f64) {
    *mean = Some(mean.map_or(norm, |mean| beta * mean + (1.0 - beta) * norm));
}

proptest! {
    /// Equations 3, 4 and 6 on the factors of all layers together. The move has the norm
    /// `rho / gbar`, and there is none at the first step.
    #[test]
    fn mgpo_moves_the_factors_along_the_momentum(
        layers in any_layers(), seed: u64, config in any_mgpo(Space::Factors),
        size in 1e-2..1e2_f64,
    ) {
        let mut layers = layers;
        let mut mgpo = Mgpo::new(config).unwrap();
        mgpo.begin_step(0, &layers);
        prop_assert!(mgpo.factor_moves(0).is_none(), "m starts at 0");
        let mut momenta: Vec<Vec<f64>> = Vec::new();
        let mut gbar = None;
        for step in 1..STEPS {
            layers.stir(seed, step, size);
            mgpo.begin_step(step, &layers);
            let gradients: Vec<Vec<f64>> =
                layers.0.iter().flat_map(Adapted::factor_gradients).collect();
            momenta.resize(gradients.len(), Vec::new());
            for (momentum, gradient) in momenta.iter_mut().zip(&gradients) {
                momentum.resize(gradient.len(), 0.0);
                for (m, g) in momentum.iter_mut().zip(gradient) {
                    *m = config.mu * *m + g;
                }
            }
            average(&mut gbar, norm_of_all(&gradients), config.beta);
            let radius = config.rho / gbar.unwrap();
            let moves: Vec<Vec<f64>> =
                (0..2).flat_map(|layer| mgpo.factor_moves(layer).unwrap().to_vec()).collect();
            prop_assert!((norm_of_all(&moves) - radius).abs() <= ROUNDING * radius);
            let length = norm_of_all(&momenta);
            for (found, momentum) in moves.iter().zip(&momenta) {
                let factor = signed(&config) / length / gbar.unwrap();
                let expected: Vec<f64> = momentum.iter().map(|m| factor * m).collect();
                // Momenta of opposite signs may cancel.
                agree(found, &expected, 1e2 * radius)?;
            }
            prop_assert!(mgpo.noise(0, 0).is_none() && mgpo.merged_move(0).is_none());
            prop_assert!(!mgpo.ascend(&layers), "one pass is enough");
        }
    }

    /// Layer by layer, `+- rho D / ||D|| min(1 / gbar_l, 10)` with `D = s ( m_B A + B m_A )`
    /// and gbar_l the mean norm of equation 7 over micro-batches; none at the first step.
    #[test]
    fn mgpo_moves_the_merged_weights_by_the_capped_radius(
        seed: u64, config in any_mgpo(Space::Merged), on_base: bool, size in -3.0..1.0_f64,
    ) {
        let mut layers = Layers(vec![
            adapted::<f64>(0, seed, (5, 7), 2, on_base),
            adapted::<f64>(0, seed ^ 1, (4, 6), 3, false),
        ]);
        let mut mgpo = Mgpo::new(config).unwrap();
        mgpo.begin_step(0, &layers);
        prop_assert!(mgpo.merged_move(0).is_none(), "there is no momentum yet");
        let mut gbar = [None; 2];
        for step in 1..STEPS {
            // Two micro-batches.
            for part in 0..2 {
                layers.stir(seed, 2 * step + part, 10.0_f64.powf(size));
                mgpo.observe(&layers);
                for (gbar, layer) in gbar.iter_mut().zip(&layers.0) {
                    average(gbar, norm(&layer.estimated_gradient()), config.beta);
                }
            }
            mgpo.begin_step(step, &layers);
            for (index, layer) in layers.0.iter().enumerate() {
                let [m_a, m_b] = [0, 1].map(|factor: usize| {
                    let momentum = layer.momenta.as_ref().unwrap()[factor].clone();
                    let dim = view2(layer.adapter.factors()[factor].1).dim();
                    Array2::from_shape_vec(dim, momentum).unwrap()
                });
                let (a, b) = (view2(&layer.acting.a), view2(&layer.acting.b));
                let d = 1.5 * (m_b.dot(&a) + b.dot(&m_a));
                let radius = config.rho * (1.0 / gbar[index].unwrap()).min(10.0);
                let found = mgpo.merged_move(index).unwrap();
                let found = found.up.dot(&found.down);
                // Norms by Gram products: their terms may cancel to a hundredth.
                prop_assert!((norm(&found) - radius).abs() <= 1e-9 * radius);
                let factor = signed(&config) / config.rho * radius / norm(&d);
                agree(&found, &(d * factor), 1e3 * radius)?;
            }
            prop_assert!(mgpo.noise(0, 0).is_none() && mgpo.factor_moves(0).is_none());
        }
    }
}

/// A gradient that is 0 once beta = 0 leaves no mean norm: no move, and no NaN.
#[test]
fn mgpo_without_a_mean_norm_does_not_move() {
    let config = MgpoConfig {
        beta: 0.0,
        ..MgpoConfig::default()
    };
    let mut layers = Layers(vec![adapted::<f64>(0, 1, (3, 4), 2, false)]);
    let mut mgpo = Mgpo::new(config).unwrap();
    layers.stir(1, 1, 1.0);
    mgpo.begin_step(1, &layers);
    assert!(mgpo.factor_moves(0).is_some());
    layers.0[0].set_gradient(&Array2::zeros((3, 4)));
    mgpo.begin_step(2, &layers);
    assert!(mgpo.factor_moves(0).is_none());
}
