//! `Y = A B`, for every entry of a batch.
//!
//! Backward: `dA = dY Bᵀ`, `dB = Aᵀ dY`; a B that the batch shares adds up what
//! comes from every entry.

use ggpo_tensor::{Scalar, Tensor, flat, matmul as product, matmul_batched};
use ggpo_tensor::{matmul_nt, matmul_tn, tensor, view2};
use ndarray::{Array, ArrayView3, Dimension};

use crate::{Operation, Saved, Var};

/// Each factor is saved only if the other one needs a gradient.
struct Matmul<T> {
    a: Option<Saved<T>>,
    b: Option<Saved<T>>,
    a_shape: Vec<usize>,
    b_shape: Vec<usize>,
}

impl<T: Scalar> Operation<T> for Matmul<T> {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        let Self {
            a,
            b,
            a_shape,
            b_shape,
        } = *self;
        let shared = b_shape.len() == 2;
        let da = b.map(|b| {
            let b = b.value();
            if shared {
                with_shape(&a_shape, matmul_nt(view2(&gradient), view2(&b)))
            } else {
                let b = view3(&b).permuted_axes([0, 2, 1]);
                with_shape(&a_shape, matmul_batched(view3(&gradient), b))
            }
        });
        let db = a.map(|a| {
            let a = a.value();
            if shared {
                with_shape(&b_shape, matmul_tn(view2(&a), view2(&gradient)))
            } else {
                let a = view3(&a).permuted_axes([0, 2, 1]);
                with_shape(&b_shape, matmul_batched(a, view3(&gradient)))
            }
        });
        vec![da, db]
    }
}

/// The matrix product: `a` is ... x m x k; `b` is ... x k x n with the same
/// leading axes, or k x n for all of them; the result is ... x m x n.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul<T: Scalar>(a: &Var<T>, b: &Var<T>) -> Var<T> {
    let (a_shape, b_shape) = (a.shape().to_vec(), b.shape().to_vec());
    let (axes, b_axes) = (a_shape.len(), b_shape.len());
    assert!(
        axes >= 2
            && b_axes >= 2
            && a_shape[axes - 1] == b_shape[b_axes - 2]
            && (b_axes == 2 || a_shape[..axes - 2] == b_shape[..b_axes - 2]),
        "matmul of {a_shape:?} and {b_shape:?}"
    );
    let mut shape = a_shape.clone();
    shape[axes - 1] = b_shape[b_axes - 1];
    let value = if b_axes == 2 {
        with_shape(&shape, product(view2(a.value()), view2(b.value())))
    } else {
        with_shape(&shape, matmul_batched(view3(a.value()), view3(b.value())))
    };
    a.tape().record(&[a, b], value, || Matmul {
        a: b.needs_gradient().then(|| a.saved()),
        b: a.needs_gradient().then(|| b.saved()),
        a_shape,
        b_shape,
    })
}

/// All axes but the last two folded into one.
fn view3<T>(x: &Tensor<T>) -> ArrayView3<'_, T> {
    let (batch, matrix) = x.shape().split_at(x.ndim() - 2);
    let shape = (batch.iter().product(), matrix[0], matrix[1]);
    ArrayView3::from_shape(shape, flat(x)).expect("as many elements as before")
}

fn with_shape<T: Scalar, D: Dimension>(shape: &[usize], x: Array<T, D>) -> Tensor<T> {
    tensor(shape, x.into_raw_vec_and_offset().0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::testing::normal;
    use crate::{Tape, gradcheck};

    proptest! {
        #[test]
        fn matmul_agrees_with_differences(
            batch in prop::collection::vec(1..3usize, 0..3), shared: bool,
            m in 1..4usize, k in 0..4usize, n in 1..4usize, seed: u64,
        ) {
            let lead = if shared { &[] } else { &batch[..] };
            let inputs = [
                normal(seed, &[&batch[..], &[m, k]].concat()),
                normal(!seed, &[lead, &[k, n]].concat()),
            ];
            gradcheck(&inputs, |_, v| matmul(&v[0], &v[1])).unwrap();
        }

        #[test]
        fn a_batch_is_a_row_of_products(
            batch in 1..4usize, m in 1..4usize, k in 1..4usize, n in 1..4usize, seed: u64,
        ) {
            let tape = Tape::new();
            let (a, b) = (normal(seed, &[batch, m, k]), normal(!seed, &[batch, k, n]));
            let y = matmul(&tape.constant(a.clone()), &tape.constant(b.clone()));
            for ((y, a), b) in y.value().outer_iter().zip(a.outer_iter()).zip(b.outer_iter()) {
                for row in 0..m {
                    for column in 0..n {
                        let sum: f64 = (0..k).map(|i| a[[row, i]] * b[[i, column]]).sum();
                        // At most four terms of order ten, summed in any order.
                        prop_assert!((y[[row, column]] - sum).abs() < 1e-13);
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "matmul of [2, 3, 4] and [3, 4, 5]")]
    fn batches_must_agree() {
        let tape = Tape::new();
        matmul(
            &tape.leaf(normal(1, &[2, 3, 4])),
            &tape.leaf(normal(2, &[3, 4, 5])),
        );
    }
}
