//! The files that are known by their names: one line each.

use ggpo_lora::MethodConfig;
use ggpo_train::Result;
use ggpo_train::trainer::Real;
use toml::{Table, Value};

use super::adamw::check_adamw;
use super::family::Family;
use super::noise::check_noise;
use super::pass::check_pass;
use super::reference::Reference;
use super::section::Section;
use super::start::check_gradient_start;
use super::trajectory::check_trajectory;

/// How a file is compared, told the families, the file and its method.
pub(super) type Check<T> =
    fn(&mut Section<'_>, &[Family<T>], &mut Reference, &MethodConfig) -> Result<()>;

/// A file that is known by its name.
pub(super) struct Known<T> {
    /// The name, without its extension.
    name: &'static str,
    /// The method in the table of methods, whose options the metadata change.
    method: &'static str,
    pub(super) check: Check<T>,
}

/// The options of methods that metadata name, and where they stand in a description.
const OPTIONS: [(&str, &str); 18] = [
    ("r", "lora.rank"),
    ("alpha", "lora.alpha"),
    ("scaling", "lora.scaling"),
    ("lambda_ratio", "lora_plus.lambda"),
    ("gamma", "init.gamma"),
    ("rho", "perturbation.rho"),
    ("mu", "perturbation.mu"),
    ("beta", "perturbation.beta"),
    ("sigma", "perturbation.sigma"),
    ("b", "perturbation.b"),
    ("target_r", "lora.rank"),
    ("init_r", "adalora.init_rank"),
    ("tinit", "adalora.t_init"),
    ("tfinal", "adalora.t_final"),
    ("delta_t", "adalora.delta_t"),
    ("beta1", "adalora.beta1"),
    ("beta2", "adalora.beta2"),
    ("orth_reg_weight", "adalora.penalty"),
];

/// What metadata may name and is no option here, with the value that it has.
const CONSTANTS: [(&str, f64); 1] = [
    // The largest 1 / gbar of MGPO on the merged weights.
    ("clamp", 10.0),
];

/// What is not compared here, and why.
pub(super) const ELSEWHERE: [(&str, &str); 1] =
    [("ops", "not compared here: the tests of ggpo-autograd do")];

/// The files, in the order of their checks.
fn files<T: Real>() -> Vec<Known<T>> {
    let file = |name, method, check: Check<T>| Known {
        name,
        method,
        check,
    };
    vec![
        file("rslora", "rslora", check_pass),
        file("dora", "dora", check_pass),
        file("pissa", "pissa", check_pass),
        file("lora_adamw", "lora", check_trajectory),
        file("lora_clip_cosine", "lora", check_trajectory),
        file("lora_plus_adamw", "lora-plus", check_trajectory),
        file("dora_adamw", "dora", check_trajectory),
        file("pissa_adamw", "pissa", check_trajectory),
        file("adalora_adamw", "adalora", check_trajectory),
        file("sam_adamw", "sam", check_trajectory),
        file("sam_merged_adamw", "sam-merged", check_trajectory),
        file("mgpo_adamw", "mgpo", check_trajectory),
        file("mgpo_merged_adamw", "mgpo-merged", check_trajectory),
        file("lora_ga", "lora-ga", check_gradient_start),
        file("noise_gradient", "ggpo", check_noise),
        file("adamw", "lora", check_adamw),
    ]
}

impl<T: Real> Known<T> {
    /// The file of that name, wherever it stands.
    pub(super) fn find(name: &str) -> Option<Self> {
        files().into_iter().find(|known| known.name == name)
    }

    /// The file's method, with the options that its metadata name.
    pub(super) fn method(&self, file: &mut Reference) -> Result<MethodConfig> {
        let mut written = Table::new();
        written.insert("name".to_owned(), Value::from(self.method));
        for (name, option) in OPTIONS {
            let Some(text) = file.said(name) else {
                continue;
            };
            let (part, field) = option.split_once('.').expect("a field of a part");
            let part = written.entry(part).or_insert_with(|| Table::new().into());
            let part = part.as_table_mut().expect("just made");
            part.insert(field.to_owned(), number_or_word(text));
        }
        for (name, value) in CONSTANTS {
            if file.says(name) {
                let found = file.setting(name)?;
                if found != value {
                    let problem = format!("metadata {name}: expected {value}, found {found}");
                    return Err(file.error(problem));
                }
            }
        }
        let method: MethodConfig = Value::from(written)
            .try_into()
            .map_err(|error| file.error(format!("metadata: {error}")))?;
        method.validate()?;
        Ok(method)
    }
}

/// A setting as it would be written: a whole number, a number, or a word.
fn number_or_word(text: String) -> Value {
    let whole = text.parse::<i64>().map(Value::from).ok();
    let number = || text.parse::<f64>().map(Value::from).ok();
    whole
        .or_else(number)
        .unwrap_or_else(|| Value::from(text.clone()))
}
