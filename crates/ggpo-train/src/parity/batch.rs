//! The batch of a case.

use ndarray::Array2;
use serde_json::Value;

use super::reference::{Integers, Reference};
use crate::Result;
use crate::data::{Batch, DecoderInput};
use crate::model::{Body, ConfigJson, Head, Model};

/// The label of a position that does not count.
const IGNORED: i64 = -100;

/// Takes the batch out of a case: `input_ids`, `attention_mask`, `labels`, and
/// `token_type_ids` for a model that has kinds of segment.
pub(super) fn take_batch(
    reference: &mut Reference,
    model: &Model,
    config: &ConfigJson,
) -> Result<Batch> {
    let ids = reference.take_integers("input_ids")?;
    let [rows, time] = match *ids.shape {
        [rows, time] if rows > 0 && time > 0 => [rows, time],
        _ => {
            return Err(wrong_shape(
                reference,
                "input_ids",
                "batch x time",
                &ids.shape,
            ));
        }
    };
    // Rotary and relative positions have no end.
    let learned = matches!(model.body, Body::Bert(_) | Body::Gpt2(_));
    if learned && time > model.positions() {
        let (limit, key) = (model.positions(), "input_ids");
        return Err(reference.error(format!(
            "{key}: expected at most {limit} positions, found {time}"
        )));
    }
    let ids = indices(reference, "input_ids", &ids, model.vocabulary())?;
    let mask = take_aligned(reference, "attention_mask", [rows, time])?;
    let mask = indices(reference, "attention_mask", &mask, 2)?;
    let token_types = match &model.body {
        Body::Bert(config) if reference.has("token_type_ids") => {
            let kinds = take_aligned(reference, "token_type_ids", [rows, time])?;
            indices(reference, "token_type_ids", &kinds, config.type_vocab_size)?
        }
        _ => vec![0; rows * time],
    };
    let mut batch = Batch {
        shape: [rows, time],
        ids,
        token_types,
        attention: Array2::from_shape_fn((rows, time), |(row, t)| mask[row * time + t] == 1),
        targets: Vec::new(),
        values: Vec::new(),
        decoder: None,
    };
    take_labels(reference, model, config, &mut batch)?;
    Ok(batch)
}

fn take_labels(
    reference: &mut Reference,
    model: &Model,
    config: &ConfigJson,
    batch: &mut Batch,
) -> Result<()> {
    let [rows, time] = batch.shape;
    match (&model.body, model.head) {
        (_, Head::Value) => {
            let values = reference.take("labels")?;
            if values.len() != rows {
                return Err(wrong_shape(
                    reference,
                    "labels",
                    "one per row",
                    values.shape(),
                ));
            }
            batch.values = values.iter().copied().collect();
        }
        (_, Head::Classes(classes)) => {
            let labels = take_aligned(reference, "labels", [rows])?;
            batch.targets = targets(reference, &labels, classes)?;
        }
        (Body::T5(_), Head::Tokens) => {
            let labels = reference.take_integers("labels")?;
            let time = match *labels.shape {
                [found, time] if found == rows && time > 0 => time,
                _ => {
                    return Err(wrong_shape(
                        reference,
                        "labels",
                        "batch x time",
                        &labels.shape,
                    ));
                }
            };
            batch.targets = targets(reference, &labels, model.vocabulary())?;
            let ids = shifted(&batch.targets, time, config);
            let ids = indices(reference, "decoder input", &ids, model.vocabulary())?;
            batch.decoder = Some(DecoderInput {
                shape: [rows, time],
                ids,
            });
        }
        // The masked tokens are predicted where they stood.
        (Body::Bert(_), Head::Tokens) => {
            let labels = take_aligned(reference, "labels", [rows, time])?;
            batch.targets = targets(reference, &labels, model.vocabulary())?;
        }
        // The token after position t is what position t predicts.
        (_, Head::Tokens) => {
            let labels = take_aligned(reference, "labels", [rows, time])?;
            let labels = targets(reference, &labels, model.vocabulary())?;
            let next = |i: usize| {
                if (i + 1) % time == 0 {
                    None
                } else {
                    labels[i + 1]
                }
            };
            batch.targets = (0..rows * time).map(next).collect();
        }
    }
    if batch.target_count() == 0 {
        return Err(reference.error("labels: expected one that counts, found none"));
    }
    Ok(())
}

/// What the decoder reads: the start token, then the targets but the last,
/// those that do not count being padding.
fn shifted(targets: &[Option<usize>], time: usize, config: &ConfigJson) -> Integers {
    let token = |name| config.fields().get(name).and_then(Value::as_i64);
    let pad = token("pad_token_id").unwrap_or(0);
    let start = token("decoder_start_token_id").unwrap_or(pad);
    let id = |target: &Option<usize>| target.map_or(pad, |target| target as i64);
    let rows = targets.chunks(time);
    let values = rows.flat_map(|row| std::iter::once(start).chain(row[..time - 1].iter().map(id)));
    Integers {
        shape: vec![targets.len() / time, time],
        values: values.collect(),
    }
}

fn wrong_shape(reference: &Reference, key: &str, expected: &str, found: &[usize]) -> crate::Error {
    reference.error(format!("{key}: expected shape {expected}, found {found:?}"))
}

fn take_aligned<const N: usize>(
    reference: &mut Reference,
    key: &str,
    shape: [usize; N],
) -> Result<Integers> {
    let value = reference.take_integers(key)?;
    if value.shape == shape {
        return Ok(value);
    }
    Err(wrong_shape(
        reference,
        key,
        &format!("{shape:?}"),
        &value.shape,
    ))
}

/// The values as indices below `limit`.
fn indices(reference: &Reference, key: &str, value: &Integers, limit: usize) -> Result<Vec<usize>> {
    let index = |&number: &i64| {
        let index = usize::try_from(number).ok().filter(|index| *index < limit);
        let problem = || {
            format!(
                "{key}: expected numbers from 0 to {}, found {number}",
                limit - 1
            )
        };
        index.ok_or_else(|| reference.error(problem()))
    };
    value.values.iter().map(index).collect()
}

/// The labels as targets below `limit`.
fn targets(reference: &Reference, labels: &Integers, limit: usize) -> Result<Vec<Option<usize>>> {
    let target = |&label: &i64| {
        if label == IGNORED {
            return Ok(None);
        }
        let target = usize::try_from(label).ok().filter(|target| *target < limit);
        let problem = || {
            let last = limit - 1;
            format!("labels: expected numbers from 0 to {last} or {IGNORED}, found {label}")
        };
        target.map(Some).ok_or_else(|| reference.error(problem()))
    };
    labels.values.iter().map(target).collect()
}
