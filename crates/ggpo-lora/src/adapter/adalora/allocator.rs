//! Which triples of AdaLoRA stay: importance, budget, penalty.
//!
//! For every parameter p with gradient dp, `I = |p dp|`, and its score is the running
//! mean of I times the running mean of `|I - mean|`. A triple k of a layer has the
//! score `s(E_k) + mean s(row k of Q) + mean s(column k of P)`. After step t (from 0),
//! of T, with n layers, `b0 = n r_init` and `bT = n r` triples,
//!
//! ```text
//! budget = int( (b0 - bT) (1 - (t - t_init) / (T - t_init - t_final))^3 + bT )
//! ```
//!
//! whenever `delta_t` divides t, after `t_init`: all triples with a score at or below
//! the (b0 - budget)-th smallest get E = 0, and may grow again until the next time. At
//! `t = T - t_final` this is for good. Ties can leave fewer triples than the budget,
//! never more.

use std::collections::BTreeMap;

use ggpo_tensor::{Scalar, Tensor, flat, matmul, matmul_nt, matmul_tn, view2};

use super::{AdaLoraConfig, E, P, Q};
use crate::adapter::{Adapter, Adapters, Regulator, parameter_name};
use crate::{LoraError, State};

/// Running means of the importance of one parameter's elements.
#[derive(Clone, Debug)]
struct Importance<T> {
    mean: Vec<T>,
    uncertainty: Vec<T>,
}

/// The allocation of triples in the course of a run.
#[derive(Clone, Debug)]
pub struct RankAllocator<T> {
    config: AdaLoraConfig,
    /// The rank at the end.
    rank: usize,
    total_steps: u32,
    importance: BTreeMap<String, Importance<T>>,
    /// Which triples stay for good, layer by layer, once that is decided.
    pattern: Vec<Vec<bool>>,
}

impl<T: Scalar> RankAllocator<T> {
    /// The allocation of a run of `total_steps` steps that ends at a mean rank.
    ///
    /// # Errors
    /// [`LoraError::Config`] as [`AdaLoraConfig::validate`] says, and if `t_init` and
    /// `t_final` leave no step between them.
    pub fn new(config: AdaLoraConfig, rank: usize, total_steps: u32) -> Result<Self, LoraError> {
        config.validate(rank)?;
        if config.t_init.saturating_add(config.t_final) >= total_steps {
            let expected = "fewer steps than the run has, together with adalora.t_final";
            return Err(LoraError::config("adalora.t_init", expected, config.t_init));
        }
        Ok(RankAllocator {
            config,
            rank,
            total_steps,
            importance: BTreeMap::new(),
            pattern: Vec::new(),
        })
    }

    /// Triples of all `layers` together that may stay after step `step`.
    pub fn budget(&self, step: u32, layers: usize) -> usize {
        let (start, end) = (layers * self.config.init_rank, layers * self.rank);
        let last = self.total_steps - self.config.t_final;
        if step <= self.config.t_init {
            start
        } else if step >= last {
            end
        } else {
            let span = f64::from(last - self.config.t_init);
            let left = 1.0 - f64::from(step - self.config.t_init) / span;
            ((start - end) as f64 * left.powi(3) + end as f64) as usize
        }
    }

    fn update_importance(&mut self, adapters: &Adapters<T>, gradients: &Gradients<T>) {
        let [beta1, beta2] = [self.config.beta1, self.config.beta2].map(T::from_f64);
        let [new1, new2] = [self.config.beta1, self.config.beta2].map(|b| T::from_f64(1.0 - b));
        for (module, adapter) in adapters {
            for (factor, value) in adapter.factors() {
                let name = parameter_name(module, factor);
                let Some(gradient) = gradients.get(&name) else {
                    continue;
                };
                let zeros = || vec![T::ZERO; value.len()];
                let known = self.importance.entry(name).or_insert_with(|| Importance {
                    mean: zeros(),
                    uncertainty: zeros(),
                });
                let means = known.mean.iter_mut().zip(&mut known.uncertainty);
                let elements = flat(value).iter().zip(flat(gradient));
                for ((mean, uncertainty), (&p, &dp)) in means.zip(elements) {
                    let importance = magnitude(p * dp);
                    *mean = beta1 * *mean + new1 * importance;
                    *uncertainty = beta2 * *uncertainty + new2 * magnitude(importance - *mean);
                }
            }
        }
    }

