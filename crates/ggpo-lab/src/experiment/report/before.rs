//! What was written down before anything ran.

use ggpo_report::format::{listed, plural};
use ggpo_report::{Block, Text};

use super::super::description::Precondition;
use super::super::outcome::Outcome;
use crate::verdict::ClaimKind;

/// As points of a list.
pub(super) fn block(outcome: &Outcome<'_>) -> Block {
    let experiment = outcome.experiment;
    let grid = outcome.grid;
    let titles = |ids: &[String]| {
        let titles: Vec<&str> = ids
            .iter()
            .map(|id| experiment.method(id).title.as_str())
            .collect();
        listed(&titles)
    };
    let kind = match experiment.claim_kind {
        ClaimKind::Better => "better than the reference",
        ClaimKind::NoWorse => "no worse than the reference",
    };
    let numbers = |values: &[f64]| {
        let words: Vec<String> = values.iter().map(|it| it.to_string()).collect();
        words.join(", ")
    };
    let mut points: Vec<Text> = Vec::new();
    let mut say = |name: &str, text: String| {
        points.push(Text::default().strong(format!("{name}: ")).plain(text));
    };
    let claim = experiment.claim.replace("{method}", "the method");
    let claim = claim
        .replace("{reference}", "its reference")
        .replace(": {task}", "");
    say("Claim", format!("{claim} ({kind})"));
    if !experiment.references.is_empty() {
        say("References", titles(&experiment.references));
    }
    say(
        "Primary measure",
        format!("{}, after the last step", experiment.primary.title()),
    );
    say(
        "Margin",
        format!("{}{}", experiment.margin, experiment.primary.unit()),
    );
    let precondition = match experiment.precondition {
        Precondition::None => None,
        Precondition::GradientShare { at_least } => Some(format!(
            "the gradient term holds a share of the noise's variance of at least {at_least}"
        )),
        Precondition::Interpolation { above, below } => Some(format!(
            "the reference's mean training error is above {above} at the lowest rank, below \
             {below} at the highest, and does not rise between"
        )),
        Precondition::MatchedTraining { within } => Some(format!(
            "the mean training losses of method and reference are at most {within} apart"
        )),
    };
    if let Some(precondition) = precondition {
        say("Precondition", precondition);
    }
    if !experiment.stands_on.is_empty() {
        say(
            "Stands on the calibrations",
            experiment.stands_on.join(", "),
        );
    }
    if let Some(worst) = experiment.diverged {
        say("A run that diverges counts as", worst.to_string());
    }
    let at = experiment.at;
    let mut place = Vec::new();
    place.extend(at.rank.map(|rank| format!("rank {rank}")));
    place.extend(at.rows.map(|rows| format!("{rows} rows")));
    place.extend(
        at.label_noise
            .map(|noise| format!("{:.0} % wrong labels", 100.0 * noise)),
    );
    if !place.is_empty() {
        say("The claim is tested at", place.join(", "));
    }
    let runs = match grid.tuning_seeds {
        0 => format!(
            "{} at learning {} {}",
            plural(grid.seeds as usize, "seed"),
            match grid.learning_rates.len() {
                1 => "rate",
                _ => "rates",
            },
            numbers(&grid.learning_rates)
        ),
        tuning => format!(
            "learning rates {} tried by every method with {}, then {} at the best",
            numbers(&grid.learning_rates),
            plural(tuning as usize, "seed"),
            plural(grid.seeds as usize, "seed")
        ),
    };
    say("Runs", runs);
    if let Some(look) = grid.look {
        let text = format!(
            "after {look} seeds, at which a method ends that differs clearly (p below 0.002) or is \
             equivalent at alpha 0.01"
        );
        say("One look", text);
    }
    Block::List(points)
}
