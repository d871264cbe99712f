//! What the noise of LoRA-GGPO is made of.

use super::super::document::{Block, Section, Table, Text};
use super::super::figures;
use super::super::format::{ABSENT, percent, significant};
use super::super::summary::{AuditSummary, LayerAudit, Role, Sample, with_role};
use super::figure;
use crate::repro::outcome::Outcome;

/// A share below which the gradient term is without effect on the noise.
const NEGLIGIBLE: f64 = 1e-3;

/// What the gradient term amounts to, in all runs together.
pub(super) fn verdict(audits: &[AuditSummary]) -> Text {
    let shares = Sample::new(audits.iter().flat_map(|audit| audit.share().values));
    let text = Text::default().strong("The gradient term of the noise: ");
    if shares.values.is_empty() {
        return text.plain("no run recorded what its noise was made of.");
    }
    let (most, median) = (percent(shares.max()), percent(shares.quantile(0.5)));
    text.plain(if shares.max() < NEGLIGIBLE {
        format!(
            "it makes up {most} of the variance at most (median {median}) over all layers, tasks \
             and seeds at the recorded steps, so the noise is set by the weight norms. No \
             result here can be \
             credited to gradient guidance."
        )
    } else {
        format!(
            "it makes up {} to {most} of the variance (median {median}) over layers, tasks and seeds \
             at the recorded steps. Where it is small the noise is set by the weight norms.",
            percent(shares.min()),
        )
    })
}

/// Shares and ratios, over all layers and for each.
pub(super) fn section(outcome: &Outcome, audits: &[AuditSummary]) -> Section {
    let about = "The variance of the noise of row i of a layer is sigma² / n · (‖W'_i‖² + beta \
                 ‖G_i‖²). The share is that of the gradient term beta ‖G_i‖² in the sum over the \
                 rows. LoRA-GGPO does not know the gradient G of the merged weight; equation 7 puts \
                 s (B dA + dB A) in its place, which is a projection. The ratio is the norm of that \
                 over the norm of the exact gradient, over the whole matrix, on one validation \
                 batch without noise. Both are recorded whenever the validation split is looked at.";
    let mut blocks = vec![Block::Paragraph(verdict(audits)), Block::paragraph(about)];
    blocks.extend(control(outcome));
    if !audits.is_empty() {
        blocks.push(Block::Table(overall(audits)));
    }
    for audit in audits {
        let name = format!("gradient-{}-{}", audit.method, audit.task);
        let caption = format!(
            "{} on \"{}\": share of the gradient term in the variance of the noise, and norm by \
             equation 7 over the exact norm; one line per layer, coloured by its kind, median over \
             the seeds.",
            audit.method_title, audit.task_title,
        );
        blocks.push(Block::Figure(figure(
            &name,
            caption,
            figures::gradient(audit),
        )));
        blocks.push(Block::Table(by_layer(audit)));
    }
    Section::new(
        "gradient-term",
        "What the noise of LoRA-GGPO is made of",
        blocks,
    )
}

/// Names the control for what it is.
fn control(outcome: &Outcome) -> Option<Block> {
    let control = with_role(outcome, Role::Control).next()?;
    Some(Block::paragraph(format!(
        "\"{}\" is the control for all this: noise of the same expected squared norm in every layer, \
         with the same variance in all of its rows. It differs from LoRA-GGPO only in how the noise \
         is spread within a layer.",
        control.title,
    )))
}

fn overall(audits: &[AuditSummary]) -> Table {
    let head = [
        "Task",
        "Method",
        "Share: median",
        "Share: least",
        "Share: most",
        "Ratio: median",
        "Ratio: least",
        "Ratio: most",
        "‖W'_i‖: median",
        "‖G_i‖: median",
    ];
    let caption =
        "The gradient term over all layers, steps and seeds, at the method's own learning rate";
    let mut table = Table::new(caption, 2, &head);
    for audit in audits {
        let mut row = vec![audit.task_title.clone(), audit.method_title.clone()];
        row.extend(spread(&audit.share()));
        row.extend(spread(&audit.ratio()));
        row.push(significant(audit.weight_norm.quantile(0.5)));
        row.push(significant(audit.grad_norm.quantile(0.5)));
        table.rows.push(row);
    }
    table
}

fn by_layer(audit: &AuditSummary) -> Table {
    let head = [
        "Layer",
        "Share: median",
        "Share: least",
        "Share: most",
        "Ratio: median",
        "Ratio: least",
        "Ratio: most",
    ];
    let caption = format!(
        "{} on \"{}\", layer by layer, over the run and the seeds",
        audit.method_title, audit.task_title
    );
    let mut table = Table::new(caption, 1, &head);
    table.folded = true;
    for LayerAudit {
        module,
        share,
        ratio,
        ..
    } in &audit.layers
    {
        let mut row = vec![module.clone()];
        row.extend(spread(share));
        row.extend(spread(ratio));
        table.rows.push(row);
    }
    table
}

/// Median, smallest and largest.
fn spread(sample: &Sample) -> [String; 3] {
    if sample.values.is_empty() {
        return [ABSENT; 3].map(str::to_owned);
    }
    [sample.quantile(0.5), sample.min(), sample.max()].map(significant)
}
