//! What is measured, and what it is held to: the groups of processes that take
//! turns, and ratios with their bounds. Both are listed here and nowhere else.

use ggpo_tensor::simd::Level;
use serde::{Deserialize, Serialize};

use super::Shape;
use super::contender::Contender;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Time of a step of the first over that of the second.
    StepTime(Contender, Contender),
    /// Peaks of the processes' resident memory.
    PeakMemory(Contender, Contender),
    /// Memory of the models' own weights.
    Weights(Contender, Contender),
    /// Rate of the useful floating-point operations of a step, as a share of the
    /// processor's multiply-add peak.
    RateOfPeak(Contender),
    /// Rate of the product of a layer on one thread, as a share of that thread's
    /// multiply-add peak.
    LayerRateOfPeak,
    /// The lowest rate of our products over those of `matrixmultiply`.
    OverMatrixmultiply,
}

impl Quantity {
    /// The two processes that it compares; none where it is about products.
    pub fn processes(&self) -> Option<[Contender; 2]> {
        match *self {
            Quantity::StepTime(of, to)
            | Quantity::PeakMemory(of, to)
            | Quantity::Weights(of, to) => Some([of, to]),
            Quantity::RateOfPeak(of) => Some([of, of]),
            Quantity::LayerRateOfPeak | Quantity::OverMatrixmultiply => None,
        }
    }
}

/// What a quantity should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Bound {
    /// Whether a value keeps to it.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtMost(limit) => value <= limit,
            Bound::AtLeast(limit) => value >= limit,
        }
    }
}

/// A quantity and what it is held to.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    /// The ratio in words.
    pub what: &'static str,
    /// What is compared.
    pub quantity: Quantity,
    /// What it should be with AVX2 and with AVX-512; nothing for a ratio that is
    /// shown beside another one.
    bounds: Option<[Bound; 2]>,
}

impl Goal {
    /// What the quantity should be at a level; nothing at the portable one.
    pub fn bound(&self, level: Level) -> Option<Bound> {
        let [avx2, avx512] = self.bounds?;
        match level {
            Level::Portable => None,
            Level::Avx2 => Some(avx2),
            Level::Avx512 => Some(avx512),
        }
    }
}

/// Processes that take turns.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Its name in options and tables.
    pub name: &'static str,
    /// The processes in the order of a round, in which those that are compared
    /// are neighbours where that can be.
    pub contenders: &'static [Contender],
    /// Those of which a profile is made, on its own.
    pub profiled: &'static [Contender],
}

impl Group {
    /// The group of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        GROUPS.iter().find(|group| group.name == name)
    }

    /// Whether it has all these processes.
    pub fn has(&self, processes: &[Contender]) -> bool {
        processes
            .iter()
            .all(|process| self.contenders.contains(process))
    }
}

const MINILM: Contender = Contender::lora(Shape::Minilm, Shape::Minilm.batch());
const LLAMA: Contender = Contender::lora(Shape::Llama, Shape::Llama.batch());
const LONG: Contender = Contender::lora(Shape::Llama, [1, 2048]);
const TINY: Contender = Contender::lora(Shape::Tiny, Shape::Tiny.batch());
const SMOLLM2: Contender = Contender::lora(Shape::Smollm2, Shape::Smollm2.batch());

/// MiniLM on few tokens a step.
const fn few(batch: usize, seq: usize) -> Contender {
    Contender::lora(Shape::Minilm, [batch, seq])
}

/// All groups.
#[rustfmt::skip]
pub const GROUPS: [Group; 5] = [
    Group {
        name: "minilm",
        contenders: &[MINILM.on_one_thread(), MINILM.ggpo(), MINILM, MINILM.torch()],
        profiled: &[MINILM],
    },
    Group {
        name: "llama",
        contenders: &[LLAMA.torch(), LLAMA, LONG, LONG.torch()],
        profiled: &[LLAMA, LONG],
    },
    Group {
        name: "tiny",
        contenders: &[TINY.ggpo(), TINY, TINY.torch()],
        profiled: &[TINY],
    },
    Group {
        name: "noise",
        contenders: &[
            few(1, 16).ggpo(), few(1, 16),
            few(1, 32).ggpo(), few(1, 32),
            few(1, 64).ggpo(), few(1, 64),
            few(1, 128).ggpo(), few(1, 128),
            few(4, 64).ggpo(), few(4, 64),
            few(8, 128).ggpo(), few(8, 128),
        ],
        profiled: &[few(1, 32).ggpo()],
    },
    Group {
        name: "smollm2",
        contenders: &[SMOLLM2.on_quantized(), SMOLLM2],
        profiled: &[SMOLLM2],
    },
];

/// The name that options have for the products of matrices, which are measured by
/// `cargo bench`.
pub const PRODUCTS: &str = "products";

const fn goal(what: &'static str, quantity: Quantity, bounds: Option<[Bound; 2]>) -> Goal {
    Goal {
        what,
        quantity,
        bounds,
    }
}

const fn at_most(avx2: f64, avx512: f64) -> Option<[Bound; 2]> {
    Some([Bound::AtMost(avx2), Bound::AtMost(avx512)])
}

