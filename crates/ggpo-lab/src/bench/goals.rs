//! What the steps are held to: ratios of two processes, and their bounds.

use ggpo_lora::GgpoConfig;
use ggpo_train::method::{Adaptation, LoraSettings, MethodConfig};
use serde::{Deserialize, Serialize};

use super::Shape;

/// Threads of the goals.
pub const THREADS: usize = 2;

/// Who does the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// This workspace.
    Ggpo,
    /// PyTorch, Transformers and PEFT: `peers/bench_torch.py`.
    Torch,
}

impl Engine {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Ggpo => "ggpo",
            Engine::Torch => "PyTorch",
        }
    }
}

/// A method of the goals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// LoRA.
    Lora,
    /// LoRA-GGPO.
    Ggpo,
}

impl Method {
    /// Its name, here and in the script.
    pub fn name(self) -> &'static str {
        match self {
            Method::Lora => "lora",
            Method::Ggpo => "ggpo",
        }
    }

    /// Its settings.
    pub fn config(self) -> MethodConfig {
        MethodConfig {
            adaptation: Adaptation::Lora,
            lora: LoraSettings::default(),
            perturbation: (self == Method::Ggpo).then(GgpoConfig::default),
        }
    }
}

/// One process of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contender {
    /// Who does the steps.
    pub engine: Engine,
    /// The method.
    pub method: Method,
    /// Threads.
    pub threads: usize,
    /// Whether its base weights are those of a GGUF file; otherwise they are
    /// random numbers in single precision.
    pub quantized: bool,
}

impl Contender {
    /// What was wanting where this process does not take part.
    pub fn missing(&self) -> &'static str {
        match self.engine {
            Engine::Torch => "--against torch",
            Engine::Ggpo => "a GGUF file of the model",
        }
    }
}

/// Our own LoRA steps, in single precision.
pub const LORA: Contender = Contender {
    engine: Engine::Ggpo,
    method: Method::Lora,
    threads: THREADS,
    quantized: false,
};
const GGPO: Contender = Contender {
    method: Method::Ggpo,
    ..LORA
};
const TORCH: Contender = Contender {
    engine: Engine::Torch,
    ..LORA
};
const ONE_THREAD: Contender = Contender { threads: 1, ..LORA };
const QUANTIZED: Contender = Contender {
    quantized: true,
    ..LORA
};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Time of a step.
    StepTime,
    /// Peak of the process's resident memory.
    PeakMemory,
    /// Memory of the model's own weights.
    Weights,
    /// Rate of the useful floating-point operations, as a share of the
    /// processor's multiply-add peak.
    RateOfPeak,
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

/// A quantity of one process over that of another with the same shape.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    /// The ratio in words.
    pub what: &'static str,
    /// The model's shape.
    pub shape: Shape,
    /// What is compared.
    pub quantity: Quantity,
    /// Whose.
    pub of: Contender,
    /// With whose; a rate is compared with the processor's peak.
    pub to: Contender,
    /// What the ratio should be.
    pub bound: Bound,
}

const fn goal(
    what: &'static str,
    shape: Shape,
    quantity: Quantity,
    [of, to]: [Contender; 2],
    bound: Bound,
) -> Goal {
    Goal {
        what,
        shape,
        quantity,
        of,
        to,
        bound,
    }
}

use Bound::{AtLeast, AtMost};
use Quantity::{PeakMemory, RateOfPeak, StepTime, Weights};
use Shape::{Llama, Minilm, Smollm2, Tiny};

/// All goals. A peer's process counts as a whole, its imports included.
#[rustfmt::skip]
pub const GOALS: [Goal; 12] = [
    goal("MiniLM, LoRA: step / PyTorch's", Minilm, StepTime, [LORA, TORCH], AtMost(0.65)),
    goal("Llama, LoRA: step / PyTorch's", Llama, StepTime, [LORA, TORCH], AtMost(0.75)),
    goal("tiny, LoRA: step / PyTorch's", Tiny, StepTime, [LORA, TORCH], AtMost(0.35)),
    goal("MiniLM, LoRA: peak memory / PyTorch's", Minilm, PeakMemory, [LORA, TORCH], AtMost(0.35)),
    goal("Llama, LoRA: peak memory / PyTorch's", Llama, PeakMemory, [LORA, TORCH], AtMost(0.25)),
    goal("MiniLM: GGPO step / LoRA step", Minilm, StepTime, [GGPO, LORA], AtMost(1.02)),
    goal("MiniLM: GGPO peak memory / LoRA's", Minilm, PeakMemory, [GGPO, LORA], AtMost(1.01)),
    goal("tiny: GGPO step / LoRA step", Tiny, StepTime, [GGPO, LORA], AtMost(1.10)),
    goal("MiniLM, LoRA: useful FLOP rate / multiply-add peak", Minilm, RateOfPeak, [LORA, LORA], AtLeast(0.75)),
    goal("MiniLM, LoRA: step on 1 thread / on 2", Minilm, StepTime, [ONE_THREAD, LORA], AtLeast(1.85)),
    goal("SmolLM2, LoRA: step on Q4_1 / on f32", Smollm2, StepTime, [QUANTIZED, LORA], AtMost(1.25)),
    goal("SmolLM2, LoRA: resident base, Q4_1 / f32", Smollm2, Weights, [QUANTIZED, LORA], AtMost(0.25)),
];

/// The order of a round, in which those that are compared are neighbours where
/// that can be.
const ORDER: [Contender; 5] = [QUANTIZED, ONE_THREAD, GGPO, LORA, TORCH];

/// The processes that the goals of a shape need, each once.
pub fn contenders(shape: Shape) -> Vec<Contender> {
    let goals = GOALS.iter().filter(|goal| goal.shape == shape);
    let needed = |contender: &Contender| {
        goals
            .clone()
            .any(|goal| [goal.of, goal.to].contains(contender))
    };
    ORDER.into_iter().filter(needed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_compared_once_per_process() {
        assert_eq!(contenders(Minilm), [ONE_THREAD, GGPO, LORA, TORCH]);
        assert_eq!(contenders(Llama), [LORA, TORCH]);
        assert_eq!(contenders(Tiny), [GGPO, LORA, TORCH]);
        assert_eq!(contenders(Smollm2), [QUANTIZED, LORA]);
    }

    /// Otherwise a goal would silently be left out.
    #[test]
    fn the_order_names_every_process() {
        for goal in GOALS {
            assert!(
                ORDER.contains(&goal.of) && ORDER.contains(&goal.to),
                "{goal:?}"
            );
        }
    }

    #[test]
    fn bounds_include_themselves() {
        assert!(AtMost(0.65).holds(0.65) && !AtMost(0.65).holds(0.651));
        assert!(AtLeast(1.85).holds(1.85) && !AtLeast(1.85).holds(1.849));
    }
}
