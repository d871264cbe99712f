//! Two linear layers.

use ndarray::{Array1, Array2, Axis, concatenate};
use proptest::prelude::*;

use super::rig::{self, Strength};
use super::{ROUNDING, Regression, agree, diagonal, mean_over_noise, norm, size, squares, trace};
use crate::common::normal;

/// Two linear layers, `y = x W1^T W2^T`, under the squared loss.
#[derive(Clone, Debug)]
struct Two {
    w1: Array2<f64>,
    w2: Array2<f64>,
}

impl Two {
    fn random(seed: u64, inputs: usize, hidden: usize, outputs: usize) -> Self {
        Two {
            w1: normal(seed, 20, hidden, inputs),
            w2: normal(seed, 21, outputs, hidden),
        }
    }

    /// The roots of v1 and v2, of lengths hidden and outputs.
    fn deviations(&self, sigma: f64) -> [Vec<f64>; 2] {
        let strength = Strength::weights_only(sigma);
        [&self.w1, &self.w2].map(|w| rig::deviations(&rig::full(w), strength))
    }

    fn loss(&self, data: &Regression) -> f64 {
        data.loss(&self.w2.dot(&self.w1))
    }

    /// dL/dW1 = W2^T G and dL/dW2 = G W1^T, in one column.
    fn gradient(&self, data: &Regression) -> Array2<f64> {
        let whole = data.gradient(&self.w2.dot(&self.w1));
        column(&self.w2.t().dot(&whole), &whole.dot(&self.w1.t()))
    }

    /// `E f(W1 + eps1, W2 + eps2)`, and the largest element averaged. Exact for f
    /// of degree up to 3 in either.
    fn mean(
        &self,
        deviations: &[Vec<f64>; 2],
        f: impl Fn(&Two) -> Array2<f64>,
    ) -> (Array2<f64>, f64) {
        let largest = std::cell::Cell::new(0.0_f64);
        let [first, second] = deviations;
        let outer = mean_over_noise(first, self.w1.ncols(), |eps1| {
            let inner = mean_over_noise(second, self.w2.ncols(), |eps2| {
                f(&Two {
                    w1: &self.w1 + eps1,
                    w2: &self.w2 + eps2,
                })
            });
            largest.set(largest.get().max(inner.largest));
            inner.value
        });
        (outer.value, largest.get())
    }

    /// What held noise of these deviations adds to the mean gradient.
    fn mean_field(&self, data: &Regression, deviations: &[Vec<f64>; 2]) -> Array2<f64> {
        self.mean(deviations, |two| two.gradient(data)).0 - self.gradient(data)
    }
}

/// All elements of two matrices, one below the other.
fn column(first: &Array2<f64>, second: &Array2<f64>) -> Array2<f64> {
    let elements: Vec<f64> = first.iter().chain(second).copied().collect();
    Array1::from(elements).insert_axis(Axis(1))
}

fn total(numbers: &[f64]) -> f64 {
    numbers.iter().sum()
}

proptest! {
    // Each case averages over hundreds of networks.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Law 4: with two linear layers
    /// `E L = L + (1/2) [ tr C sum_i v1_i ||W2_:i||^2 + sum_o v2_o tr(W1 C W1^T)
    /// + tr C sum_o v2_o sum_i v1_i ]`.
    ///
    /// L is of degree 2 in either noise, so the mean is exact; only rounding of
    /// the losses averaged is allowed.
    #[test]
    fn law_4_the_expected_loss_of_two_layers(
        seed: u64, inputs in 1_usize..=4, hidden in 1_usize..=4, outputs in 1_usize..=3,
        count in 1_usize..=8, sigma in 0.01..2.0_f64,
    ) {
        let two = Two::random(seed, inputs, hidden, outputs);
        let data = Regression::random(seed, count, inputs, outputs);
        let deviations = two.deviations(sigma);
        let [v1, v2] = deviations.each_ref().map(|std| squares(std));
        let c = data.covariance();

        let columns = two.w2.t().dot(&two.w2);
        let through_second = trace(&c) * total(&Vec::from_iter((0..hidden).map(|i| v1[i] * columns[[i, i]])));
        let through_first = total(&v2) * trace(&two.w1.dot(&c).dot(&two.w1.t()));
        let both = trace(&c) * total(&v2) * total(&v1);
        let expected = two.loss(&data) + 0.5 * (through_second + through_first + both);

        let (mean, largest) = two.mean(&deviations, |two| Array2::from_elem((1, 1), two.loss(&data)));
        agree(&mean, &Array2::from_elem((1, 1), expected), 10.0 * largest)?;
    }

    /// Law 4, the gradient: each layer is decayed by the norms of its neighbour.
    /// Held noise adds `sum_o v2_o W1 C` to the mean gradient of W1, where
    /// `sum_o v2_o = sigma^2 ||W2||^2 / hidden`, and `tr C W2 D_v1` to that of
    /// W2. Here, unlike in one layer, held noise does regularise.
    ///
    /// The gradient is of degree 2 in either noise: exact but for rounding.
    #[test]
    fn law_4_held_noise_decays_each_layer_by_the_norms_of_its_neighbour(
        seed: u64, inputs in 1_usize..=4, hidden in 1_usize..=4, outputs in 1_usize..=3,
        count in 1_usize..=8, sigma in 0.01..2.0_f64,
    ) {
        let two = Two::random(seed, inputs, hidden, outputs);
        let data = Regression::random(seed, count, inputs, outputs);
        let deviations = two.deviations(sigma);
        let v1 = squares(&deviations[0]);
        let c = data.covariance();
        let strength = (sigma * norm(&two.w2)).powi(2) / hidden as f64;
        let first = strength * two.w1.dot(&c);
        let second = trace(&c) * two.w2.dot(&diagonal(&v1));
        let (mean, largest) = two.mean(&deviations, |two| two.gradient(&data));
        agree(&(mean - two.gradient(&data)), &column(&first, &second), 10.0 * largest)?;
        // Decay: neither layer is pushed outwards.
        prop_assert!((&first * &two.w1).sum() >= 0.0 && (&second * &two.w2).sum() >= 0.0);
    }
}

