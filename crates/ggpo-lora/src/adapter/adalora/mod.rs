//! AdaLoRA (Zhang and others 2023): `W + s P diag(E) Q`, of whose triples the least
//! important are set to 0 in the course of training.
//!
//! [`AdaLora`] is one layer; [`RankAllocator`](allocator::RankAllocator) decides for
//! all layers together which triples stay.

pub mod allocator;

use ggpo_tensor::random::Stream;
use ggpo_tensor::{Scalar, Tensor, tensor, view2};
use ndarray::{Array2, Axis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lora::check_rank;
use super::{Acting, ActingGradients, Adapter, AdapterForm, Base, LoraConfig};
use crate::LoraError;
use crate::peft::{PeftForm, Side};

/// The name of Q.
pub const Q: &str = "lora_A";
/// The name of P.
pub const P: &str = "lora_B";
/// The name of E.
pub const E: &str = "lora_E";

/// Standard deviation of the elements of P and Q at the start.
const START_STD: f32 = 0.02;

/// The options of AdaLoRA. Its rank at the end, a mean over the layers, is that of
/// the adapters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdaLoraConfig {
    /// Triples of every layer at the start.
    pub init_rank: usize,
    /// Steps before the first triple is given up.
    pub t_init: u32,
    /// Steps at the end in which the triples stay as they are.
    pub t_final: u32,
    /// Steps between two allocations.
    pub delta_t: u32,
    /// Decay of the mean importance.
    pub beta1: f64,
    /// Decay of the mean uncertainty of the importance.
    pub beta2: f64,
    /// Weight of the penalty that keeps P and Q orthogonal.
    pub penalty: f64,
}

impl Default for AdaLoraConfig {
    fn default() -> Self {
        AdaLoraConfig {
            init_rank: 12,
            t_init: 0,
            t_final: 0,
            delta_t: 1,
            beta1: 0.85,
            beta2: 0.85,
            penalty: 0.5,
        }
    }
}

impl AdaLoraConfig {
    /// Checks every field, and those that belong to a rank at the end.
    ///
    /// # Errors
    /// [`LoraError::Config`] if the rank at the start is below the one at the end, a
    /// decay is not in [0, 1), the penalty is not a finite number of at least 0, or
    /// `delta_t` is 0.
    pub fn validate(&self, rank: usize) -> Result<(), LoraError> {
        if self.init_rank < rank {
            let expected = "at least lora.rank, which is the rank at the end";
            return Err(LoraError::config(
                "adalora.init_rank",
                expected,
                self.init_rank,
            ));
        }
        for (field, beta) in [("adalora.beta1", self.beta1), ("adalora.beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(LoraError::config(field, "a number in [0, 1)", beta));
            }
        }
        if !(self.penalty.is_finite() && self.penalty >= 0.0) {
            let expected = "a finite number of at least 0";
            return Err(LoraError::config("adalora.penalty", expected, self.penalty));
        }
        if self.delta_t == 0 {
            return Err(LoraError::config("adalora.delta_t", "at least 1", 0));
        }
        Ok(())
    }
}

/// P, E and Q of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct AdaLora<T> {
    /// Q: r x n.
    pub q: Tensor<T>,
    /// P: m x r.
    pub p: Tensor<T>,
    /// E: r x 1; the entries of triples that were given up are 0.
    pub e: Tensor<T>,
    /// The scaling s, `alpha / (r + 1e-5)` for the r of the start.
    pub scaling: T,
}

