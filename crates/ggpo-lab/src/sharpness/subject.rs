//! A model at a point, and the batches that its loss is the mean over.

use ggpo_autograd::Tape;
use ggpo_lora::{Adapter, Lora, parameter_name};
use ggpo_model::batch::Batch;
use ggpo_model::{ActingWeights, Adapters, Graph, Model, Number, Parameters, PassGradients};
use ggpo_tensor::{Scalar, tensor};

use super::error::{Result, SharpnessError};

/// A model, its adapters and batches. Dropout and noise do not act, whatever the
/// adapters say.
pub struct Subject<'a, T: Scalar> {
    pub(super) model: &'a Model,
    pub(super) parameters: Parameters<T>,
    /// Adapters of the layers that are looked at.
    pub(super) adapters: Adapters<T>,
    /// Whether the adapters are the model's own.
    adapted: bool,
    batches: Vec<&'a Batch>,
    /// Number of right answers in all batches.
    targets: usize,
}

impl<'a, T: Number> Subject<'a, T> {
    /// A model with its adapters. A model without any is looked at in all linear
    /// layers of its blocks.
    ///
    /// # Errors
    /// [`SharpnessError::NoTargets`] if no batch has an answer.
    pub fn new(
        model: &'a Model,
        parameters: &Parameters<f32>,
        adapters: &Adapters<f32>,
        batches: &'a [Batch],
    ) -> Result<Self> {
        let batches = batches.iter().filter(|batch| batch.target_count() > 0);
        let batches: Vec<&Batch> = batches.collect();
        let targets = batches.iter().map(|batch| batch.target_count()).sum();
        if targets == 0 {
            return Err(SharpnessError::NoTargets);
        }
        let number = |x: f32| T::from_f64(x.into());
        let parameters = in_numbers(parameters, number);
        let own = adapters.iter();
        let own = own.map(|(module, adapter)| (module.clone(), adapter.map(number)));
        Ok(Subject {
            adapters: match adapters.is_empty() {
                true => blank(model, &parameters),
                false => own.collect(),
            },
            adapted: !adapters.is_empty(),
            model,
            parameters,
            batches,
            targets,
        })
    }

    /// Whether the model has adapters of its own, so that there are factors.
    pub fn has_factors(&self) -> bool {
        self.adapted
    }

    /// Right answers that the loss is the mean over: rows of a classification or a
    /// regression, tokens of a language model.
    pub fn targets(&self) -> usize {
        self.targets
    }

    /// The mean loss.
    pub fn loss(&self) -> f64 {
        self.loss_with(&self.parameters, &self.adapters)
    }

    /// The mean loss of other parameters and adapters.
    pub(super) fn loss_with<U: Number>(
        &self,
        parameters: &Parameters<U>,
        adapters: &Adapters<U>,
    ) -> f64 {
        self.mean(|batch| self.model.evaluate_loss(parameters, adapters, batch))
    }

    /// The mean over all answers of a loss of batches.
    pub(super) fn mean(&self, loss: impl Fn(&Batch) -> f64) -> f64 {
        let losses = self.batches.iter();
        losses.map(|batch| self.share(batch) * loss(batch)).sum()
    }

    fn share(&self, batch: &Batch) -> f64 {
        batch.target_count() as f64 / self.targets as f64
    }

    /// The gradients of the mean loss with respect to what acts in the adapters'
    /// layers and to the named parameters.
    pub(super) fn gradients<U: Number>(
        &self,
        parameters: &Parameters<U>,
        adapters: &Adapters<U>,
        acting: &ActingWeights<U>,
        named: &[String],
    ) -> PassGradients<U> {
        let of_batch = |batch: &Batch| {
            let graph = Graph::for_evaluation(Tape::new(), parameters, adapters)
                .with_acting(acting)
                .training(named.iter().cloned());
            let loss = self.model.loss(&graph, batch);
            graph.gradients(&loss, U::from_f64(self.share(batch)))
        };
        let batches = self.batches.iter().map(|batch| of_batch(batch));
        let sum = batches.reduce(|mut sum, part| {
            sum.add(part);
            sum
        });
        sum.expect("there is a batch")
    }

    /// Names of the weights of the layers that are looked at, in the order of the
    /// adapters.
    pub(super) fn weights(&self) -> Vec<String> {
        let modules = self.adapters.keys();
        modules.map(|module| weight_of(module)).collect()
    }

    /// The first quantised weight among those of the layers.
    pub(super) fn quantized(&self) -> Option<String> {
        let is_quantized = |name: &String| self.parameters.quantized.contains_key(name);
        self.weights().into_iter().find(is_quantized)
    }
}

/// The name of the weight of a module.
pub(super) fn weight_of(module: &str) -> String {
    parameter_name(module, "weight")
}

/// The same parameters in other numbers; quantised ones stay in their blocks.
pub(super) fn in_numbers<T: Scalar, U: Scalar>(
    parameters: &Parameters<T>,
    number: impl Fn(T) -> U,
) -> Parameters<U> {
    let dense = parameters.iter();
    let dense = dense.map(|(name, x)| (name.clone(), x.map(|&x| number(x)).into_shared()));
    let mut converted: Parameters<U> = dense.collect();
    converted.quantized = parameters.quantized.clone();
    converted
}

/// Adapters that change nothing, of all linear layers of the blocks.
fn blank<T: Scalar>(model: &Model, parameters: &Parameters<T>) -> Adapters<T> {
    let linears = model.block_linears().into_iter();
    let blank = |module: String| {
        let (m, n) = parameters.weight(&weight_of(&module)).dim();
        let adapter = Adapter::from(Lora {
            a: tensor(&[1, n], vec![T::ZERO; n]),
            b: tensor(&[m, 1], vec![T::ZERO; m]),
            scaling: T::ONE,
        });
        (module, adapter)
    };
    linears.map(blank).collect()
}
