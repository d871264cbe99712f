//! Tokenizers, tables and descriptions.

use ggpo_model::Adapters;
use ggpo_model::generate::{GenerateConfig, TextConfig, generate_texts};
use ggpo_model::tokenizer::Tokenizer;
use ggpo_train::data::{Dataset, TaskConfig, TaskKind};
use ggpo_train::run::{Description, RunConfig};

use crate::World;
use crate::world::{joined, split};

/// A text with what tokenizers treat apart.
const TEXT: &str = "The sun, [SEP] caf\u{e9}  12\n\u{1f600}\u{10FFFD}";

/// The tokenizer, and what a model writes with it: a file, and a stop string.
pub(crate) fn tokenizer(world: &World, bytes: &[u8]) {
    let (stop, file) = split(bytes);
    let path = world.write("fuzzed/tokenizer.json", file);
    let Ok(tokenizer) = Tokenizer::load(&path) else {
        return;
    };
    for text in [TEXT, "", "a"] {
        if let Ok(ids) = tokenizer.encode(text) {
            let _ = tokenizer.decode(&ids);
        }
    }
    let _ = tokenizer.encode_framed(TEXT, Some("pair"), 8);
    if ggpo_model::fit::check(&world.decoder, &tokenizer, &[], &path).is_err() {
        return;
    }
    let config = TextConfig {
        tokens: GenerateConfig {
            max_new_tokens: 4,
            ..GenerateConfig::default()
        },
        stop_strings: vec![String::from_utf8_lossy(stop).into_owned()],
    };
    let parameters = world.decoder.new_parameters::<f32>(0.5, 3);
    let _ = generate_texts(
        &world.decoder,
        &parameters,
        &Adapters::new(),
        &tokenizer,
        &["sun"],
        &config,
        &mut |_, _| {},
    );
}

pub(crate) fn tokenizer_seeds(world: &World) -> Vec<Vec<u8>> {
    let own = world.read("decoder/tokenizer.json");
    let word_level = br#"{"version": "1.0", "added_tokens": [{"id": 2, "content": "[SEP]",
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": true}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"},
        {"type": "Lowercase"}, {"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}]},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["the", 0]},
        "decoder": {"type": "WordPiece", "prefix": "@@", "cleanup": true},
        "model": {"type": "WordLevel", "vocab": {"the": 0, "[UNK]": 1, "[SEP]": 2},
        "unk_token": "[UNK]"}}"#;
    let unigram = br#"{"version": "1.0", "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always",
        "split": true}, "post_processor": null,
        "decoder": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always",
        "split": true},
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false,
        "vocab": [["<unk>", 0.0], ["_", -1.0], ["the", -2.0], ["s", -3.0]]}}"#;
    let word_piece = br###"{"version": "1.0", "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "clean_text": true,
        "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "the": 1, "##n": 2, "s": 3}}}"###;
    [&own[..], word_level, unigram, word_piece]
        .map(|file| joined(b"n", file))
        .into()
}

/// A file of a task; the first byte chooses the kind.
fn table(world: &World, bytes: &[u8], ending: &str) {
    let Some((kind, file)) = bytes.split_first() else {
        return;
    };
    let kind = match kind % 4 {
        0 => TaskKind::Classification,
        1 => TaskKind::Regression,
        2 => TaskKind::Completion,
        _ => TaskKind::TextToText,
    };
    let path = world.write(&format!("table.{ending}"), file);
    let mut task = TaskConfig::new(kind, &path, 12);
    task.skip_bad_rows = true;
    let _ = Dataset::open(&path, &task, &world.tokenizer, None);
    task.skip_bad_rows = false;
    let _ = Dataset::open_unlabelled(&path, &task, &world.tokenizer);
}

pub(crate) fn tsv(world: &World, bytes: &[u8]) {
    table(world, bytes, "tsv");
}

pub(crate) fn csv(world: &World, bytes: &[u8]) {
    table(world, bytes, "csv");
}

pub(crate) fn jsonl(world: &World, bytes: &[u8]) {
    table(world, bytes, "jsonl");
}

pub(crate) fn tsv_seeds(_: &World) -> Vec<Vec<u8>> {
    [
        "\0label\ttext\nwarm\tsun\ncold\tsea\n",
        "\u{1}label\ttext\r\n1.5\tsun\n-2\t\"sea\n",
        "\u{2}prompt,completion\n\"a, \"\"b\"\"\n\",c\n",
        "\0label,text\nwarm,\"sun\nand\"\ncold,sea\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

pub(crate) fn jsonl_seeds(_: &World) -> Vec<Vec<u8>> {
    [
        "\0{\"label\": \"warm\", \"text\": \"sun\"}\n{\"label\": 1, \"text\": \"s\\u00e9a\"}\n",
        "\u{2}{\"prompt\": \"a\", \"completion\": \"b\", \"more\": [{}, null, 1e3]}\n",
        "\u{3}{\"source\": \"a\", \"target\": \"b\"}\n\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

pub(crate) fn description(world: &World, bytes: &[u8]) {
    let path = world.write("run.toml", bytes);
    if let Ok(description) = Description::read(&path) {
        let _ = description.task();
        let _ = description.method();
    }
    if let Ok(config) = RunConfig::read(&path) {
        let again = world.write("again.toml", config.to_toml().as_bytes());
        let again = RunConfig::read(&again).expect("what is written can be read");
        assert_eq!(again, config, "written and read again");
    }
}

pub(crate) fn description_seeds(_: &World) -> Vec<Vec<u8>> {
    let whole = "seed = 1\nmodel = \"m\"\nbatch_size = 8\nevaluate_every = 2\n\
        checkpoint_every = 2\n[task]\nkind = \"classification\"\ntrain = \"t.tsv\"\n\
        max_length = 8\ncolumns = { text = 1, label = \"y\" }\n[training]\n\
        learning_rate = 1e-3\nsteps = 5\nschedule = { kind = \"cosine\", warmup = 0.1 }\n";
    let method = "[method.lora]\nrank = 4\ntargets = [\"q\", \"v\"]\n\
        [method.perturbation]\nkind = \"ggpo\"\nsigma = 0.1\n";
    vec![
        whole.into(),
        format!("{whole}{method}").into(),
        include_bytes!("../../../examples/spam-ggpo.toml").to_vec(),
    ]
}
