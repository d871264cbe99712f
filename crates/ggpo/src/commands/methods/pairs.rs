//! Which parts of methods go together, asked of all combinations.

use ggpo_lora::LoraError;
use ggpo_lora::adapter::ScalingRule;
use ggpo_lora::lora_plus::LoraPlusConfig;
use ggpo_lora::method::{AdapterKind, InitConfig, MethodConfig, acting_weight, refusal};
use ggpo_lora::perturbation::PerturbationConfig;
use ggpo_lora::product_decay::ProductDecayConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::options::settings::{Form, Setting, settings};

/// Tables of what goes together, and the reasons for what does not.
pub(super) struct Pairs {
    /// Starts other than the usual one, and rules, beside an adapter form.
    pub(super) starts: Vec<PartRow>,
    /// Perturbations beside an adapter form.
    pub(super) perturbations: Vec<PartRow>,
    /// Reasons, by the numbers that cells have.
    pub(super) reasons: Vec<&'static str>,
    /// What is refused though each two of its parts but these go together.
    pub(super) others: Vec<String>,
    /// Every combination.
    pub(super) combinations: Vec<Combination>,
}

/// What a part is with each of [`AdapterKind::ALL`].
pub(super) struct PartRow {
    pub(super) part: &'static str,
    pub(super) cells: Vec<Cell>,
}

/// Whether two parts go together.
pub(super) enum Cell {
    /// They do; in words, how.
    Defined(&'static str),
    /// They do not, for the reason of this number, from 1.
    Undefined(usize),
}

/// An adapter form, a start and a perturbation.
#[derive(Debug, Serialize)]
pub(super) struct Combination {
    pub(super) adapter: &'static str,
    pub(super) start: &'static str,
    pub(super) perturbation: &'static str,
    /// What the perturbation acts on, if the parts go together.
    pub(super) acting_weight: Option<&'static str>,
    /// Why they do not.
    pub(super) refused: Option<String>,
}

impl Pairs {
    pub(super) fn all() -> Self {
        let mut reasons = Vec::new();
        let plain = |adapter| MethodConfig {
            adapter,
            ..MethodConfig::default()
        };
        let starts: Vec<InitConfig> = kinds("method.init");
        let perturbations: Vec<PerturbationConfig> = perturbations();
        let mut beside = Vec::new();
        let scaled = |adapter| match adapter {
            AdapterKind::Full => "unused",
            _ => "yes",
        };
        for init in starts.iter().filter(|init| **init != InitConfig::Kaiming) {
            let method = |adapter| MethodConfig {
                init: *init,
                ..plain(adapter)
            };
            beside.push(row(init.title(), &mut reasons, |_| "yes", method));
        }
        beside.push(row("rsLoRA's scaling", &mut reasons, scaled, |adapter| {
            let mut method = plain(adapter);
            method.lora.scaling = ScalingRule::RsLora;
            method
        }));
        beside.push(row(
            "LoRA+",
            &mut reasons,
            |_| "yes",
            |adapter| MethodConfig {
                lora_plus: Some(LoraPlusConfig::default()),
                ..plain(adapter)
            },
        ));
        beside.push(row(
            "decay of the update",
            &mut reasons,
            |_| "yes",
            |adapter| MethodConfig {
                product_decay: Some(ProductDecayConfig::default()),
                ..plain(adapter)
            },
        ));
        let acting = perturbations.iter().map(|perturbation| {
            let words = |adapter| acting_weight(adapter, perturbation);
            row(perturbation.title(), &mut reasons, words, |adapter| {
                MethodConfig {
                    perturbation: Some(*perturbation),
                    ..plain(adapter)
                }
            })
        });
        let acting = acting.collect();
        let mut pairs = Pairs {
            starts: beside,
            perturbations: acting,
            reasons,
            others: Vec::new(),
            combinations: Vec::new(),
        };
        for adapter in AdapterKind::ALL {
            for init in &starts {
                for perturbation in &perturbations {
                    pairs.combine(MethodConfig {
                        init: *init,
                        perturbation: Some(*perturbation),
                        ..plain(adapter)
                    });
                }
            }
        }
        pairs
    }

    fn combine(&mut self, method: MethodConfig) {
        let perturbation = method.perturbation.expect("there is one");
        let refused = refusal(&method);
        let alone = |change: fn(&mut MethodConfig)| {
            let mut method = method.clone();
            change(&mut method);
            refusal(&method).is_none()
        };
        let pairwise = alone(|method| method.init = InitConfig::Kaiming)
            && alone(|method| method.perturbation = None);
        if let Some(refused) = refused.as_ref().filter(|_| pairwise) {
            let sentence = refused.to_string();
            if !self.others.contains(&sentence) {
                self.others.push(sentence);
            }
        }
        let acts = acting_weight(method.adapter, &perturbation);
        self.combinations.push(Combination {
            adapter: method.adapter.title(),
            start: method.init.title(),
            perturbation: perturbation.title(),
            acting_weight: refused.is_none().then_some(acts),
            refused: refused.map(|refused| refused.to_string()),
        });
    }
}

/// What a part is with each adapter form.
fn row(
    part: &'static str,
    reasons: &mut Vec<&'static str>,
    words: impl Fn(AdapterKind) -> &'static str,
    method: impl Fn(AdapterKind) -> MethodConfig,
) -> PartRow {
    let cells = AdapterKind::ALL.map(|adapter| match refusal(&method(adapter)) {
        None => Cell::Defined(words(adapter)),
        Some(LoraError::Undefined { reason, .. }) => {
            let known = reasons.iter().position(|known| *known == reason);
            Cell::Undefined(known.map_or_else(
                || {
                    reasons.push(reason);
                    reasons.len()
                },
                |known| known + 1,
            ))
        }
        Some(other) => panic!("a refusal says what is not defined, not {other}"),
    });
    let cells = cells.into();
    PartRow { part, cells }
}

/// The words that can be chosen for a setting.
fn choices(setting: &Setting) -> impl Iterator<Item = &str> {
    let choices = match &setting.form {
        Form::Choice(choices) => choices.as_slice(),
        _ => &[],
    };
    choices.iter().map(|choice| choice.name.as_str())
}

fn read<C: DeserializeOwned>(fields: &[(&str, &str)]) -> Option<C> {
    let fields = fields.iter();
    let fields = fields.map(|(name, word)| ((*name).to_owned(), Value::from(*word)));
    C::deserialize(Value::Table(Table::from_iter(fields))).ok()
}

/// All kinds of a part, with their defaults.
fn kinds<C: DeserializeOwned>(path: &str) -> Vec<C> {
    let mut part = settings().iter().filter(|setting| setting.path == path);
    let kinds = part.next().into_iter().flat_map(choices);
    kinds.filter_map(|kind| read(&[("kind", kind)])).collect()
}

/// All perturbations that have a name of their own: the kinds, and what a word chosen
/// for one of their settings makes of them.
fn perturbations() -> Vec<PerturbationConfig> {
    let path = "method.perturbation";
    let mut all: Vec<PerturbationConfig> = Vec::new();
    let mut part = settings().iter().filter(|setting| setting.path == path);
    for kind in part.next().into_iter().flat_map(choices) {
        let mut forms = vec![read::<PerturbationConfig>(&[("kind", kind)])];
        for setting in settings().iter().filter(|setting| setting.part() == path) {
            let field = &setting.path[path.len() + 1..];
            forms.extend(choices(setting).map(|word| read(&[("kind", kind), (field, word)])));
        }
        for form in forms.into_iter().flatten() {
            if all.iter().all(|known| known.title() != form.title()) {
                all.push(form);
            }
        }
    }
    all
}
