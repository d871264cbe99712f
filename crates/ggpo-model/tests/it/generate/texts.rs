//! Texts that continue others, piece by piece.

use std::path::PathBuf;

use ggpo_model::generate::{GenerateConfig, Sampling, TextConfig, generate_texts};
use ggpo_model::tokenizer::Tokenizer;
use ggpo_model::weights::load;
use ggpo_model::{Adapters, Body, Head, Model};

use super::{Loaded, greedy, random, t5};

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
    let prompts = PROMPTS.map(|prompt| tokenizer.encode(prompt).unwrap());
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
