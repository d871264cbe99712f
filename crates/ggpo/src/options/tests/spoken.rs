//! What every option says: the setting that it makes of a description.

use std::collections::BTreeSet;

use super::super::settings;
use super::{described, with};

/// Options of the version before methods had parts: an option, and the setting that it
/// makes.
const BEFORE: &str = r#"
--model base                    model = "base"
--seed 3                        seed = 3
--rank 4                        method.lora.rank = 4
--alpha 8                       method.lora.alpha = 8.0
--scaling rslora                method.lora.scaling = "rslora"
--lora-dropout 0.1              method.lora.dropout = 0.1
--targets query,value           method.lora.targets = ["query", "value"]
--targets .*query               method.lora.targets = ".*query"
--sigma 0.05                    method.perturbation.sigma = 0.05
--beta 0.5                      method.perturbation.beta = 0.5
--gradient exact                method.perturbation.gradient = "exact"
--sigma-schedule cosine_ramp    method.perturbation.schedule = "cosine_ramp"
--refresh-every 4               method.perturbation.refresh_every = 4
--truncate-noise 2              method.perturbation.noise = { truncated = 2.0 }
--form sd_scripts               method.perturbation.form = "sd_scripts"
--spread isotropic              method.perturbation.spread = "isotropic"
--noise-per-micro-batch         method.perturbation.per_micro_batch = true
--learning-rate 1e-3            training.learning_rate = 0.001
--lr 1e-3                       training.learning_rate = 0.001
--epochs 2                      epochs = 2
--steps 20                      training.steps = 20
--batch-size 8                  batch_size = 8
--micro-batches 2               micro_batches = 2
--schedule cosine               training.schedule.kind = "cosine"
--warmup 10                     training.schedule.warmup = 10
--warmup 0.1                    training.schedule.warmup = 0.1
--clip 1                        training.clip = 1.0
--weight-decay 0.01             training.adamw.weight_decay = 0.01
--adam-beta1 0.8                training.adamw.beta1 = 0.8
--adam-beta2 0.99               training.adamw.beta2 = 0.99
--adam-eps 1e-6                 training.adamw.eps = 1e-6
--evaluate-every 5              evaluate_every = 5
--checkpoint-every 5            checkpoint_every = 5
--task regression               task.kind = "regression"
--layout cola                   task.layout = "cola"
--format csv                    task.format = "csv"
--no-header                     task.header = false
--text review                   task.columns.text = "review"
--pair 2                        task.columns.pair = 2
--label 3                       task.columns.label = 3
--labels cold,warm              task.labels = ["cold", "warm"]
--template {text}:              task.template = "{text}:"
--max-length 64                 task.max_length = 64
--skip-bad-rows                 task.skip_bad_rows = true
--train a.tsv                   task.train = "a.tsv"
--validation b.tsv              task.validation = "b.tsv"
--validation-share 0.2          task.validation_share = 0.2
--test c.tsv                    task.test = "c.tsv"
--metric f1                     task.metric = "f1"
--train-rows 100                task.train_rows = 100
--label-noise 0.1               task.label_noise = 0.1
"#;

/// Options since then.
const SINCE: &str = r#"
--init olora                                        method.init = "olora"
--init lora_ga --lora-ga-gamma 4 --lora-ga-rows 2   method.init = { kind = "lora_ga", gamma = 4.0, rows = 2 }
--adapter dora                                      method.adapter = "dora"
--adapter runs/a/adapter                            adapter = "runs/a/adapter"
--perturbation msam                                 method.perturbation = "msam"
--perturbation sam --rho 0.1 --space merged         method.perturbation = { kind = "sam", rho = 0.1, space = "merged" }
--perturbation mgpo --mu 0.5 --sign minus           method.perturbation = { kind = "mgpo", mu = 0.5, sign = "minus" }
--perturbation efm --b 0.5                          method.perturbation = { kind = "efm", b = 0.5 }
--noise-gradient reparameterised                    method.perturbation.noise_gradient = "reparameterised"
--acts-on gradients                                 method.perturbation.acts_on = "gradients"
--weight none                                       method.perturbation.weight = "none"
--adapter adalora --adalora-init-rank 9             method = { adapter = "adalora", adalora = { init_rank = 9 } }
--adapter adalora --adalora-t-init 2                method = { adapter = "adalora", adalora = { t_init = 2 } }
--adapter adalora --adalora-t-final 3               method = { adapter = "adalora", adalora = { t_final = 3 } }
--adapter adalora --adalora-delta-t 4               method = { adapter = "adalora", adalora = { delta_t = 4 } }
--adapter adalora --adalora-beta1 0.5               method = { adapter = "adalora", adalora = { beta1 = 0.5 } }
--adapter adalora --adalora-beta2 0.6               method = { adapter = "adalora", adalora = { beta2 = 0.6 } }
--adapter adalora --adalora-penalty 0.2             method = { adapter = "adalora", adalora = { penalty = 0.2 } }
--lora-plus-lambda 8                                method.lora_plus.lambda = 8.0
--product-decay-strength 0.1                        method.product_decay.strength = 0.1
--patience 3                                        patience = 3
--head ridge                                        head.fit = "ridge"
--head-penalty 0.5                                  head.penalty = 0.5
--task chat                                         task.kind = "chat"
--chat-template chatml                              task.chat_template = "chatml"
--train-on all                                      task.train_on = "all"
--test-share 0.1                                    task.test_share = 0.1
--loss least-squares                                task.loss = "least-squares"
"#;

/// Options and what they make, of a table whose second column begins at `column`.
fn lines(table: &'static str, column: usize) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = table.lines().filter(|line| !line.is_empty());
    lines.map(move |line| line.split_at(column))
}

fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    lines(BEFORE, 32).chain(lines(SINCE, 52))
}

#[test]
fn options_of_before_say_the_same() {
    for method in ["full", "lora", "ggpo", "flat-lora", "random-noise"] {
        let description = with("", &format!("--method {method}")).unwrap();
        assert_eq!(
            description,
            described(&format!("method.name = \"{method}\""))
        );
    }
}

#[test]
fn every_option_makes_its_setting() {
    let mut spoken = BTreeSet::new();
    for (options, setting) in all() {
        assert_eq!(with("", options).unwrap(), described(setting), "{options}");
        let words = options.split_whitespace();
        spoken.extend(words.filter_map(|word| word.strip_prefix("--")));
    }
    for setting in settings::settings() {
        let option = setting.option.as_str();
        assert!(spoken.contains(option), "--{option} is in no table");
    }
}
