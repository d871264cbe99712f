//! AdamW (Loshchilov and Hutter 2019), and gradient clipping.

use std::collections::BTreeMap;

use ggpo_tensor::{Scalar, Tensor, reduce};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Settings of [`AdamW`], with PyTorch's defaults but no weight decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// AdamW's decay of the running mean of the gradient.
    pub beta1: f64,
    /// AdamW's decay of the running mean of the squared gradient.
    pub beta2: f64,
    /// AdamW's epsilon, which is added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay: the share of a parameter that is taken away per step
    /// and unit of learning rate.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        AdamWConfig {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
        }
    }
}

impl AdamWConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<()> {
        for (field, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(Error::config(field, "a number in [0, 1)", beta));
            }
        }
        if !(self.eps.is_finite() && self.eps > 0.0) {
            return Err(Error::config("eps", "a finite number above 0", self.eps));
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            let expected = "a finite number, 0 or more";
            return Err(Error::config("weight_decay", expected, self.weight_decay));
        }
        Ok(())
    }
}

/// Adam with decoupled weight decay, as PyTorch's `torch.optim.AdamW`.
///
/// With gradient g of step t (from 1) and learning rate lr:
///
/// ```text
/// w <- (1 - lr weight_decay) w
/// m <- beta1 m + (1 - beta1) g
/// v <- beta2 v + (1 - beta2) g^2
/// w <- w - lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)
/// ```
///
/// Coefficients are calculated in `f64`, elements in `T`. Serialised and read
/// back, an optimiser continues to the same bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdamW<T> {
    config: AdamWConfig,
    step: u32,
    moments: BTreeMap<String, Moments<T>>,
}

/// Running means of one parameter's gradient, element by element.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Moments<T> {
    first: Vec<T>,
    second: Vec<T>,
}

impl<T: Scalar> AdamW<T> {
    /// An optimiser that has not seen a gradient.
    pub fn new(config: AdamWConfig) -> Self {
        AdamW {
            config,
            step: 0,
            moments: BTreeMap::new(),
        }
    }

    /// The running mean of the gradient of a parameter, if there has been one.
    pub fn momentum(&self, name: &str) -> Option<&[T]> {
        Some(&self.moments.get(name)?.first)
    }

    /// The running mean of the squared gradient of a parameter, if there has been one.
    pub fn second_moment(&self, name: &str) -> Option<&[T]> {
        Some(&self.moments.get(name)?.second)
    }

    /// Continues as an optimiser of the same settings that was saved after `step` steps.
    /// `length` gives the number of elements of a parameter that is trained.
    ///
    /// # Errors
    /// What does not fit.
    pub(crate) fn restore(
        &mut self,
        saved: Self,
        step: u32,
        length: impl Fn(&str) -> Option<usize>,
    ) -> std::result::Result<(), String> {
        if saved.step != step {
            let found = saved.step;
            return Err(format!("an optimiser after {step} steps, found {found}"));
        }
        for (name, Moments { first, second }) in &saved.moments {
            let finite = |numbers: &[T]| numbers.iter().all(|x| x.value().is_finite());
            let lengths = [first.len(), second.len()].map(Some);
            if lengths != [length(name); 2] || !finite(first) || !finite(second) {
                return Err(format!("moments of what is trained, found those of {name}"));
            }
        }
        self.step = step;
        self.moments = saved.moments;
        Ok(())
    }

    /// Counts a step; every parameter is then updated at most once.
    pub fn begin_step(&mut self) {
        self.step += 1;
    }

    /// Updates one parameter, known by `name`, in place. Memory is taken only
    /// the first time a name appears.
    ///
    /// # Panics
    /// If no step has begun, if the gradient has not the parameter's length, or
    /// if that length differs from an earlier step's.
    pub fn update(&mut self, name: &str, parameter: &mut [T], gradient: &[T], learning_rate: f64) {
        let length = parameter.len();
        assert!(self.step > 0, "an update belongs to a step");
        assert_eq!(gradient.len(), length, "gradient of {name}");
        if !self.moments.contains_key(name) {
            let zeros = Moments {
                first: vec![T::ZERO; length],
                second: vec![T::ZERO; length],
            };
            self.moments.insert(name.to_owned(), zeros);
        }
        let Moments { first, second } = self.moments.get_mut(name).expect("inserted above");
        assert_eq!(first.len(), length, "moments of {name}");

        let AdamWConfig {
            beta1,
            beta2,
            eps,
            weight_decay,
        } = self.config;
        let correction1 = 1.0 - beta1.powf(self.step.into());
        let correction2 = 1.0 - beta2.powf(self.step.into());
        let keep = T::from_f64(1.0 - learning_rate * weight_decay);
        let step_size = T::from_f64(learning_rate / correction1);
        let root_correction2 = T::from_f64(correction2.sqrt());
        let eps = T::from_f64(eps);
        let (new1, new2) = (T::from_f64(1.0 - beta1), T::from_f64(1.0 - beta2));
        let beta2 = T::from_f64(beta2);
        let moments = first.iter_mut().zip(second);
        for ((w, &g), (m, v)) in parameter.iter_mut().zip(gradient).zip(moments) {
            *m += new1 * (g - *m);
            *v = beta2 * *v + new2 * g * g;
            let denominator = v.sqrt() / root_correction2 + eps;
            *w = keep * *w - step_size * *m / denominator;
        }
    }
}

