//! The optimiser's part of a step, and what is trained as it stands.

use std::collections::BTreeMap;

use ggpo_lora::{find_factor, parameter_name};
use ggpo_tensor::{Tensor, flat};

use super::state::store;
use super::{LayerGradients, Real, StoredTensor, Trainable, Trainer, TrainerState};
use crate::optimizer::clip_by_global_norm;
use crate::{Error, Result};

impl<T> Trainable<T>
where
    T: Real,
{
    /// A trained tensor by its name.
    fn trained_mut(&mut self, name: &str) -> Option<&mut Tensor<T>> {
        match self.trained.contains(name) {
            true => self.parameters.get_mut(name),
            false => find_factor(&mut self.adapters, name),
        }
    }

    /// All that is trained, by name.
    pub fn trained_tensors(&self) -> BTreeMap<String, Tensor<T>> {
        let own = self.trained.iter();
        let own = own.map(|name| (name.clone(), self.parameters[name].clone()));
        let factors = self.adapters.iter().flat_map(|(module, adapter)| {
            let factors = adapter.factors().into_iter();
            factors.map(|(factor, value)| (parameter_name(module, factor), value.clone()))
        });
        own.chain(factors).collect()
    }
}

impl<T: Real> Trainer<T> {
    /// Clips the gradients and lets the optimiser act on them; returns their
    /// norm before clipping and the learning rate.
    pub(super) fn apply(&mut self, mut gradients: BTreeMap<String, Tensor<T>>) -> (f64, f64) {
        // The exact gradient of a frozen weight is only looked at.
        let Trainable {
            parameters,
            trained,
            ..
        } = &self.trainable;
        gradients.retain(|name, _| trained.contains(name) || !parameters.contains_key(name));
        let limit = self.config.clip.unwrap_or(f64::INFINITY);
        let mut all: Vec<&mut Tensor<T>> = gradients.values_mut().collect();
        let gradient_norm = clip_by_global_norm(&mut all, limit);
        let factor = self.config.schedule.factor(self.step, self.config.steps);
        let learning_rate = self.config.learning_rate * factor;
        self.optimizer.begin_step();
        for (name, gradient) in &gradients {
            let own = self.method.learning_rate_factor(name, gradient.shape());
            let parameter = self.trainable.trained_mut(name);
            let parameter = parameter.expect("gradients belong to what is trained");
            let parameter = parameter.as_slice_mut().expect("standard layout");
            self.optimizer
                .update(name, parameter, flat(gradient), own * learning_rate);
        }
        if let Some(regulator) = &mut self.regulator {
            regulator.after_step(self.step, &mut self.trainable.adapters, &gradients);
        }
        (gradient_norm, learning_rate)
    }

    /// Everything a resumed run needs to continue to the same bits.
    pub fn state(&self) -> TrainerState<T> {
        TrainerState {
            step: self.step,
            trained: self.snapshot(),
            gradients: (&self.gradients).into(),
            optimizer: self.optimizer.clone(),
            perturbation: self.perturbation.as_ref().map(|it| it.state()),
            regulator: self.regulator.as_ref().map(|it| it.state()),
        }
    }

    /// Continues from a state of the same run.
    ///
    /// # Errors
    /// If the state does not fit the model and its method.
    pub fn restore(&mut self, state: TrainerState<T>) -> Result<()> {
        let other = || Error::config("checkpoint", "the state of the run's method", "another");
        let (steps, step) = (self.config.steps, state.step);
        if step > steps {
            let expected = format!("at most the {steps} steps of the run");
            return Err(Error::config("checkpoint", expected, step));
        }
        self.restore_snapshot(state.trained)?;
        let shape = |name: &str| {
            let own = self.trainable.parameters.get(name);
            let factor = || {
                self.trainable
                    .adapters
                    .iter()
                    .find_map(|(module, adapter)| {
                        let factor = name.strip_prefix(module.as_str())?.strip_prefix('.')?;
                        adapter.factor(factor)
                    })
            };
            own.or_else(factor).map(|tensor| tensor.shape().to_vec())
        };
        if !state.gradients.fit(&self.trainable.adapters, shape) {
            return Err(Error::config(
                "checkpoint",
                "gradients of this model",
                "others",
            ));
        }
        let length = |name: &str| Some(shape(name)?.iter().product());
        self.optimizer
            .restore(state.optimizer, step, length)
            .map_err(|problem| Error::config("checkpoint", problem, "another state"))?;
        self.gradients = LayerGradients::from(state.gradients);
        match (&mut self.perturbation, state.perturbation) {
            (Some(perturbation), Some(state)) => perturbation.restore(state)?,
            (None, None) => {}
            _ => return Err(other()),
        }
        match (&mut self.regulator, state.regulator) {
            (Some(regulator), Some(state)) => regulator.restore(state)?,
            (None, None) => {}
            _ => return Err(other()),
        }
        let adapters = &self.trainable.adapters;
        let perturbation = self.perturbation.as_ref();
        let regulator = self.regulator.as_ref();
        if perturbation.is_some_and(|it| !it.fits(adapters))
            || regulator.is_some_and(|it| !it.fits(adapters))
        {
            return Err(other());
        }
        self.step = step;
        Ok(())
    }

    /// All that is trained, as it stands, by name.
    pub fn trained_tensors(&self) -> BTreeMap<String, Tensor<T>> {
        self.trainable.trained_tensors()
    }

    /// A copy of all that is trained.
    pub fn snapshot(&self) -> BTreeMap<String, StoredTensor<T>> {
        store(self.trainable.trained_tensors().iter())
    }

    /// Puts back a copy of all that is trained.
    ///
    /// # Errors
    /// If names or shapes are not those of this model.
    pub fn restore_snapshot(&mut self, snapshot: BTreeMap<String, StoredTensor<T>>) -> Result<()> {
        let expected = self.trainable.trained_tensors().len();
        if snapshot.len() != expected {
            let expected = format!("{expected} trained tensors");
            return Err(Error::config("checkpoint", expected, snapshot.len()));
        }
        for (name, stored) in snapshot {
            match self.trainable.trained_mut(&name) {
                Some(slot) if slot.shape() == stored.shape && stored.is_whole() => {
                    *slot = stored.into_tensor()
                }
                _ => {
                    let expected = "the trained tensors of this model";
                    return Err(Error::config("checkpoint", expected, name));
                }
            }
        }
        Ok(())
    }
}
