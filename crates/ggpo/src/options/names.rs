//! Names of options that are not the last part of their setting's path, and the order
//! in which options are listed.

/// What only experiments set, and the folder of an adapter, which `--adapter` says.
pub(crate) const NO_OPTIONS: [&str; 2] = ["task.scored_rows", "adapter"];

/// The setting that says of which form adapters are, or which adapter is gone on from.
pub(super) const ADAPTER: &str = "method.adapter";

/// An option that is not named, or not described, as its setting is.
pub(super) struct Renamed {
    pub(super) path: &'static str,
    option: &'static str,
    /// What the option does, if it is not what the setting says.
    about: Option<&'static str>,
}

const fn renamed(path: &'static str, option: &'static str) -> Renamed {
    Renamed {
        path,
        option,
        about: None,
    }
}

const fn described(path: &'static str, option: &'static str, about: &'static str) -> Renamed {
    Renamed {
        path,
        option,
        about: Some(about),
    }
}

pub(super) const RENAMED: [Renamed; 15] = [
    described(
        ADAPTER,
        "adapter",
        "What is trained: every weight, or adapters beside the frozen ones; or the folder of a \
         PEFT adapter to go on from. That one's form, rank, scaling and targets then hold.",
    ),
    described(
        "method.lora.targets",
        "targets",
        "Modules that get an adapter: names separated by commas, or one regular expression. \
         The word all-linear stands for all linear layers of the blocks.",
    ),
    described(
        "task.labels",
        "labels",
        "The classes in their order, separated by commas; without it, those that occur.",
    ),
    renamed("method.lora.dropout", "lora-dropout"),
    renamed("method.perturbation.schedule", "sigma-schedule"),
    described(
        "method.perturbation.noise",
        "truncate-noise",
        "Largest size of a number of the noise, in standard deviations; without it, any.",
    ),
    renamed(
        "method.perturbation.per_micro_batch",
        "noise-per-micro-batch",
    ),
    renamed("training.schedule.kind", "schedule"),
    renamed("training.adamw.beta1", "adam-beta1"),
    renamed("training.adamw.beta2", "adam-beta2"),
    renamed("training.adamw.eps", "adam-eps"),
    renamed("task.kind", "task"),
    renamed("head.fit", "head"),
    renamed("head.penalty", "head-penalty"),
    described(
        "task.header",
        "no-header",
        "The first line is a row, not names of columns; columns then have numbers only.",
    ),
];

/// Tables whose settings have their name before their own.
pub(super) const PREFIXED: [(&str, &str); 4] = [
    ("method.adalora.", "adalora-"),
    ("method.init.", "lora-ga-"),
    ("method.lora_plus.", "lora-plus-"),
    ("method.product_decay.", "product-decay-"),
];

fn renaming(path: &str) -> Option<&'static Renamed> {
    RENAMED.iter().find(|renamed| renamed.path == path)
}

/// The name of the option of a setting.
pub(crate) fn option(path: &str) -> String {
    if let Some(renamed) = renaming(path) {
        return renamed.option.to_owned();
    }
    let last = |path: &str| path.rsplit('.').next().unwrap_or(path).replace('_', "-");
    for (table, prefix) in PREFIXED {
        if let Some(name) = path.strip_prefix(table) {
            return format!("{prefix}{}", last(name));
        }
    }
    last(path)
}

/// What an option does, if it is not what its setting says.
pub(crate) fn about(path: &str) -> Option<&'static str> {
    renaming(path)?.about
}

/// A shorter name of an option.
pub(crate) fn alias(path: &str) -> Option<&'static str> {
    (path == "training.learning_rate").then_some("lr")
}

/// The heading in the help under which the option of a setting stands.
pub(crate) fn heading(path: &str) -> &'static str {
    match path.split('.').next() {
        Some("model" | "seed") => "Run",
        Some("method") => "Method",
        Some("task") => "Data",
        _ => "Training",
    }
}

/// What stands for the value of an option whose setting does not show what it is.
pub(crate) fn value_name(path: &str) -> Option<&'static str> {
    Some(match path {
        "model" => "PATH",
        ADAPTER => "KIND|DIR",
        "task.train" | "task.validation" | "task.test" => "FILE",
        "method.lora.targets" | "task.labels" => "NAMES",
        "method.lora.dropout" | "task.validation_share" | "task.label_noise" => "SHARE",
        "task.columns.text" | "task.columns.pair" | "task.columns.label" => "COLUMN",
        "task.chat_template" => "NAME|FILE",
        _ => return None,
    })
}

/// Settings that are listed before the others of their heading.
pub(super) const FIRST: [&str; 23] = [
    "model",
    "method.adapter",
    "method.init",
    "method.perturbation",
    "method.lora.rank",
    "method.lora.alpha",
    "method.lora.",
    "method.perturbation.sigma",
    "method.perturbation.rho",
    "method.perturbation.beta",
    "method.perturbation.",
    "method.init.",
    "training.learning_rate",
    "epochs",
    "training.steps",
    "batch_size",
    "micro_batches",
    "training.schedule.",
    "task.kind",
    "task.train",
    "task.validation",
    "task.test",
    "task.columns.",
];

/// The place of a setting in the help, by heading and in it.
pub(crate) fn rank(path: &str) -> (usize, usize) {
    let headings = ["Run", "Method", "Training", "Data"];
    let heading = headings.iter().position(|known| *known == heading(path));
    let is = |first: &&str| match first.ends_with('.') {
        true => path.starts_with(*first),
        false => path == *first,
    };
    let first = FIRST.iter().position(is);
    (
        heading.unwrap_or(headings.len()),
        first.unwrap_or(FIRST.len()),
    )
}
