//! `ggpo generate`.

mod chat;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use ggpo_files::read::ANY;
use ggpo_files::{json as strict, read_text, write_atomically};
use ggpo_lab::progress;
use ggpo_model::assembled::Assembled;
use ggpo_model::generate::{GenerateConfig, Sampling, TextConfig, generate_texts};
use ggpo_train::Error;
use serde_json::json;

use crate::output::{check_output, flush, print_json};
use crate::source::Source;
use crate::{say, say_part};

/// Arguments of `ggpo generate`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ggpo generate --model models/decoder --prompt \"To be, or not\" --max-new-tokens 40
  ggpo generate --run runs/gsm8k --prompts questions.txt --out answers.jsonl
  ggpo generate --model models/decoder --prompt \"O\" --temperature 0.8 --top-p 0.9 --seed 7
  ggpo generate --run runs/assistant --chat --system \"Answer in one sentence.\"")]
pub(crate) struct Generate {
    #[command(flatten)]
    source: Source,
    /// A text to continue; may be given several times
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["prompts", "chat"])]
    prompt: Vec<String>,
    /// File with one text to continue per line: plain, or in .jsonl the field
    /// `prompt`
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    prompts: Option<PathBuf>,
    /// Talk with the model: every line of the input is a turn, and the model's chat
    /// template makes the text that it reads
    #[arg(long, conflicts_with_all = ["prompt", "prompts", "out", "json", "batch_size"])]
    chat: bool,
    /// What is said before the conversation
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// Chat template in place of the model's own: a file in Jinja, or chatml
    #[arg(long, value_name = "NAME|FILE", requires = "chat")]
    chat_template: Option<String>,
    /// Most tokens that are added to a prompt
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_new_tokens: usize,
    /// Draw instead of taking the most probable token: what logits are divided
    /// by
    #[arg(long, value_name = "X")]
    temperature: Option<f64>,
    /// Draw from the most probable tokens of this much probability
    #[arg(long, value_name = "SHARE")]
    top_p: Option<f64>,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// End at this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Sequences that are continued together
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch_size: usize,
    /// Write one JSON object per prompt to this file
    #[arg(long, value_name = "FILE.jsonl")]
    out: Option<PathBuf>,
    /// Print one JSON object per prompt
    #[arg(long)]
    json: bool,
}

impl Generate {
    pub(crate) fn execute(&self) -> Result<()> {
        if self.chat {
            return self.talk();
        }
        let prompts = match &self.prompts {
            Some(path) => read_prompts(path)?,
            None => self.prompt.clone(),
        };
        if let Some(path) = &self.out {
            check_output(path, self.prompts.as_deref())?;
        }
        let assembled = self.source.open()?.assembled;
        let config = self.config(&assembled);
        // One prompt at a terminal is shown as it grows.
        let live = prompts.len() == 1 && !self.json && self.out.is_none();
        let total = prompts.len().saturating_mul(self.max_new_tokens) as u64;
        let bar = match live {
            true => indicatif::ProgressBar::hidden(),
            false => progress::bar(total, "generating", "tokens at most"),
        };
        if live {
            say_part!("{}", prompts[0]);
        }
        let texts = generate_texts(
            &assembled.model,
            &assembled.parameters,
            &assembled.adapters,
            &assembled.tokenizer,
            &prompts,
            &config,
            &mut |_, news| {
                bar.inc(1);
                if live {
                    say_part!("{news}");
                    flush();
                }
            },
        )?;
        bar.finish_and_clear();
        if live {
            say!("");
            return Ok(());
        }
        self.give(&prompts, &texts)
    }

    fn config(&self, assembled: &Assembled) -> TextConfig {
        TextConfig {
            tokens: GenerateConfig {
                max_new_tokens: self.max_new_tokens,
                sampling: self.sampling(),
                seed: self.seed,
                stop_ids: assembled.end_ids(),
                batch_size: self.batch_size,
            },
            stop_strings: self.stop.clone(),
        }
    }

    fn sampling(&self) -> Sampling {
        match (self.temperature, self.top_p) {
            (None, None) => Sampling::Greedy,
            (temperature, top_p) => Sampling::Nucleus {
                temperature: temperature.unwrap_or(1.0),
                top_p: top_p.unwrap_or(1.0),
            },
        }
    }

    fn give(&self, prompts: &[String], texts: &[String]) -> Result<()> {
        let pairs = || prompts.iter().zip(texts);
        let line = |(prompt, text): (&String, &String)| json!({"prompt": prompt, "text": text});
        if let Some(path) = &self.out {
            let lines: String = pairs().map(|pair| format!("{}\n", line(pair))).collect();
            write_atomically(path, lines.as_bytes()).map_err(|cause| Error::io(path, cause))?;
            if !self.json {
                say!("{} texts written: {}", texts.len(), path.display());
            }
        }
        for (prompt, text) in pairs() {
            if self.json {
                print_json(&json!({"prompt": prompt, "text": text}))?;
            } else if self.out.is_none() {
                say!("{prompt}{text}\n");
            }
        }
        Ok(())
    }
}

/// The prompts of a file, one per line.
fn read_prompts(path: &Path) -> Result<Vec<String>> {
    let text = read_text(path, ANY).map_err(|cause| Error::io(path, cause))?;
    let is_json = path
        .extension()
        .is_some_and(|extension| extension == "jsonl");
    let mut prompts = Vec::new();
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        if !is_json {
            prompts.push(line.to_owned());
            continue;
        }
        let value: serde_json::Value = strict::from_slice(line.as_bytes()).unwrap_or_default();
        match value.get("prompt").and_then(|prompt| prompt.as_str()) {
            Some(prompt) => prompts.push(prompt.to_owned()),
            None => bail!(
                "{}: line {}: expected an object with the text \"prompt\", found {line}",
                path.display(),
                index + 1
            ),
        }
    }
    if prompts.is_empty() {
        bail!(
            "{}: expected at least one prompt, found none",
            path.display()
        );
    }
    Ok(prompts)
}
