//! Laws of AdaLoRA's allocation.

use std::collections::BTreeMap;

use ggpo_lora::adapter::Regulator;
use ggpo_lora::adapter::adalora::allocator::RankAllocator;
use ggpo_lora::adapter::adalora::{AdaLoraConfig, E, P, Q};
use ggpo_lora::{Adapters, parameter_name};
use proptest::prelude::*;

use super::*;

pub(super) type Gradients<T> = BTreeMap<String, Tensor<T>>;

/// Triples of a layer at the start, and at the end on average.
const START: usize = 4;
const END: usize = 2;

/// Three layers, of which two may be the same, so that there are ties.
pub(super) fn adapters<T: Scalar>(seed: u64, twins: bool) -> Adapters<T> {
    let of_layer = |seed, size| adapted::<T>(2, seed, size, START, false).adapter;
    let second = if twins { seed } else { seed ^ 1 };
    Adapters::from([
        ("first".to_owned(), of_layer(seed, (5, 7))),
        ("second".to_owned(), of_layer(second, (5, 7))),
        ("third".to_owned(), of_layer(seed ^ 2, (6, 4))),
    ])
}

/// Random gradients of all factors, of which those of a triple may be 0.
pub(super) fn gradients<T: Scalar>(adapters: &Adapters<T>, seed: u64, twins: bool) -> Gradients<T> {
    let mut gradients = Gradients::new();
    for (layer, (module, adapter)) in adapters.iter().enumerate() {
        let layer = if twins && layer == 1 { 0 } else { layer };
        for (part, (factor, value)) in adapter.factors().into_iter().enumerate() {
            let (m, n) = view2(value).dim();
            let gradient = random(seed ^ (layer as u64) << 32, 40 + part as u32, m, n);
            gradients.insert(parameter_name(module, factor), gradient);
        }
    }
    gradients
}

/// What a step of an optimiser might leave: other factors, E too.
pub(super) fn step<T: Scalar>(adapters: &mut Adapters<T>, seed: u64, twins: bool) {
    for (layer, adapter) in adapters.values_mut().enumerate() {
        let layer = if twins && layer == 1 { 0 } else { layer };
        for (part, (_, value)) in adapter.factors_mut().into_iter().enumerate() {
            let (m, n) = view2(value).dim();
            *value = random(seed ^ (layer as u64) << 32, 50 + part as u32, m, n);
        }
    }
}

fn energies(adapters: &Adapters<f64>) -> Vec<f64> {
    let of_layer = |adapter: &Adapter<f64>| flat(adapter.factor(E).unwrap()).to_vec();
    adapters.values().flat_map(of_layer).collect()
}

/// Running means by name of the parameter: of `|p dp|`, and of its distance from that.
type Means = BTreeMap<String, (Vec<f64>, Vec<f64>)>;

fn update(means: &mut Means, config: &AdaLoraConfig, all: &Adapters<f64>, grads: &Gradients<f64>) {
    for (module, adapter) in all {
        for (factor, value) in adapter.factors() {
            let name = parameter_name(module, factor);
            let gradient = flat(&grads[&name]);
            let zeros = || vec![0.0; value.len()];
            let (mean, spread) = means.entry(name).or_insert_with(|| (zeros(), zeros()));
            for (k, p) in flat(value).iter().enumerate() {
                let importance = (p * gradient[k]).abs();
                mean[k] = config.beta1 * mean[k] + (1.0 - config.beta1) * importance;
                let distance = (importance - mean[k]).abs();
                spread[k] = config.beta2 * spread[k] + (1.0 - config.beta2) * distance;
            }
        }
    }
}

/// `s(E_k) + mean s(row k of Q) + mean s(column k of P)` of all triples.
fn scores(means: &Means, all: &Adapters<f64>) -> Vec<f64> {
    let mut scores = Vec::new();
    for (module, adapter) in all {
        let [q, p, e] = [Q, P, E].map(|factor| {
            let (m, n) = view2(adapter.factor(factor).unwrap()).dim();
            let (mean, spread) = &means[&parameter_name(module, factor)];
            let products = mean.iter().zip(spread).map(|(x, y)| x * y).collect();
            Array2::from_shape_vec((m, n), products).unwrap()
        });
        for k in 0..e.nrows() {
            scores.push(e[[k, 0]] + q.row(k).mean().unwrap() + p.column(k).mean().unwrap());
        }
    }
    scores
}

