//! `y = mean over the rows of (ln sum exp(z) - z[target])` with `z = x Wᵀ + b`.
//!
//! This is [`linear`](super::linear) followed by
//! [`cross_entropy`](super::cross_entropy) for a large vocabulary: the logits z
//! are never stored. With P the softmax of z and O the one-hot rows of the
//! targets, and `count` the number of rows:
//!
//! ```text
//! dx = dy (P - O) W / count      dW = dy (P - O)ᵀ x / count
//! db = dy sum of the rows of (P - O) / count
//! ```
//!
//! `(P - O) W` is calculated with the loss, when the logits of a block of W are
//! at hand, and saved, as large as x: two products for loss and dx. dW and db
//! need the whole sum first, so backward calculates the logits once more.

use ggpo_tensor::cross_entropy::{LogitLayer, Statistics};
use ggpo_tensor::{Scalar, Tensor, flat, reduce, tensor, view2};
use ndarray::Array2;

use super::Weight;
use super::weight::SavedWeight;
use crate::{Operation, Var};

struct LinearCrossEntropy<T> {
    /// `(P - O) W`, if the states need a gradient.
    state_gradient: Option<Array2<T>>,
    /// Saved only if the weight or the bias needs a gradient.
    again: Option<Again<T>>,
    /// Number of targets.
    count: usize,
}

/// What the logits are calculated from once more.
struct Again<T> {
    states: Tensor<T>,
    weight: SavedWeight<T>,
    bias: Option<Tensor<T>>,
    targets: Vec<usize>,
    log_sums: Vec<T>,
}

impl<T: Scalar> Operation<T> for LinearCrossEntropy<T> {
    fn name(&self) -> &'static str {
        "linear_cross_entropy"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, needed: &[bool]) -> Vec<Option<Tensor<T>>> {
        let factor = flat(&gradient)[0] / T::from_f64(self.count.max(1) as f64);
        let dx = self.state_gradient.filter(|_| needed[0]).map(|mut dx| {
            dx.map_inplace(|dx| *dx *= factor);
            dx.into_dyn().into_shared()
        });
        let bias_needed = needed.get(2).copied().unwrap_or(false);
        let (dw, db) = self.again.map_or((None, None), |again| {
            let head = LogitLayer {
                weight: again.weight.view(),
                bias: again.bias.as_ref().map(flat),
            };
            let states = view2(&again.states);
            let wanted = [needed[1], bias_needed];
            head.gradients(states, &again.targets, &again.log_sums, factor, wanted)
        });
        let mut gradients = vec![dx, dw.map(|dw| dw.into_dyn().into_shared())];
        if needed.len() > 2 {
            gradients.push(db.map(|db| tensor(&[db.len()], db)));
        }
        gradients
    }
}

/// The mean cross-entropy, in nats, of the logits `states weightᵀ + bias`
/// against one class per row, of shape `[1]`: `states` is rows x in, `weight`
/// classes x in, `bias` classes. Without any row the loss and its gradient are 0.
///
/// # Panics
/// If the shapes do not fit, there is not one target per row, or a target is not
/// below the number of classes.
pub fn linear_cross_entropy<'a, T: Scalar>(
    states: &Var<T>,
    weight: impl Into<Weight<'a, T>>,
    bias: Option<&Var<T>>,
    targets: &[usize],
) -> Var<T> {
    linear_cross_entropies(states, weight, bias, targets).0
}

