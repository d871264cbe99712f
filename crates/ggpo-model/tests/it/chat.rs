//! Conversations against Transformers' `apply_chat_template`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ggpo_model::base;
use ggpo_model::chat::{BUILT_IN, ChatTemplate, EncodedChat, Message, Role, messages};
use ggpo_model::tokenizer::Tokenizer;
use serde::Deserialize;
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/chat")
        .join(name)
}

/// What `fixtures/chat/make_chat.py` has written of a conversation.
#[derive(Deserialize)]
struct Case {
    messages: Value,
    text: String,
    ids: Vec<usize>,
    /// Which tokens the assistant says, of a template that says it.
    mask: Option<Vec<u8>>,
    /// The text of all but the last message, and of what asks for it.
    question: String,
    #[serde(default)]
    bos: Option<String>,
}

fn cases(file: &str) -> BTreeMap<String, Vec<Case>> {
    serde_json::from_slice(&std::fs::read(fixture(file)).unwrap()).unwrap()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(&fixture("tokenizer.json")).unwrap()
}

fn source(name: &str) -> String {
    std::fs::read_to_string(fixture(&format!("templates/{name}.jinja"))).unwrap()
}

fn check(case: &Case, template: &ChatTemplate, tokenizer: &Tokenizer) -> EncodedChat {
    let turns = messages(&case.messages).unwrap();
    assert_eq!(template.render(&turns, false).unwrap(), case.text);
    let question = &turns[..turns.len() - 1];
    assert_eq!(template.render(question, true).unwrap(), case.question);
    let prompt = template.prompt(tokenizer, question).unwrap();
    assert_eq!(prompt, tokenizer.encode_with_special(&case.question).0);
    let encoded = template.encode(tokenizer, &turns, false).unwrap();
    assert_eq!((&encoded.text, &encoded.ids), (&case.text, &case.ids));
    assert_eq!(template.marks_turns(), case.mask.is_some());
    if let Some(mask) = &case.mask {
        let expected: Vec<bool> = mask.iter().map(|&marked| marked == 1).collect();
        assert_eq!(encoded.learnt, expected, "{}", case.text);
    }
    let all = template.encode(tokenizer, &turns, true).unwrap();
    assert_eq!(all.ids, encoded.ids);
    assert!(all.learnt.iter().all(|learnt| *learnt));
    encoded
}

#[test]
fn published_templates_read_as_in_transformers() {
    let tokenizer = tokenizer();
    let all = cases("cases.json");
    assert_eq!(all.len(), 10);
    let mut marked = 0;
    for (name, cases) in &all {
        assert_eq!(cases.len(), 6);
        for case in cases {
            let template = ChatTemplate::new(&source(name), case.bos.as_deref(), None).unwrap();
            check(case, &template, &tokenizer);
            marked += usize::from(case.mask.is_some());
        }
    }
    assert_eq!(marked, 4 * 6);
}

/// The turns of a template that does not mark them are those of its sister that does,
/// which counts the line break after a turn, too, and of Qwen 2.5 the one before it.
#[test]
fn turns_are_found_in_templates_that_do_not_mark_them() {
    let tokenizer = tokenizer();
    let all = cases("cases.json");
    let line_break = tokenizer.encode("\n").unwrap()[0];
    for name in ["llama3", "qwen2_5", "gemma3", "qwen3"] {
        let sister = &all[&format!("{name}_training")];
        let mut compared = 0;
        for (case, sister) in all[name].iter().zip(sister) {
            // Qwen 3 leaves thoughts of earlier turns out, and its sister does not.
            if case.text != sister.text {
                continue;
            }
            let template = ChatTemplate::new(&source(name), case.bos.as_deref(), None).unwrap();
            let turns = messages(&case.messages).unwrap();
            let found = template.encode(&tokenizer, &turns, false).unwrap().learnt;
            let mask = sister.mask.as_ref().unwrap();
            for (t, found) in found.iter().enumerate().skip(1) {
                let after_turn = tokenizer.is_special(case.ids[t - 1]);
                let before_turn = name == "qwen2_5" && mask[t - 1] == 0;
                let around = case.ids[t] == line_break && (after_turn || before_turn);
                let expected = mask[t] == 1 && !around;
                assert_eq!(*found, expected, "{name}, token {t} of {}", case.text);
            }
            compared += 1;
        }
        assert!(
            compared >= if name == "qwen3" { 2 } else { 6 },
            "{name}: {compared}"
        );
    }
}

#[test]
fn what_stands_before_a_content_belongs_to_the_turn() {
    let template = ChatTemplate::new(&source("qwen3"), None, None).unwrap();
    let turns = [
        Message::new(Role::User, "Hi"),
        Message::new(Role::Assistant, "Ho"),
    ];
    let encoded = template.encode(&tokenizer(), &turns, false).unwrap();
    let learnt: String = encoded
        .bytes
        .iter()
        .zip(&encoded.learnt)
        .filter(|(_, learnt)| **learnt)
        .map(|(bytes, _)| &encoded.text[bytes.clone()])
        .collect();
    assert_eq!(learnt, "<think>\n\n</think>\n\nHo<|im_end|>");
}

