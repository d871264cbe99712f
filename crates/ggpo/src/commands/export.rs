//! `ggpo export`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ggpo_files::write_atomically;
use ggpo_lora::peft::PeftAdapter;
use ggpo_model::gguf::adapter_bytes;
use ggpo_model::{Adapters, acting_weights};
use ggpo_train::Error;
use serde_json::json;

use crate::output::print_json;
use crate::say;
use crate::source::Source;

/// Arguments of `ggpo export`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ggpo export --run runs/assistant --gguf adapter.gguf
  ggpo export --model base.gguf --adapter runs/assistant/adapter --gguf adapter.gguf
  llama-cli -m base.gguf --lora adapter.gguf")]
pub(crate) struct Export {
    #[command(flatten)]
    source: Source,
    /// File to write: the adapter as llama.cpp takes it beside its base
    #[arg(long, value_name = "FILE.gguf")]
    gguf: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Export {
    pub(crate) fn execute(&self) -> Result<()> {
        if let Some(folder) = self.source.adapter_folder() {
            let adapter = PeftAdapter::<f32>::read(&folder)?;
            if let Some(name) = adapter.saved_modules.keys().next() {
                bail!(
                    "{}: expected an adapter alone, found {name} that was trained whole, which a \
                     GGUF adapter cannot hold; merge it into the model instead: ggpo merge",
                    folder.display()
                );
            }
        }
        let model = self.source.open()?.assembled;
        let adapters: Adapters<f32> = model
            .adapters
            .iter()
            .map(|(module, adapter)| (module.clone(), adapter.on_weight_alone()))
            .collect();
        let acting = acting_weights(&model.parameters, &adapters);
        let bytes = match adapter_bytes(&model.model, &acting) {
            Ok(bytes) => bytes,
            Err(problem) => bail!("{problem}"),
        };
        write_atomically(&self.gguf, &bytes).map_err(|cause| Error::io(&self.gguf, cause))?;
        let (layers, path) = (acting.len(), self.gguf.display());
        if self.json {
            return print_json(&json!({"gguf": self.gguf, "layers": layers}));
        }
        say!("adapters of {layers} layers written: {path}");
        Ok(())
    }
}
