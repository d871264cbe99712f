//! What other methods would do at the very same steps, by their own code.

use ggpo_lora::perturbation::LowRankMove;
use ggpo_lora::perturbation::{Mgpo as MgpoOnRun, MgpoConfig, Perturbation, Sign, Space};
use ggpo_lora::{AdaptedLayers, Ggpo, GgpoConfig, GgpoForm, NoiseSpread, SigmaSchedule};
use ggpo_train::trainer::Layers;
use ndarray::{Array2, ArrayView2};

use super::Result;

/// Perturbations that look at a run in which another acts.
pub(super) struct Others {
    sd_scripts: Ggpo<f32>,
    flat_lora: Ggpo<f32>,
    mgpo: MgpoOnRun<f32>,
    mgpo_merged: MgpoOnRun<f32>,
}

/// The moves of LoRA-MGPO.
pub(super) struct Mgpo {
    /// Of A (r x n) and B (m x r), as in the paper.
    pub(super) factors: Option<[Array2<f32>; 2]>,
    /// Of W', as in the trainer of its authors.
    pub(super) merged: Option<LowRankMove<f32>>,
}

impl Others {
    /// With the sigma and beta of the run; LoRA-MGPO with its defaults.
    pub(super) fn new(noise: &GgpoConfig, seed: u64, steps: u32) -> Result<Self> {
        let sd_scripts = GgpoConfig {
            form: GgpoForm::SdScripts,
            spread: NoiseSpread::Rows,
            schedule: SigmaSchedule::Constant,
            ..*noise
        };
        let merged = MgpoConfig {
            sign: Sign::Minus,
            space: Space::Merged,
            ..MgpoConfig::default()
        };
        Ok(Others {
            sd_scripts: Ggpo::new(sd_scripts, seed, steps)?,
            flat_lora: Ggpo::new(GgpoConfig::flat_lora(noise.sigma), seed, steps)?,
            mgpo: MgpoOnRun::new(MgpoConfig::default())?,
            mgpo_merged: MgpoOnRun::new(merged)?,
        })
    }

    /// A step begins; the layers have the gradients of the step before.
    pub(super) fn begin(&mut self, step: u32, layers: &Layers<'_, f32>) {
        for other in [&mut self.sd_scripts, &mut self.flat_lora] {
            other.begin_step(step, layers);
        }
        for other in [&mut self.mgpo, &mut self.mgpo_merged] {
            other.begin_step(step, layers);
        }
    }

    /// The step has ended with these gradients.
    pub(super) fn end(&mut self, layers: &Layers<'_, f32>) {
        self.mgpo_merged.observe(layers);
    }

    /// Deviations of the rows of a layer: in the form of sd-scripts and by Flat-LoRA.
    pub(super) fn deviations(&self, layer: usize) -> [Vec<f32>; 2] {
        [&self.sd_scripts, &self.flat_lora].map(|other| other.row_std(layer).to_vec())
    }

    /// The moves of LoRA-MGPO in a layer.
    pub(super) fn mgpo(&self, layers: &Layers<'_, f32>, layer: usize) -> Mgpo {
        let view = layers.layer(layer);
        let moves = self.mgpo.factor_moves(layer);
        let factors = moves.map(|moves| {
            [(0, view.a), (1, view.b)].map(|(factor, like)| {
                let by = ArrayView2::from_shape(like.dim(), moves[factor].as_slice());
                by.expect("a move for each element").to_owned()
            })
        });
        Mgpo {
            factors,
            merged: self.mgpo_merged.merged_move(layer).cloned(),
        }
    }
}
