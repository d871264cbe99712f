//! Which runs an audit can follow, and the same run without noise.

use ggpo_lora::method::InitConfig;
use ggpo_lora::{
    AdapterKind, GgpoConfig, GgpoForm, NoiseGradient, NoiseKind, NoisePlace, NoiseSpread,
    PerturbationConfig, WeightTerm,
};
use ggpo_train::run::RunConfig;

use super::error::{Result, setting};

/// The settings of the noise of a run whose numbers an audit can follow: adapters of the
/// form `W + s B A` alone, and one gaussian deviation for each row by equation 6.
pub(super) fn noise_of(run: &RunConfig) -> Result<GgpoConfig> {
    let method = &run.method;
    let refused = |field, expected, found: &dyn std::fmt::Debug| {
        Err(setting(field, expected, format!("{found:?}")))
    };
    if method.adapter != AdapterKind::Lora {
        return refused("method.adapter", "lora", &method.adapter);
    }
    if method.init != InitConfig::Kaiming {
        return refused(
            "method.init",
            "kaiming, whose start is W itself",
            &method.init,
        );
    }
    if method.lora.dropout != 0.0 {
        let expected = "0, so that W + s B A acts in one product";
        return refused("method.lora.dropout", expected, &method.lora.dropout);
    }
    if method.product_decay.is_some() {
        let expected = "none, so that dA and dB are those of the loss";
        return refused("method.product_decay", expected, &method.product_decay);
    }
    let Some(PerturbationConfig::Ggpo(noise)) = method.perturbation else {
        let expected = "ggpo, whose noise is audited";
        let found = method
            .perturbation
            .map_or("none".to_owned(), |other| format!("{other:?}"));
        return Err(setting("method.perturbation", expected, found));
    };
    let plain = GgpoConfig {
        sigma: noise.sigma,
        beta: noise.beta,
        gradient: noise.gradient,
        schedule: noise.schedule,
        per_micro_batch: noise.per_micro_batch,
        ..GgpoConfig::default()
    };
    let usual: [(&str, &str, bool); 7] = [
        ("form", "paper", noise.form == GgpoForm::Paper),
        ("spread", "rows", noise.spread == NoiseSpread::Rows),
        ("noise", "gaussian", noise.noise == NoiseKind::Gaussian),
        ("weight", "merged", noise.weight == WeightTerm::Merged),
        ("acts_on", "weights", noise.acts_on == NoisePlace::Weights),
        (
            "noise_gradient",
            "held",
            noise.noise_gradient == NoiseGradient::Held,
        ),
        ("refresh_every", "1", noise.refresh_every == 1),
    ];
    if let Some((field, expected, _)) = usual.iter().find(|(.., usual)| !usual) {
        return Err(setting(
            format!("method.perturbation.{field}"),
            *expected,
            "another",
        ));
    }
    debug_assert_eq!(plain, noise, "every setting is looked at");
    if run.micro_batches != 1 {
        let expected = "1, so that a step is one pass";
        return refused("micro_batches", expected, &run.micro_batches);
    }
    Ok(noise)
}

/// The same run at sigma 0: plain LoRA, bit for bit.
pub(super) fn without_noise(run: &RunConfig) -> RunConfig {
    let mut quiet = run.clone();
    if let Some(PerturbationConfig::Ggpo(noise)) = &mut quiet.method.perturbation {
        noise.sigma = 0.0;
    }
    quiet
}