const fn at_least(avx2: f64, avx512: f64) -> Option<[Bound; 2]> {
    Some([Bound::AtLeast(avx2), Bound::AtLeast(avx512)])
}

use Quantity::{LayerRateOfPeak, OverMatrixmultiply, PeakMemory, RateOfPeak, StepTime, Weights};

/// All goals. A peer's process counts as a whole, its imports included.
#[rustfmt::skip]
pub const GOALS: [Goal; 20] = [
    goal("MiniLM, LoRA: step / PyTorch's", StepTime(MINILM, MINILM.torch()), at_most(0.65, 0.44)),
    goal("Llama, LoRA: step / PyTorch's", StepTime(LLAMA, LLAMA.torch()), at_most(0.65, 0.40)),
    goal("tiny, LoRA: step / PyTorch's", StepTime(TINY, TINY.torch()), at_most(0.40, 0.34)),
    goal("MiniLM, LoRA: useful FLOP rate / multiply-add peak", RateOfPeak(MINILM), at_least(0.65, 0.68)),
    goal("a layer's product on 1 thread: FLOP rate / multiply-add peak", LayerRateOfPeak, at_least(0.80, 0.80)),
    goal("every product: FLOP rate / matrixmultiply's", OverMatrixmultiply, at_least(1.0, 1.0)),
    goal("Llama, LoRA: step on 1 x 2048 / on 8 x 256", StepTime(LONG, LLAMA), at_most(1.25, 1.25)),
    goal("the same of PyTorch", StepTime(LONG.torch(), LLAMA.torch()), None),
    goal("Llama, LoRA, 1 x 2048: step / PyTorch's", StepTime(LONG, LONG.torch()), at_most(0.65, 0.45)),
    goal("MiniLM, 4 x 64: GGPO step / LoRA step", StepTime(few(4, 64).ggpo(), few(4, 64)), at_most(1.10, 1.10)),
    goal("MiniLM, 1 x 128: GGPO step / LoRA step", StepTime(few(1, 128).ggpo(), few(1, 128)), at_most(1.15, 1.15)),
    goal("MiniLM, 1 x 32: GGPO step / LoRA step", StepTime(few(1, 32).ggpo(), few(1, 32)), at_most(1.50, 1.50)),
    goal("MiniLM, 32 x 128: GGPO step / LoRA step", StepTime(MINILM.ggpo(), MINILM), at_most(1.02, 1.02)),
    goal("MiniLM: GGPO peak memory / LoRA's", PeakMemory(MINILM.ggpo(), MINILM), at_most(1.01, 1.01)),
    goal("MiniLM, LoRA: peak memory / PyTorch's", PeakMemory(MINILM, MINILM.torch()), at_most(0.33, 0.33)),
    goal("Llama, LoRA: peak memory / PyTorch's", PeakMemory(LLAMA, LLAMA.torch()), at_most(0.12, 0.12)),
    goal("tiny: GGPO step / LoRA step", StepTime(TINY.ggpo(), TINY), at_most(1.10, 1.10)),
    goal("MiniLM, LoRA: step on 1 thread / on 2", StepTime(MINILM.on_one_thread(), MINILM), at_least(1.85, 1.85)),
    goal("SmolLM2, LoRA: step on Q4_1 / on f32", StepTime(SMOLLM2.on_quantized(), SMOLLM2), at_most(1.25, 1.25)),
    goal("SmolLM2, LoRA: resident base, Q4_1 / f32", Weights(SMOLLM2.on_quantized(), SMOLLM2), at_most(0.25, 0.25)),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a goal would silently be left out, or measured twice.
    #[test]
    fn the_processes_of_every_goal_take_turns_in_one_group() {
        for goal in GOALS {
            let Some(processes) = goal.quantity.processes() else {
                continue;
            };
            let groups = GROUPS.iter().filter(|group| group.has(&processes));
            assert_eq!(groups.count(), 1, "{goal:?}");
        }
    }

    #[test]
    fn groups_have_names_of_their_own_and_profile_what_they_have() {
        for group in &GROUPS {
            assert_eq!(Group::named(group.name).unwrap().name, group.name);
            assert!(group.has(group.profiled), "{group:?}");
            assert_ne!(group.name, PRODUCTS);
            for (index, contender) in group.contenders.iter().enumerate() {
                assert!(!group.contenders[..index].contains(contender));
            }
        }
    }

    #[test]
    fn bounds_depend_on_the_level_and_include_themselves() {
        let [portable, avx2, avx512] = Level::ALL.map(|level| GOALS[0].bound(level));
        assert_eq!(portable, None);
        assert_eq!(avx2, Some(Bound::AtMost(0.65)));
        assert_eq!(avx512, Some(Bound::AtMost(0.44)));
        assert!(Bound::AtMost(0.65).holds(0.65) && !Bound::AtMost(0.65).holds(0.651));
        assert!(Bound::AtLeast(1.85).holds(1.85) && !Bound::AtLeast(1.85).holds(1.849));
    }
}
