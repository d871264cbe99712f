//! Generation: a cache changes nothing but the time, and sequences end where
//! they should.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ggpo_autograd::Tape;
use ggpo_lora::peft::PeftAdapter;
use ggpo_model::batch::{Batch, DecoderInput, collate_causal};
use ggpo_model::generate::{GenerateConfig, Sampling, TextConfig, generate, generate_texts};
use ggpo_model::tokenizer::Tokenizer;
use ggpo_model::weights::load;
use ggpo_model::{
    Adapters, Body, Gpt2Config, Graph, Head, KeyValueCache, LlamaConfig, Model, Number, Parameters,
    RopeScaling, T5Config,
};
use ggpo_tensor::{Scalar, Tensor, view2};
use proptest::prelude::*;

/// A model with what belongs to it.
struct Loaded<T> {
    model: Model,
    parameters: Parameters<T>,
    adapters: Adapters<T>,
}

const FAMILIES: [&str; 4] = ["llama", "gpt2", "t5", "t5_gated"];

fn fixture<T: Scalar>(family: &str) -> Loaded<T> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/reference");
    let folder = fixtures.join(family);
    let model = Model::read(&folder.join("model"), Head::Tokens).unwrap();
    let adapter = PeftAdapter::<T>::read(folder.join("adapter")).unwrap();
    Loaded {
        parameters: load(&folder.join("model"), &model).unwrap().parameters,
        adapters: adapter.adapters,
        model,
    }
}

/// A random model whose logits lie far apart.
fn random<T: Scalar>(body: Body, seed: u64) -> Loaded<T> {
    let head = Head::Tokens;
    let model = Model { body, head };
    Loaded {
        parameters: model.new_parameters(0.5, seed),
        adapters: Adapters::new(),
        model,
    }
}

fn llama([groups, kv_heads]: [usize; 2], layers: usize, tied: bool) -> Body {
    Body::Llama(LlamaConfig {
        vocab_size: 23,
        hidden_size: 8,
        num_hidden_layers: layers,
        num_attention_heads: groups * kv_heads,
        num_key_value_heads: kv_heads,
        head_dim: 4,
        intermediate_size: 12,
        max_position_embeddings: 24,
        rms_norm_eps: 1e-6,
        rope_theta: 1e4,
        rope_scaling: tied.then_some(RopeScaling::Linear { factor: 2.0 }),
        tie_word_embeddings: tied,
        attention_bias: false,
        mlp_bias: false,
    })
}

fn gpt2(heads: usize, layers: usize) -> Body {
    Body::Gpt2(Gpt2Config {
        vocab_size: 23,
        n_positions: 24,
        n_embd: 4 * heads,
        n_layer: layers,
        n_head: heads,
        n_inner: 12,
        layer_norm_epsilon: 1e-5,
    })
}

fn t5(heads: usize, layers: usize, gated: bool) -> Body {
    Body::T5(T5Config {
        vocab_size: 23,
        d_model: 8,
        d_kv: 4,
        d_ff: 12,
        num_layers: layers,
        num_decoder_layers: layers,
        num_heads: heads,
        relative_attention_num_buckets: 8,
        relative_attention_max_distance: 12,
        layer_norm_epsilon: 1e-6,
        is_gated_act: gated,
        tie_word_embeddings: !gated,
        scale_decoder_outputs: !gated,
    })
}

/// Small models of every family.
fn small_body() -> impl Strategy<Value = Body> {
    let sizes = (1..4usize, 1..3usize, 1..3usize, any::<bool>());
    (0..3, sizes).prop_map(|(family, (groups, heads, layers, flag))| match family {
        0 => llama([groups, heads], layers, flag),
        1 => gpt2(heads, layers),
        _ => t5(heads, layers, flag),
    })
}

/// A batch of rows of the same length; an encoder reads the sources.
fn batch(model: &Model, sources: &[&[usize]], ids: &[&[usize]]) -> Batch {
    match model.start_token() {
        None => collate_causal(ids, 0),
        Some(_) => Batch {
            decoder: Some(DecoderInput {
                shape: [ids.len(), ids[0].len()],
                ids: ids.concat(),
            }),
            ..collate_causal(sources, 0)
        },
    }
}

