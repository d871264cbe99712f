//! The processes that are compared.

use std::path::PathBuf;

use ggpo_lora::method::method;
use ggpo_tensor::simd::Level;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Job, Shape};
use ggpo_train::method::MethodConfig;

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

/// A method of the table, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct MethodName(&'static str);

impl<'de> Deserialize<'de> for MethodName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        MethodName::try_from(name).map_err(D::Error::custom)
    }
}

impl TryFrom<String> for MethodName {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Self, String> {
        match method(&name) {
            Some(method) => Ok(MethodName(method.name)),
            None => Err(format!("expected the name of a method, found {name}")),
        }
    }
}

impl MethodName {
    /// Its name, here and in the script.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// Its settings.
    pub fn config(self) -> MethodConfig {
        method(self.0).expect("a method of the table").config()
    }
}

/// One process of a comparison, at any level of instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contender {
    /// Who does the steps.
    pub engine: Engine,
    /// The method.
    pub method: MethodName,
    /// The model's shape.
    pub shape: Shape,
    /// Rows of a batch.
    pub batch: usize,
    /// Tokens of a row.
    pub seq: usize,
    /// Threads.
    pub threads: usize,
    /// Whether its base weights are those of a GGUF file; otherwise they are
    /// random numbers in single precision.
    pub quantized: bool,
}

impl Contender {
    /// Our own LoRA steps of a shape, in single precision, on `batch` rows of `seq`
    /// tokens.
    pub const fn lora(shape: Shape, [batch, seq]: [usize; 2]) -> Self {
        Contender {
            engine: Engine::Ggpo,
            method: MethodName("lora"),
            shape,
            batch,
            seq,
            threads: THREADS,
            quantized: false,
        }
    }

    /// The same with LoRA-GGPO.
    pub const fn ggpo(self) -> Self {
        Contender {
            method: MethodName("ggpo"),
            ..self
        }
    }

    /// The same by PyTorch.
    pub const fn torch(self) -> Self {
        Contender {
            engine: Engine::Torch,
            ..self
        }
    }

    /// The same on one thread.
    pub const fn on_one_thread(self) -> Self {
        Contender { threads: 1, ..self }
    }

    /// The same on quantised base weights.
    pub const fn on_quantized(self) -> Self {
        Contender {
            quantized: true,
            ..self
        }
    }

    /// Tokens of a step.
    pub fn tokens(&self) -> usize {
        self.batch * self.seq
    }

    /// Who does the steps, how and on what, for people; the shape and the batch
    /// are said elsewhere.
    pub fn name(&self) -> String {
        let base = if self.quantized { ", on Q4_1" } else { "" };
        let threads = match self.threads {
            1 => "1 thread".to_owned(),
            n => format!("{n} threads"),
        };
        let (engine, method) = (self.engine.name(), self.method.name());
        format!("{engine}, {method}, {threads}{base}")
    }

    /// What must be given for this process to take part.
    pub fn missing(&self) -> &'static str {
        match self.engine {
            Engine::Torch => "--against torch",
            Engine::Ggpo => "a GGUF file of the model",
        }
    }

    /// A job of `steps` steps at a level; `file` holds the quantised weights.
    pub fn job(&self, level: Level, file: Option<PathBuf>, steps: u32, profile: bool) -> Job {
        Job {
            shape: self.shape,
            model: file.filter(|_| self.quantized),
            batch: self.batch,
            seq: self.seq,
            steps,
            threads: self.threads,
            simd: level,
            method: self.method.config(),
            profile,
        }
    }
}
