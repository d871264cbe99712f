//! What an operation keeps of a value until its backward pass.

use std::cell::OnceCell;
use std::rc::Rc;

use ggpo_tensor::{Scalar, Tensor};

/// A value for the backward pass: kept, or calculated again when it is asked for.
///
/// A variable whose value is cheap to make from what its producer saves anyway
/// carries a [`Recipe`]; whoever saves that variable then holds no elements.
pub enum Saved<T> {
    /// The value itself.
    Kept(Tensor<T>),
    /// How to make it.
    Recomputed(Rc<Recipe<T>>),
}

impl<T: Scalar> Saved<T> {
    /// The value, with the bits it had in the forward pass.
    pub fn value(&self) -> Tensor<T> {
        match self {
            Saved::Kept(value) => value.clone(),
            Saved::Recomputed(recipe) => recipe.made.get_or_init(&recipe.make).clone(),
        }
    }

    /// The value, of which nothing stays behind unless others saved it too.
    pub fn into_value(self) -> Tensor<T> {
        self.value()
    }
}

impl<T: Scalar> Clone for Saved<T> {
    fn clone(&self) -> Self {
        match self {
            Saved::Kept(value) => Saved::Kept(value.clone()),
            Saved::Recomputed(recipe) => Saved::Recomputed(Rc::clone(recipe)),
        }
    }
}

/// How to make a value again, shared by all that saved it.
///
/// It is made once: the first that asks leaves it for the others, and the last
/// of them that is dropped takes it along.
pub struct Recipe<T> {
    make: Box<dyn Fn() -> Tensor<T>>,
    made: OnceCell<Tensor<T>>,
}

impl<T: Scalar> Recipe<T> {
    pub(crate) fn new(make: impl Fn() -> Tensor<T> + 'static) -> Rc<Self> {
        Rc::new(Recipe {
            make: Box::new(make),
            made: OnceCell::new(),
        })
    }
}
