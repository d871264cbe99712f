//! Continuing texts token by token.
//!
//! * [`generate`]: token ids to token ids.
//! * [`text`]: texts to texts, with strings that stop.
//! * [`sampling`]: which token follows.
//!
//! A prompt is read at once, by itself; then several sequences are continued
//! together, one token each per pass, every one with a cache of its own. A
//! sequence that ends makes room for the next prompt. The tokens of a sequence
//! do not depend on which others are continued beside it.
//!
//! A model with an encoder reads the prompt there, once; what it generates is
//! an answer from its first token on.

pub mod sampling;
pub mod text;

use std::ops::ControlFlow;

use ggpo_autograd::Tape;
use ggpo_tensor::parallel::in_pool;
use ggpo_tensor::random::{Purpose, Stream};
use ggpo_tensor::{Scalar, Tensor, view2};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

pub use sampling::Sampling;
pub use text::{Continuation, TextConfig, continue_ids, generate_texts};

use crate::Number;
use crate::batch::{Batch, DecoderInput};
use crate::model::{ActingWeights, Adapters, Graph, KeyValueCache, Model, acting_weights};
use crate::parameters::Parameters;
use crate::{Error, Result};

/// How sequences are continued, and when they end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerateConfig {
    /// Most tokens that a sequence gets.
    pub max_new_tokens: usize,
    /// Which token follows.
    pub sampling: Sampling,
    /// Seed of the draws. The draw of a token depends on the seed, the number
    /// of its prompt and its position alone.
    pub seed: u64,
    /// Token ids that end a sequence; they do not become part of it.
    pub stop_ids: Vec<usize>,
    /// Sequences that are continued together. It changes time and memory, not
    /// the result.
    pub batch_size: usize,
}

impl Default for GenerateConfig {
    fn default() -> Self {
        GenerateConfig {
            max_new_tokens: 256,
            sampling: Sampling::default(),
            seed: 0,
            stop_ids: Vec::new(),
            batch_size: 16,
        }
    }
}

impl GenerateConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<()> {
        if self.batch_size == 0 {
            return Err(Error::config("batch_size", "at least 1", self.batch_size));
        }
        self.sampling.validate()
    }
}

/// Continues every prompt (token ids) and returns the new tokens of each.
///
/// A sequence ends before a token of `stop_ids`, after `max_new_tokens`, at the
/// model's last position, or when `on_token` breaks. `on_token` is called with
/// the number of the prompt and every new token as soon as it is chosen.
///
/// # Errors
/// If a setting cannot be used, the model predicts no next tokens, a prompt is
/// empty, leaves no position for a new token or has an id beyond the
/// vocabulary, or if logits are not finite.
pub fn generate<T: Number>(
    model: &Model,
    parameters: &Parameters<T>,
    adapters: &Adapters<T>,
    prompts: &[Vec<usize>],
    config: &GenerateConfig,
    on_token: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Vec<Vec<usize>>> {
    config.validate()?;
    check(model, prompts)?;
    let mut done = vec![Vec::new(); prompts.len()];
    if config.max_new_tokens == 0 {
        return Ok(done);
    }
    let generator = Generator {
        model,
        parameters,
        adapters,
        acting: in_pool(|| acting_weights(parameters, adapters)),
        config,
    };
    let mut waiting = prompts.iter().enumerate();
    let mut active: Vec<Sequence<T>> = Vec::new();
    loop {
        let free = config.batch_size - active.len();
        for (prompt, ids) in waiting.by_ref().take(free) {
            let mut started = [Sequence::new(model, prompt, ids)];
            generator.advance(&mut started, on_token)?;
            active.extend(started);
        }
        if active.is_empty() {
            return Ok(done);
        }
        for ended in active.extract_if(.., |sequence| sequence.ended) {
            done[ended.prompt] = ended.new;
        }
        generator.advance(&mut active, on_token)?;
    }
}

/// Checks that the model can continue the prompts.
fn check(model: &Model, prompts: &[Vec<usize>]) -> Result<()> {
    if !model.is_decoder() {
        let expected = "a model that predicts the next token";
        return Err(Error::config("model", expected, "another"));
    }
    let (positions, vocabulary) = (model.positions(), model.vocabulary());
    for (prompt, ids) in prompts.iter().enumerate() {
        let field = || format!("prompt {prompt}");
        if ids.is_empty() {
            return Err(Error::config(field(), "at least one token", "none"));
        }
        if ids.len() >= positions {
            let expected = format!(
                "at most {} tokens, as the model has {positions} positions",
                positions.saturating_sub(1)
            );
            return Err(Error::config(field(), expected, ids.len()));
        }
        if let Some(id) = ids.iter().find(|id| **id >= vocabulary) {
            let expected = format!("token ids below {vocabulary}");
            return Err(Error::config(field(), expected, id));
        }
    }
    Ok(())
}

/// A prompt that is being continued.
struct Sequence<T> {
    /// Number of the prompt.
    prompt: usize,
    /// Tokens that the encoder, if there is one, has not read yet.
    source: Vec<usize>,
    /// Tokens that the decoder has not read yet.
    unread: Vec<usize>,
    /// Tokens chosen so far.
    new: Vec<usize>,
    cache: KeyValueCache<T>,
    ended: bool,
}

impl<T: Scalar> Sequence<T> {
    fn new(model: &Model, prompt: usize, ids: &[usize]) -> Self {
        let (source, unread) = match model.start_token() {
            None => (Vec::new(), ids.to_vec()),
            Some(start) => (ids.to_vec(), vec![start]),
        };
        Sequence {
            prompt,
            source,
            unread,
            new: Vec::new(),
            cache: KeyValueCache::default(),
            ended: false,
        }
    }
}

struct Generator<'a, T> {
    model: &'a Model,
    parameters: &'a Parameters<T>,
    adapters: &'a Adapters<T>,
    acting: ActingWeights<T>,
    config: &'a GenerateConfig,
}