/// [`linear_cross_entropy`], and the loss of every row, of which it is the mean.
///
/// # Panics
/// As [`linear_cross_entropy`].
pub fn linear_cross_entropies<'a, T: Scalar>(
    states: &Var<T>,
    weight: impl Into<Weight<'a, T>>,
    bias: Option<&Var<T>>,
    targets: &[usize],
) -> (Var<T>, Vec<T>) {
    let weight = weight.into();
    let head = LogitLayer {
        weight: weight.view(),
        bias: bias.map(|bias| flat(bias.value())),
    };
    let Statistics {
        log_sums,
        chosen,
        mean_rows,
    } = head.statistics(view2(states.value()), targets, states.needs_gradient());
    let losses: Vec<T> = log_sums.iter().zip(&chosen).map(|(&l, &c)| l - c).collect();
    let count = targets.len();
    let value = reduce::sum(&losses) / T::from_f64(count.max(1) as f64);

    let weight_input = weight.input(states.tape());
    let mut inputs = vec![states, &weight_input];
    inputs.extend(bias);
    let again = weight.needs_gradient() || bias.is_some_and(Var::needs_gradient);
    let mean = states
        .tape()
        .record(&inputs, tensor(&[1], vec![value]), || LinearCrossEntropy {
            state_gradient: mean_rows.map(|means| means - head.weight.rows(targets)),
            again: again.then(|| Again {
                states: states.value().clone(),
                weight: weight.saved(),
                bias: bias.map(|bias| bias.value().clone()),
                targets: targets.to_vec(),
                log_sums,
            }),
            count,
        });
    (mean, losses)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::testing::{normal, quantized};
    use crate::ops::{cross_entropy, linear};
    use crate::{Tape, gradcheck};

    /// Loss and gradients of states, weight and bias, of the leaves among them.
    fn results(
        inputs: &[Tensor<f64>; 3],
        leaves: [bool; 3],
        loss: impl Fn(&[Var<f64>; 3]) -> Var<f64>,
    ) -> (f64, [Option<Tensor<f64>>; 3]) {
        let tape = Tape::new();
        let variables = [0, 1, 2].map(|i| match leaves[i] {
            true => tape.leaf(inputs[i].clone()),
            false => tape.constant(inputs[i].clone()),
        });
        let loss = loss(&variables);
        let mut gradients = tape.backward(&loss);
        (loss.item(), variables.map(|v| gradients.take(&v)))
    }

    fn some(targets: &[usize]) -> Vec<Option<usize>> {
        targets.iter().copied().map(Some).collect()
    }

    fn close(a: &Tensor<f64>, b: &Tensor<f64>) -> bool {
        a.shape() == b.shape() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12)
    }

    proptest! {
        #[test]
        fn linear_cross_entropy_agrees_with_differences(
            targets in prop::collection::vec(0..4usize, 0..6), inputs in 1..5usize, seed: u64,
        ) {
            let inputs = [
                normal(seed, &[targets.len(), inputs]),
                normal(seed ^ 1, &[4, inputs]),
                normal(seed ^ 2, &[4]),
            ];
            gradcheck(&inputs, |_, v| {
                linear_cross_entropy(&v[0], &v[1], Some(&v[2]), &targets)
            })
            .unwrap();
            gradcheck(&inputs[..2], |_, v| linear_cross_entropy(&v[0], &v[1], None, &targets))
                .unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Several blocks of the weight, several pieces of the states, logits
        /// far from 0.
        #[test]
        fn the_logits_need_not_exist(
            rows in prop::sample::select(vec![1, 48, 49, 300]),
            classes in prop::sample::select(vec![1, 767, 768, 769, 2000]),
            leaves in prop::sample::select(vec![
                [true, false, false], [false, true, false], [false, false, true], [true; 3],
            ]),
            shift in -500.0..500.0_f64, seed: u64,
        ) {
            let targets: Vec<usize> = (0..rows).map(|row| row * row * 31 % classes).collect();
            let bias = normal(seed ^ 2, &[classes]).mapv(|b| 9.0 * b + shift).into_shared();
            let inputs = [normal(seed, &[rows, 7]), normal(seed ^ 1, &[classes, 7]), bias];
            let (fused, d_fused) = results(&inputs, leaves, |[x, w, b]| {
                linear_cross_entropy(x, w, Some(b), &targets)
            });
            let (plain, d_plain) = results(&inputs, leaves, |[x, w, b]| {
                cross_entropy(&linear(x, w, Some(b)), &some(&targets))
            });
            prop_assert!((fused - plain).abs() < 1e-11, "{fused} or {plain}");
            for (fused, plain) in d_fused.iter().zip(&d_plain) {
                prop_assert_eq!(fused.is_some(), plain.is_some());
                if let (Some(fused), Some(plain)) = (fused, plain) {
                    prop_assert!(close(fused, plain));
                }
            }
        }

        #[test]
        fn a_quantised_weight_acts_as_the_numbers_it_stands_for(
            rows in prop::sample::select(vec![3, 60]), classes in 1..1500usize, seed: u64,
        ) {
            let weight = quantized(seed, classes, 64);
            let targets: Vec<usize> = (0..rows).map(|row| row * 17 % classes).collect();
            let dense = weight.dequantize().into_dyn().into_shared();
            let inputs = [normal(seed, &[rows, 64]), dense, normal(!seed, &[classes])];
            let leaves = [true, false, true];
            let (from_blocks, d_blocks) = results(&inputs, leaves, |[x, _, b]| {
                linear_cross_entropy(x, &weight, Some(b), &targets)
            });
            let (from_numbers, d_numbers) = results(&inputs, leaves, |[x, w, b]| {
                linear_cross_entropy(x, w, Some(b), &targets)
            });
            prop_assert!((from_blocks - from_numbers).abs() < 1e-12);
            for i in [0, 2] {
                prop_assert!(close(d_blocks[i].as_ref().unwrap(), d_numbers[i].as_ref().unwrap()));
            }
        }
    }

    #[test]
    fn large_logits_neither_overflow_nor_vanish() {
        // Logits 0, -10^4 and 10^4; exact, since the other exponentials are 0.
        let inputs = [
            tensor(&[1, 1], vec![1e4]),
            tensor(&[3, 1], vec![0.0, -1.0, 1.0]),
            tensor(&[3], vec![0.0; 3]),
        ];
        let (loss, [dx, dw, db]) = results(&inputs, [true; 3], |[x, w, b]| {
            linear_cross_entropy(x, w, Some(b), &[0])
        });
        assert_eq!(loss, 1e4);
        assert_eq!(flat(&dx.unwrap()), [1.0]);
        assert_eq!(flat(&dw.unwrap()), [-1e4, 0.0, 1e4]);
        assert_eq!(flat(&db.unwrap()), [-1.0, 0.0, 1.0]);
    }

    #[test]
    fn a_frozen_head_saves_neither_states_nor_weight() {
        let tape = Tape::new();
        let [x, w] = [normal(1, &[3, 4]), normal(2, &[5, 4])];
        let (states, weight) = (tape.leaf(x), tape.constant(w));
        let loss = linear_cross_entropy(&states, &weight, None, &[0, 4, 2]);
        let [states, weight] = [states, weight].map(|v| v.value().clone());
        for value in [states, weight] {
            assert!(value.try_into_owned_nocopy().is_ok(), "the tape holds it");
        }
        drop(loss);
    }

    #[test]
    #[should_panic(expected = "target 3 among 3 classes")]
    fn a_target_beyond_the_classes_is_refused() {
        let tape = Tape::new();
        let [x, w] = [normal(1, &[1, 2]), normal(2, &[3, 2])].map(|x| tape.leaf(x));
        linear_cross_entropy(&x, &w, None, &[3]);
    }
}
