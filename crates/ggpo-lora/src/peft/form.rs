//! What PEFT calls an adapter form.

use ggpo_tensor::{Scalar, Tensor};

use crate::Adapter;
use crate::adapter::{adalora, dora, lora};

/// An adapter form as PEFT's files have it.
#[derive(Debug, PartialEq, Eq)]
pub struct PeftForm {
    /// Its name for people.
    pub title: &'static str,
    /// `peft_type` in the configuration.
    pub peft_type: &'static str,
    /// `use_dora` in the configuration.
    pub use_dora: bool,
    /// The rank is `init_r`, and triples of it may have been given up, instead of `r`.
    pub budget: bool,
    /// Names and shapes of the factors, in the order in which the form walks them.
    pub factors: &'static [(&'static str, &'static [Side])],
}

/// The length of one axis of a factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Outputs m of the layer.
    Outputs,
    /// Inputs n of the layer.
    Inputs,
    /// The rank r.
    Rank,
    /// 1.
    One,
}

/// An adapter of the factors, in their order, and the scaling s.
pub(crate) type Make<T> = fn(Vec<Tensor<T>>, T) -> Adapter<T>;

/// All forms, and how an adapter is made of what a file holds.
pub(super) fn forms<T: Scalar>() -> [(&'static PeftForm, Make<T>); 3] {
    [
        (&lora::PEFT, lora::of_factors),
        (&dora::PEFT, dora::of_factors),
        (&adalora::PEFT, adalora::of_factors),
    ]
}

/// How an adapter of that form is made.
pub(crate) fn make<T: Scalar>(form: &PeftForm) -> Make<T> {
    let forms = forms::<T>();
    let found = forms.iter().find(|(listed, _)| *listed == form);
    found.expect("every form is in the table").1
}