impl<T: Number> Loaded<T> {
    /// Logits after every token, without a cache.
    fn whole(&self, source: &[usize], ids: &[usize]) -> Tensor<T> {
        let batch = batch(&self.model, &[source], &[ids]);
        self.model
            .evaluate(&self.parameters, &self.adapters, &batch)
    }

    /// Logits after the last of some tokens in every row, which follow what is
    /// in the caches.
    fn next(
        &self,
        sources: &[&[usize]],
        ids: &[&[usize]],
        caches: &mut [KeyValueCache<T>],
    ) -> Tensor<T> {
        let batch = batch(&self.model, sources, ids);
        let time = ids[0].len();
        let last: Vec<usize> = (0..ids.len()).map(|row| row * time + time - 1).collect();
        let graph = Graph::for_evaluation(Tape::new(), &self.parameters, &self.adapters)
            .with_caches(caches.iter_mut().collect());
        let logits = self.model.logits_at(&graph, &batch, &last);
        assert!(graph.tape().is_empty());
        logits.value().clone()
    }

    fn generate(&self, prompts: &[Vec<usize>], config: &GenerateConfig) -> Vec<Vec<usize>> {
        let mut told = vec![Vec::new(); prompts.len()];
        let mut on_token = |prompt: usize, token| {
            told[prompt].push(token);
            ControlFlow::Continue(())
        };
        let found = self.try_generate(prompts, config, &mut on_token).unwrap();
        assert_eq!(found, told, "every token is told once and in order");
        found
    }

    fn try_generate(
        &self,
        prompts: &[Vec<usize>],
        config: &GenerateConfig,
        on_token: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> ggpo_model::Result<Vec<Vec<usize>>> {
        let Loaded {
            model,
            parameters,
            adapters,
        } = self;
        generate(model, parameters, adapters, prompts, config, on_token)
    }
}

fn last_row<T: Scalar>(logits: &Tensor<T>) -> Vec<f64> {
    let row = view2(logits);
    row.row(row.nrows() - 1).iter().map(|x| x.value()).collect()
}

/// Largest difference over the largest magnitude expected.
fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    let pairs = found.iter().zip(expected);
    let error = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    error / expected.iter().map(|x| x.abs()).fold(0.0, f64::max)
}

fn largest(row: &[f64]) -> usize {
    (0..row.len()).fold(0, |best, id| if row[id] > row[best] { id } else { best })
}

/// What a decoder reads, how much of it at first, and what an encoder reads.
#[derive(Debug, Clone)]
struct Row {
    ids: Vec<usize>,
    cut: usize,
    source: Vec<usize>,
}

/// Reads every sequence by itself up to its cut, and then all together token by
/// token, comparing with the whole sequence read at once.
fn check_cache<T: Number>(loaded: &Loaded<T>, rows: &[Row], tolerance: f64) {
    let mut caches = Vec::new();
    for Row { ids, cut, source } in rows {
        let mut cache = [KeyValueCache::default()];
        let logits = loaded.next(&[source], &[&ids[..*cut]], &mut cache);
        let expected = last_row(&loaded.whole(source, &ids[..*cut]));
        assert!(relative_error(&last_row(&logits), &expected) <= tolerance);
        assert_eq!(cache[0].positions(), *cut);
        caches.extend(cache);
    }
    let steps = rows.iter().map(|row| row.ids.len() - row.cut).min();
    let nothing = vec![&[][..]; rows.len()];
    for step in 0..steps.unwrap_or(0) {
        let next: Vec<&[usize]> = rows
            .iter()
            .map(|row| &row.ids[row.cut + step..][..1])
            .collect();
        let logits = loaded.next(&nothing, &next, &mut caches);
        for (Row { ids, cut, source }, found) in rows.iter().zip(view2(&logits).rows()) {
            let expected = last_row(&loaded.whole(source, &ids[..=cut + step]));
            let found: Vec<f64> = found.iter().map(|x| x.value()).collect();
            let error = relative_error(&found, &expected);
            assert!(error <= tolerance, "step {step}: {error:e}");
        }
    }
}

/// Sums of the same numbers, in an order that may differ only where masked keys
/// add zeros: some roundings of 1e-16.
const F64: f64 = 1e-12;
/// The same roundings of 6e-8, through a few layers.
const F32: f64 = 1e-5;