/// Scales all gradients down together so that their global norm is at most
/// `max_norm`, as `torch.nn.utils.clip_grad_norm_`: by
/// `max_norm / (norm + 1e-6)` where that is below 1.
///
/// Returns the global norm as it was: the root of the sum of the squares of all
/// elements, summed in the order given.
pub fn clip_by_global_norm<T: Scalar>(gradients: &mut [&mut Tensor<T>], max_norm: f64) -> f64 {
    let square = |gradient: &&mut Tensor<T>| {
        let elements = gradient.as_slice().expect("standard layout");
        reduce::squared_norm(elements).value()
    };
    let norm = gradients.iter().map(square).sum::<f64>().sqrt();
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        let factor = T::from_f64(factor);
        for gradient in gradients {
            gradient.map_inplace(|g| *g *= factor);
        }
    }
    norm
}

#[cfg(test)]
mod tests {
    use ggpo_tensor::{flat, tensor};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn settings_out_of_range_are_refused() {
        assert!(AdamWConfig::default().validate().is_ok());
        let refused = |text: &str| {
            let config: AdamWConfig = toml::from_str(text).expect("known fields");
            config.validate().expect_err("out of range").to_string()
        };
        let sentence = "beta1: expected a number in [0, 1), found 1";
        assert_eq!(refused("beta1 = 1.0"), sentence);
        assert!(refused("beta2 = -0.1").starts_with("beta2"));
        assert!(refused("eps = 0.0").starts_with("eps"));
        assert!(refused("weight_decay = nan").starts_with("weight_decay"));
        assert!(toml::from_str::<AdamWConfig>("momentum = 0.9").is_err());
    }

    #[test]
    fn first_step_has_the_size_of_the_learning_rate() {
        let mut optimizer = AdamW::<f64>::new(AdamWConfig::default());
        let mut w = [1.0, 1.0, 1.0];
        optimizer.begin_step();
        optimizer.update("w", &mut w, &[3.0, -0.5, 0.0], 0.1);
        // Exact up to eps / |g|, here 2e-8.
        assert!((w[0] - 0.9).abs() < 1e-8 && (w[1] - 1.1).abs() < 1e-8);
        assert_eq!(w[2], 1.0);
    }

    #[test]
    fn names_have_moments_of_their_own() {
        let mut one = AdamW::<f64>::new(AdamWConfig::default());
        let mut two = one.clone();
        let (mut alone, mut beside) = ([0.5, 0.25], [0.5, 0.25]);
        for step in 0..3 {
            one.begin_step();
            one.update("w", &mut alone, &[1.0, f64::from(step)], 0.1);
            two.begin_step();
            two.update("other", &mut [9.0], &[-4.0], 0.3);
            two.update("w", &mut beside, &[1.0, f64::from(step)], 0.1);
        }
        assert_eq!(alone, beside);
    }

    #[test]
    fn clipping_leaves_shared_copies_alone() {
        let mut gradient = tensor::<f64>(&[2], vec![3.0, 4.0]);
        let copy = gradient.clone();
        assert_eq!(clip_by_global_norm(&mut [&mut gradient], 1.0), 5.0);
        assert_eq!(flat(&copy), [3.0, 4.0]);
        assert!((flat(&gradient)[0] - 0.6).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn clipping_bounds_the_norm_and_keeps_the_direction(
            a in prop::collection::vec(-100.0..100.0, 1..20),
            b in prop::collection::vec(-100.0..100.0, 1..20),
            max_norm in 0.01..200.0,
        ) {
            let mut x = tensor(&[a.len()], a.clone());
            let mut y = tensor(&[b.len()], b.clone());
            let before = clip_by_global_norm(&mut [&mut x, &mut y], max_norm);
            let expected = a.iter().chain(&b).map(|x| x * x).sum::<f64>().sqrt();
            // Sums of at most 40 squares in two orders.
            prop_assert!((before - expected).abs() <= 1e-12 * expected);
            let factor = (max_norm / (before + 1e-6)).min(1.0);
            for (new, old) in flat(&x).iter().chain(flat(&y)).zip(a.iter().chain(&b)) {
                prop_assert_eq!(*new, old * factor);
            }
            let after = clip_by_global_norm(&mut [&mut x, &mut y], f64::INFINITY);
            prop_assert!(after <= max_norm.min(before) * (1.0 + 1e-12));
        }
    }
}
