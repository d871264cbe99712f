//! The batch of a case.

use ggpo_model::batch::{Batch, DecoderInput};
use ggpo_model::{ConfigJson, Form, Head, Model};
use ggpo_train::Result;
use ndarray::Array2;
use serde_json::Value;

use super::reference::{Integers, Reference};

/// The label of a position that does not count.
const IGNORED: i64 = -100;

/// Takes the batch out of a case: `input_ids`, `attention_mask`, `labels`, and
/// `token_type_ids` for a model that has kinds of segment.
pub(super) fn take_batch(
    reference: &mut Reference,
    model: &Model,
    config: &ConfigJson,
) -> Result<Batch> {
    let (ids, [rows, time]) = take_matrix(reference, "input_ids")?;
    // Rotary and relative positions have no end.
    if model.has_learned_positions() && time > model.positions() {
        let (limit, key) = (model.positions(), "input_ids");
        return Err(reference.error(format!(
            "{key}: expected at most {limit} positions, found {time}"
        )));
    }
    let ids = indices(reference, "input_ids", &ids, model.vocabulary())?;
    let mask = take_aligned(reference, "attention_mask", [rows, time])?;
    let mask = indices(reference, "attention_mask", &mask, 2)?;
    let token_types = match model.segments() {
        Some(segments) if reference.has("token_type_ids") => {
            let kinds = take_aligned(reference, "token_type_ids", [rows, time])?;
            indices(reference, "token_type_ids", &kinds, segments)?
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
    let vocabulary = model.vocabulary();
    match (model.form(), model.head) {
        (_, Head::Value) => batch.values = take_values(reference, rows)?,
        (_, Head::Classes(classes)) => {
            let labels = take_aligned(reference, "labels", [rows])?;
            batch.targets = targets(reference, &labels, classes)?;
        }
        (Form::EncoderDecoder, Head::Tokens) => {
            let (labels, shape) = take_matrix(reference, "labels")?;
            if shape[0] != rows {
                return Err(wrong_shape(reference, "labels", "batch x time", &shape));
            }
            batch.targets = targets(reference, &labels, vocabulary)?;
            let ids = shifted(&batch.targets, shape, config);
            let ids = indices(reference, "labels, shifted", &ids, vocabulary)?;
            batch.decoder = Some(DecoderInput { shape, ids });
        }
        // The masked tokens are predicted where they stood.
        (Form::Encoder, Head::Tokens) => {
            let labels = take_aligned(reference, "labels", [rows, time])?;
            batch.targets = targets(reference, &labels, vocabulary)?;
        }
        // The token after position t is what position t predicts.
        (_, Head::Tokens) => {
            let labels = take_aligned(reference, "labels", [rows, time])?;
            let labels = targets(reference, &labels, vocabulary)?;
            let next = |row: &[Option<usize>]| [&row[1..], &[None]].concat();
            batch.targets = labels.chunks(time).flat_map(next).collect();
        }
    }
    if batch.target_count() == 0 {
        return Err(reference.error("labels: expected one that counts, found none"));
    }
    Ok(())
}

/// What the decoder reads: the start token, then the targets but the last,
/// those that do not count being padding.
fn shifted(targets: &[Option<usize>], [rows, time]: [usize; 2], config: &ConfigJson) -> Integers {
    let token = |name| config.fields().get(name).and_then(Value::as_i64);
    let pad = token("pad_token_id").unwrap_or(0);
    let start = token("decoder_start_token_id").unwrap_or(pad);
    let id = |target: &Option<usize>| target.map_or(pad, |target| target as i64);
    let values = targets
        .chunks(time)
        .flat_map(|row| std::iter::once(start).chain(row[..time - 1].iter().map(id)));
    Integers {
        shape: vec![rows, time],
        values: values.collect(),
    }
}

fn wrong_shape(
    reference: &Reference,
    key: &str,
    expected: &str,
    found: &[usize],
) -> ggpo_train::Error {
    reference.error(format!("{key}: expected shape {expected}, found {found:?}"))
}

/// The numbers to be predicted, one per row.
fn take_values(reference: &mut Reference, rows: usize) -> Result<Vec<f64>> {
    let values = reference.take("labels")?;
    match values.shape() {
        [found] | [found, 1] if *found == rows => Ok(values.iter().copied().collect()),
        found => Err(wrong_shape(
            reference,
            "labels",
            &format!("[{rows}]"),
            found,
        )),
    }
}

/// Whole numbers of two axes, neither of them empty.
fn take_matrix(reference: &mut Reference, key: &str) -> Result<(Integers, [usize; 2])> {
    let value = reference.take_integers(key)?;
    match *value.shape {
        [rows, time] if rows > 0 && time > 0 => Ok((value, [rows, time])),
        _ => Err(wrong_shape(reference, key, "batch x time", &value.shape)),
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use ggpo_tensor::tensor;
    use safetensors::tensor::{Dtype, TensorView, serialize};

    use super::*;
    use ggpo_model::Precision;
    use ggpo_model::weights::to_safetensors;
    use ggpo_model::{BertConfig, Body, T5Config};

    fn bert(head: Head) -> Model {
        let config = BertConfig {
            vocab_size: 9,
            hidden_size: 2,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            intermediate_size: 2,
            max_position_embeddings: 3,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
        };
        let body = Body::Bert(config);
        Model { body, head }
    }

    fn t5() -> Model {
        let config = T5Config {
            vocab_size: 9,
            d_model: 2,
            d_kv: 2,
            d_ff: 2,
            num_layers: 1,
            num_decoder_layers: 1,
            num_heads: 1,
            relative_attention_num_buckets: 4,
            relative_attention_max_distance: 8,
            layer_norm_epsilon: 1e-6,
            is_gated_act: false,
            tie_word_embeddings: true,
            scale_decoder_outputs: true,
        };
        let (body, head) = (Body::T5(config), Head::Tokens);
        Model { body, head }
    }

    /// The batch of a case with these labels, two rows of `time` tokens.
    fn batch(
        model: &Model,
        config: &str,
        time: usize,
        labels: (&[usize], &[i64]),
    ) -> Result<Batch> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.json"), config).expect("writable");
        let ids: Vec<i64> = (0..2 * time as i64).map(|id| id % 9).collect();
        let ones = vec![1; 2 * time];
        let entries: [(&str, &[usize], &[i64]); 3] = [
            ("input_ids", &[2, time], &ids),
            ("attention_mask", &[2, time], &ones),
            ("labels", labels.0, labels.1),
        ];
        let path = folder.path().join("case.safetensors");
        write_integers(&path, &entries);
        let mut reference = Reference::read(&path).expect("just written");
        let config = ConfigJson::read(folder.path()).expect("just written");
        let batch = take_batch(&mut reference, model, &config)?;
        reference.finish().expect("all taken");
        Ok(batch)
    }

    fn write_integers(path: &Path, entries: &[(&str, &[usize], &[i64])]) {
        let bytes = |values: &[i64]| values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let bytes: Vec<Vec<u8>> = entries.iter().map(|(_, _, values)| bytes(values)).collect();
        let views = entries.iter().zip(&bytes).map(|((key, shape, _), bytes)| {
            let view = TensorView::new(Dtype::I64, shape.to_vec(), bytes);
            (*key, view.expect("the values fill the shape"))
        });
        std::fs::write(path, serialize(views, None).expect("valid")).expect("writable");
    }

    #[test]
    fn the_decoder_reads_the_start_token_and_then_the_targets() {
        let labels: (&[usize], &[i64]) = (&[2, 3], &[5, 6, 1, 7, -100, -100]);
        let given = r#"{"decoder_start_token_id": 2, "pad_token_id": 3}"#;
        let whole = batch(&t5(), given, 4, labels).expect("fits");
        let decoder = whole.decoder.expect("an input");
        assert_eq!(
            (decoder.shape, decoder.ids),
            ([2, 3], vec![2, 5, 6, 2, 7, 3])
        );
        let expected = [Some(5), Some(6), Some(1), Some(7), None, None];
        assert_eq!(whole.targets, expected);
        let usual = batch(&t5(), "{}", 4, labels).expect("fits").decoder;
        assert_eq!(usual.expect("an input").ids, [0, 5, 6, 0, 7, 0]);
        let error = batch(&t5(), r#"{"pad_token_id": 9}"#, 4, labels).expect_err("9 of 9 tokens");
        assert!(
            error.to_string().contains("from 0 to 8, found 9"),
            "{error}"
        );
    }

    #[test]
    fn masked_tokens_are_predicted_where_they_stood() {
        let labels: (&[usize], &[i64]) = (&[2, 2], &[-100, 4, 8, -100]);
        let model = bert(Head::Tokens);
        let found = batch(&model, "{}", 2, labels).expect("fits").targets;
        assert_eq!(found, [None, Some(4), Some(8), None]);
        // A table of three positions.
        let error = batch(&model, "{}", 4, labels).expect_err("too long");
        assert!(
            error.to_string().contains("at most 3 positions, found 4"),
            "{error}"
        );
    }

    #[test]
    fn a_class_must_be_one_of_the_heads() {
        let model = bert(Head::Classes(5));
        let found = batch(&model, "{}", 2, (&[2], &[4, -100]))
            .expect("fits")
            .targets;
        assert_eq!(found, [Some(4), None]);
        let error = batch(&model, "{}", 2, (&[2], &[5, 0])).expect_err("five classes");
        assert!(
            error.to_string().contains("from 0 to 4 or -100, found 5"),
            "{error}"
        );
    }

    #[test]
    fn a_regression_takes_numbers() {
        let error = batch(&bert(Head::Value), "{}", 2, (&[2], &[1, 0])).expect_err("integers");
        let expected = "labels: expected floating point numbers, found another kind";
        assert!(error.to_string().ends_with(expected), "{error}");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("case.safetensors");
        let labels = tensor(&[2], vec![0.5, -1.25]);
        let labels = BTreeMap::from([("labels".to_owned(), labels)]);
        std::fs::write(&path, to_safetensors(&labels, Precision::F32)).expect("writable");
        let mut reference = Reference::read(&path).expect("just written");
        assert_eq!(take_values(&mut reference, 2).expect("there"), [0.5, -1.25]);
    }
}
