//! The methods by name.

use super::{AdapterKind, InitConfig, MethodConfig};
use crate::adapter::{LoraConfig, ScalingRule};
use crate::init::LoraGaConfig;
use crate::lora_plus::LoraPlusConfig;
use crate::perturbation::ggpo::GgpoConfig;
use crate::perturbation::{
    EfmLoraConfig, MgpoConfig, MsamConfig, PerturbationConfig, SamConfig, Sign, Space,
};

/// A method that has a name.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Its name in options and files.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// What it computes.
    pub formula: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// Forward and backward passes of a step.
    pub passes: &'static str,
    /// Memory beside that of LoRA.
    pub memory: &'static str,
    parts: fn() -> MethodConfig,
}

impl Method {
    /// Its settings with the defaults of its paper.
    pub fn config(&self) -> MethodConfig {
        (self.parts)()
    }
}

/// The method of that name, if there is one.
pub fn method(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// LoRA under a perturbation.
fn under(perturbation: PerturbationConfig) -> MethodConfig {
    MethodConfig {
        perturbation: Some(perturbation),
        ..MethodConfig::default()
    }
}

/// LoRA from a start of its own.
fn from(init: InitConfig) -> MethodConfig {
    MethodConfig {
        init,
        ..MethodConfig::default()
    }
}

/// An adapter form.
fn form(adapter: AdapterKind) -> MethodConfig {
    MethodConfig {
        adapter,
        ..MethodConfig::default()
    }
}

/// With the scaling `alpha / sqrt(r)`.
fn rank_stabilised(config: MethodConfig) -> MethodConfig {
    let lora = LoraConfig {
        scaling: ScalingRule::RsLora,
        ..config.lora
    };
    MethodConfig { lora, ..config }
}

/// All methods, in the order in which they are listed.
pub const METHODS: &[Method] = &[
    Method {
        name: "full",
        title: "Full fine-tuning",
        about: "every weight is trained",
        formula: "W trained",
        source: "",
        passes: "1",
        memory: "gradient and two moments of every weight",
        parts: || form(AdapterKind::Full),
    },
    Method {
        name: "lora",
        title: "LoRA",
        about: "low-rank adapters, no perturbation",
        formula: "W' = W + s B A, s = alpha / r",
        source: "Hu and others 2021, arXiv 2106.09685",
        passes: "1",
        memory: "0",
        parts: MethodConfig::default,
    },
    Method {
        name: "rslora",
        title: "rsLoRA",
        about: "LoRA scaled by the root of the rank",
        formula: "s = alpha / sqrt(r)",
        source: "Kalajdzievski 2023, arXiv 2312.03732",
        passes: "1",
        memory: "0",
        parts: || rank_stabilised(MethodConfig::default()),
    },
    Method {
        name: "lora-plus",
        title: "LoRA+",
        about: "a higher learning rate for B",
        formula: "lr(B) = lambda lr(A)",
        source: "Hayou and others 2024, arXiv 2402.12354",
        passes: "1",
        memory: "0",
        parts: || MethodConfig {
            lora_plus: Some(LoraPlusConfig::default()),
            ..MethodConfig::default()
        },
    },
    Method {
        name: "dora",
        title: "DoRA",
        about: "direction and magnitude of a row trained apart",
        formula: "y = (m / ||W'||_row) * (x W'^T) + b",
        source: "Liu and others 2024, arXiv 2402.09353",
        passes: "1",
        memory: "the outputs of every layer, until its backward pass",
        parts: || form(AdapterKind::Dora),
    },
    Method {
        name: "adalora",
        title: "AdaLoRA",
        about: "rank moved to where it matters",
        formula: "W' = W + s P diag(E) Q, the least important E set to 0",
        source: "Zhang and others 2023, arXiv 2303.10512",
        passes: "1",
        memory: "two means for every element of P, E, Q",
        parts: || form(AdapterKind::Adalora),
    },
    Method {
        name: "pissa",
        title: "PiSSA",
        about: "starts from the largest singular triples of W",
        formula: "W = U S V^T; B0 = U_r (S_r / s)^(1/2), A0 = (S_r / s)^(1/2) V_r^T",
        source: "Meng and others 2024, arXiv 2404.02948",
        passes: "1",
        memory: "A0 and B0",
        parts: || from(InitConfig::Pissa),
    },
    Method {
        name: "lora-ga",
        title: "LoRA-GA",
        about: "starts from singular vectors of the first gradient",
        formula: "G = U S V^T; A0 = c V[:, :r]^T, B0 = c U[:, r:2r], c = m^(1/4) / sqrt(gamma)",
        source: "Wang and others 2024, arXiv 2407.05000",
        passes: "1, and one at the start",
        memory: "A0 and B0; at the start the gradients of all adapted weights",
        parts: || rank_stabilised(from(InitConfig::LoraGa(LoraGaConfig::default()))),
    },
    Method {
        name: "olora",
        title: "OLoRA",
        about: "starts from the QR decomposition of W",
        formula: "W = Q R; B0 = Q[:, :r], A0 = R[:r]",
        source: "Büyükakyüz 2024, arXiv 2406.01775",
        passes: "1",
        memory: "A0 and B0",
        parts: || from(InitConfig::Olora),
    },
    Method {
        name: "ggpo",
        title: "LoRA-GGPO",
        about: "noise by the norms of weights and gradients",
        formula: "eps_ij ~ N(0, v_i), v_i = (sigma^2 / n) (||W'_i||^2 + beta ||G_i||^2)",
        source: "Chang and others 2025, arXiv 2502.14538 version 1",
        passes: "1",
        memory: "a few numbers for each row; gradients of A and B",
        parts: || under(PerturbationConfig::Ggpo(GgpoConfig::default())),
    },
    Method {
        name: "flat-lora",
        title: "Flat-LoRA",
        about: "noise by the norms of weights, growing",
        formula: "v_i = (sigma_t^2 / n) ||W'_i||^2, sigma_t = sigma (1 - cos(pi t / T)) / 2",
        source: "Li and others 2024, arXiv 2409.14396",
        passes: "1",
        memory: "a few numbers for each row",
        parts: || under(PerturbationConfig::Ggpo(GgpoConfig::flat_lora(0.05))),
    },
    Method {
        name: "random-noise",
        title: "Isotropic noise",
        about: "a control: GGPO's expected norm, the same for every row",
        formula: "v_i = mean of GGPO's v over the rows of the layer",
        source: "a control of this project",
        passes: "1",
        memory: "a few numbers for each row; gradients of A and B",
        parts: || under(PerturbationConfig::Ggpo(GgpoConfig::isotropic())),
    },
    Method {
        name: "sam",
        title: "LoRA-SAM",
        about: "gradients one step up the slope of the factors",
        formula: "eps = rho g / ||g||, g the gradient of the factors of all layers",
        source: "Foret and others 2021, arXiv 2010.01412",
        passes: "2",
        memory: "one more gradient of the factors",
        parts: || under(PerturbationConfig::Sam(SamConfig::default())),
    },
    Method {
        name: "sam-merged",
        title: "SAM on merged weights",
        about: "an audit form: it needs the gradient of every weight",
        formula: "eps = rho G / ||G||, G the exact gradient of all W'",
        source: "Foret and others 2021, on W'",
        passes: "2, the first with dW",
        memory: "a gradient and a move of every adapted weight",
        parts: || {
            under(PerturbationConfig::Sam(SamConfig {
                space: Space::Merged,
                ..SamConfig::default()
            }))
        },
    },
    Method {
        name: "mgpo",
        title: "LoRA-MGPO",
        about: "gradients a step along the momentum of the factors",
        formula: "eps_t = rho m_{t-1} / ||m_{t-1}|| / gbar_{t-1}, m_t = mu m_{t-1} + g_t",
        source: "Chang and others 2025, arXiv 2502.14538 versions 2 and 3",
        passes: "1",
        memory: "momentum, gradient and move of the factors",
        parts: || under(PerturbationConfig::Mgpo(MgpoConfig::default())),
    },
    Method {
        name: "mgpo-merged",
        title: "LoRA-MGPO on merged weights",
        about: "MGPO as its authors' trainer has it",
        formula: "eps = -rho D / ||D|| min(1 / gbar, 10) a layer, D = s (m_B A + B m_A)",
        source: "llm172/LoRA-MGPO",
        passes: "1",
        memory: "two thin matrices for each layer; gradients of A and B",
        parts: || {
            under(PerturbationConfig::Mgpo(MgpoConfig {
                sign: Sign::Minus,
                space: Space::Merged,
                ..MgpoConfig::default()
            }))
        },
    },
    Method {
        name: "msam",
        title: "Momentum SAM",
        about: "a control for MGPO: the optimiser's momentum",
        formula: "eps = -rho m / ||m||, m the optimiser's first moment",
        source: "Becker and others 2024, arXiv 2401.12033",
        passes: "1",
        memory: "a move of the factors",
        parts: || under(PerturbationConfig::Msam(MsamConfig::default())),
    },
    Method {
        name: "efm-lora",
        title: "EFlat-LoRA",
        about: "SAM's move of W', carried by B; third-party codes differ",
        formula: "E_B <- (1 - b) E_B + b E_W A^+ / s, E_W = rho g_W / ||g_W||",
        source: "Deng and others 2025, arXiv 2508.00522 (EFMLoRA from version 3 on)",
        passes: "1",
        memory: "moves of B; gradients of A and B",
        parts: || under(PerturbationConfig::Efm(EfmLoraConfig::default())),
    },
];
