//! A model with an adapter, and what is written of the two.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use ggpo_files::write_atomically;
use ggpo_lora::method::method;
use ggpo_lora::peft::{PeftAdapter, Wrapped};
use ggpo_lora::{LoraConfig, MethodConfig};
use ggpo_model::assembled::Assembled;
use ggpo_model::base::write_model_file;
use ggpo_model::chat::{ChatTemplate, Message, Role};
use ggpo_model::gguf::{Elements, adapter_bytes};
use ggpo_model::merge::Merged;
use ggpo_model::{Adapters, acting_weights};
use ggpo_tensor::BlockFormat;
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_train::run::{Corpora, Description, Keep, run};

/// Conversations to train on and to ask about.
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/assistant");
const STEPS: i64 = 4;
/// Questions to the trained model.
const QUESTIONS: [&str; 3] = [
    "What is warm-up?",
    "What is a checkpoint?",
    "Write a function in Python that adds two numbers.",
];

/// A model and an adapter of it.
pub(super) struct Case {
    pub(super) name: String,
    base: PathBuf,
    adapter: PathBuf,
    /// Token ids of the prompts, which the model continues.
    pub(super) prompts: Vec<Vec<usize>>,
}

/// What llama.cpp reads.
pub(super) struct Written {
    pub(super) what: &'static str,
    pub(super) model: PathBuf,
    pub(super) adapter: Option<PathBuf>,
    /// What it calculates by our own account.
    pub(super) ours: Assembled,
    /// Largest difference of a probability.
    pub(super) bound: f64,
}

/// Bounds on a probability. llama.cpp rounds what comes into a product: to 8 bits with a
/// scale for 32 or 256 numbers before a weight in blocks, to half precision before one in
/// F16. The small models are random with large logits, which that moves further than those
/// of a trained model.
const BLOCKS: f64 = 0.1;
/// With merged weights in F32 or F16; what nothing was merged with, the table of tokens
/// among it, is still in the blocks of the base.
const NUMBERS: f64 = 0.03;

impl Case {
    /// A small model with an adapter of random numbers on all its layers.
    pub(super) fn small(name: &str, base: &Path, work: &Path) -> Result<Self> {
        let assembled = Assembled::open(base, None)?;
        let method = MethodConfig {
            lora: LoraConfig {
                rank: 4,
                ..LoraConfig::default()
            },
            ..named("rslora")?
        };
        let mut adapters = Adapters::new();
        for (layer, module) in assembled.model.block_linears().into_iter().enumerate() {
            let weight = assembled.parameters.weight(&format!("{module}.weight"));
            let stream = Stream::new(7, Purpose::Init, 1, layer as u32);
            let mut adapter = method.new_adapter(weight, None, stream)?;
            for (part, (_, factor)) in adapter.factors_mut().into_iter().enumerate() {
                let mut numbers = vec![0.0_f32; factor.len()];
                let stream = Stream::new(7, Purpose::Init, 2 + part as u32, layer as u32);
                stream.fill_uniform(0, &mut numbers);
                for (x, random) in factor.iter_mut().zip(numbers) {
                    *x = 0.2 * (random - 0.5);
                }
            }
            adapters.insert(module, adapter);
        }
        let folder = work.join(format!("{name}-adapter"));
        let around = Wrapped {
            saved_modules: Default::default(),
            modules_to_save: Vec::new(),
            task_type: assembled.model.peft_task_type().to_owned(),
            base_model: name.to_owned(),
            fan_in_fan_out: false,
            steps: 1,
        };
        PeftAdapter::new(&method, &adapters, around).write(&folder)?;
        let rows = assembled
            .model
            .vocabulary()
            .min(assembled.tokenizer.vocabulary());
        let prompt = |step: usize| (0..12).map(|i| (3 + step * i + i * i) % rows).collect();
        Ok(Case {
            name: name.to_owned(),
            base: base.to_owned(),
            adapter: folder,
            prompts: vec![prompt(7), prompt(31)],
        })
    }

