//! Laws of EFlat-LoRA.

use ggpo_lora::Perturbation;
use ggpo_lora::perturbation::{EfmLora, EfmLoraConfig};
use proptest::prelude::*;

use super::*;

/// The inverse of a positive definite matrix, by Gauss and Jordan.
fn inverse(matrix: &Array2<f64>) -> Array2<f64> {
    let size = matrix.nrows();
    let (mut left, mut right) = (matrix.clone(), Array2::eye(size));
    for k in 0..size {
        let pivot = left[[k, k]];
        for side in [&mut left, &mut right] {
            side.row_mut(k).map_inplace(|x| *x /= pivot);
        }
        for i in (0..size).filter(|&i| i != k) {
            let factor = left[[i, k]];
            for side in [&mut left, &mut right] {
                let row = side.row(k).to_owned();
                side.row_mut(i).scaled_add(-factor, &row);
            }
        }
    }
    right
}

/// `X^+ = X^T (X X^T)^-1` of a matrix of independent rows.
fn wide_inverse(x: &Array2<f64>) -> Array2<f64> {
    x.t().dot(&inverse(&x.dot(&x.t())))
}

/// `X^+ = (X^T X)^-1 X^T` of a matrix of independent columns, or 0 of 0.
fn tall_inverse(x: &Array2<f64>) -> Array2<f64> {
    match x.iter().all(|&x| x == 0.0) {
        true => Array2::zeros((x.ncols(), x.nrows())),
        false => inverse(&x.t().dot(x)).dot(&x.t()),
    }
}

/// `E_W A^+ / s` with `E_W = rho g_W / ||g_W||`,
/// `g_W = ( dB (A^T)^+ / s + (B^T)^+ dA / s ) / 2`, everything formed.
fn newest(layer: &Adapted<f64>, rho: f64) -> Array2<f64> {
    let (_, gradients) = layer.gradients.as_ref().unwrap();
    let [a, b, da, db] =
        [&layer.acting.a, &layer.acting.b, &gradients.a, &gradients.b].map(|x| view2(x).to_owned());
    let s = layer.acting.scaling;
    let a_inverse = wide_inverse(&a);
    let from_b = db.dot(&a_inverse.t()) / s;
    let from_a = tall_inverse(&b).t().dot(&da) / s;
    let g_w = (from_b + from_a) / 2.0;
    let e_w = &g_w * (rho / norm(&g_w));
    e_w.dot(&a_inverse) / s
}

proptest! {
    /// `E_B <- (1 - b) E_B + b E_W A^+ / s` layer by layer, and A stays. The sides of the
    /// factors are far enough apart for condition numbers of some tens, whose square
    /// multiplies the rounding.
    #[test]
    fn efm_lora_is_the_dense_calculation(
        seed: u64, rho in 1e-3..1.0_f64, b in 0.05..=1.0_f64, rank in 1_usize..4,
        at_start: bool, on_base: bool,
    ) {
        let mut layers = Layers(vec![
            adapted::<f64>(0, seed, (9, 12), rank, on_base),
            adapted::<f64>(0, seed ^ 1, (10, 11), rank, false),
        ]);
        if at_start {
            for layer in &mut layers.0 {
                let mut adapter = layer.adapter.clone();
                adapter.factor_mut(ggpo_lora::adapter::lora::B).unwrap().fill(0.0);
                *layer = Adapted::new(layer.weight.clone(), adapter);
            }
        }
        let mut efm = EfmLora::new(EfmLoraConfig { rho, b }).unwrap();
        efm.begin_step(0, &layers);
        prop_assert!(efm.factor_moves(0).is_none(), "there is no gradient yet");
        let mut expected = [Array2::zeros((9, rank)), Array2::zeros((10, rank))];
        for step in 1..4 {
            layers.stir(seed, step, 1.0);
            efm.begin_step(step, &layers);
            for (index, (mean, layer)) in expected.iter_mut().zip(&layers.0).enumerate() {
                *mean = (1.0 - b) * &*mean + b * newest(layer, rho);
                let [of_a, of_b] = efm.factor_moves(index).unwrap() else {
                    panic!("there are two factors");
                };
                prop_assert!(of_a.is_empty());
                for (x, y) in of_b.iter().zip(&*mean) {
                    prop_assert!((x - y).abs() <= 1e-9 * norm(mean), "{x} {y}");
                }
            }
        }
    }
}

/// A layer without a slope keeps its place, and the others move.
#[test]
fn efm_lora_goes_past_layers_without_a_slope() {
    let layer = adapted::<f64>(0, 3, (5, 6), 2, false);
    let mut layers = Layers(vec![layer.clone(), layer]);
    layers.stir(1, 1, 1.0);
    layers.0[0].set_gradient(&Array2::zeros((5, 6)));
    let mut efm = EfmLora::new(EfmLoraConfig::default()).unwrap();
    efm.begin_step(1, &layers);
    assert!(efm.factor_moves(0).unwrap().iter().all(Vec::is_empty));
    assert_eq!(efm.factor_moves(1).unwrap()[1].len(), 10);
    layers.stir(1, 2, 1.0);
    efm.begin_step(2, &layers);
    assert_eq!(efm.factor_moves(0).unwrap()[1].len(), 10);
}
