//! A head fitted before training and frozen: a linear probe, of which only the adapters
//! are then trained away.

use faer::Side;
use faer::linalg::solvers::Solve;
use ggpo_autograd::Tape;
use ggpo_lora::Adapters;
use ggpo_model::batch::Batch;
use ggpo_model::{Graph, Head, Model, Parameters};
use ggpo_tensor::parallel::in_pool;
use ggpo_tensor::{Tensor, flat, tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::indicators;
use crate::trainer::Real;
use crate::{Error, Result};

/// What becomes of the head of a classification.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HeadFit {
    /// It is trained with the adapters.
    #[default]
    Trained,
    /// It is fitted once, by ridge regression of the classes on the states of the
    /// model as it was published, and stays as it is.
    Ridge,
}

/// What becomes of the head of a classification.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeadConfig {
    /// Trained, or fitted once.
    pub fit: HeadFit,
    /// Penalty on its squared norm, where it is fitted once.
    pub penalty: f64,
}

impl Default for HeadConfig {
    fn default() -> Self {
        HeadConfig {
            fit: HeadFit::Trained,
            penalty: 1.0,
        }
    }
}

impl HeadConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// If the penalty is not a finite number above 0.
    pub fn validate(&self) -> Result<()> {
        if self.penalty.is_finite() && self.penalty > 0.0 {
            return Ok(());
        }
        let expected = "a finite number above 0";
        Err(Error::config("head.penalty", expected, self.penalty))
    }

    /// The weight of a head that is fitted once (classes x width) with its name; none of
    /// one that is trained.
    ///
    /// `H = Y^T F (F^T F + c I)^-1` for the states F (rows x width) that the head reads and
    /// the indicators Y of the classes, less their mean (rows x classes).
    ///
    /// # Errors
    /// If the head is not one matrix on the states of a classification.
    pub fn fitted<T: Real>(
        &self,
        model: &Model,
        parameters: &Parameters<T>,
        rows: &[Batch],
    ) -> Result<Option<(String, Tensor<T>)>> {
        if self.fit == HeadFit::Trained {
            return Ok(None);
        }
        let modules = model.head_modules();
        let (Head::Classes(classes), [module]) = (model.head, modules.as_slice()) else {
            let expected = "trained, unless the head of a classification is one layer on the \
                 model's states";
            return Err(Error::config("head.fit", expected, "ridge"));
        };
        let (mut gram, mut moments) = (Vec::new(), Vec::new());
        let mut width = 0;
        for batch in rows {
            let states = last_states(model, parameters, batch);
            width = states.shape()[1];
            gram.resize(width * width, 0.0);
            moments.resize(width * classes, 0.0);
            for (state, target) in flat(&states).chunks(width).zip(&batch.targets) {
                let Some(target) = *target else { continue };
                let state: Vec<f64> = state.iter().map(|x| x.value()).collect();
                for (row, &x) in gram.chunks_mut(width).zip(&state) {
                    row.iter_mut()
                        .zip(&state)
                        .for_each(|(sum, y)| *sum += x * y);
                }
                for (row, &x) in moments.chunks_mut(classes).zip(&state) {
                    let values = indicators(target, classes);
                    row.iter_mut()
                        .zip(values)
                        .for_each(|(sum, y)| *sum += x * y);
                }
            }
        }
        let gram = faer::Mat::from_fn(width, width, |i, j| {
            gram[i * width + j] + if i == j { self.penalty } else { 0.0 }
        });
        let moments = faer::Mat::from_fn(width, classes, |i, j| moments[i * classes + j]);
        let Ok(factor) = gram.llt(Side::Lower) else {
            let found = "one of which ridge regression makes no number";
            return Err(Error::config("head.penalty", "a larger penalty", found));
        };
        let solution = factor.solve(&moments);
        let elements = (0..classes).flat_map(|class| (0..width).map(move |i| (i, class)));
        let elements = elements.map(|at| T::from_f64(solution[at]));
        let weight = tensor(&[classes, width], elements.collect());
        Ok(Some((format!("{module}.weight"), weight)))
    }
}

/// The states of the last token of every row, which a head of one layer reads, rows x
/// width, of the model as it was published.
fn last_states<T: Real>(model: &Model, parameters: &Parameters<T>, batch: &Batch) -> Tensor<T> {
    let none = Adapters::new();
    let states = in_pool(|| {
        let graph = Graph::for_evaluation(Tape::new(), parameters, &none);
        model.hidden_states(&graph, batch).value().clone()
    });
    let [time, width] = [states.shape()[1], states.shape()[2]];
    let rows = batch.attention.rows().into_iter().enumerate();
    let last = rows.flat_map(|(row, kept)| {
        let last = kept.iter().rposition(|kept| *kept).unwrap_or(0);
        flat(&states)[(row * time + last) * width..][..width].to_vec()
    });
    let elements: Vec<T> = last.collect();
    tensor(&[batch.shape[0], width], elements)
}
