//! `ggpo compare`.

use std::path::PathBuf;

use anyhow::Result;
use clap::builder::RangedU64ValueParser;
use clap::{Args, value_parser};
use ggpo_lab::experiment::{Comparison, Jobs, ONLY_LEVEL, Order, reproduce};
use ggpo_lora::method::{METHODS, Method};
use ggpo_train::Error;
use ggpo_train::run::{Corpora, Description};

use crate::options::{RunOptions, method_names};
use crate::output::go_on_with;
use crate::{say, signals};

/// Arguments of `ggpo compare`.
#[derive(Args)]
#[command(args_override_self = true)]
#[command(mut_args(|argument| {
    let replaced = REPLACED.iter().any(|(path, _)| argument.get_id() == path);
    argument.hide(replaced)
}))]
#[command(after_help = "\
Examples:
  ggpo compare --model models/fetched/minilm --train reviews.csv --methods lora,ggpo --seeds 12 \\
    --out compared
  ggpo compare --model models/encoder --train data/spam/train.tsv --test data/spam/test.tsv \\
    --methods lora,ggpo,dora --learning-rates 1e-3,3e-3,1e-2 --steps 100 --out compared")]
pub(crate) struct Compare {
    /// Methods to compare, by name
    #[arg(
        long,
        value_name = "METHODS",
        value_delimiter = ',',
        default_value = "lora,ggpo",
        value_parser = method_names()
    )]
    methods: Vec<&'static Method>,
    /// The method that the others are compared with [default: lora, or the first]
    #[arg(long, value_name = "METHOD", value_parser = method_names())]
    reference: Option<&'static Method>,
    /// Seeds of the compared runs
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = seeds())]
    seeds: u64,
    /// Learning rates that every method tries; of several, each method's best on the
    /// validation split is compared
    #[arg(
        long,
        value_name = "RATES",
        value_delimiter = ',',
        default_values_t = [3e-4, 1e-3, 3e-3]
    )]
    learning_rates: Vec<f64>,
    /// Seeds that choose among the learning rates
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seeds())]
    tuning_seeds: u64,
    /// The smallest difference that matters [default: 0.5 points, or 0.005 of loss]
    #[arg(long, value_name = "DELTA", allow_negative_numbers = true)]
    margin: Option<f64>,
    /// Runs side by side [default: one for each processor]
    #[arg(long, value_name = "K", value_parser = value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Folder for records and report; what is there is not done again
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    options: RunOptions,
}

/// More than anybody waits for.
fn seeds() -> RangedU64ValueParser {
    value_parser!(u64).range(1..=100_000)
}

impl Compare {
    pub(crate) fn execute(&self) -> Result<()> {
        let mut description = Description::default();
        self.options.apply(&mut description)?;
        for (path, instead) in REPLACED {
            if let Some(found) = description.get(path) {
                return Err(Error::config(path, instead, found).into());
            }
        }
        let mut methods = Vec::new();
        for method in &self.methods {
            let mut own = description.clone();
            own.set("method.name", method.name)?;
            methods.push((
                method.name.to_owned(),
                method.title.to_owned(),
                own.method()?,
            ));
        }
        if description.get("task.test").is_none() && description.get("task.test_share").is_none() {
            description.set("task.test_share", TEST_SHARE)?;
        }
        signals::stop_runs();
        let run = description.complete(&Corpora::default())?;
        let has_lora = self
            .methods
            .iter()
            .any(|method| method.name == METHODS[1].name);
        let reference = match self.reference {
            Some(method) => method.name,
            None if has_lora => METHODS[1].name,
            None => self.methods[0].name,
        };
        let comparison = Comparison {
            run,
            methods,
            reference: reference.to_owned(),
            seeds: self.seeds,
            learning_rates: self.learning_rates.clone(),
            tuning_seeds: self.tuning_seeds,
            margin: self.margin,
        };
        let experiments = [comparison.experiment()?];
        let all = Jobs::all();
        let order = Order {
            experiments: &experiments,
            level: ONLY_LEVEL,
            out: &self.out,
            known: &[],
            jobs: Jobs {
                side_by_side: self.jobs.map_or(all.side_by_side, usize::from),
                ..all
            },
            title: "A comparison of methods",
        };
        let findings = reproduce(&order, &|_| unreachable!("a comparison measures no time"));
        for finding in go_on_with("ggpo", findings)? {
            say!("{}: {}", finding.claim, finding.judgement.verdict);
        }
        say!("report: {}", self.out.join("report.html").display());
        say!("        {}", self.out.join("report.md").display());
        Ok(())
    }
}

/// Settings of a run that a comparison has its own of, and what to say instead.
const REPLACED: [(&str, &str); 5] = [
    ("method.name", "nothing, as --methods names them"),
    ("seed", "nothing, as --seeds N runs those from 1 to N"),
    (
        "training.learning_rate",
        "nothing, as --learning-rates lists them",
    ),
    (
        "patience",
        "nothing, as all runs of a comparison have the same steps",
    ),
    (
        "checkpoint_every",
        "nothing, as the runs of a comparison choose it",
    ),
];

/// Share of the rows that is set aside for the test if there is no file of it.
const TEST_SHARE: f64 = 0.2;
