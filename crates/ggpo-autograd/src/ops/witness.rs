//! `y = x`; the gradient that flows back through it is kept for whoever wants to see
//! it. `dx = dy`.

use std::cell::RefCell;
use std::rc::Rc;

use ggpo_tensor::{Scalar, Tensor};

use crate::{Operation, Var};

/// The gradient that has flowed back through a [`witness`].
#[derive(Debug, Clone)]
pub struct Witnessed<T>(Rc<RefCell<Option<Tensor<T>>>>);

impl<T: Scalar> Witnessed<T> {
    /// The gradient, once the tape was walked back over; none before, and none if the
    /// loss does not depend on the variable.
    pub fn gradient(&self) -> Option<Tensor<T>> {
        self.0.borrow().clone()
    }
}

struct Witness<T>(Witnessed<T>);

impl<T: Scalar> Operation<T> for Witness<T> {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn backward(self: Box<Self>, gradient: Tensor<T>, _: &[bool]) -> Vec<Option<Tensor<T>>> {
        *self.0.0.borrow_mut() = Some(gradient.clone());
        vec![Some(gradient)]
    }
}

/// The same variable, whose gradient is kept. No bit of any value or gradient changes.
pub fn witness<T: Scalar>(x: &Var<T>) -> (Var<T>, Witnessed<T>) {
    let seen = Witnessed(Rc::default());
    let keeper = Witness(seen.clone());
    let y = x.tape().record(&[x], x.value().clone(), || keeper);
    (y, seen)
}

#[cfg(test)]
mod tests {
    use ggpo_tensor::{flat, tensor};

    use super::*;
    use crate::gradcheck;
    use crate::ops::testing::normal;
    use crate::ops::{mul, sum};

    #[test]
    fn witness_agrees_with_differences() {
        gradcheck(&[normal(3, &[2, 3])], |_, v| {
            let (y, _) = witness(&v[0]);
            mul(&y, &y)
        })
        .unwrap();
    }

    #[test]
    fn the_gradient_is_seen_where_the_tape_is_walked_back() {
        let tape = crate::Tape::new();
        let x = tape.leaf(tensor(&[2], vec![3.0, -4.0]));
        let (y, seen) = witness(&x);
        assert_eq!(y.value(), x.value());
        assert!(seen.gradient().is_none());
        let gradients = tape.backward(&sum(&mul(&y, &y)));
        assert_eq!(flat(&seen.gradient().expect("seen")), [6.0, -8.0]);
        assert_eq!(gradients.get(&x), seen.gradient().as_ref());
    }
}
