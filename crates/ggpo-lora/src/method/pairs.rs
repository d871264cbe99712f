//! Which parts go together, and by which acting weight.

use super::{AdapterKind, InitConfig, MethodConfig};
use crate::LoraError;
use crate::adapter::ScalingRule;
use crate::perturbation::ggpo::{GgpoForm, NoiseGradient};
use crate::perturbation::{PerturbationConfig, Space};

/// Why the parts of a method do not go together; none if they do.
pub fn refusal(config: &MethodConfig) -> Option<LoraError> {
    let undefined =
        |pair: String, reason: &'static str| Some(LoraError::Undefined { pair, reason });
    let adapter = config.adapter.title();
    let start = config.init.title();
    match (config.adapter, &config.init) {
        (_, InitConfig::Kaiming) => {}
        (AdapterKind::Full, _) => return undefined(format!("{start} with {adapter}"), NO_FACTORS),
        (AdapterKind::Adalora, _) => {
            return undefined(format!("{start} with {adapter}"), E_STARTS_AT_0);
        }
        (AdapterKind::Lora | AdapterKind::Dora, _) => {}
    }
    if config.adapter == AdapterKind::Adalora && config.lora.scaling != ScalingRule::Lora {
        return undefined(format!("the scaling of rsLoRA with {adapter}"), START_RANK);
    }
    if config.adapter == AdapterKind::Full && config.lora_plus.is_some() {
        return undefined(format!("LoRA+ with {adapter}"), NO_FACTORS);
    }
    if config.product_decay.is_some() {
        let pair = format!("decay of the update with {adapter}");
        match config.adapter {
            AdapterKind::Full => return undefined(pair, NO_FACTORS),
            AdapterKind::Dora => return undefined(pair, NO_PRODUCT),
            AdapterKind::Adalora => return undefined(pair, OWN_PENALTY),
            AdapterKind::Lora if config.init != InitConfig::Kaiming => {
                let pair = format!("decay of the update with {start}");
                return undefined(pair, NO_PRODUCT);
            }
            AdapterKind::Lora => {}
        }
    }
    let perturbation = config.perturbation.as_ref()?;
    if let PerturbationConfig::Ggpo(ggpo) = perturbation
        && ggpo.form == GgpoForm::SdScripts
        && config.init != InitConfig::Kaiming
    {
        let pair = format!("{} with {start}", perturbation.title());
        return undefined(pair, CIRCULATION);
    }
    let reason = match (config.adapter, perturbation) {
        (AdapterKind::Full, _) => NO_LAYERS,
        (AdapterKind::Lora, _) => return None,
        (_, PerturbationConfig::Ggpo(ggpo)) if ggpo.form == GgpoForm::SdScripts => CIRCULATION,
        (AdapterKind::Dora, PerturbationConfig::Ggpo(ggpo))
            if ggpo.noise_gradient == NoiseGradient::Reparameterised =>
        {
            ROW_NORM
        }
        (_, PerturbationConfig::Mgpo(mgpo)) if mgpo.space == Space::Merged => MOMENTUM,
        (_, PerturbationConfig::Efm(_)) => PSEUDO_INVERSE,
        _ => return None,
    };
    undefined(format!("{} with {adapter}", perturbation.title()), reason)
}

const NO_FACTORS: &str = "it trains the weights themselves and has no A and B";
const NO_LAYERS: &str = "it has no adapters, whose layers a perturbation acts on";
const E_STARTS_AT_0: &str =
    "AdaLoRA starts at E = 0 with P and Q at random, so there are no A and B to start";
const NO_PRODUCT: &str = "the change of the weight is not the product s B A alone";
const OWN_PENALTY: &str = "AdaLoRA has a penalty of its own on its factors";
const START_RANK: &str = "its scaling is alpha / r for the r of the start";
const CIRCULATION: &str = "this form is in circulation for plain LoRA only";
const ROW_NORM: &str = "the norm of a row of DoRA's weight is its magnitude, so the derivative \
     through the norm is not that of the formula";
const MOMENTUM: &str = "the momentum of the merged weight is made of the momenta of A and B, and \
     the adapter trains other factors";
const PSEUDO_INVERSE: &str =
    "it finds the gradient of W' from those of A and B alone, and the adapter trains other factors";

/// What a perturbation acts on with an adapter form: the acting weight, in words.
pub fn acting_weight(adapter: AdapterKind, perturbation: &PerturbationConfig) -> &'static str {
    let factors = match perturbation {
        PerturbationConfig::Ggpo(_) => false,
        PerturbationConfig::Sam(config) => config.space == Space::Factors,
        PerturbationConfig::Mgpo(config) => config.space == Space::Factors,
        PerturbationConfig::Msam(_) => true,
        PerturbationConfig::Efm(_) => return "B",
    };
    match (adapter, factors) {
        (AdapterKind::Full, _) => "W",
        (AdapterKind::Lora, true) => "A, B",
        (AdapterKind::Dora, true) => "A, B, m",
        (AdapterKind::Adalora, true) => "Q, P, E",
        (AdapterKind::Lora, false) => "W + s B A",
        (AdapterKind::Dora, false) => "diag(m / ||W'||) W'",
        (AdapterKind::Adalora, false) => "W + s P diag(E) Q",
    }
}

impl AdapterKind {
    /// All of them.
    pub const ALL: [AdapterKind; 4] = [
        AdapterKind::Full,
        AdapterKind::Lora,
        AdapterKind::Dora,
        AdapterKind::Adalora,
    ];

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            AdapterKind::Full => "full fine-tuning",
            AdapterKind::Lora => "LoRA",
            AdapterKind::Dora => "DoRA",
            AdapterKind::Adalora => "AdaLoRA",
        }
    }
}

impl InitConfig {
    /// Its name for people.
    pub fn title(&self) -> &'static str {
        match self {
            InitConfig::Kaiming => "Kaiming",
            InitConfig::Pissa => "PiSSA",
            InitConfig::LoraGa(_) => "LoRA-GA",
            InitConfig::Olora => "OLoRA",
        }
    }
}

impl PerturbationConfig {
    /// Its name for people.
    pub fn title(&self) -> &'static str {
        match self {
            PerturbationConfig::Ggpo(config) if config.form == GgpoForm::SdScripts => {
                "GGPO in the form sd_scripts"
            }
            PerturbationConfig::Ggpo(config)
                if config.noise_gradient == NoiseGradient::Reparameterised =>
            {
                "GGPO with reparameterised noise"
            }
            PerturbationConfig::Ggpo(_) => "GGPO",
            PerturbationConfig::Sam(config) if config.space == Space::Merged => {
                "SAM on the merged weights"
            }
            PerturbationConfig::Sam(_) => "SAM",
            PerturbationConfig::Mgpo(config) if config.space == Space::Merged => {
                "MGPO on the merged weights"
            }
            PerturbationConfig::Mgpo(_) => "MGPO",
            PerturbationConfig::Msam(_) => "MSAM",
            PerturbationConfig::Efm(_) => "EFlat-LoRA",
        }
    }
}
