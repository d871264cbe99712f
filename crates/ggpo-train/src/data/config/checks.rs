//! Which descriptions of a task are refused.

use super::{ClassLoss, Column, Metric, Result, TaskConfig, TaskKind, TrainOn};
use crate::Error;

impl TaskConfig {
    /// Checks everything that can be checked without opening a file.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub fn validate(&self) -> Result<()> {
        let per_row = matches!(self.kind, TaskKind::Classification | TaskKind::Regression);
        at_least(
            "task.max_length",
            if per_row { 1 } else { 2 },
            self.max_length,
        )?;
        at_least("task.train_rows", 1, self.train_rows.unwrap_or(1))?;
        let scored = self.scored_rows.unwrap_or_default();
        at_least("task.scored_rows.validation", 1, scored.validation)?;
        at_least("task.scored_rows.test", 1, scored.test)?;
        at_least("task.scored_rows.train", 1, scored.train)?;
        let share = self.validation_share;
        if !(share > 0.0 && share < 1.0) {
            let expected = "a share between 0 and 1";
            return Err(Error::config("task.validation_share", expected, share));
        }
        if !(0.0..1.0).contains(&self.test_share) {
            let expected = "a share in [0, 1)";
            return Err(Error::config("task.test_share", expected, self.test_share));
        }
        if self.loss != ClassLoss::CrossEntropy && self.kind != TaskKind::Classification {
            return Err(Error::config(
                "task.loss",
                self.none_here(),
                "least-squares",
            ));
        }
        let noise = self.label_noise;
        if !(0.0..1.0).contains(&noise) {
            return Err(Error::config(
                "task.label_noise",
                "a share in [0, 1)",
                noise,
            ));
        }
        if noise > 0.0 && self.kind != TaskKind::Classification {
            return Err(Error::config("task.label_noise", self.none_here(), noise));
        }
        self.validate_table()?;
        self.validate_labels()?;
        self.validate_template()?;
        self.validate_chat()?;
        self.validate_metric()
    }

    fn none_here(&self) -> String {
        format!("none with the kind {}", self.kind.name())
    }

    fn validate_table(&self) -> Result<()> {
        let columns = self.columns.as_ref();
        let given = [
            ("task.format", self.format.is_some()),
            ("task.header", self.header.is_some()),
            ("task.columns", columns.is_some()),
        ];
        if let Some((field, _)) = given.into_iter().find(|(_, given)| *given) {
            if self.layout.is_some() {
                return Err(Error::config(field, "none beside task.layout", "one"));
            }
            if self.kind == TaskKind::LanguageModelling {
                return Err(Error::config(field, self.none_here(), "one"));
            }
        }
        if let Some(layout) = self.layout
            && layout.kind() != self.kind
            && !self.kind.writes()
        {
            let expected = format!("{} with this layout", layout.kind().name());
            return Err(Error::config("task.kind", expected, self.kind.name()));
        }
        let columns = columns.map(|it| [&it.text, &it.pair, &it.label]);
        let mut columns = columns.into_iter().flatten().flatten();
        match columns.any(|column| *column == Column::Number(0)) {
            true => Err(Error::config("task.columns", "numbers from 1", 0)),
            false => Ok(()),
        }
    }

    fn validate_labels(&self) -> Result<()> {
        let Some(labels) = &self.labels else {
            return Ok(());
        };
        if self.kind != TaskKind::Classification {
            return Err(Error::config("task.labels", self.none_here(), "some"));
        }
        at_least("task.labels", 2, labels.len())?;
        for (index, label) in labels.iter().enumerate() {
            if label.trim() != label || label.is_empty() || labels[..index].contains(label) {
                let expected = "different names without white space around them";
                let found = format!("\"{label}\"");
                return Err(Error::config("task.labels", expected, found));
            }
        }
        Ok(())
    }

    fn validate_template(&self) -> Result<()> {
        let Some(template) = &self.template else {
            return Ok(());
        };
        let field = "task.template";
        if !self.kind.writes() || self.kind == TaskKind::Chat {
            return Err(Error::config(field, self.none_here(), "one"));
        }
        let found = format!("\"{template}\"");
        if template.matches("{text}").count() != 1 {
            return Err(Error::config(field, "{text} in it once", found));
        }
        match (self.is_pair(), template.matches("{pair}").count()) {
            (true, 1) | (false, 0) => Ok(()),
            (true, _) => Err(Error::config(field, "{pair} in it once", found)),
            (false, _) => Err(Error::config(
                field,
                "no {pair} without a column for it",
                found,
            )),
        }
    }

    fn validate_chat(&self) -> Result<()> {
        let is_chat = self.kind == TaskKind::Chat;
        if let Some(template) = self.chat_template.as_deref().filter(|_| !is_chat) {
            let found = format!("\"{template}\"");
            return Err(Error::config("task.chat_template", self.none_here(), found));
        }
        if self.train_on != TrainOn::default() && !is_chat {
            let found = self.train_on.name();
            return Err(Error::config("task.train_on", self.none_here(), found));
        }
        let columns = self.columns.as_ref();
        let answer = columns.is_some_and(|it| it.pair.is_some() || it.label.is_some());
        match is_chat && answer {
            true => {
                let expected = "the column of the messages alone with the kind chat";
                Err(Error::config("task.columns", expected, "others"))
            }
            false => Ok(()),
        }
    }

    fn validate_metric(&self) -> Result<()> {
        let Some(metric) = self.metric else {
            return Ok(());
        };
        let expected = match self.kind {
            TaskKind::Classification if metric != Metric::Correlation => return Ok(()),
            TaskKind::Classification => "accuracy, matthews, f1 or loss",
            TaskKind::Regression => "correlation or loss",
            _ => "loss",
        };
        match (metric, self.kind) {
            (Metric::Loss, _) | (Metric::Correlation, TaskKind::Regression) => Ok(()),
            _ => {
                let expected = format!("{expected} with the kind {}", self.kind.name());
                Err(Error::config("task.metric", expected, metric.name()))
            }
        }
    }
}

fn at_least(field: &str, least: usize, found: usize) -> Result<()> {
    if found >= least {
        return Ok(());
    }
    Err(Error::config(field, format!("at least {least}"), found))
}
