//! `results.csv`.

use ggpo_train::metrics::Scores;

use super::Study;

impl Study<'_> {
    /// One row for each run of each experiment.
    pub(super) fn csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let head = [
            "experiment",
            "task",
            "method",
            "rank",
            "learning_rate",
            "rows",
            "label_noise",
            "seed",
            "key",
            "diverged_at",
            "test_loss",
            "test_accuracy",
            "best_test_loss",
            "best_test_accuracy",
            "validation_loss",
            "train_loss",
            "train_accuracy",
            "bump_height",
            "bump_length",
            "gradient_share",
            "sharpness_merged",
            "sharpness_factors",
            "seconds",
            "simd",
            "version",
        ];
        writer.write_record(head).expect("writing to memory");
        for (outcome, _) in &self.parts {
            for run in outcome.plan() {
                let Some(record) = outcome.records.get(&run) else {
                    continue;
                };
                let optional =
                    |value: Option<f64>| value.map(|it| it.to_string()).unwrap_or_default();
                let loss = |scores: Option<&Scores>| optional(scores.map(|it| it.loss));
                let accuracy = |scores: Option<&Scores>| {
                    let classes = scores.and_then(|it| it.classes.as_ref());
                    optional(classes.map(|it| it.accuracy))
                };
                let sharpness = record.sharpness.as_ref();
                let row = [
                    outcome.experiment.id.clone(),
                    run.task.clone(),
                    run.method.clone(),
                    run.cell.rank.to_string(),
                    run.cell.learning_rate.to_string(),
                    run.cell.rows.map(|it| it.to_string()).unwrap_or_default(),
                    run.cell.label_noise.to_string(),
                    run.cell.seed.to_string(),
                    record.key.clone(),
                    record
                        .diverged_at
                        .map(|it| it.to_string())
                        .unwrap_or_default(),
                    loss(record.test.as_ref()),
                    accuracy(record.test.as_ref()),
                    loss(record.best.1.as_ref()),
                    accuracy(record.best.1.as_ref()),
                    record.validation.loss.to_string(),
                    record.train.loss.to_string(),
                    accuracy(Some(&record.train)),
                    record.bump.height.to_string(),
                    record.bump.length.to_string(),
                    optional(record.gradient_share),
                    optional(sharpness.map(|it| it.merged.rise)),
                    optional(sharpness.map(|it| it.factors.rise)),
                    format!("{:.3}", record.seconds),
                    record.simd.clone(),
                    record.version.clone(),
                ];
                writer.write_record(row).expect("writing to memory");
            }
        }
        let bytes = writer.into_inner().expect("writing to memory");
        String::from_utf8(bytes).expect("texts are UTF-8")
    }
}