    /// The scores of the triples of one layer.
    fn scores(&self, module: &str, rank: usize) -> Vec<T> {
        let of = |factor| {
            let known = self.importance.get(&parameter_name(module, factor));
            known.map(|known| {
                let pairs = known.mean.iter().zip(&known.uncertainty);
                pairs
                    .map(|(&mean, &uncertainty)| mean * uncertainty)
                    .collect::<Vec<T>>()
            })
        };
        let (Some(e), Some(p), Some(q)) = (of(E), of(P), of(Q)) else {
            return vec![T::ZERO; rank];
        };
        let (m, n) = (p.len() / rank, q.len() / rank);
        let sum = |numbers: &mut dyn Iterator<Item = T>| numbers.fold(T::ZERO, |sum, x| sum + x);
        (0..rank)
            .map(|k| {
                let row = sum(&mut q[k * n..][..n].iter().copied());
                let column = sum(&mut p.iter().skip(k).step_by(rank).copied());
                e[k] + row / T::from_f64(n as f64) + column / T::from_f64(m as f64)
            })
            .collect()
    }

    /// Which triples stay within a budget, layer by layer.
    fn allocate(&self, adapters: &Adapters<T>, budget: usize) -> Vec<Vec<bool>> {
        let scores: Vec<Vec<T>> = adapters
            .iter()
            .map(|(module, adapter)| {
                let rank = adapter.factor(E).map_or(0, |e| e.len());
                self.scores(module, rank)
            })
            .collect();
        let mut sorted: Vec<T> = scores.iter().flatten().copied().collect();
        // A run that has diverged has scores that are not numbers.
        sorted.sort_by(|a, b| a.value().total_cmp(&b.value()));
        let surplus = sorted.len().saturating_sub(budget);
        let threshold = surplus.checked_sub(1).map(|last| sorted[last]);
        let stays = |score: &T| threshold.is_none_or(|threshold| *score > threshold);
        scores
            .iter()
            .map(|layer| layer.iter().map(stays).collect())
            .collect()
    }
}

/// `|x|`.
fn magnitude<T: Scalar>(x: T) -> T {
    if x < T::ZERO { -x } else { x }
}

/// Sets E of all triples that do not stay to 0.
fn mask<T: Scalar>(adapters: &mut Adapters<T>, pattern: &[Vec<bool>]) {
    for (adapter, stays) in adapters.values_mut().zip(pattern) {
        let Some(e) = adapter.factor_mut(E) else {
            continue;
        };
        for (e, &stays) in e.iter_mut().zip(stays) {
            if !stays {
                *e = T::ZERO;
            }
        }
    }
}

/// Gradients by the name of the parameter.
type Gradients<T> = BTreeMap<String, Tensor<T>>;

