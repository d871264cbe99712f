//! The card of an adapter: `README.md` beside it, as model hubs show it.

use std::fmt::Write;
use std::path::Path;

use super::config::RunConfig;
use crate::metrics::Scores;

/// What an adapter is, how it was trained and how it is loaded, without a path of the
/// machine that it was made on. The front matter is what Hugging Face PEFT writes.
pub(super) fn card(
    config: &RunConfig,
    task_type: &str,
    validation: &Scores,
    test: Option<&Scores>,
) -> String {
    let base = name(&config.model);
    let method = &config.method;
    let mut text = format!(
        "---\nbase_model: {base}\nlibrary_name: peft\ntags:\n- lora\n- base_model:adapter:{base}\n\
         ---\n\n# Adapter for {base}\n\n"
    );
    let perturbation = match method.perturbation {
        None => "no perturbation".to_owned(),
        Some(_) => method.perturbation_in_words(),
    };
    let training = &config.training;
    let rows = [
        ("base", base.clone()),
        ("trained", method.trained().to_owned()),
        (
            "rank; alpha",
            format!("{}; {}", method.lora.rank, method.lora.alpha),
        ),
        ("perturbation", perturbation),
        ("task", config.task.kind.name().to_owned()),
        ("data", name(&config.task.train)),
        (
            "steps; rows of each",
            format!("{}; {}", training.steps, config.batch_size),
        ),
        ("learning rate", training.learning_rate.to_string()),
        ("seed", config.seed.to_string()),
        ("validation", validation.to_string()),
        ("test", test.map_or("none".to_owned(), ToString::to_string)),
    ];
    let start = config.adapter.as_deref();
    let start = start.map(|folder| ("gone on from", source(folder)));
    text += "| | |\n|---|---|\n";
    for (what, value) in rows.into_iter().chain(start) {
        writeln!(text, "| {what} | {} |", value.replace('|', "\\|")).expect("text takes all");
    }
    let class = match task_type {
        "CAUSAL_LM" => "AutoModelForCausalLM",
        "SEQ_2_SEQ_LM" => "AutoModelForSeq2SeqLM",
        _ => "AutoModelForSequenceClassification",
    };
    text += &format!(
        "\n## Loading it\n\n```python\nfrom peft import PeftModel\nfrom transformers import \
         {class}\n\nbase = {class}.from_pretrained(\"{base}\")\nmodel = \
         PeftModel.from_pretrained(base, \"this folder\")\n```\n\nTrained with `ggpo` {}.\n",
        env!("CARGO_PKG_VERSION")
    );
    text
}

/// The name of an adapter's folder; of one in a run's folder, the run's.
fn source(folder: &Path) -> String {
    match folder.parent().filter(|_| folder.ends_with("adapter")) {
        Some(run) if run.file_name().is_some() => name(run),
        _ => name(folder),
    }
}

/// The last part of a path: its name, without where it lies.
fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().replace(['\n', '"', '\\'], "_")
}
