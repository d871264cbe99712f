//! A published Qwen2 model in a GGUF file, against Transformers on the same weights.

use std::path::Path;

use ggpo_model::gguf::{self, GgufModel};
use ggpo_model::logits::largest;
use ggpo_model::{Adapters, batch::collate_causal};
use ggpo_tensor::view2;
use serde::Deserialize;

/// What `fixtures/gguf/make_qwen.py` has written.
#[derive(Deserialize)]
struct Reference {
    file: String,
    texts: Vec<Text>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<usize>,
    loss: f64,
    /// The most probable token after every position, and by how much.
    next: Vec<usize>,
    lead: Vec<f32>,
}

/// Both calculate in `f32` through 24 layers, from weights that are the same bits:
/// logits of size 20 with a relative error of a few 1e-5.
const LOGITS: f32 = 2e-3;

#[test]
#[ignore = "needs the environment variable QWEN2_GGUF, the path of Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf"]
fn qwen_reads_and_goes_on_as_in_transformers() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/gguf");
    let bytes = std::fs::read(fixtures.join("qwen2.5-coder.json")).unwrap();
    let reference: Reference = serde_json::from_slice(&bytes).unwrap();
    let path = std::env::var_os("QWEN2_GGUF").expect("QWEN2_GGUF is set");
    assert_eq!(Path::new(&path).file_name().unwrap(), &*reference.file);
    let qwen: GgufModel<f32> = gguf::open(Path::new(&path)).unwrap();
    assert_eq!(qwen.model.body.model_type(), "qwen2");
    let none = Adapters::new();
    for Text {
        text,
        ids,
        loss,
        next,
        lead,
    } in &reference.texts
    {
        assert_eq!(qwen.tokenizer.encode(text).unwrap(), *ids);
        assert_eq!(qwen.tokenizer.decode(ids).unwrap(), *text);
        let batch = collate_causal(&[ids], 0);
        let found = qwen.model.evaluate_loss(&qwen.parameters, &none, &batch);
        println!("loss {found:.6}, {loss:.6} in Transformers");
        assert!((found - loss).abs() < 1e-4, "{found}, not {loss}");
        let logits = qwen.model.evaluate(&qwen.parameters, &none, &batch);
        let rows = view2(&logits);
        let certain = lead.iter().filter(|lead| **lead > LOGITS).count();
        assert!(certain > 9 * lead.len() / 10, "{certain} of {}", lead.len());
        for (t, row) in rows.rows().into_iter().enumerate() {
            let found = largest(row.to_slice().unwrap());
            assert!(
                found == next[t] || lead[t] <= LOGITS,
                "position {t}: {found}"
            );
        }
    }
}
