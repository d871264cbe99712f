//! What a model says of rows, their answers not looked at.

use std::ops::ControlFlow;

use ggpo_model::assembled::Assembled;
use ggpo_model::batch::Batch;
use ggpo_model::generate::{GenerateConfig, generate};
use ggpo_model::logits::largest;
use ggpo_model::{Adapters, Head, Model, Number, Parameters};
use ggpo_tensor::softmax::log_sum_exp;
use ggpo_tensor::{Scalar, view2};

use crate::Result;

/// What a model says of one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// A class.
    Class {
        /// The most probable one, the first of equals.
        class: usize,
        /// Probability of every class: the softmax of the logits.
        probabilities: Vec<f64>,
    },
    /// A number.
    Value(f64),
}

impl Prediction {
    /// Whether it is made of numbers.
    pub fn is_finite(&self) -> bool {
        match self {
            Prediction::Class { probabilities, .. } => probabilities.iter().all(|p| p.is_finite()),
            Prediction::Value(value) => value.is_finite(),
        }
    }
}

/// The model's word on every row of `batches`, which come with the numbers of
/// their rows from 0, each once; in the order of these numbers. `on_rows` hears
/// how many more are done.
///
/// # Panics
/// If the model predicts tokens rather than one answer per row.
pub fn predict<T: Number>(
    model: &Model,
    parameters: &Parameters<T>,
    adapters: &Adapters<T>,
    batches: &[(Vec<usize>, Batch)],
    mut on_rows: impl FnMut(usize),
) -> Vec<Prediction> {
    assert_ne!(model.head, Head::Tokens, "a model with one answer per row");
    let count = batches.iter().map(|(rows, _)| rows.len()).sum();
    let mut predictions = vec![None; count];
    for (rows, batch) in batches {
        let logits = model.evaluate(parameters, adapters, batch);
        for (&row, logits) in rows.iter().zip(view2(&logits).rows()) {
            let logits = logits.to_slice().expect("standard layout");
            predictions[row] = Some(prediction(model.head, logits));
        }
        on_rows(rows.len());
    }
    let all = predictions.into_iter();
    all.map(|prediction| prediction.expect("every row is in a batch"))
        .collect()
}

fn prediction<T: Scalar>(head: Head, logits: &[T]) -> Prediction {
    if head == Head::Value {
        return Prediction::Value(logits[0].value());
    }
    let total = log_sum_exp(logits).value();
    let probability = |logit: &T| (logit.value() - total).exp();
    Prediction::Class {
        class: largest(logits),
        probabilities: logits.iter().map(probability).collect(),
    }
}

/// A text that a model wrote as the answer to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The text.
    pub text: String,
    /// Its length in tokens, without the one that ends it.
    pub tokens: usize,
    /// Whether the model ended it, rather than being stopped.
    pub ended: bool,
}

/// The model's answers to prompts (token ids), each token the most probable
/// one, until the model ends or has written `max_new_tokens`. `on_token` hears
/// of every token.
///
/// # Errors
/// As [`generate`], or if the tokens are no text.
pub fn write_answers(
    assembled: &Assembled,
    prompts: &[Vec<usize>],
    max_new_tokens: usize,
    mut on_token: impl FnMut(),
) -> Result<Vec<Written>> {
    let config = GenerateConfig {
        max_new_tokens,
        stop_ids: assembled.end_ids(),
        ..GenerateConfig::default()
    };
    let answers = generate(
        &assembled.model,
        &assembled.parameters,
        &assembled.adapters,
        prompts,
        &config,
        &mut |_, _| {
            on_token();
            ControlFlow::Continue(())
        },
    )?;
    let positions = assembled.model.positions();
    let written = |(prompt, ids): (&Vec<usize>, Vec<usize>)| {
        let read = match assembled.model.start_token() {
            None => prompt.len(),
            Some(_) => 1,
        };
        Ok(Written {
            text: assembled.tokenizer.decode(&ids)?,
            tokens: ids.len(),
            ended: ids.len() < max_new_tokens.min(positions - read),
        })
    };
    prompts.iter().zip(answers).map(written).collect()
}