impl<T: Scalar> AdaLora<T> {
    /// The start of a layer with a weight of m x n: P and Q from
    /// N(0, 0.02^2), E zero. Q takes the numbers of `stream` from 0 on, then P.
    ///
    /// # Errors
    /// [`LoraError::Rank`] if the rank at the start is above min(m, n).
    pub fn normal(
        config: &AdaLoraConfig,
        lora: &LoraConfig,
        m: usize,
        n: usize,
        stream: Stream,
    ) -> Result<Self, LoraError> {
        lora.validate()?;
        config.validate(lora.rank)?;
        let rank = config.init_rank;
        check_rank(rank, m, n)?;
        let mut normal = vec![0.0_f32; rank * (m + n)];
        stream.fill_normal(0, &mut normal);
        let of = |part: &[f32]| {
            let scaled = part.iter().map(|z| T::from_f64(f64::from(START_STD * z)));
            scaled.collect::<Vec<T>>()
        };
        let (q, p) = normal.split_at(rank * n);
        Ok(AdaLora {
            q: tensor(&[rank, n], of(q)),
            p: tensor(&[m, rank], of(p)),
            e: tensor(&[rank, 1], vec![T::ZERO; rank]),
            scaling: T::from_f64(scaling(lora.alpha, rank)),
        })
    }

    /// `diag(E) Q`, r x n.
    fn down(&self) -> Array2<T> {
        let mut down = view2(&self.q).to_owned();
        for (mut row, &e) in down.outer_iter_mut().zip(&self.e) {
            row.map_inplace(|q| *q *= e);
        }
        down
    }
}

/// The scaling s of AdaLoRA, for the rank of the start.
pub fn scaling(alpha: f64, init_rank: usize) -> f64 {
    alpha / (init_rank as f64 + 1e-5)
}

/// The form in PEFT's files.
pub const PEFT: PeftForm = PeftForm {
    title: "AdaLoRA",
    peft_type: "ADALORA",
    use_dora: false,
    budget: true,
    factors: &[
        (Q, &[Side::Rank, Side::Inputs]),
        (P, &[Side::Outputs, Side::Rank]),
        (E, &[Side::Rank, Side::One]),
    ],
};

/// An adapter of Q, P and E.
pub(crate) fn of_factors<T: Scalar>(factors: Vec<Tensor<T>>, scaling: T) -> Adapter<T> {
    let [q, p, e] = factors.try_into().expect("the factors of the form");
    Adapter::new(AdaLora { q, p, e, scaling })
}

impl<T: Scalar> AdapterForm<T> for AdaLora<T> {
    fn peft(&self) -> &'static PeftForm {
        &PEFT
    }

    fn factors(&self) -> Vec<(&'static str, &Tensor<T>)> {
        vec![(Q, &self.q), (P, &self.p), (E, &self.e)]
    }

    fn factors_mut(&mut self) -> Vec<(&'static str, &mut Tensor<T>)> {
        vec![(Q, &mut self.q), (P, &mut self.p), (E, &mut self.e)]
    }

    fn dim(&self) -> (usize, usize) {
        (self.p.shape()[0], self.q.shape()[1])
    }

    fn rank(&self) -> usize {
        self.e.len()
    }

    fn scaling(&self) -> T {
        self.scaling
    }

    fn acting(&self, _: Base<'_, T>) -> Acting<T> {
        Acting {
            a: self.down().into_dyn().into_shared(),
            b: self.p.clone(),
            scaling: self.scaling,
            constant: None,
            magnitude: None,
        }
    }

    /// With `A = diag(E) Q`: `dQ = diag(E) dA`, `dE_k = <dA_k, Q_k>`, `dP = dB`.
    fn pull_back(&self, gradients: &ActingGradients<T>) -> Vec<Tensor<T>> {
        let da = view2(&gradients.a);
        let mut dq = da.to_owned();
        for (mut row, &e) in dq.outer_iter_mut().zip(&self.e) {
            row.map_inplace(|q| *q *= e);
        }
        let rows = da.axis_iter(Axis(0)).zip(self.q.axis_iter(Axis(0)));
        let inner = rows.map(|(da, q)| {
            let pairs = da.iter().zip(q.iter());
            pairs.fold(T::ZERO, |sum, (&da, &q)| sum + da * q)
        });
        let de = tensor(self.e.shape(), inner.collect());
        vec![dq.into_dyn().into_shared(), gradients.b.clone(), de]
    }

    fn boxed(&self) -> Box<dyn AdapterForm<T>> {
        Box::new(self.clone())
    }
}