/// The antisymmetric part `J - J^T` of the Jacobian of a field over the weights
/// of two layers.
///
/// Differences over five points are exact for polynomials of degree up to 4, so
/// the step can be large and there is no error but rounding.
fn curl(at: &Two, field: impl Fn(&Two) -> Array2<f64>) -> Array2<f64> {
    let step = 0.5;
    let moved = |index: usize, by: f64| {
        let mut two = at.clone();
        let elements = two.w1.iter_mut().chain(two.w2.iter_mut());
        *elements.into_iter().nth(index).unwrap() += by;
        field(&two)
    };
    let count = at.w1.len() + at.w2.len();
    let columns: Vec<Array2<f64>> = (0..count)
        .map(|index| {
            let near = moved(index, step) - moved(index, -step);
            let far = moved(index, 2.0 * step) - moved(index, -2.0 * step);
            (8.0 * near - far) / (12.0 * step)
        })
        .collect();
    let views: Vec<_> = columns.iter().map(|column| column.view()).collect();
    let jacobian = concatenate(Axis(1), &views).unwrap();
    &jacobian - &jacobian.t()
}

/// Law 6: held noise descends no fixed function in general. Its mean field
/// `(1/2) sum_i v_i grad h_i`, h_i the trace of the loss's Hessian over row i,
/// has the curl `(1/2) sum_i (grad h_i grad v_i^T - grad v_i grad h_i^T)`.
///
/// On two layers of 2 x 2 the field is exact (law 4), of degree 3 in each
/// weight, and so is its Jacobian but for rounding. The curl is there, it is the
/// one of the formula, and it is gone when v is constant.
#[test]
fn law_6_held_noise_descends_no_function() {
    let two = Two::random(6, 2, 2, 2);
    let data = Regression::random(6, 5, 2, 2);
    let (sigma, c) = (1.0, data.covariance());
    let found = curl(&two, |two| two.mean_field(&data, &two.deviations(sigma)));

    // h of row i of W1 is tr C ||W2_:i||^2 and v1_i = sigma^2 ||W1_i||^2 / 2; of
    // row o of W2 they are tr(W1 C W1^T) and sigma^2 ||W2_o||^2 / 2.
    let zero = Array2::<f64>::zeros((2, 2));
    let keep_row = |w: &Array2<f64>, row: usize| {
        Array2::from_shape_fn(w.dim(), |(i, j)| if i == row { w[[i, j]] } else { 0.0 })
    };
    let mut expected = Array2::<f64>::zeros((8, 8));
    for row in 0..2 {
        let grad_v1 = column(&keep_row(&two.w1, row), &zero);
        let column_of_w2 = keep_row(&two.w2.t().to_owned(), row).t().to_owned();
        let grad_h1 = column(&zero, &(2.0 * trace(&c) * column_of_w2));
        let grad_v2 = column(&zero, &keep_row(&two.w2, row));
        let grad_h2 = column(&(2.0 * two.w1.dot(&c)), &zero);
        for (v, h) in [(grad_v1, grad_h1), (grad_v2, grad_h2)] {
            // Not parallel: the one has zeros where the other has not.
            assert!(size(&v) > 0.1 && size(&h) > 0.1 && size(&(&v * &h)) == 0.0);
            let product = h.dot(&v.t());
            expected = expected + 0.5 * (&product - &product.t());
        }
    }
    // The noise is averaged over points whose gradients reach some hundreds.
    let rounding = 1e3 * ROUNDING;
    assert!(
        size(&(&found - &expected)) <= rounding,
        "{found} {expected}"
    );
    assert!(size(&found) > 0.1, "well above rounding: {found}");

    let fixed = two.deviations(sigma);
    let constant = curl(&two, |two| two.mean_field(&data, &fixed));
    assert!(size(&constant) <= rounding, "{constant}");
}

/// Law 6, its limit: the rows' terms may cancel. In a chain of two weights,
/// `L = (w2 w1 x - y)^2 / 2`, neither grad v is parallel to its grad h, and yet
/// the mean field has no curl: it is the gradient of
/// `(1/2) sigma^2 x^2 w1^2 w2^2`.
#[test]
fn law_6_the_curls_of_two_layers_can_cancel() {
    let two = Two::random(9, 1, 1, 1);
    let data = Regression::random(9, 1, 1, 1);
    let field = |two: &Two| two.mean_field(&data, &two.deviations(0.7));
    assert!(size(&curl(&two, field)) <= 1e3 * ROUNDING);
    let (w1, w2, c) = (two.w1[[0, 0]], two.w2[[0, 0]], data.covariance()[[0, 0]]);
    let strength = 0.49 * c * w1 * w2;
    let expected = column(
        &Array2::from_elem((1, 1), strength * w2),
        &Array2::from_elem((1, 1), strength * w1),
    );
    assert!(size(&(field(&two) - expected)) <= 10.0 * ROUNDING);
    assert!(strength.abs() > 1e-3);
}
