//! Files that are not as they should be, and values of every type.

use proptest::prelude::*;

use super::file::File;
use super::reader::Reader;
use super::{Reading, Value, model};

const TINY: &[u8] = include_bytes!("../../../../fixtures/gguf/tiny.gguf");

fn read(bytes: &[u8]) -> Reading<()> {
    File::read(bytes).and_then(model::<f32>).map(|_| ())
}

/// What is wrong with the tiny model with other values under these keys.
fn refusal(changes: &[(&str, Option<Value>)]) -> String {
    let mut file = File::read(TINY).unwrap();
    for (key, value) in changes {
        file.metadata.set(key, value.clone());
    }
    model::<f32>(file).expect_err("refused")
}

fn text(text: &str) -> Option<Value> {
    Some(Value::Text(text.to_owned()))
}

#[test]
fn values_of_every_type_are_read() {
    let metadata = File::read(TINY).unwrap().metadata;
    for (key, expected) in [
        ("test.u8", Value::Unsigned(200)),
        ("test.i8", Value::Signed(-3)),
        ("test.u16", Value::Unsigned(60_000)),
        ("test.i16", Value::Signed(-30_000)),
        ("llama.block_count", Value::Unsigned(2)),
        ("llama.rope.freq_base", Value::Float(100.0)),
        ("tokenizer.ggml.add_bos_token", Value::Flag(false)),
        ("general.name", Value::Text("tiny".to_owned())),
        ("test.u64", Value::Unsigned(1 << 63)),
        ("test.i64", Value::Signed(-(1 << 40))),
        ("test.f64", Value::Float(0.1)),
        (
            "test.floats",
            Value::Array(vec![Value::Float(0.5), Value::Float(-1.5)]),
        ),
    ] {
        assert_eq!(metadata.get(key), Some(&expected), "{key}");
    }
    let Some(Value::Array(types)) = metadata.get("tokenizer.ggml.token_type") else {
        panic!("an array")
    };
    assert_eq!(types[..3], [3, 3, 1].map(Value::Signed));
    assert_eq!(metadata.iter().count(), 29);
}

/// A value of arrays in each other: in the innermost is the byte 7.
fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = 9_u32.to_le_bytes().to_vec();
    for level in 0..depth {
        let kind: u32 = if level + 1 == depth { 0 } else { 9 };
        bytes.extend(kind.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
    }
    bytes.push(7);
    bytes
}

#[test]
fn arrays_may_be_in_arrays_but_not_without_end() {
    let read = |depth| Value::read(&mut Reader::new(&nested(depth)), "key");
    let one = Value::Array(vec![Value::Unsigned(7)]);
    assert_eq!(read(1), Ok(one.clone()));
    assert_eq!(read(2), Ok(Value::Array(vec![one])));
    let expected = "key: expected at most 4 arrays in each other";
    assert_eq!(read(100_000), Err(expected.to_owned()));
}

/// In memory an element takes 32 bytes, whatever it takes in the file.
#[test]
fn arrays_are_no_longer_than_the_file_and_memory_allow() {
    let array = |kind: u32, count: u64, bytes: usize| {
        let mut array = 9_u32.to_le_bytes().to_vec();
        array.extend(kind.to_le_bytes());
        array.extend(count.to_le_bytes());
        array.resize(array.len() + bytes, 1);
        Value::read(&mut Reader::new(&array), "key")
    };
    assert!(array(0, 1 << 20, 1 << 20).is_ok());
    for (kind, count, bytes) in [
        (0, (1 << 20) + 1, 1 << 21),
        (0, u64::MAX, 100),
        (4, 26, 100),
        (8, 13, 100),
        (9, 9, 100),
    ] {
        let error = array(kind, count, bytes).expect_err("too many");
        assert!(error.contains("key: expected at most"), "{error}");
    }
}

/// Tensors that share a place would each take memory of their own.
#[test]
fn tensors_have_places_of_their_own() {
    let name = b"blk.0.ffn_gate.weight";
    let find = |name: &[u8]| {
        let mut places = TINY.windows(name.len());
        // After the name: number of axes, two lengths, type, place.
        places.position(|bytes| bytes == name).unwrap() + name.len() + 4 + 16 + 4
    };
    let (gate, up) = (find(name), find(b"blk.0.ffn_up.weight"));
    let mut bytes = TINY.to_vec();
    bytes.copy_within(up..up + 8, gate);
    let error = read(&bytes).expect_err("shared");
    assert!(error.contains("expected a place of its own"), "{error}");
}

