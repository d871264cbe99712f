//! `y = mean over the targets of (ln sum exp(x) - x[target])`, x a row of logits.
//!
//! Rows without a target are ignored. Backward, for each of the `count` rows
//! with one: `dx = dy (exp(x - ln sum exp(x)) - onehot(target)) / count`.
//! Saved are the logits and one logarithm per row, not the probabilities.

use ggpo_tensor::parallel::{for_costly_row_pieces, for_row_pieces};
use ggpo_tensor::softmax::log_sum_exp;
use ggpo_tensor::{Scalar, Tensor, flat, reduce, tensor, view2};

use crate::{Operation, Var};

struct CrossEntropy<T> {
    logits: Tensor<T>,
    targets: Vec<Option<usize>>,
    /// `ln sum exp` of each row that has a target.
    log_sums: Vec<T>,
    /// Number of targets.
    count: usize,
}

impl<T: Scalar> Operation<T> for CrossEntropy<T> {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        let logits = flat(&self.logits);
        let classes = view2(&self.logits).ncols();
        let mut out = vec![T::ZERO; logits.len()];
        if self.count > 0 {
            let factor = flat(&gradient)[0] / T::from_f64(self.count as f64);
            for_row_pieces(&mut out, classes, |first, rows| {
                for (offset, dx) in rows.chunks_exact_mut(classes).enumerate() {
                    let row = first + offset;
                    let Some(target) = self.targets[row] else {
                        continue;
                    };
                    let log_sum = self.log_sums[row];
                    for (dx, &x) in dx.iter_mut().zip(&logits[row * classes..]) {
                        *dx = factor * (x - log_sum).exp();
                    }
                    dx[target] -= factor;
                }
            });
        }
        vec![Some(tensor(self.logits.shape(), out))]
    }
}

/// The mean cross-entropy, in nats, of `logits` (rows x classes) against one
/// class per row, of shape `[1]`. Rows whose target is `None` count neither in
/// the sum nor in the mean; without any target the loss and its gradient are 0.
///
/// # Panics
/// If there is not one target per row, or a target is not below the number of
/// classes.
pub fn cross_entropy<T: Scalar>(logits: &Var<T>, targets: &[Option<usize>]) -> Var<T> {
    cross_entropies(logits, targets).0
}

/// [`cross_entropy`], and the loss of every row that has a target, of which it is the mean.
///
/// # Panics
/// As [`cross_entropy`].
pub fn cross_entropies<T: Scalar>(logits: &Var<T>, targets: &[Option<usize>]) -> (Var<T>, Vec<T>) {
    let (rows, classes) = view2(logits.value()).dim();
    assert_eq!(rows, targets.len(), "cross-entropy: rows and targets");
    for &target in targets.iter().flatten() {
        assert!(target < classes, "target {target} among {classes} classes");
    }
    let x = flat(logits.value());
    let mut log_sums = vec![T::ZERO; rows];
    for_costly_row_pieces(&mut log_sums, 1, classes, |first, piece| {
        for (row, log_sum) in (first..).zip(piece) {
            if targets[row].is_some() {
                *log_sum = log_sum_exp(&x[row * classes..][..classes]);
            }
        }
    });
    let losses: Vec<T> = (0..rows)
        .filter_map(|row| Some(log_sums[row] - x[row * classes + targets[row]?]))
        .collect();
    let count = losses.len();
    let value = reduce::sum(&losses) / T::from_f64(count.max(1) as f64);
    let mean = logits
        .tape()
        .record(&[logits], tensor(&[1], vec![value]), || CrossEntropy {
            logits: logits.value().clone(),
            targets: targets.to_vec(),
            log_sums,
            count,
        });
    (mean, losses)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::testing::normal;
    use crate::{Tape, gradcheck};

    proptest! {
        #[test]
        fn cross_entropy_agrees_with_differences(
            targets in prop::collection::vec(prop::option::of(0..4usize), 1..6), seed: u64,
        ) {
            let logits = normal(seed, &[targets.len(), 4]);
            gradcheck(&[logits], |_, v| cross_entropy(&v[0], &targets)).unwrap();
        }
    }

    fn loss_and_gradient(
        shape: &[usize],
        logits: Vec<f32>,
        targets: &[Option<usize>],
    ) -> (f32, Tensor<f32>) {
        let tape = Tape::new();
        let logits = tape.leaf(tensor(shape, logits));
        let loss = cross_entropy(&logits, targets);
        (loss.item(), tape.backward(&loss).take(&logits).unwrap())
    }

    #[test]
    fn without_targets_loss_and_gradient_are_zero() {
        let (loss, gradient) =
            loss_and_gradient(&[2, 2], vec![1.0, 2.0, 3.0, f32::NAN], &[None; 2]);
        assert_eq!(loss, 0.0);
        assert!(gradient.iter().all(|&g| g == 0.0));
        let (loss, gradient) = loss_and_gradient(&[0, 3], vec![], &[]);
        assert_eq!((loss, gradient.shape()), (0.0, &[0, 3][..]));
    }

    #[test]
    fn large_logits_neither_overflow_nor_vanish() {
        let logits = vec![1e4, 0.0, -1e4, -2e4, -2e4, -1e4];
        let (loss, gradient) = loss_and_gradient(&[2, 3], logits, &[Some(1), Some(2)]);
        // 10^4 and 0, averaged; exact, since the other exponentials are 0.
        assert_eq!(loss, 5e3);
        assert_eq!(flat(&gradient), [0.5, -0.5, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "target 3 among 3 classes")]
    fn a_target_beyond_the_classes_is_refused() {
        loss_and_gradient(&[1, 3], vec![0.0; 3], &[Some(3)]);
    }
}
