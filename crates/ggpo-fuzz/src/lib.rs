//! What the fuzz targets do with bytes: from a file of others to its use.
//!
//! A target returns, whatever it is given; a panic, an abort or a hang is a find. The
//! targets of `fuzz/` call these functions with a fuzzer's bytes, the test of this crate
//! with the committed seeds and changes of them.

mod hub;
mod kernels;
mod models;
mod texts;
mod world;
mod written;

pub use world::World;

/// A target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, that of its file and of the folder of its seeds.
    pub name: &'static str,
    /// What it does, in words.
    pub about: &'static str,
    /// What it does with bytes.
    pub run: fn(&World, &[u8]),
    /// Bytes that it can use.
    pub seeds: fn(&World) -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: [Target; 14] = [
    Target {
        name: "gguf",
        about: "a GGUF file to one forward pass, its tokenizer and its text",
        run: models::gguf,
        seeds: models::gguf_seeds,
    },
    Target {
        name: "safetensors",
        about: "a safetensors file to the weights of a model and its logits",
        run: models::safetensors,
        seeds: models::safetensors_seeds,
    },
    Target {
        name: "index",
        about: "an index of shards to weights",
        run: models::index,
        seeds: models::index_seeds,
    },
    Target {
        name: "config",
        about: "a config.json to a model and, if it is small, its logits",
        run: models::config,
        seeds: models::config_seeds,
    },
    Target {
        name: "adapter",
        about: "an adapter folder to logits",
        run: models::adapter,
        seeds: models::adapter_seeds,
    },
    Target {
        name: "checkpoint",
        about: "a checkpoint, its checksum made right, to a restored trainer and a step",
        run: models::checkpoint,
        seeds: models::checkpoint_seeds,
    },
    Target {
        name: "tokenizer",
        about: "a tokenizer.json to token ids and back to text",
        run: texts::tokenizer,
        seeds: texts::tokenizer_seeds,
    },
    Target {
        name: "tsv",
        about: "a TSV file to examples",
        run: texts::tsv,
        seeds: texts::tsv_seeds,
    },
    Target {
        name: "csv",
        about: "a CSV file to examples",
        run: texts::csv,
        seeds: texts::tsv_seeds,
    },
    Target {
        name: "jsonl",
        about: "a JSONL file to examples",
        run: texts::jsonl,
        seeds: texts::jsonl_seeds,
    },
    Target {
        name: "description",
        about: "the TOML description of a run, read, checked, and written again",
        run: texts::description,
        seeds: texts::description_seeds,
    },
    Target {
        name: "hub",
        about: "the answers of a hub, listing and headers and all, to a fetched model",
        run: hub::hub,
        seeds: hub::hub_seeds,
    },
    Target {
        name: "written",
        about: "token ids as a model may write them to text in pieces, cut and shown",
        run: written::written,
        seeds: written::written_seeds,
    },
    Target {
        name: "kernels",
        about: "products of any shape and strides in f32 against those in f64",
        run: kernels::products,
        seeds: kernels::seeds,
    },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