#[test]
fn every_cut_is_an_error_that_says_where() {
    // The last tensor is followed by less than 32 bytes of padding.
    for length in (0..TINY.len() - 32).step_by(7) {
        let error = read(&TINY[..length]).expect_err("cut off");
        assert!(error.contains("expected"), "{length}: {error}");
    }
    let error = |length| read(&TINY[..length]).expect_err("cut off");
    assert_eq!(
        error(2),
        "the header: expected 4 bytes from byte 0 on, found the end of the file after 2"
    );
    let missing = error(TINY.len() - 5000);
    assert!(missing.contains(".weight: expected "), "{missing}");
    assert_eq!(
        read(b"GGML and so on"),
        Err("expected a GGUF file, found another beginning".to_owned())
    );
    let mut older = TINY.to_vec();
    older[4] = 2;
    assert_eq!(read(&older), Err("version: expected 3, found 2".to_owned()));
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(
        changes in prop::collection::vec((0..TINY.len(), any::<u8>()), 1..4),
        cut in 0..2 * TINY.len(),
    ) {
        let mut bytes = TINY.to_vec();
        for (place, byte) in changes {
            bytes[place] = byte;
        }
        bytes.truncate(cut);
        let _ = read(&bytes);
    }

    /// Most changes above are in texts; these are in numbers and lengths.
    #[test]
    fn changed_numbers_never_panic(place in 0..1000_usize, number in prop::sample::select(
        vec![0, 1, 2, 9, 31, 33, 255, 1 << 20, 1 << 31, 1 << 32, 1 << 62, u64::MAX],
    )) {
        let starts = TINY.windows(8).enumerate().filter(|(_, word)| word[1..] == [0; 7]);
        let starts: Vec<usize> = starts.map(|(at, _)| at).collect();
        let at = starts[place % starts.len()];
        let mut bytes = TINY.to_vec();
        bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        let _ = read(&bytes);
    }

    #[test]
    fn random_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(&body);
        prop_assert!(read(&bytes).is_err());
    }
}

