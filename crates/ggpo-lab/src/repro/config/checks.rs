//! What must hold between the fields of a study.

use super::{Level, ReproConfig, TaskEntry};
use crate::repro::score::Score;

/// The first thing that is wrong, as a sentence that names the field.
pub(super) fn problem(config: &ReproConfig) -> Option<String> {
    let levels = config.levels.iter();
    names(config)
        .or_else(|| tasks(config).find_map(reportable))
        .or_else(|| config.tasks.iter().find_map(score))
        .or_else(|| smoothing(config))
        .or_else(|| levels.clone().find_map(|(name, level)| seeds(name, level)))
        .or_else(|| {
            levels
                .clone()
                .find_map(|(name, level)| experiments(config, name, level))
        })
}

/// Every id that is referred to belongs to something, and everything that is
/// needed is there.
fn names(config: &ReproConfig) -> Option<String> {
    let sweep = config.rank_sweep.as_ref().map(|sweep| &sweep.methods);
    let bump = config.loss_bump.as_ref().map(|bump| &bump.methods);
    let lists = [("rank_sweep.methods", sweep), ("loss_bump.methods", bump)];
    for (field, ids) in lists {
        if ids.is_some_and(Vec::is_empty) {
            return Some(format!("{field}: expected at least one method, found none"));
        }
    }
    if config.tasks.is_empty() {
        return Some("tasks: expected at least one task, found none".to_owned());
    }
    let named = lists.into_iter().filter_map(|(_, ids)| ids).flatten();
    let mut named = [&config.reference].into_iter().chain(named);
    if let Some(id) = named.find(|id| !config.methods.iter().any(|method| method.id == **id)) {
        return Some(format!("expected the id of a method, found \"{id}\""));
    }
    let measured = config.cost.as_ref().map(|cost| &cost.task);
    let id = measured.filter(|id| !config.tasks.iter().any(|task| task.id == **id))?;
    Some(format!(
        "cost.task: expected the id of a task, found \"{id}\""
    ))
}

/// All tasks, those of the two double descents included.
fn tasks(config: &ReproConfig) -> impl Iterator<Item = &TaskEntry> {
    let sweep = config.rank_sweep.iter().map(|sweep| &sweep.task);
    let bump = config.loss_bump.iter().map(|bump| &bump.task);
    config.tasks.iter().chain(sweep).chain(bump)
}

/// The report can be made of a task.
fn reportable(task: &TaskEntry) -> Option<String> {
    let TaskEntry { id, data, .. } = task;
    if Score::all_of(data.kind).is_empty() {
        let found = data.kind.name();
        let expected = "classification or language-modelling";
        return Some(format!(
            "task {id}: data.kind: expected {expected}, found {found}"
        ));
    }
    let missing = data.test.is_none();
    missing.then(|| format!("task {id}: data.test: expected a file, found none"))
}

/// The score of a task exists for its kind.
fn score(task: &TaskEntry) -> Option<String> {
    let found = task.score?;
    let possible = Score::all_of(task.data.kind);
    let names: Vec<&str> = possible.iter().map(|score| score.id()).collect();
    (!possible.contains(&found)).then(|| {
        format!(
            "task {}: score: expected {}, found {}",
            task.id,
            names.join(" or "),
            found.id()
        )
    })
}

fn smoothing(config: &ReproConfig) -> Option<String> {
    let smoothing = config.smoothing();
    (!(smoothing > 0.0 && smoothing <= 1.0))
        .then(|| format!("loss_bump.smoothing: expected a weight in (0, 1], found {smoothing}"))
}

/// A level says what the comparisons need, and tunes on seeds of their own.
fn seeds(name: &str, level: &Level) -> Option<String> {
    for (field, is_empty) in [
        ("seeds", level.seeds.is_empty()),
        ("tuning_seeds", level.tuning_seeds.is_empty()),
        ("learning_rates", level.learning_rates.is_empty()),
    ] {
        if is_empty {
            return Some(format!(
                "levels.{name}.{field}: expected at least one, found none"
            ));
        }
    }
    let mut tuning = level.tuning_seeds.iter();
    let seed = tuning.find(|seed| level.seeds.contains(seed))?;
    Some(format!(
        "levels.{name}.tuning_seeds: expected none of the compared seeds, found {seed}"
    ))
}

