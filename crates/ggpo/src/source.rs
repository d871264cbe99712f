//! Which model a command uses, and how it reads data for it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use ggpo_lora::{GgpoConfig, PerturbationConfig};
use ggpo_model::assembled::Assembled;
use ggpo_model::{Form, Head};
use ggpo_train::Error;
use ggpo_train::data::{Dataset, TaskConfig, holds_chats};
use ggpo_train::run::{Description, RunConfig, assemble, check_segments, check_task};

use crate::options::FormOptions;

/// A run, or a base model with or without an adapter.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct Source {
    /// Folder of a finished run
    #[arg(long, value_name = "DIR", required_unless_present = "model", conflicts_with_all = ["model", "adapter"])]
    run: Option<PathBuf>,
    /// Folder of a model, or a GGUF file
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Folder of a PEFT adapter for the model
    #[arg(long, value_name = "DIR", requires = "model")]
    adapter: Option<PathBuf>,
}

/// A model, and the run it comes from.
pub(crate) struct Opened {
    pub(crate) assembled: Assembled,
    /// Description of the run; none for a model from elsewhere.
    run: Option<RunConfig>,
    /// The base model.
    pub(crate) base: PathBuf,
}

impl Source {
    /// The folder of the run, if it is one.
    pub(crate) fn run(&self) -> Option<&Path> {
        self.run.as_deref()
    }

    /// The folder of the adapter, if there is one.
    pub(crate) fn adapter_folder(&self) -> Option<PathBuf> {
        let of_run = self.run.as_ref().map(|run| run.join("adapter"));
        self.adapter.clone().or(of_run).filter(|it| it.exists())
    }

    pub(crate) fn open(&self) -> Result<Opened> {
        if let Some(folder) = &self.run {
            let (run, assembled) = assemble(folder)?;
            let base = run.model.clone();
            let run = Some(run);
            return Ok(Opened {
                assembled,
                run,
                base,
            });
        }
        let base = self.model.clone().unwrap_or_default();
        Ok(Opened {
            assembled: Assembled::open(&base, self.adapter.as_deref())?,
            run: None,
            base,
        })
    }
}

impl Opened {
    /// The noise on the weights that the run was trained under, if there was any.
    pub(crate) fn noise(&self) -> Option<GgpoConfig> {
        match self.run.as_ref()?.method.perturbation {
            Some(PerturbationConfig::Ggpo(noise)) => Some(noise),
            _ => None,
        }
    }

    /// The chat template that the run was trained with, if it was not the model's own.
    pub(crate) fn chat_template(&self) -> Option<&str> {
        self.run.as_ref()?.task.chat_template.as_deref()
    }

    /// How `data` is read: as the run's files were, or as the model's head asks
    /// for, with the options of the command line before both.
    pub(crate) fn task(&self, form: &FormOptions, data: &Path) -> Result<TaskConfig> {
        let mut description = match &self.run {
            Some(run) => Description::of(run),
            None => Description::default(),
        };
        if self.run.is_none() {
            description.set("task.kind", self.kind(data))?;
            let length = self.assembled.model.positions().min(MAX_LENGTH);
            description.set("task.max_length", length as i64)?;
        }
        description.set("task.train", data.display().to_string())?;
        form.apply(&mut description)?;
        let task = description.task()?;
        check_task(&task, &self.assembled.model)?;
        Ok(task)
    }

    fn kind(&self, data: &Path) -> &'static str {
        match (self.assembled.model.head, self.assembled.model.form()) {
            (Head::Classes(_), _) => "classification",
            (Head::Value, _) => "regression",
            (Head::Tokens, Form::EncoderDecoder) => "text-to-text",
            (Head::Tokens, _) if holds_chats(data) => "chat",
            (Head::Tokens, _) => "completion",
        }
    }

    /// A file with answers, in the classes of the model.
    pub(crate) fn dataset(&self, task: &TaskConfig, data: &Path) -> Result<Dataset> {
        let model = &self.assembled;
        let numbered = |(class, label): (usize, &String)| *label == format!("LABEL_{class}");
        // A model that only counts its classes takes them as the data order them.
        let unnamed = model.labels.iter().enumerate().all(numbered);
        let labels = (!unnamed).then_some(model.labels.as_slice());
        let dataset = Dataset::open(data, task, &model.tokenizer, labels)?;
        if dataset.labels.len() != model.labels.len() {
            let (expected, found) = (model.labels.len(), dataset.labels.len());
            let problem = format!("expected rows of the model's {expected} classes, found {found}");
            return Err(Error::file(data, problem).into());
        }
        self.check_examples(&dataset)?;
        Ok(dataset)
    }

    /// Checks that the model can read the examples of a file.
    pub(crate) fn check_examples(&self, dataset: &Dataset) -> Result<()> {
        check_segments(&dataset.examples, &self.assembled.model, &self.base)?;
        Ok(())
    }
}

/// Longest sequence where nothing says otherwise, in tokens.
const MAX_LENGTH: usize = 512;