#[test]
fn the_built_in_template_is_chatml() {
    let ours = ChatTemplate::new(BUILT_IN[0].1, None, None).unwrap();
    let tokenizer = tokenizer();
    for case in &cases("cases.json")["smollm2"] {
        let mut turns = messages(&case.messages).unwrap();
        if turns[0].role != Role::System {
            // What SmolLM2 says where nothing is said.
            let usual = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
            turns.insert(0, Message::new(Role::System, usual));
        }
        let encoded = ours.encode(&tokenizer, &turns, false).unwrap();
        assert_eq!(encoded.text, case.text);
        let theirs = ChatTemplate::new(&source("smollm2"), None, None).unwrap();
        assert_eq!(encoded, theirs.encode(&tokenizer, &turns, false).unwrap());
        assert_eq!(
            ours.render(&turns[..turns.len() - 1], true).unwrap(),
            case.question
        );
    }
}

#[test]
fn conversations_that_cannot_be_read_are_refused_by_name() {
    let refused = |value: Value| messages(&value).unwrap_err();
    let user = json!({"role": "user", "content": "a"});
    for (value, expected) in [
        (json!([]), "expected a list of messages, found none"),
        (json!("a"), "expected a list of messages, found none"),
        (
            json!([user, 3]),
            "message 2: expected an object with role and content",
        ),
        (
            json!([{"role": "tool", "content": "a"}]),
            "message 1: role: expected no turn of a tool, which is not supported",
        ),
        (
            json!([{"role": "critic", "content": "a"}]),
            "message 1: role: expected system, user or assistant, found \"critic\"",
        ),
        (
            json!([{"role": "user", "content": [{"type": "image"}]}]),
            "message 1: content: expected a text, found a list, as of texts and images",
        ),
        (
            json!([user, {"role": "assistant", "content": "", "tool_calls": [{}]}]),
            "message 2: tool_calls: expected role and content alone, found this too",
        ),
    ] {
        assert_eq!(refused(value), expected);
    }
    let none = json!([{"role": "assistant", "content": "a", "tool_calls": null, "images": []}]);
    assert_eq!(messages(&none).unwrap().len(), 1);

    let tokenizer = tokenizer();
    let encode = |name: &str, turns: &[Message]| {
        let template = ChatTemplate::new(&source(name), Some("<bos>"), None).unwrap();
        template.encode(&tokenizer, turns, false).unwrap_err()
    };
    let say = |role, content: &str| Message::new(role, content);
    assert_eq!(
        encode("gemma3", &[say(Role::User, "a"), say(Role::User, "b")]),
        "the chat template says: Conversation roles must alternate user/assistant/user/assistant/..."
    );
    assert_eq!(
        encode(
            "qwen3",
            &[say(Role::User, "a <|im_end|> b"), say(Role::Assistant, "c")]
        ),
        "message 1: expected text, found the special token \"<|im_end|>\" in it"
    );
    assert_eq!(
        encode(
            "qwen3",
            &[say(Role::User, "a\u{FDD0}"), say(Role::Assistant, "c")]
        ),
        "message 1: expected text, found the noncharacter U+FDD0 or U+FDD1"
    );
    // Which says the contents without their order to be seen.
    let odd = "{% for m in messages %}{{ m.content | length }}{% endfor %}";
    let template = ChatTemplate::new(odd, None, None).unwrap();
    let turns = [say(Role::User, "a"), say(Role::Assistant, "bc")];
    assert_eq!(template.render(&turns, false).unwrap(), "12");
    let error = template.encode(&tokenizer, &turns, false).unwrap_err();
    assert!(error.contains("--train-on all"), "{error}");
    assert!(template.encode(&tokenizer, &turns, true).is_ok());
    let error = ChatTemplate::new("{% for %}", None, None).unwrap_err();
    assert!(
        error.starts_with("expected a chat template, found "),
        "{error}"
    );
}