    /// A model with the adapter in a folder, or one that is trained for a few steps.
    pub(super) fn trained(base: &Path, adapter: Option<&Path>, work: &Path) -> Result<Self> {
        let adapter = match adapter {
            Some(folder) => folder.to_owned(),
            None => train(base, &work.join("run"))?,
        };
        let tokenizer = Assembled::open(base, None)?.tokenizer;
        let template = ChatTemplate::choose(&tokenizer, None)?;
        let prompt = |question: &&str| {
            let asked = [Message::new(Role::User, *question)];
            template
                .prompt(&tokenizer, &asked)
                .map_err(|problem| anyhow!("{problem}"))
        };
        let name = base.file_stem().unwrap_or(base.as_os_str());
        Ok(Case {
            name: name.to_string_lossy().into_owned(),
            base: base.to_owned(),
            adapter,
            prompts: QUESTIONS.iter().map(prompt).collect::<Result<_>>()?,
        })
    }

    /// Everything that is written of the case, one after the other.
    pub(super) fn written(&self, work: &Path) -> Result<Vec<Written>> {
        let opened = || Assembled::open(&self.base, Some(&self.adapter));
        let mut assembled = opened()?;
        let mut all = vec![Written {
            what: "the base",
            model: self.base.clone(),
            adapter: None,
            ours: Assembled::open(&self.base, None)?,
            bound: BLOCKS,
        }];
        let acting = acting_weights(&assembled.parameters, &assembled.adapters);
        let bytes = adapter_bytes(&assembled.model, &acting);
        let bytes = bytes.map_err(|problem| anyhow!("{problem}"))?;
        let path = work.join(format!("{}-adapter.gguf", self.name));
        write_atomically(&path, &bytes).with_context(|| path.display().to_string())?;
        all.push(Written {
            what: "the adapter beside its base",
            model: self.base.clone(),
            adapter: Some(path),
            ours: opened()?,
            bound: BLOCKS,
        });
        let adapters = std::mem::take(&mut assembled.adapters);
        let merged = Merged::new(&assembled.parameters, [(1.0, &adapters)]);
        for (what, elements, bound) in [
            ("merged, f32", Elements::F32, NUMBERS),
            ("merged, f16", Elements::Blocks(BlockFormat::F16), NUMBERS),
            ("merged, q8_0", Elements::Blocks(BlockFormat::Q8_0), BLOCKS),
            ("merged, q4_0", Elements::Blocks(BlockFormat::Q4_0), BLOCKS),
        ] {
            // The published model in single precision says no more than in half.
            if elements == Elements::F32 && assembled.parameters.bytes() > MOST_SINGLE {
                continue;
            }
            let path = work.join(format!("{}-{}.gguf", self.name, &what[8..]));
            let (model, tokenizer) = (&assembled.model, &assembled.tokenizer);
            write_model_file(&path, &self.base, model, tokenizer, elements, &merged)?;
            all.push(Written {
                what,
                ours: Assembled::open(&path, None)?,
                model: path,
                adapter: None,
                bound,
            });
        }
        Ok(all)
    }
}

/// Bytes of a model that is written in single precision, too.
const MOST_SINGLE: usize = 1 << 24;

fn named(name: &str) -> Result<MethodConfig> {
    let method = method(name).with_context(|| format!("there is no method {name}"))?;
    Ok(method.config())
}

/// Trains an adapter with LoRA-GGPO; returns its folder.
fn train(base: &Path, out: &Path) -> Result<PathBuf> {
    let mut description = Description::default();
    description.set("model", base.display().to_string())?;
    description.set("task.kind", "chat")?;
    for split in ["train", "validation"] {
        description.set(&format!("task.{split}"), format!("{DATA}/{split}.jsonl"))?;
    }
    description.set("task.max_length", 96)?;
    description.set("method.name", "ggpo")?;
    description.set("method.lora.scaling", "rslora")?;
    description.set("training.learning_rate", 1e-3)?;
    description.set("training.steps", STEPS)?;
    description.set("evaluate_every", STEPS)?;
    description.set("batch_size", 4)?;
    let config = description.complete(&Corpora::default())?;
    ggpo::note!("training an adapter for {STEPS} steps");
    run(&config, out, Keep::Weights, &mut |_| {})?;
    Ok(out.join("adapter"))
}