#[test]
fn a_cache_changes_no_logits_of_the_fixtures() {
    let ids: Vec<usize> = (0..20).map(|t| (7 * t * t + 3 * t + 5) % 89).collect();
    let row = |first: usize, cut, source: usize| Row {
        ids: ids[first..first + 12].to_vec(),
        cut,
        source: ids[source..].to_vec(),
    };
    let rows = [row(0, 1, 11), row(2, 4, 3), row(1, 2, 19)];
    for family in FAMILIES {
        check_cache(&fixture::<f64>(family), &rows, F64);
        check_cache(&fixture::<f32>(family), &rows, F32);
    }
}

fn tokens(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..23usize, count)
}

fn row() -> impl Strategy<Value = Row> {
    (tokens(2..20), any::<usize>(), tokens(1..12)).prop_map(|(ids, cut, source)| Row {
        cut: 1 + cut % (ids.len() - 1),
        ids,
        source,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_cache_changes_no_logits(
        body in small_body(), rows in prop::collection::vec(row(), 1..4), seed: u64,
    ) {
        check_cache(&random::<f64>(body, seed), &rows, F64);
    }

    /// Several tokens at once after others, as a prompt read in parts.
    #[test]
    fn parts_of_any_length_follow_each_other(
        body in small_body(), source in tokens(1..12),
        parts in prop::collection::vec(tokens(1..5), 1..5), seed: u64,
    ) {
        let loaded = random::<f64>(body, seed);
        let mut cache = [KeyValueCache::default()];
        let mut read = Vec::new();
        for part in &parts {
            read.extend_from_slice(part);
            let unread = if read.len() == part.len() { &source[..] } else { &[] };
            let found = last_row(&loaded.next(&[unread], &[part], &mut cache));
            let error = relative_error(&found, &last_row(&loaded.whole(&source, &read)));
            prop_assert!(error <= F64, "{error:e}");
        }
    }

    /// Whatever is continued beside a sequence, and on however many threads,
    /// its tokens are the same, drawn or greedy.
    #[test]
    fn tokens_do_not_depend_on_batch_or_threads(
        body in small_body(), prompts in prop::collection::vec(tokens(1..12), 1..6),
        batch_size in 2..5usize, seed: u64, greedy: bool,
    ) {
        let loaded = random::<f32>(body, seed);
        let sampling = if greedy {
            Sampling::Greedy
        } else {
            Sampling::Nucleus { temperature: 1.5, top_p: 0.95 }
        };
        let config = |batch_size| GenerateConfig {
            max_new_tokens: 8, sampling, seed, stop_ids: vec![1, 2], batch_size,
        };
        let threads = |count| rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
        let alone = threads(1).install(|| loaded.generate(&prompts, &config(1)));
        let together = threads(3).install(|| loaded.generate(&prompts, &config(batch_size)));
        prop_assert_eq!(alone, together);
    }
}

fn greedy(max_new_tokens: usize) -> GenerateConfig {
    GenerateConfig {
        max_new_tokens,
        ..Default::default()
    }
}

#[test]
fn greedy_tokens_have_the_largest_logits() {
    for family in FAMILIES {
        let loaded = fixture::<f64>(family);
        let prompts = [vec![5], vec![9, 3, 14, 2], vec![1, 1, 1]];
        for (prompt, new) in prompts.iter().zip(loaded.generate(&prompts, &greedy(6))) {
            let mut read = match loaded.model.start_token() {
                None => prompt.clone(),
                Some(start) => vec![start],
            };
            assert_eq!(new.len(), 6);
            for token in new {
                assert_eq!(token, largest(&last_row(&loaded.whole(prompt, &read))));
                read.push(token);
            }
        }
    }
}

#[test]
fn the_seed_decides_what_is_drawn() {
    let loaded = random::<f32>(llama([1, 2], 1, true), 4);
    let prompts = [vec![3, 4], vec![3, 4]];
    let draw = |seed| {
        let sampling = Sampling::Nucleus {
            temperature: 3.0,
            top_p: 1.0,
        };
        let config = GenerateConfig {
            sampling,
            seed,
            ..greedy(16)
        };
        loaded.generate(&prompts, &config)
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    let drawn = draw(1);
    assert_ne!(drawn[0], drawn[1], "equal prompts have draws of their own");
}

#[test]
fn sequences_end_where_they_should() {
    let loaded = fixture::<f64>("llama");
    let positions = loaded.model.positions();
    let prompt = vec![9, 3, 14, 2];
    let prompts = [prompt.clone()];
    let all = loaded.generate(&prompts, &greedy(8)).remove(0);
    assert!(loaded.generate(&prompts, &greedy(0))[0].is_empty());
    assert!(loaded.generate(&[], &greedy(8)).is_empty());
    assert_eq!(loaded.generate(&prompts, &greedy(1))[0], all[..1]);

    let stop = GenerateConfig {
        stop_ids: vec![all[5], 1_000_000],
        ..greedy(8)
    };
    let first = all.iter().position(|id| *id == all[5]).unwrap();
    assert_eq!(loaded.generate(&prompts, &stop)[0], all[..first]);

    let mut count = 0;
    let mut breaks = |_, _| {
        count += 1;
        if count == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let broken = loaded.try_generate(&prompts, &greedy(8), &mut breaks);
    assert_eq!(broken.unwrap()[0], all[..3]);

    let to_the_end = loaded.generate(&prompts, &greedy(10 * positions));
    assert_eq!(prompt.len() + to_the_end[0].len(), positions);
    let longest = vec![5; positions - 1];
    assert_eq!(loaded.generate(&[longest], &greedy(8))[0].len(), 1);
}

#[test]
fn what_cannot_be_continued_is_refused() {
    let loaded = random::<f32>(llama([1, 1], 1, true), 4);
    let error = |prompt: Vec<usize>, config: &GenerateConfig| {
        let mut on_token = |_, _| ControlFlow::Continue(());
        let prompts = [vec![1], prompt];
        let result = loaded.try_generate(&prompts, config, &mut on_token);
        result.unwrap_err().to_string()
    };
    assert_eq!(
        error(vec![], &greedy(1)),
        "prompt 1: expected at least one token, found none"
    );
    assert_eq!(
        error(vec![0; 24], &greedy(1)),
        "prompt 1: expected at most 23 tokens, as the model has 24 positions, found 24"
    );
    assert_eq!(
        error(vec![4, 23], &greedy(1)),
        "prompt 1: expected token ids below 23, found 23"
    );
    let none = GenerateConfig {
        batch_size: 0,
        ..greedy(1)
    };
    assert_eq!(
        error(vec![1], &none),
        "batch_size: expected at least 1, found 0"
    );

    let mut broken = random::<f32>(llama([1, 1], 1, true), 4);
    let norm = broken.parameters.get_mut("model.norm.weight").unwrap();
    norm.fill(f32::INFINITY);
    let mut on_token = |_, _| ControlFlow::Continue(());
    let result = broken.try_generate(&[vec![1]], &greedy(1), &mut on_token);
    let text = result.unwrap_err().to_string();
    assert!(
        text.starts_with("logits of prompt 0: expected finite numbers"),
        "{text}"
    );

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/reference/bert/model");
    let bert = Model::read(&folder, Head::Classes(3)).unwrap();
    let mut on_token = |_, _| ControlFlow::Continue(());
    let (parameters, adapters) = (Parameters::<f32>::new(), Adapters::new());
    let result = generate(
        &bert,
        &parameters,
        &adapters,
        &[],
        &greedy(1),
        &mut on_token,
    );
    assert_eq!(
        result.unwrap_err().to_string(),
        "model: expected a model that predicts the next token, found another"
    );
}

#[test]
fn chosen_positions_have_the_logits_of_the_whole() {
    let loaded = fixture::<f32>("llama");
    let batch: Batch = collate_causal(&[&[5, 6, 7], &[8, 9]], 0);
    let graph = || Graph::for_evaluation(Tape::new(), &loaded.parameters, &loaded.adapters);
    let all = loaded.model.logits(&graph(), &batch);
    let chosen = loaded.model.logits_at(&graph(), &batch, &[4, 2]);
    let (all, chosen) = (view2(all.value()), view2(chosen.value()));
    assert_eq!(chosen.nrows(), 2);
    assert_eq!(chosen.row(0), all.row(4));
    assert_eq!(chosen.row(1), all.row(2));
}

/// The decoder that the experiments start from, and its tokenizer.
fn decoder() -> (Loaded<f32>, Tokenizer) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/decoder");
    let model = Model::read(&folder, Head::Tokens).unwrap();
    let loaded = Loaded {
        parameters: load(&folder, &model).unwrap().parameters,
        adapters: Adapters::new(),
        model,
    };
    (
        loaded,
        Tokenizer::load(&folder.join("tokenizer.json")).unwrap(),
    )
}

const PROMPTS: [&str; 3] = [
    "Shall I compare thee to a summer's day?\n",
    "To be, or not to be: ",
    "Enter",
];

/// Texts of the decoder, and how often a piece of one was told.
fn continue_prompts(config: &TextConfig) -> (Vec<String>, usize) {
    let (loaded, tokenizer) = decoder();
    let Loaded {
        model,
        parameters,
        adapters,
    } = &loaded;
    let (mut told, mut pieces) = (vec![String::new(); PROMPTS.len()], 0);
    let mut on_text = |prompt: usize, piece: &str| {
        assert!(!piece.is_empty());
        told[prompt] += piece;
        pieces += 1;
    };
    let texts = generate_texts(
        model,
        parameters,
        adapters,
        &tokenizer,
        &PROMPTS,
        config,
        &mut on_text,
    )
    .unwrap();
    assert_eq!(texts, told, "the pieces add up to the texts");
    (texts, pieces)
}

fn drawn(stop_strings: &[&str]) -> TextConfig {
    TextConfig {
        tokens: GenerateConfig {
            max_new_tokens: 40,
            sampling: Sampling::Nucleus {
                temperature: 0.8,
                top_p: 0.9,
            },
            seed: 11,
            ..Default::default()
        },
        stop_strings: stop_strings.iter().map(|stop| (*stop).to_owned()).collect(),
    }
}

#[test]
fn the_decoder_continues_shakespeare() {
    let (texts, pieces) = continue_prompts(&drawn(&[]));
    assert_eq!(continue_prompts(&drawn(&[])).0, texts);
    assert!(pieces > 60, "text is told as it grows: {pieces} pieces");
    for text in &texts {
        assert!(
            text.chars().filter(|c| c.is_alphabetic()).count() > 40,
            "{text}"
        );
    }
}

/// What an encoder has read is no part of the text that follows.
#[test]
fn answers_of_an_encoder_model_begin_at_their_first_token() {
    let (_, tokenizer) = decoder();
    let Body::T5(mut config) = t5(2, 1, true) else {
        unreachable!()
    };
    config.vocab_size = tokenizer.vocabulary();
    let loaded = random::<f32>(Body::T5(config), 3);
    let prompts = PROMPTS.map(|prompt| tokenizer.encode(prompt));
    let tokens = greedy(12);
    let answers = loaded.generate(&prompts, &tokens);
    let config = TextConfig {
        tokens,
        ..Default::default()
    };
    let texts = generate_texts(
        &loaded.model,
        &loaded.parameters,
        &loaded.adapters,
        &tokenizer,
        &PROMPTS,
        &config,
        &mut |_, _| {},
    );
    for (text, answer) in texts.unwrap().iter().zip(answers) {
        assert_eq!(text, &tokenizer.decode(&answer).unwrap());
    }
}

#[test]
fn texts_end_before_a_stop_string() {
    let (whole, _) = continue_prompts(&drawn(&[]));
    // Stops that cross the borders of tokens, taken out of what is generated.
    let middle: String = whole[0].chars().skip(9).take(11).collect();
    for stops in [
        vec!["e", "\n"],
        vec![middle.as_str()],
        vec!["not in any text", "th"],
    ] {
        let (texts, _) = continue_prompts(&drawn(&stops));
        for (text, whole) in texts.iter().zip(&whole) {
            let end = stops.iter().filter_map(|stop| whole.find(stop)).min();
            assert_eq!(text, &whole[..end.unwrap_or(whole.len())], "{stops:?}");
        }
    }
    let (loaded, tokenizer) = decoder();
    let refused = generate_texts(
        &loaded.model,
        &loaded.parameters,
        &loaded.adapters,
        &tokenizer,
        &PROMPTS,
        &drawn(&[""]),
        &mut |_, _| {},
    );
    let expected = "stop_strings: expected texts, found an empty one";
    assert_eq!(refused.unwrap_err().to_string(), expected);
}
