//! What must hold between the fields of an experiment.

use super::{Experiment, Grid};
use crate::experiment::kinds::Kind;
use crate::verdict::{INTERIM_PAIRS, plan_is_testable};

/// The first thing that is wrong, as a sentence that names the field.
pub(super) fn problem(experiment: &Experiment) -> Option<String> {
    if experiment.grid.is_empty() {
        return Some("grid: expected a level of effort, found none".to_owned());
    }
    if !(experiment.margin.is_finite() && experiment.margin > 0.0) {
        let found = experiment.margin;
        return Some(format!(
            "margin: expected a finite number above 0, found {found}"
        ));
    }
    if !(experiment.smoothing > 0.0 && experiment.smoothing <= 1.0) {
        let found = experiment.smoothing;
        return Some(format!(
            "smoothing: expected a weight in (0, 1], found {found}"
        ));
    }
    if !experiment.kind.has_runs() {
        return None;
    }
    ids(experiment).or_else(|| {
        let mut levels = experiment.grid.iter();
        levels.find_map(|(name, grid)| level(experiment, name, grid))
    })
}

/// Every id that is referred to belongs to something, once, and scores exist.
fn ids(experiment: &Experiment) -> Option<String> {
    let known = |id: &String| experiment.methods.iter().any(|method| method.id == *id);
    let own = experiment
        .methods
        .iter()
        .filter_map(|method| method.references.as_ref());
    let mut named = experiment.references.iter().chain(own.flatten());
    if let Some(id) = named.find(|id| !known(id)) {
        return Some(format!(
            "references: expected the id of a method, found \"{id}\""
        ));
    }
    for (index, method) in experiment.methods.iter().enumerate() {
        if experiment.methods[..index]
            .iter()
            .any(|other| other.id == method.id)
        {
            return Some(format!(
                "methods: expected one \"{}\", found two",
                method.id
            ));
        }
        if method.judged && experiment.references_of(method).is_empty() {
            return Some(format!(
                "methods: expected references of \"{}\", found none",
                method.id
            ));
        }
    }
    if experiment.tasks.is_empty() {
        return Some("tasks: expected at least one task, found none".to_owned());
    }
    experiment.tasks.iter().find_map(|task| {
        let (id, kind) = (&task.id, task.data.kind);
        if task.data.test.is_none() {
            return Some(format!("task {id}: data.test: expected a file, found none"));
        }
        (!experiment.primary.exists_for(kind)).then(|| {
            let (primary, kind) = (experiment.primary.id(), kind.name());
            format!("primary: expected a measure of {kind}, the kind of task {id}, found {primary}")
        })
    })
}

