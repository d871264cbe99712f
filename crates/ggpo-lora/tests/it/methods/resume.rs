//! A state that is saved as text and restored continues bit for bit.

use ggpo_lora::adapter::Regulator;
use ggpo_lora::adapter::adalora::AdaLoraConfig;
use ggpo_lora::adapter::adalora::allocator::RankAllocator;
use ggpo_lora::perturbation::{
    EfmLoraConfig, MgpoConfig, MsamConfig, PerturbationConfig, SamConfig, Space,
};
use ggpo_lora::{GgpoConfig, NoiseGradient, Perturbation, SigmaSchedule, State};
use proptest::prelude::*;

use super::allocator::{adapters, gradients, step};
use super::*;
use crate::common::bits;

const STEPS: u32 = 7;

fn all() -> Vec<PerturbationConfig> {
    let in_space = |space| {
        [
            PerturbationConfig::Mgpo(MgpoConfig {
                space,
                ..MgpoConfig::default()
            }),
            PerturbationConfig::Sam(SamConfig {
                space,
                ..SamConfig::default()
            }),
        ]
    };
    let mut all = vec![
        PerturbationConfig::Ggpo(GgpoConfig::default()),
        PerturbationConfig::Ggpo(GgpoConfig {
            refresh_every: 3,
            schedule: SigmaSchedule::CosineRamp,
            ..GgpoConfig::default()
        }),
        PerturbationConfig::Ggpo(GgpoConfig {
            noise_gradient: NoiseGradient::Reparameterised,
            ..GgpoConfig::default()
        }),
        PerturbationConfig::Msam(MsamConfig::default()),
        PerturbationConfig::Efm(EfmLoraConfig::default()),
    ];
    all.extend(in_space(Space::Factors));
    all.extend(in_space(Space::Merged));
    all
}

fn layers<T: Scalar>(seed: u64) -> Layers<T> {
    Layers(vec![
        adapted(0, seed, (5, 7), 2, true),
        adapted(0, seed ^ 1, (4, 6), 3, false),
    ])
}

/// What acts at a point, in bits.
fn point<T: Scalar>(perturbation: &dyn Perturbation<T>, layers: &Layers<T>) -> Vec<u64> {
    let mut all = Vec::new();
    for (index, layer) in layers.0.iter().enumerate() {
        if let Some(eps) = noise_of(perturbation, index, layer.weight.view()) {
            all.extend(bits(&eps));
        }
        if let Some(noise) = perturbation.noise(index, 0) {
            let factors = noise.weight_factors().into_iter().flatten();
            all.extend(factors.map(|f| f.value().to_bits()));
        }
        if let Some(step) = perturbation.merged_move(index) {
            all.extend(bits(&step.up));
            all.extend(bits(&step.down));
        }
        if let Some(moves) = perturbation.factor_moves(index) {
            all.extend(moves.iter().flatten().map(|x| x.value().to_bits()));
        }
    }
    all
}

/// One step from the gradients of the one before: the points of its passes.
fn walk<T: Scalar>(
    perturbation: &mut dyn Perturbation<T>,
    layers: &mut Layers<T>,
    seed: u64,
    step: u32,
) -> Vec<u64> {
    perturbation.begin_step(step, layers);
    let mut all = point(perturbation, layers);
    layers.stir(seed, step, 1.0);
    perturbation.observe(layers);
    perturbation.ascend(layers);
    all.extend(point(perturbation, layers));
    all
}

fn through_text(state: &State) -> State {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

fn continues<T: Scalar>(
    config: PerturbationConfig,
    seed: u64,
    stop: u32,
) -> Result<(), TestCaseError> {
    let mut layers = layers::<T>(seed);
    let mut straight = config.build::<T>(seed, STEPS).unwrap();
    for step in 0..stop {
        walk(&mut *straight, &mut layers, seed, step);
    }
    let mut resumed = config.build::<T>(seed, STEPS).unwrap();
    let state = straight.state();
    resumed.restore(through_text(&state)).unwrap();
    prop_assert_eq!(&resumed.state(), &state);
    let mut twin = layers.clone();
    for step in stop..STEPS {
        let expected = walk(&mut *straight, &mut layers, seed, step);
        prop_assert!(!expected.is_empty() || step == 0);
        prop_assert_eq!(
            walk(&mut *resumed, &mut twin, seed, step),
            expected,
            "step {}",
            step
        );
    }
    prop_assert_eq!(resumed.state(), straight.state());
    Ok(())
}

fn allocates<T: Scalar>(seed: u64, stop: u32, config: AdaLoraConfig) -> Result<(), TestCaseError> {
    let mut straight = RankAllocator::<T>::new(config, 2, STEPS).unwrap();
    let mut all = adapters::<T>(seed, false);
    let mut walk = |allocator: &mut RankAllocator<T>, t: u32| {
        step(&mut all, seed ^ u64::from(t), false);
        let grads = gradients(&all, seed ^ u64::from(t), false);
        allocator.after_step(t, &mut all, &grads);
        all.clone()
    };
    for t in 0..stop {
        walk(&mut straight, t);
    }
    let mut resumed = RankAllocator::<T>::new(config, 2, STEPS).unwrap();
    let state = straight.state();
    resumed.restore(through_text(&state)).unwrap();
    prop_assert_eq!(&resumed.state(), &state);
    for t in stop..STEPS + 2 {
        let expected = walk(&mut straight, t);
        prop_assert_eq!(walk(&mut resumed, t), expected, "step {}", t);
    }
    prop_assert_eq!(resumed.state(), straight.state());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_restored_perturbation_makes_the_same_moves(seed: u64, stop in 0..STEPS) {
        for config in all() {
            continues::<f32>(config, seed, stop)?;
            continues::<f64>(config, seed, stop)?;
        }
    }

    #[test]
    fn a_restored_allocation_gives_up_the_same_triples(
        seed: u64, stop in 0..STEPS + 2, t_init in 0_u32..3, t_final in 0_u32..3,
        delta_t in 1_u32..3,
    ) {
        let config = AdaLoraConfig {
            init_rank: 4, t_init, t_final, delta_t, ..AdaLoraConfig::default()
        };
        allocates::<f32>(seed, stop, config)?;
        allocates::<f64>(seed, stop, config)?;
    }
}

/// A state of another method is refused with the name of what does not belong.
#[test]
fn states_of_other_methods_are_refused() {
    let mut states = Vec::new();
    for config in all() {
        let mut layers = layers::<f64>(1);
        let mut perturbation = config.build::<f64>(1, STEPS).unwrap();
        walk(&mut *perturbation, &mut layers, 1, 0);
        let kind = std::mem::discriminant(&config);
        // SAM and momentum SAM have no state, so one fits the other.
        let empty = perturbation.state().vectors.is_empty();
        states.push((config, kind, empty, perturbation.state()));
    }
    for (config, kind, empty, _) in &states {
        for (_, other, nothing, state) in &states {
            let mut perturbation = config.build::<f64>(1, STEPS).unwrap();
            let fits = kind == other || *empty && *nothing;
            let result = perturbation.restore(state.clone());
            assert_eq!(result.is_ok(), fits, "{config:?}");
        }
    }
    let mut mgpo = PerturbationConfig::Mgpo(MgpoConfig::default())
        .build::<f64>(1, 2)
        .unwrap();
    let short = State::default()
        .with::<f64>("momentum", [])
        .with("parts", [[2.0].as_slice()])
        .with::<f64>("mean_norms", []);
    let message = mgpo.restore(short).unwrap_err().to_string();
    assert!(message.contains("parts"), "{message}");
}