impl<T: Number> Generator<'_, T> {
    /// Lets the model read what is unread, the same number of tokens in every
    /// sequence, and chooses the next token of each.
    fn advance(
        &self,
        sequences: &mut [Sequence<T>],
        on_token: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<()> {
        if sequences.is_empty() {
            return Ok(());
        }
        let logits = in_pool(|| self.next_logits(sequences));
        for (sequence, logits) in sequences.iter_mut().zip(view2(&logits).rows()) {
            let logits = logits.to_slice().expect("standard layout");
            let token = self.choose(sequence, logits)?;
            if self.config.stop_ids.contains(&token) {
                sequence.ended = true;
                continue;
            }
            sequence.new.push(token);
            sequence.source.clear();
            sequence.unread = vec![token];
            // The position that the token takes must be followed by another.
            sequence.ended = on_token(sequence.prompt, token).is_break()
                || sequence.new.len() == self.config.max_new_tokens
                || sequence.cache.positions() + 1 == self.model.positions();
        }
        Ok(())
    }

    /// Logits of what follows the unread tokens: sequences x vocabulary.
    fn next_logits(&self, sequences: &mut [Sequence<T>]) -> Tensor<T> {
        let batch = self.batch(sequences);
        let time = sequences[0].unread.len();
        let last: Vec<usize> = (1..=sequences.len()).map(|row| row * time - 1).collect();
        let caches = sequences.iter_mut().map(|s| &mut s.cache).collect();
        let graph = Graph::for_evaluation(Tape::new(), self.parameters, self.adapters)
            .with_acting(&self.acting)
            .with_caches(caches);
        self.model.logits_at(&graph, &batch, &last).value().clone()
    }

    /// What the model reads next; nothing is padded.
    fn batch(&self, sequences: &[Sequence<T>]) -> Batch {
        let rows = |part: fn(&Sequence<T>) -> &Vec<usize>| {
            let ids: Vec<usize> = sequences.iter().flat_map(part).copied().collect();
            ([sequences.len(), part(&sequences[0]).len()], ids)
        };
        let unread = rows(|sequence| &sequence.unread);
        let ((shape, ids), decoder) = match self.model.start_token() {
            None => (unread, None),
            Some(_) => (rows(|sequence| &sequence.source), Some(unread)),
        };
        Batch {
            shape,
            token_types: vec![0; ids.len()],
            ids,
            attention: Array2::from_elem(shape, true),
            targets: Vec::new(),
            values: Vec::new(),
            decoder: decoder.map(|(shape, ids)| DecoderInput { shape, ids }),
        }
    }

    /// The token that follows a sequence.
    fn choose(&self, sequence: &Sequence<T>, logits: &[T]) -> Result<usize> {
        if let Some(bad) = logits.iter().find(|x| !x.value().is_finite()) {
            let field = format!("logits of prompt {}", sequence.prompt);
            return Err(Error::config(field, "finite numbers", bad));
        }
        let prompt = sequence.prompt as u32;
        let stream = Stream::new(self.config.seed, Purpose::Sampling, prompt, 0);
        let position = sequence.cache.positions() as u64;
        let uniform = stream.uniform(position);
        Ok(self.config.sampling.choose(logits, uniform))
    }
}