#[test]
fn a_type_that_is_not_supported_is_named() {
    let name = b"blk.1.ffn_up.weight";
    let at = TINY.windows(name.len()).position(|part| part == name);
    // After the name: the number of axes, two lengths, the type.
    let at = at.unwrap() + name.len() + 4 + 16;
    let mut bytes = TINY.to_vec();
    for (number, found) in [(15, "Q8_K (type 15)"), (99, "type 99")] {
        bytes[at] = number;
        let expected = format!(
            "blk.1.ffn_up.weight: expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, \
             Q3_K, Q4_K, Q5_K, Q6_K, found {found}"
        );
        assert_eq!(read(&bytes), Err(expected));
    }
    bytes[at] = 12;
    assert_eq!(
        read(&bytes),
        Err(
            "blk.1.ffn_up.weight: expected rows of whole blocks of Q4_K, found the shape [64, 32]"
                .to_owned()
        )
    );
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let file = File::read(TINY).unwrap();
    let table = file.tensors["token_embd.weight"].bytes;
    let at = TINY.windows(table.len()).position(|part| part == table);
    let mut bytes = TINY.to_vec();
    // The scale of the first block becomes infinite.
    bytes[at.unwrap() + 1] = 0x7c;
    bytes[at.unwrap()] = 0;
    let error = read(&bytes).expect_err("refused");
    let expected = "token_embd.weight: expected finite numbers, found ";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn descriptions_that_are_not_calculated_are_refused_by_name() {
    let other = |key: &str, value: Value, expected: &str| {
        let key = format!("llama.{key}");
        let found = refusal(&[(&key, Some(value))]);
        assert_eq!(found, format!("{key}: {expected}"));
    };
    let unknown = "expected no such key, which is not supported, found";
    other("expert_count", Value::Unsigned(4), &format!("{unknown} 4"));
    other(
        "rope.scaling.type",
        Value::Text("yarn".to_owned()),
        "expected \"none\" or \"linear\", found \"yarn\"",
    );
    other(
        "rope.dimension_count",
        Value::Unsigned(4),
        "expected the channels of a head, 8, found 4",
    );
    other(
        "block_count",
        Value::Unsigned(1 << 31),
        "expected at most the number of tensors, 20, found 2147483648",
    );
    other(
        "attention.head_count_kv",
        Value::Unsigned(3),
        "expected a divisor of head_count, which is 4, found 3",
    );
    other(
        "vocab_size",
        Value::Signed(3),
        "expected 268, the rows of token_embd.weight, found 3",
    );
    other(
        "embedding_length",
        Value::Unsigned(0),
        "expected a whole number above 0, found 0",
    );
    assert_eq!(
        refusal(&[("general.architecture", text("mamba"))]),
        "general.architecture: expected \"llama\", \"qwen2\", \"qwen3\", \"gemma3\", found \"mamba\""
    );
    assert_eq!(
        refusal(&[("llama.block_count", Some(Value::Unsigned(1)))]),
        "found a tensor named blk.1.attn_k.weight, which this model does not have"
    );
    assert_eq!(
        refusal(&[("llama.block_count", Some(Value::Unsigned(3)))]),
        "expected a tensor named blk.2.attn_norm.weight, found none"
    );
    assert_eq!(
        refusal(&[("llama.feed_forward_length", Some(Value::Unsigned(96)))]),
        "blk.0.ffn_gate.weight: expected shape [96, 32], found [64, 32]"
    );
}

#[test]
fn keys_that_say_that_they_change_nothing_are_accepted() {
    let mut file = File::read(TINY).unwrap();
    let metadata = &mut file.metadata;
    metadata.set("llama.rope.scaling.type", text("none"));
    metadata.set("llama.expert_count", Some(Value::Unsigned(0)));
    metadata.set("llama.attention.key_length", Some(Value::Unsigned(8)));
    model::<f32>(file).unwrap();
}

#[test]
fn tokenizers_that_are_not_supported_are_refused_by_name() {
    for (key, value, expected) in [
        (
            "model",
            text("bert"),
            "expected \"gpt2\", which is byte-level BPE, or \"llama\", found \"bert\"",
        ),
        (
            "pre",
            text("falcon"),
            "expected \"gpt-2\", \"llama-bpe\", \"qwen2\" or \"smollm\", found \"falcon\"",
        ),
        ("pre", None, "expected a text, found nothing"),
        (
            "bos_token_id",
            Some(Value::Unsigned(268)),
            "expected an id below 268, found 268",
        ),
        (
            "tokens",
            Some(Value::Array(vec![Value::Unsigned(1)])),
            "expected an array of texts, found an array of 1",
        ),
        (
            "token_type",
            Some(Value::Array(vec![])),
            "expected a type for each of 268 tokens, found an array of 0",
        ),
        (
            "merges",
            Some(Value::Array(vec![Value::Text("ab".to_owned())])),
            "expected two tokens, found \"ab\"",
        ),
    ] {
        let key = format!("tokenizer.ggml.{key}");
        assert_eq!(refusal(&[(&key, value)]), format!("{key}: {expected}"));
    }
    let unknown = Value::Text("ab cd".to_owned());
    let error = refusal(&[("tokenizer.ggml.merges", Some(Value::Array(vec![unknown])))]);
    assert!(
        error.starts_with("tokenizer.ggml: expected a tokenizer for any text, found "),
        "{error}"
    );
}

/// Token ids of a text as words of the given kind.
fn encode(pre: &str, words: &str) -> Vec<usize> {
    let mut file = File::read(TINY).unwrap();
    file.metadata.set("tokenizer.ggml.pre", text(pre));
    file.metadata.set("tokenizer.ggml.add_bos_token", None);
    let model = model::<f32>(file).unwrap();
    let ids = model.tokenizer.encode(words).unwrap();
    assert_eq!(model.tokenizer.decode(&ids).unwrap(), words);
    assert_eq!(model.special_tokens.add_bos, pre == "llama-bpe");
    let end = model.special_tokens.eos.unwrap();
    assert_eq!(
        model.tokenizer.end_of_text(),
        Some(end),
        "what the file says"
    );
    ids
}

#[test]
fn texts_are_cut_into_the_words_that_the_file_names() {
    // Two special tokens, then the bytes, then the merges in their order.
    let byte = |byte: u8| 2 + usize::from(byte);
    let merged = |place: usize| 2 + 256 + place;
    let [the, space_the, two_three, space_whale] = [1, 2, 4, 9].map(merged);
    let [zero, two, three] = [b'0', b'2', b'3'].map(byte);
    for (pre, digits) in [
        ("gpt-2", vec![zero, zero, two_three]),
        // Words of up to three digits, and of one digit.
        ("llama-bpe", vec![zero, zero, two, three]),
        ("smollm", vec![zero, zero, two, three]),
    ] {
        assert_eq!(encode(pre, "0023"), digits, "{pre}");
        let words = [the, space_whale, space_the];
        assert_eq!(encode(pre, "the whale the"), words, "{pre}");
    }
    assert_eq!(encode("llama-bpe", "23"), [two_three]);
    assert_eq!(encode("smollm", "23"), [two, three]);
}

/// What a file of an adapter says a layer adds to its weight, in our order of the rows.
#[test]
fn an_adapter_in_a_file_adds_what_it_adds_here() {
    use crate::model::{Body, Gpt2Config, Head, Model};
    use ggpo_lora::Acting;
    use ggpo_tensor::random::{Purpose, Stream};
    use ggpo_tensor::{tensor, view2};

    let file = File::read(TINY).unwrap();
    let decoder = super::description::read(&file).unwrap().decoder;
    let model = model::<f32>(file).unwrap().model;
    let normal = |layer: u32, rows: usize, columns: usize| {
        let mut numbers = vec![0.0_f32; rows * columns];
        Stream::new(3, Purpose::Init, 0, layer).fill_normal(0, &mut numbers);
        tensor(&[rows, columns], numbers)
    };
    let layer = |number: u32, rank: usize, outputs: usize, scaling: f32| Acting {
        a: normal(number, rank, 32),
        b: normal(number + 1, outputs, rank),
        scaling,
        constant: None,
        magnitude: None,
    };
    let block = "model.layers.1.self_attn";
    // Ranks of their own, and scalings that are not in proportion.
    let mut acting = crate::model::ActingWeights::from([
        (format!("{block}.k_proj"), layer(0, 3, 16, 0.5)),
        (format!("{block}.q_proj"), layer(2, 2, 32, 2.0)),
        (format!("{block}.v_proj"), layer(4, 3, 16, 0.5)),
    ]);
    let bytes = super::adapter_bytes(&model, &acting).unwrap();
    let written = File::read(&bytes).unwrap();
    let said = |key: &str| written.metadata.get(key).cloned();
    assert_eq!(said("general.architecture"), text("llama"));
    assert_eq!(said("general.type"), text("adapter"));
    assert_eq!(said("adapter.type"), text("lora"));
    let Some(Value::Float(alpha)) = said("adapter.lora.alpha") else {
        panic!("an alpha")
    };
    assert_eq!(written.tensors.len(), 6);
    for (module, name, heads) in [
        ("k_proj", "attn_k", Some(decoder.num_key_value_heads)),
        ("q_proj", "attn_q", Some(decoder.num_attention_heads)),
        ("v_proj", "attn_v", None),
    ] {
        let read = |factor: &str| {
            let stored = &written.tensors[&format!("blk.1.{name}.weight.lora_{factor}")];
            let (words, _) = stored.bytes.as_chunks::<4>();
            let numbers = words.iter().map(|word| f32::from_le_bytes(*word));
            tensor(&stored.shape, numbers.collect())
        };
        let (a, b) = (read("a"), read("b"));
        let rank = a.shape()[0] as f32;
        let mut found = view2(&b).dot(&view2(&a)) * (alpha as f32 / rank);
        if let Some(heads) = heads {
            let order = super::parameters::half_split_order(heads, decoder.head_dim);
            found = found.select(ndarray::Axis(0), &order);
        }
        let layer = &acting[&format!("{block}.{module}")];
        let expected = view2(&layer.b).dot(&view2(&layer.a)) * layer.scaling;
        for (found, expected) in found.iter().zip(&expected) {
            // Sums of up to three terms, with a factor that is rounded.
            assert!((found - expected).abs() < 1e-5, "{module}");
        }
    }

    let all = acting.clone();
    let refused = |acting: &_| super::adapter_bytes(&model, acting).unwrap_err();
    let layer = acting.get_mut(&format!("{block}.q_proj")).unwrap();
    let value = tensor(&[32], vec![1.0; 32]);
    layer.magnitude = Some(ggpo_lora::Magnitude {
        value,
        norms: vec![1.0; 32],
    });
    assert!(refused(&acting).contains("q_proj: expected LoRA alone, found magnitudes"));
    assert!(refused(&acting).contains("ggpo merge"));
    let other = Model {
        body: Body::Gpt2(Gpt2Config {
            vocab_size: 1,
            n_positions: 1,
            n_embd: 1,
            n_layer: 1,
            n_head: 1,
            n_inner: 1,
            layer_norm_epsilon: 1.0,
        }),
        head: Head::Tokens,
    };
    let error = super::adapter_bytes(&other, &all).unwrap_err();
    assert!(error.ends_with("found gpt2"), "{error}");
}
