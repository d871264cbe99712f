//! Token by token: what is drawn, where a sequence ends, and what cannot go on.

use std::ops::ControlFlow;
use std::path::Path;

use ggpo_model::generate::{GenerateConfig, Sampling, generate};
use ggpo_model::{Adapters, Head, Model, Parameters};
use proptest::prelude::*;

use super::{FAMILIES, fixture, greedy, largest, last_row, llama, random, small_body, tokens};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

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