/// A level names what there is, and its plan can decide.
fn level(experiment: &Experiment, name: &str, grid: &Grid) -> Option<String> {
    let say = |field: &str, text: String| Some(format!("grid.{name}.{field}: {text}"));
    if grid.learning_rates.is_empty() {
        return say(
            "learning_rates",
            "expected at least one, found none".to_owned(),
        );
    }
    let rates = grid.learning_rates.iter();
    if let Some(rate) = rates.clone().find(|it| !(it.is_finite() && **it > 0.0)) {
        let text = format!("expected finite numbers above 0, found {rate}");
        return say("learning_rates", text);
    }
    // What stands twice would count twice.
    let ranks = grid.ranks.iter().map(|&it| it as f64);
    let rows = grid.rows.iter().map(|&it| it as f64);
    for (field, values) in [
        ("learning_rates", rates.copied().collect::<Vec<f64>>()),
        ("ranks", ranks.collect()),
        ("rows", rows.collect()),
        ("label_noise", grid.label_noise.clone()),
    ] {
        let twice = |(index, value): &(usize, &f64)| values[..*index].contains(value);
        if let Some((_, value)) = values.iter().enumerate().find(twice) {
            return say(
                field,
                format!("expected every number once, found {value} twice"),
            );
        }
    }
    if grid.seeds == 0 {
        return say("seeds", "expected at least 1, found 0".to_owned());
    }
    let method = |id: &&String| !experiment.methods.iter().any(|method| method.id == **id);
    for (field, ids) in [("methods", &grid.methods), ("elsewhere", &grid.elsewhere)] {
        if let Some(id) = ids.iter().flatten().find(method) {
            return say(
                field,
                format!("expected the id of a method, found \"{id}\""),
            );
        }
    }
    if let Some(id) = grid.seeds_of.keys().find(method) {
        return say(
            "seeds_of",
            format!("expected the id of a method, found \"{id}\""),
        );
    }
    let task = |id: &&String| !experiment.tasks.iter().any(|task| task.id == **id);
    if let Some(id) = grid.tasks.iter().flatten().find(task) {
        return say(
            "tasks",
            format!("expected the id of a task, found \"{id}\""),
        );
    }
    let present = experiment.methods_of(grid);
    for method in experiment.judged(grid) {
        let references = experiment.references_of(method).iter();
        let mut missing = references.filter(|id| !present.iter().any(|other| other.id == **id));
        if let Some(id) = missing.next() {
            let text = format!(
                "expected \"{id}\", the reference of \"{}\", found it not",
                method.id
            );
            return say("methods", text);
        }
    }
    if grid.ranks.len() > 1 && experiment.alpha_over_rank.is_none() {
        return Some("alpha_over_rank: expected a number where the rank varies".to_owned());
    }
    if grid.tuning_seeds == 0 && grid.learning_rates.len() > 1 && experiment.kind != Kind::Bump {
        let text = "expected at least 1 where there are rates to choose from, found 0";
        return say("tuning_seeds", text.to_owned());
    }
    if let Some(problem) = look(experiment, grid) {
        return say("look", problem);
    }
    // The quick level only shows that everything works.
    if name == "quick" {
        return None;
    }
    if let Some(problem) = point(experiment, grid) {
        return Some(format!("at.{problem}, in grid.{name}"));
    }
    let judged = experiment.judged(grid);
    let family = judged.len();
    let rates = match experiment.kind {
        Kind::Bump => grid.learning_rates.len(),
        _ => 1,
    };
    judged.iter().find_map(|method| {
        // A pair is a seed of both.
        let references = experiment.references_of(method).iter();
        let seeds = references
            .chain([&method.id])
            .map(|id| grid.seeds(id).count());
        let pairs = seeds.min().unwrap_or(0) * rates;
        let problem = plan_is_testable(pairs, family).err()?;
        say("seeds", format!("method \"{}\": {problem}", method.id))
    })
}

/// Where there are several, the point at which the claim is tested is one of the grid's.
fn point(experiment: &Experiment, grid: &Grid) -> Option<String> {
    fn one<T: PartialEq + ToString>(field: &str, at: Option<T>, grid: &[T]) -> Option<String> {
        let found = match at {
            Some(value) if grid.is_empty() || grid.contains(&value) => return None,
            None if grid.len() < 2 => return None,
            Some(value) => value.to_string(),
            None => "none".to_owned(),
        };
        let values: Vec<String> = grid.iter().map(T::to_string).collect();
        let values = values.join(", ");
        Some(format!("{field}: expected one of {values}, found {found}"))
    }
    let at = experiment.at;
    one("rank", at.rank, &grid.ranks)
        .or_else(|| one("rows", at.rows, &grid.rows))
        .or_else(|| one("label_noise", at.label_noise, &grid.label_noise))
}

/// The one look is at a number of seeds at which the rule allows it, and each of them is a
/// pair.
fn look(experiment: &Experiment, grid: &Grid) -> Option<String> {
    let look = grid.look?;
    if look != INTERIM_PAIRS as u64 {
        return Some(format!(
            "expected {INTERIM_PAIRS}, the seeds at which the rule allows it, found {look}"
        ));
    }
    if look >= grid.seeds {
        let seeds = grid.seeds;
        return Some(format!("expected more than {look} seeds, found {seeds}"));
    }
    if let Some(id) = grid.seeds_of.keys().next() {
        return Some(format!(
            "expected the same seeds of all methods, found seeds_of \"{id}\""
        ));
    }
    let lists = [grid.ranks.len(), grid.rows.len(), grid.label_noise.len()];
    (experiment.kind != Kind::Comparison || lists.iter().any(|&length| length > 1))
        .then(|| "expected a comparison at one point of the grid, found another kind".to_owned())
}
