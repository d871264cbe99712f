//! `y_i = (m_i / n_i) z_i + b_i` for every output i: DoRA's magnitude m on the
//! direction of a row.
//!
//! `z` is ... x m, the product with the weight; `n` is the norm of the weight's rows,
//! which counts as a constant. Where the norm is 0, so is the factor.
//!
//! Backward: `dz_i = (m_i / n_i) dy_i`, `dm_i = sum over tokens of dy_i z_i / n_i`,
//! `db = sum of the rows of dy`.

use ggpo_tensor::reduce::sum_rows;
use ggpo_tensor::{Scalar, Tensor, flat, tensor, view2};
use ndarray::Axis;
use rayon::prelude::*;

use crate::{Operation, Saved, Var};

/// Rows that one thread takes at a time.
const PIECE_ROWS: usize = 64;

struct Magnitude<T> {
    /// Saved only if m needs a gradient.
    z: Option<Saved<T>>,
    /// `m_i / n_i`.
    factors: Vec<T>,
    /// `1 / n_i`, or 0.
    inverse_norms: Vec<T>,
}

impl<T: Scalar> Operation<T> for Magnitude<T> {
    fn name(&self) -> &'static str {
        "magnitude"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, needed: &[bool]) -> Vec<Option<Tensor<T>>> {
        let dy = view2(&gradient);
        let outputs = dy.ncols();
        let db = needed
            .get(2)
            .map(|bias| bias.then(|| tensor(&[outputs], sum_rows(dy))));
        let dm = needed[1].then(|| {
            let z = self
                .z
                .as_ref()
                .expect("saved for the gradient of m")
                .value();
            let z = view2(&z);
            let parts: Vec<Vec<T>> = dy
                .axis_chunks_iter(Axis(0), PIECE_ROWS)
                .into_par_iter()
                .zip(z.axis_chunks_iter(Axis(0), PIECE_ROWS))
                .map(|(dy, z)| {
                    let mut sums = vec![T::ZERO; outputs];
                    for (dy, z) in dy.outer_iter().zip(z.outer_iter()) {
                        for ((sum, &dy), &z) in sums.iter_mut().zip(dy).zip(z) {
                            *sum += dy * z;
                        }
                    }
                    sums
                })
                .collect();
            let mut dm = vec![T::ZERO; outputs];
            for part in parts {
                for (dm, part) in dm.iter_mut().zip(part) {
                    *dm += part;
                }
            }
            for (dm, &inverse) in dm.iter_mut().zip(&self.inverse_norms) {
                *dm *= inverse;
            }
            tensor(&[outputs], dm)
        });
        let dz = needed[0].then(|| scaled(gradient, &self.factors, None));
        let mut gradients = vec![dz, dm];
        gradients.extend(db);
        gradients
    }
}

/// `factors_i z_i + bias_i`, in place where nobody shares `z`.
fn scaled<T: Scalar>(mut z: Tensor<T>, factors: &[T], bias: Option<&[T]>) -> Tensor<T> {
    let outputs = factors.len();
    if outputs == 0 {
        return z;
    }
    let elements = z.as_slice_mut().expect("standard layout");
    elements
        .par_chunks_mut(PIECE_ROWS * outputs)
        .for_each(|piece| {
            for row in piece.chunks_exact_mut(outputs) {
                match bias {
                    None => {
                        for (z, &factor) in row.iter_mut().zip(factors) {
                            *z *= factor;
                        }
                    }
                    Some(bias) => {
                        for ((z, &factor), &bias) in row.iter_mut().zip(factors).zip(bias) {
                            *z = factor * *z + bias;
                        }
                    }
                }
            }
        });
    z
}

/// The outputs `z` (... x m) of a weight whose rows have the norms `norms` (m), with
/// the magnitudes `magnitude` (m) in their place, and `bias` (m) added.
///
/// # Panics
/// If the shapes do not fit.
pub fn magnitude<T: Scalar>(
    z: &Var<T>,
    magnitude: &Var<T>,
    norms: &[T],
    bias: Option<&Var<T>>,
) -> Var<T> {
    let outputs = norms.len();
    assert_eq!(z.shape().last(), Some(&outputs), "magnitude: outputs");
    assert_eq!(
        magnitude.shape(),
        [outputs],
        "magnitude: one for each output"
    );
    let inverse = |&norm: &T| {
        if norm == T::ZERO {
            T::ZERO
        } else {
            T::ONE / norm
        }
    };
    let inverse_norms: Vec<T> = norms.iter().map(inverse).collect();
    let pairs = flat(magnitude.value()).iter().zip(&inverse_norms);
    let factors: Vec<T> = pairs.map(|(&m, &inverse)| m * inverse).collect();
    let y = scaled(
        z.value().clone(),
        &factors,
        bias.map(|bias| flat(bias.value())),
    );
    let mut inputs = vec![z, magnitude];
    inputs.extend(bias);
    z.tape().record(&inputs, y, || Magnitude {
        z: magnitude.needs_gradient().then(|| z.saved()),
        factors,
        inverse_norms,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;

    proptest! {
        #[test]
        fn magnitude_agrees_with_differences(
            rows in 1..200usize, outputs in 1..5usize, biased: bool, seed: u64,
        ) {
            let norms: Vec<f64> = flat(&normal(!seed, &[outputs])).iter().map(|x| x * x).collect();
            let inputs = [
                normal(seed, &[2, rows, outputs]),
                normal(seed ^ 1, &[outputs]),
                normal(seed ^ 2, &[outputs]),
            ];
            // Divided by a small norm, the differences lose digits.
            prop_assume!(norms.iter().all(|norm| *norm > 0.1));
            gradcheck(&inputs, |_, v| magnitude(&v[0], &v[1], &norms, biased.then_some(&v[2])))
                .unwrap();
        }
    }

    #[test]
    fn a_row_of_norm_0_gives_its_bias() {
        let tape = crate::Tape::new();
        let z = tape.leaf(tensor(&[1, 2], vec![0.0, 3.0]));
        let m = tape.leaf(tensor(&[2], vec![0.0, 4.0]));
        let bias = tape.leaf(tensor(&[2], vec![0.5, 0.25]));
        let y = magnitude(&z, &m, &[0.0, 2.0], Some(&bias));
        assert_eq!(flat(y.value()), [0.5, 6.25]);
        let gradients = tape.backward_from(&y, tensor(&[1, 2], vec![1.0, 1.0]));
        assert_eq!(flat(gradients.get(&m).unwrap()), [0.0, 1.5]);
    }
}