/// `int( (b0 - bT) (1 - (t - t_init) / (T - t_init - t_final))^3 + bT )`.
fn budget(config: &AdaLoraConfig, step: u32, total: u32) -> usize {
    let (start, end) = (3.0 * START as f64, 3.0 * END as f64);
    let last = total - config.t_final;
    if step <= config.t_init {
        return 3 * START;
    }
    let done = f64::from(step - config.t_init) / f64::from(last - config.t_init);
    ((start - end) * (1.0 - done).powi(3) + end) as usize
}

prop_compose! {
    fn any_run()(total in 4_u32..16)(
        t_init in 0..total / 2,
        t_final in 0..total / 2,
        delta_t in 1_u32..4,
        beta1 in 0.0..0.95_f64,
        beta2 in 0.0..0.95_f64,
        total in Just(total),
    ) -> (AdaLoraConfig, u32) {
        let config = AdaLoraConfig {
            init_rank: START, t_init, t_final, delta_t, beta1, beta2, ..AdaLoraConfig::default()
        };
        (config, total)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Step by step against a direct calculation: exactly the triples with a score at or
    /// below the (b0 - budget)-th smallest are 0, so never more than the budget are left,
    /// ties included; nothing happens between allocations nor while `t <= t_init`, and
    /// after `T - t_final` the same triples stay.
    #[test]
    fn the_allocation_keeps_its_budget((config, total) in any_run(), seed: u64, twins: bool) {
        let mut allocator = RankAllocator::new(config, END, total).unwrap();
        let mut all = adapters::<f64>(seed, twins);
        let mut means = Means::new();
        let last = total - config.t_final;
        let mut for_good = None;
        for t in 0..total + 2 {
            step(&mut all, seed ^ u64::from(t), twins);
            let grads = gradients(&all, seed ^ u64::from(t), twins);
            let before = energies(&all);
            allocator.after_step(t, &mut all, &grads);
            if t < last {
                update(&mut means, &config, &all_of(&all, &before), &grads);
            }
            let after = energies(&all);
            let due = t > config.t_init && t % config.delta_t == 0;
            if t > last {
                let stays: &Vec<bool> = for_good.as_ref().expect("decided at the last");
                for ((x, y), stays) in before.iter().zip(&after).zip(stays) {
                    prop_assert_eq!(*y, if *stays { *x } else { 0.0 });
                }
                continue;
            }
            if t < last && !due {
                prop_assert_eq!(before, after);
                continue;
            }
            let most = budget(&config, t, total);
            prop_assert_eq!(allocator.budget(t, 3), most);
            let scores = scores(&means, &all);
            let mut sorted = scores.clone();
            sorted.sort_by(f64::total_cmp);
            let cut = 3 * START - most;
            let stays: Vec<bool> = match cut {
                0 => vec![true; scores.len()],
                // Sums in another order: what is equal may differ in its last bits.
                _ => scores.iter().map(|s| *s > sorted[cut - 1] * (1.0 + 1e-12)).collect(),
            };
            prop_assert!(stays.iter().filter(|stays| **stays).count() <= most);
            for ((x, y), stays) in before.iter().zip(&after).zip(&stays) {
                prop_assert_eq!(*y, if *stays { *x } else { 0.0 });
            }
            if t == last {
                for_good = Some(stays);
            }
        }
    }

    /// The budget falls from `n r_init` to `n r` and never rises.
    #[test]
    fn the_budget_falls((config, total) in any_run(), layers in 1_usize..50) {
        let allocator = RankAllocator::<f32>::new(config, END, total).unwrap();
        let budgets: Vec<usize> = (0..total + 2).map(|t| allocator.budget(t, layers)).collect();
        prop_assert!(budgets.windows(2).all(|pair| pair[0] >= pair[1]));
        prop_assert_eq!(budgets[0], layers * START);
        prop_assert_eq!(budgets[(total - config.t_final) as usize], layers * END);
    }

    /// `w` times the mean over all P and Q of `||P^T P - I||_F` and `||Q Q^T - I||_F`, and
    /// its gradient against central differences: their error is of the order of h^2 plus
    /// rounding over h, here 1e-10.
    #[test]
    fn the_penalty_and_its_gradient(seed: u64, weight in 0.01..2.0_f64) {
        let config = AdaLoraConfig { init_rank: START, penalty: weight, ..Default::default() };
        let allocator = RankAllocator::<f64>::new(config, END, 10).unwrap();
        let all = adapters::<f64>(seed, false);
        let before = gradients(&all, seed, false);
        let mut after = before.clone();
        let penalty = allocator.penalty(&all, &mut after);
        let mut expected = 0.0;
        for adapter in all.values() {
            let [q, p] = [Q, P].map(|factor| view2(adapter.factor(factor).unwrap()));
            let eye = Array2::<f64>::eye(START);
            expected += weight * (norm(&(q.dot(&q.t()) - &eye)) + norm(&(p.t().dot(&p) - &eye)));
        }
        prop_assert!((penalty - expected / 6.0).abs() <= ROUNDING * penalty);
        let value = |all: &Adapters<f64>| allocator.penalty(all, &mut Gradients::new());
        let h = 1e-5;
        for (module, adapter) in &all {
            for (factor, elements) in adapter.factors() {
                let name = parameter_name(module, factor);
                for k in 0..elements.len() {
                    let at = |shift: f64| {
                        let mut moved = all.clone();
                        let adapter = moved.get_mut(module).unwrap();
                        let value = adapter.factor_mut(factor).unwrap();
                        value.as_slice_mut().unwrap()[k] += shift;
                        moved
                    };
                    let slope = (value(&at(h)) - value(&at(-h))) / (2.0 * h);
                    let found = flat(&after[&name])[k] - flat(&before[&name])[k];
                    prop_assert!((found - slope).abs() <= 1e-7 * (1.0 + penalty), "{name}[{k}]");
                }
            }
        }
    }
}

/// The adapters as they were when the importance was taken: before E was set to 0.
fn all_of(all: &Adapters<f64>, before: &[f64]) -> Adapters<f64> {
    let mut all = all.clone();
    for (adapter, energies) in all.values_mut().zip(before.chunks(START)) {
        let e = adapter.factor_mut(E).unwrap();
        e.as_slice_mut().unwrap().copy_from_slice(energies);
    }
    all
}

/// All scores 0, the worst of ties: everything is given up, and nothing more.
#[test]
fn without_any_importance_all_triples_go() {
    let config = AdaLoraConfig {
        init_rank: START,
        ..AdaLoraConfig::default()
    };
    let mut allocator = RankAllocator::<f64>::new(config, END, 10).unwrap();
    let mut all = adapters(1, false);
    let none = Gradients::new();
    allocator.after_step(0, &mut all, &none);
    assert!(energies(&all).iter().all(|e| *e != 0.0), "t <= t_init");
    allocator.after_step(1, &mut all, &none);
    assert!(energies(&all).iter().all(|e| *e == 0.0));
}

/// A run that has diverged is the trainer's to report.
#[test]
fn gradients_that_are_not_numbers_do_not_panic() {
    let config = AdaLoraConfig {
        init_rank: START,
        ..AdaLoraConfig::default()
    };
    let mut allocator = RankAllocator::<f64>::new(config, END, 10).unwrap();
    let mut all = adapters(1, false);
    let mut grads = gradients(&all, 1, false);
    grads.get_mut("second.lora_A").unwrap().fill(f64::NAN);
    for t in 0..3 {
        allocator.after_step(t, &mut all, &grads);
    }
}

#[test]
fn settings_that_do_not_fit_are_refused_by_name() {
    let base = AdaLoraConfig::default();
    let with = |config, rank, steps| {
        let result = RankAllocator::<f32>::new(config, rank, steps);
        result.unwrap_err().to_string()
    };
    let cases = [
        (with(base, 13, 10), "`adalora.init_rank`"),
        (
            with(AdaLoraConfig { beta1: 1.0, ..base }, 8, 10),
            "`adalora.beta1`",
        ),
        (
            with(
                AdaLoraConfig {
                    beta2: -0.1,
                    ..base
                },
                8,
                10,
            ),
            "`adalora.beta2`",
        ),
        (
            with(
                AdaLoraConfig {
                    penalty: f64::NAN,
                    ..base
                },
                8,
                10,
            ),
            "`adalora.penalty`",
        ),
        (
            with(AdaLoraConfig { delta_t: 0, ..base }, 8, 10),
            "`adalora.delta_t`",
        ),
        (
            with(
                AdaLoraConfig {
                    t_init: 6,
                    t_final: 4,
                    ..base
                },
                8,
                10,
            ),
            "`adalora.t_init`",
        ),
    ];
    for (message, field) in cases {
        assert!(message.contains(field), "{message}");
    }
}
