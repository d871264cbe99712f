//! LoRA (Hu and others 2021): `W' = W + s B A`, A and B trained.

use ggpo_tensor::random::Stream;
use ggpo_tensor::{Scalar, Tensor, tensor};

use super::{Acting, ActingGradients, Adapter, AdapterForm, Base, LoraConfig};
use crate::LoraError;
use crate::peft::{PeftForm, Side};

/// The name of A.
pub const A: &str = "lora_A.weight";
/// The name of B.
pub const B: &str = "lora_B.weight";

/// A and B of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora<T> {
    /// A, the down projection: r x n.
    pub a: Tensor<T>,
    /// B, the up projection: m x r.
    pub b: Tensor<T>,
    /// The scaling s.
    pub scaling: T,
}

impl<T: Scalar> Lora<T> {
    /// The start of a layer with a weight of m x n (out x in).
    ///
    /// A is Kaiming uniform with a = sqrt(5), that is U(-1/sqrt(n), 1/sqrt(n)):
    /// element (i, j) uses the number at position i n + j of `stream`, which
    /// should be one of its own for every layer. B is zero, so that W' = W.
    ///
    /// # Errors
    /// [`LoraError::Config`] as [`LoraConfig::validate`] says, and
    /// [`LoraError::Rank`] if the rank is above min(m, n).
    pub fn kaiming(
        config: &LoraConfig,
        m: usize,
        n: usize,
        stream: Stream,
    ) -> Result<Self, LoraError> {
        config.validate()?;
        let rank = config.rank;
        check_rank(rank, m, n)?;
        let mut uniform = vec![0.0_f32; rank * n];
        stream.fill_uniform(0, &mut uniform);
        let bound = 1.0 / (n as f64).sqrt();
        let a = uniform
            .into_iter()
            .map(|u| T::from_f64((2.0 * f64::from(u) - 1.0) * bound))
            .collect();
        Ok(Lora {
            a: tensor(&[rank, n], a),
            b: tensor(&[m, rank], vec![T::ZERO; m * rank]),
            scaling: T::from_f64(config.factor()),
        })
    }
}

/// A rank must be from 1 to min(m, n).
pub(super) fn check_rank(rank: usize, m: usize, n: usize) -> Result<(), LoraError> {
    if rank == 0 || rank > m.min(n) {
        return Err(LoraError::Rank {
            rank,
            rows: m,
            columns: n,
        });
    }
    Ok(())
}

/// The form in PEFT's files.
pub const PEFT: PeftForm = PeftForm {
    title: "LoRA",
    peft_type: "LORA",
    use_dora: false,
    budget: false,
    factors: &[
        (A, &[Side::Rank, Side::Inputs]),
        (B, &[Side::Outputs, Side::Rank]),
    ],
};

/// An adapter of A and B.
pub(crate) fn of_factors<T: Scalar>(factors: Vec<Tensor<T>>, scaling: T) -> Adapter<T> {
    let [a, b] = factors.try_into().expect("the factors of the form");
    Adapter::new(Lora { a, b, scaling })
}

impl<T: Scalar> AdapterForm<T> for Lora<T> {
    fn peft(&self) -> &'static PeftForm {
        &PEFT
    }

    fn factors(&self) -> Vec<(&'static str, &Tensor<T>)> {
        vec![(A, &self.a), (B, &self.b)]
    }

    fn factors_mut(&mut self) -> Vec<(&'static str, &mut Tensor<T>)> {
        vec![(A, &mut self.a), (B, &mut self.b)]
    }

    fn dim(&self) -> (usize, usize) {
        (self.b.shape()[0], self.a.shape()[1])
    }

    fn rank(&self) -> usize {
        self.a.shape()[0]
    }

    fn scaling(&self) -> T {
        self.scaling
    }

    fn acting(&self, _: Base<'_, T>) -> Acting<T> {
        Acting {
            a: self.a.clone(),
            b: self.b.clone(),
            scaling: self.scaling,
            constant: None,
            magnitude: None,
        }
    }

    fn pull_back(&self, gradients: &ActingGradients<T>) -> Vec<Tensor<T>> {
        vec![gradients.a.clone(), gradients.b.clone()]
    }

    fn boxed(&self) -> Box<dyn AdapterForm<T>> {
        Box::new(self.clone())
    }
}

impl<T: Scalar> From<Lora<T>> for Adapter<T> {
    fn from(form: Lora<T>) -> Self {
        Adapter::new(form)
    }
}