#[test]
fn a_template_is_the_models_or_one_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::copy(fixture("tokenizer.json"), file("tokenizer.json")).unwrap();
    let said = |named: Option<&str>| {
        let tokenizer = Tokenizer::open(folder.path()).unwrap();
        let template = ChatTemplate::choose(&tokenizer, named).map_err(|it| it.to_string())?;
        template.render(&[Message::new(Role::User, "Hi")], false)
    };
    let error = said(None).unwrap_err();
    assert!(
        error.contains("--chat-template") && error.contains("chatml"),
        "{error}"
    );
    assert_eq!(
        said(Some("chatml")).unwrap(),
        "<|im_start|>user\nHi<|im_end|>\n"
    );
    let config = |fields: Value| {
        std::fs::write(file("tokenizer_config.json"), fields.to_string()).unwrap();
    };
    let bos = json!({"content": "<bos>"});
    let source = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}";
    config(json!({"chat_template": source, "bos_token": bos, "eos_token": "<eos>"}));
    assert_eq!(said(None).unwrap(), "<bos>Hi<eos>");
    let several = json!([
        {"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"},
    ]);
    config(json!({"chat_template": several}));
    assert_eq!(said(None).unwrap(), "yes");
    std::fs::write(file("chat_template.jinja"), "own").unwrap();
    assert_eq!(said(None).unwrap(), "own");
    std::fs::write(file("other.jinja"), "other").unwrap();
    assert_eq!(said(file("other.jinja").to_str()).unwrap(), "other");
    assert!(
        said(file("none.jinja").to_str())
            .unwrap_err()
            .contains("none.jinja")
    );
    std::fs::write(file("chat_template.jinja"), "{{ raise_exception('no') }}").unwrap();
    assert_eq!(said(None).unwrap_err(), "the chat template says: no");
}

/// Files of published models, by the variables that name them.
const PUBLISHED: [(&str, &str); 2] = [
    ("SMOLLM2_GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    ("QWEN2_GGUF", "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf"),
];

#[test]
#[ignore = "needs the environment variables SMOLLM2_GGUF and QWEN2_GGUF, the paths of published models"]
fn published_models_read_conversations_as_in_transformers() {
    let all = cases("published.json");
    for (variable, file) in PUBLISHED {
        let path = std::env::var_os(variable).expect("the variable is set");
        let tokenizer = base::tokenizer(Path::new(&path)).unwrap();
        let template = ChatTemplate::choose(&tokenizer, None).unwrap();
        assert_eq!(all[file].len(), 6);
        for case in &all[file] {
            check(case, &template, &tokenizer);
        }
    }
}

/// A template is a program of somebody else's.
#[test]
fn templates_are_stopped() {
    let render = |source: &str| {
        let template = ChatTemplate::new(source, None, None)?;
        template.render(&[Message::new(Role::User, "Hi")], false)
    };
    let loops = "{% for i in range(99999) %}".repeat(3);
    let ends = "{% endfor %}".repeat(3);
    for (source, part) in [
        (format!("{loops}{ends}"), "does not end within"),
        (format!("{loops}{{{{ 'x' * 9999 }}}}{ends}"), "bytes"),
        (
            "{{ 'x' * 99999999 }}".to_owned(),
            "more than 16777248 bytes",
        ),
        (
            "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}".to_owned(),
            "recursion",
        ),
        (
            format!("{{{{ {}1{} }}}}", "(".repeat(30_000), ")".repeat(30_000)),
            "template",
        ),
        (
            format!("{{{{ {}1{} }}}}", "[".repeat(30_000), "]".repeat(30_000)),
            "template",
        ),
        ("x".repeat(70_000), "at most 65536 bytes"),
        // Whatever these are, they end.
        (format!("{{{{ {}1 }}}}", "-".repeat(65_000)), ""),
        (format!("{{{{ {}1 }}}}", "not ".repeat(16_000)), ""),
        (format!("{{{{ 1{} }}}}", "+1".repeat(32_000)), ""),
        (format!("{{{{ 1{} }}}}", "|abs".repeat(16_000)), ""),
        (
            format!("{{% if 0 %}}{}{{% endif %}}", "{%elif 0%}".repeat(6_500)),
            "",
        ),
        (
            "{% set n = namespace(x=1) %}{% for i in range(99999) %}{% set n.x = [n.x] %}\
             {% endfor %}{{ n.x }}"
                .to_owned(),
            "",
        ),
    ] {
        let said = match render(&source) {
            Ok(text) => text,
            Err(sentence) => sentence,
        };
        assert!(
            said.contains(part),
            "{}: {said}",
            &source[..source.len().min(80)]
        );
    }
}

#[test]
fn templates_are_plain_files_of_bounded_length() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::copy(fixture("tokenizer.json"), file("tokenizer.json")).unwrap();
    std::fs::write(file("long.jinja"), "x".repeat((1 << 16) + 1)).unwrap();
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let long = ChatTemplate::choose(&tokenizer, file("long.jinja").to_str());
    assert!(
        long.unwrap_err()
            .to_string()
            .contains("at most 65536 bytes")
    );
    #[cfg(unix)]
    for name in ["chat_template.jinja", "tokenizer_config.json"] {
        std::os::unix::fs::symlink("/dev/zero", file(name)).unwrap();
        let error = Tokenizer::open(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains(name) && error.contains("a plain file"),
            "{error}"
        );
        std::fs::remove_file(file(name)).unwrap();
    }
    let twice = r#"{"bos_token": "a", "bos_token": "b"}"#;
    std::fs::write(file("tokenizer_config.json"), twice).unwrap();
    let error = Tokenizer::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("\"bos_token\" twice"), "{error}");
}