impl<T: Scalar> Regulator<T> for RankAllocator<T> {
    /// `w` times the mean over all P and Q of `||P^T P - I||_F` and
    /// `||Q Q^T - I||_F`.
    fn penalty(&self, adapters: &Adapters<T>, gradients: &mut Gradients<T>) -> f64 {
        if self.config.penalty == 0.0 || adapters.is_empty() {
            return 0.0;
        }
        let weight = self.config.penalty / (2 * adapters.len()) as f64;
        let mut penalty = 0.0;
        for (module, adapter) in adapters {
            for (factor, value) in adapter.factors() {
                let matrix = view2(value);
                let mut excess = match factor {
                    Q => matmul_nt(matrix, matrix),
                    P => matmul_tn(matrix, matrix),
                    _ => continue,
                };
                excess.diag_mut().map_inplace(|x| *x -= T::ONE);
                let square = excess.iter().fold(T::ZERO, |sum, &x| sum + x * x);
                let norm = square.sqrt();
                penalty += weight * norm.value();
                if norm == T::ZERO {
                    continue;
                }
                // d ||C||_F = <C / ||C||_F, dC>, and C is symmetric.
                let mut slope = match factor {
                    Q => matmul(excess.view(), matrix),
                    _ => matmul(matrix, excess.view()),
                };
                let scale = T::from_f64(2.0 * weight) / norm;
                slope.map_inplace(|x| *x *= scale);
                let name = parameter_name(module, factor);
                if let Some(gradient) = gradients.get_mut(&name) {
                    gradient.zip_mut_with(&slope.into_dyn(), |g, &x| *g += x);
                }
            }
        }
        penalty
    }

    fn after_step(&mut self, step: u32, adapters: &mut Adapters<T>, gradients: &Gradients<T>) {
        let last = self.total_steps - self.config.t_final;
        if step > last {
            return mask(adapters, &self.pattern);
        }
        if step < last {
            self.update_importance(adapters, gradients);
        }
        let due = step > self.config.t_init && step.is_multiple_of(self.config.delta_t);
        if step == last || due {
            let pattern = self.allocate(adapters, self.budget(step, adapters.len()));
            mask(adapters, &pattern);
            if step == last {
                self.pattern = pattern;
            }
        }
    }

    fn state(&self) -> State {
        let names = self.importance.iter();
        let mut state = State::default();
        for (name, importance) in names {
            let both = [
                importance.mean.as_slice(),
                importance.uncertainty.as_slice(),
            ];
            state = state.with(name, both);
        }
        let bits = |stays: &Vec<bool>| stays.iter().map(|&it| f64::from(u8::from(it))).collect();
        let pattern: Vec<Vec<f64>> = self.pattern.iter().map(bits).collect();
        state.with(PATTERN, pattern.iter().map(Vec::as_slice))
    }

    fn restore(&mut self, mut state: State) -> Result<(), LoraError> {
        let pattern: Vec<Vec<f64>> = state.take(PATTERN)?;
        let bits = |stays: Vec<f64>| stays.into_iter().map(|it| it != 0.0).collect();
        self.pattern = pattern.into_iter().map(bits).collect();
        let names: Vec<String> = state.vectors.keys().cloned().collect();
        self.importance.clear();
        for name in names {
            let both: Vec<Vec<T>> = state.take(&name)?;
            let Ok([mean, uncertainty]) = <[Vec<T>; 2]>::try_from(both) else {
                let reason = format!("the importance of {name} is not two means");
                return Err(LoraError::State { reason });
            };
            self.importance
                .insert(name, Importance { mean, uncertainty });
        }
        state.finish()
    }

    fn fits(&self, adapters: &Adapters<T>) -> bool {
        let rank = |adapter: &Adapter<T>| adapter.factor(E).map_or(0, |e| e.len());
        let mut pairs = self.pattern.iter().zip(adapters.values());
        let pattern = self.pattern.is_empty()
            || self.pattern.len() == adapters.len()
                && pairs.all(|(stays, adapter)| stays.len() == rank(adapter));
        let known = self.importance.iter().all(|(name, importance)| {
            let lengths = [importance.mean.len(), importance.uncertainty.len()];
            let factor = adapters.iter().find_map(|(module, adapter)| {
                let factor = name.strip_prefix(module.as_str())?.strip_prefix('.')?;
                adapter.factor(factor)
            });
            factor.is_some_and(|factor| lengths == [factor.len(); 2])
        });
        pattern && known
    }
}

/// The name of the pattern in the state; no parameter is called so.
const PATTERN: &str = "pattern";