/// A level says how much is done of the experiments that there are, and of no
/// other.
fn experiments(config: &ReproConfig, name: &str, level: &Level) -> Option<String> {
    let sweep = ("rank_sweep", config.rank_sweep.is_some());
    let bump = ("loss_bump", config.loss_bump.is_some());
    let cost = ("cost", config.cost.is_some());
    for ((section, described), field, given) in [
        (sweep, "ranks", !level.ranks.is_empty()),
        (sweep, "sweep_seeds", !level.sweep_seeds.is_empty()),
        (
            bump,
            "bump_learning_rates",
            !level.bump_learning_rates.is_empty(),
        ),
        (bump, "bump_seeds", !level.bump_seeds.is_empty()),
        (cost, "cost_steps", level.cost_steps > 0),
    ] {
        let field = format!("levels.{name}.{field}");
        if described && !given {
            return Some(format!(
                "{field}: expected at least one for [{section}], found none"
            ));
        }
        if given && !described {
            return Some(format!(
                "{field}: expected a section [{section}] that it belongs to, found none"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{DEFAULT_STUDY, ReproConfig};

    const DEFAULT: &str = include_str!("../../../../../experiments/repro.toml");
    const SENTENCES: &str = include_str!("../../../../../experiments/sentences.toml");

    fn error(text: &str) -> String {
        let found = ReproConfig::parse(text, Path::new("study.toml"));
        found.expect_err("a problem").to_string()
    }

    /// The study with one text in place of another, which must occur.
    fn changed(study: &str, from: &str, to: &str) -> String {
        assert!(study.contains(from), "{from}");
        study.replacen(from, to, 1)
    }

    #[test]
    fn the_studies_of_the_workspace_are_well_described() {
        for text in [DEFAULT, SENTENCES] {
            ReproConfig::parse(text, Path::new(DEFAULT_STUDY)).expect("a study");
        }
    }

    #[test]
    fn a_level_says_what_its_experiments_need_and_no_more() {
        let bare = changed(SENTENCES, "[cost]\ntask = \"sst2\"\n", "");
        let bare = changed(&bare, "cost_steps = 10\n", "");
        for (field, section) in [
            ("ranks = [1, 64]\n", "rank_sweep"),
            ("sweep_seeds = [1]\n", "rank_sweep"),
            ("bump_learning_rates = [1e-2]\n", "loss_bump"),
            ("bump_seeds = [1]\n", "loss_bump"),
            ("cost_steps = 8\n", "cost"),
        ] {
            let (name, _) = field.split_once(' ').expect("a name");
            let without = error(&changed(DEFAULT, field, ""));
            let wanted = format!(
                "study.toml: levels.quick.{name}: expected at least one for [{section}], found none"
            );
            assert_eq!(without, wanted);
            let with = error(&(bare.clone() + field));
            let wanted = format!(
                "study.toml: levels.default.{name}: expected a section [{section}] that it belongs \
                 to, found none"
            );
            assert_eq!(with, wanted);
        }
    }

    #[test]
    fn ids_belong_to_something() {
        let text = changed(DEFAULT, "reference = \"lora\"", "reference = \"nothing\"");
        assert!(error(&text).contains("the id of a method, found \"nothing\""));
        let text = changed(DEFAULT, "task = \"authorship\"", "task = \"nothing\"");
        assert!(error(&text).contains("cost.task: expected the id of a task"));
        let text = changed(
            DEFAULT,
            "[rank_sweep]\nmethods = [\"lora\", \"ggpo\"]",
            "[rank_sweep]\nmethods = []",
        );
        assert!(error(&text).contains("rank_sweep.methods: expected at least one"));
    }

    #[test]
    fn nothing_that_is_needed_is_empty() {
        for (field, value) in [
            ("seeds", "[1, 2]"),
            ("tuning_seeds", "[101]"),
            ("learning_rates", "[1e-3, 3e-3]"),
        ] {
            let given = format!("\n{field} = {value}\n");
            let text = changed(DEFAULT, &given, &format!("\n{field} = []\n"));
            let wanted = format!("levels.quick.{field}: expected at least one");
            assert!(error(&text).contains(&wanted), "{}", error(&text));
        }
        let text = changed(DEFAULT, "tuning_seeds = [101]", "tuning_seeds = [2]");
        assert!(error(&text).contains("levels.quick.tuning_seeds"));
        let text = changed(DEFAULT, "smoothing = 0.1", "smoothing = 1.5");
        assert!(error(&text).contains("loss_bump.smoothing"));
    }

    #[test]
    fn a_score_fits_its_task() {
        let entry = "id = \"melville\"\n";
        let text = changed(DEFAULT, entry, "id = \"melville\"\nscore = \"accuracy\"\n");
        let wanted = "task melville: score: expected perplexity or loss, found accuracy";
        assert!(error(&text).contains(wanted), "{}", error(&text));
        let text = changed(DEFAULT, entry, "id = \"melville\"\nscore = \"bleu\"\n");
        assert!(error(&text).contains("bleu"), "{}", error(&text));
    }
}
