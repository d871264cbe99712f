//! `config.json` of a model folder, read strictly: what this project would
//! calculate differently is refused by name.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{BertConfig, Body, Head, LlamaConfig, Model};
use crate::{Error, Result};

/// Reads `config.json`.
pub(super) fn read(path: &Path) -> Result<Body> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| Error::file(path, format!("expected JSON, found {error}")))?;
    let Value::Object(fields) = value else {
        return Err(Error::file(path, "expected a JSON object"));
    };
    let fields = Fields { path, fields };
    match fields.text("model_type")? {
        "bert" => fields.bert().map(Body::Bert),
        "llama" => fields.llama().map(Body::Llama),
        other => {
            let problem = format!("model_type: expected \"bert\" or \"llama\", found \"{other}\"");
            Err(Error::file(path, problem))
        }
    }
}

struct Fields<'p> {
    path: &'p Path,
    fields: Map<String, Value>,
}

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, expected: &str) -> Error {
        let found = self
            .get(name)
            .map_or("nothing".to_owned(), Value::to_string);
        Error::file(
            self.path,
            format!("{name}: expected {expected}, found {found}"),
        )
    }

    fn text(&self, name: &str) -> Result<&str> {
        let value = self.get(name).and_then(Value::as_str);
        value.ok_or_else(|| self.wrong(name, "a string"))
    }

    /// A whole number of at least 1.
    fn count(&self, name: &str) -> Result<usize> {
        let count = self.get(name).and_then(Value::as_u64);
        let count = count.and_then(|count| usize::try_from(count).ok());
        count
            .filter(|count| *count > 0)
            .ok_or_else(|| self.wrong(name, "a whole number above 0"))
    }

    fn count_or(&self, name: &str, default: usize) -> Result<usize> {
        match self.get(name) {
            None => Ok(default),
            Some(_) => self.count(name),
        }
    }

    /// A number above 0.
    fn positive(&self, name: &str) -> Result<f64> {
        let number = self.get(name).and_then(Value::as_f64);
        number
            .filter(|number| *number > 0.0 && number.is_finite())
            .ok_or_else(|| self.wrong(name, "a number above 0"))
    }

    /// Refuses a field whose value is another than what is calculated.
    fn only(&self, name: &str, supported: &Value) -> Result<()> {
        match self.get(name) {
            Some(found) if found != supported => Err(self.wrong(name, &supported.to_string())),
            _ => Ok(()),
        }
    }

    fn divides(&self, part: &str, whole: &str) -> Result<()> {
        let (divisor, dividend) = (self.count(part)?, self.count(whole)?);
        if dividend.is_multiple_of(divisor) {
            return Ok(());
        }
        Err(self.wrong(part, &format!("a divisor of {whole}, which is {dividend}")))
    }

    fn bert(&self) -> Result<BertConfig> {
        self.only("hidden_act", &json!("gelu"))?;
        self.only("position_embedding_type", &json!("absolute"))?;
        self.only("is_decoder", &json!(false))?;
        self.only("add_cross_attention", &json!(false))?;
        self.divides("num_attention_heads", "hidden_size")?;
        Ok(BertConfig {
            vocab_size: self.count("vocab_size")?,
            hidden_size: self.count("hidden_size")?,
            num_hidden_layers: self.count("num_hidden_layers")?,
            num_attention_heads: self.count("num_attention_heads")?,
            intermediate_size: self.count("intermediate_size")?,
            max_position_embeddings: self.count("max_position_embeddings")?,
            type_vocab_size: self.count_or("type_vocab_size", 2)?,
            layer_norm_eps: self.positive("layer_norm_eps")?,
        })
    }

    fn llama(&self) -> Result<LlamaConfig> {
        self.only("hidden_act", &json!("silu"))?;
        self.only("attention_bias", &json!(false))?;
        self.only("mlp_bias", &json!(false))?;
        self.only("rope_scaling", &Value::Null)?;
        let heads = self.count("num_attention_heads")?;
        let head_dim = match self.get("head_dim") {
            Some(_) => self.count("head_dim")?,
            None => {
                self.divides("num_attention_heads", "hidden_size")?;
                self.count("hidden_size")? / heads
            }
        };
        if !head_dim.is_multiple_of(2) {
            return Err(self.wrong("head_dim", "an even number"));
        }
        let kv_heads = self.count_or("num_key_value_heads", heads)?;
        if !heads.is_multiple_of(kv_heads) {
            let expected = format!("a divisor of num_attention_heads, which is {heads}");
            return Err(self.wrong("num_key_value_heads", &expected));
        }
        Ok(LlamaConfig {
            vocab_size: self.count("vocab_size")?,
            hidden_size: self.count("hidden_size")?,
            num_hidden_layers: self.count("num_hidden_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            intermediate_size: self.count("intermediate_size")?,
            max_position_embeddings: self.count("max_position_embeddings")?,
            rms_norm_eps: self.positive("rms_norm_eps")?,
            rope_theta: self.rope_theta()?,
            tie_word_embeddings: self.get("tie_word_embeddings") == Some(&json!(true)),
        })
    }

    /// The base of the rotary frequencies, under its newer or its older name.
    fn rope_theta(&self) -> Result<f64> {
        let Some(rope) = self.get("rope_parameters") else {
            return match self.get("rope_theta") {
                None => Ok(10_000.0),
                Some(_) => self.positive("rope_theta"),
            };
        };
        let Value::Object(fields) = rope else {
            return Err(self.wrong("rope_parameters", "a JSON object"));
        };
        let inner = Fields {
            path: self.path,
            fields: fields.clone(),
        };
        inner.only("rope_type", &json!("default"))?;
        inner.positive("rope_theta")
    }
}

/// Writes the description in the form that published folders have.
pub(super) fn to_json(model: &Model) -> String {
    let mut value = match &model.body {
        Body::Bert(config) => bert_json(config, model.head),
        Body::Llama(config) => llama_json(config, model.head),
    };
    if let (Some(classes), Value::Object(fields)) = (model.head.outputs(), &mut value) {
        let labels = (0..classes).map(|class| (class.to_string(), json!(format!("LABEL_{class}"))));
        fields.insert("id2label".to_owned(), Value::Object(labels.collect()));
    }
    serde_json::to_string_pretty(&value).expect("JSON values can be written") + "\n"
}

fn bert_json(config: &BertConfig, head: Head) -> Value {
    let architecture = match head {
        Head::Classes(_) | Head::Value => "BertForSequenceClassification",
        Head::Tokens => "BertForMaskedLM",
    };
    json!({
        "architectures": [architecture],
        "model_type": "bert",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "type_vocab_size": config.type_vocab_size,
        "layer_norm_eps": config.layer_norm_eps,
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
    })
}

fn llama_json(config: &LlamaConfig, head: Head) -> Value {
    let architecture = match head {
        Head::Classes(_) | Head::Value => "LlamaForSequenceClassification",
        Head::Tokens => "LlamaForCausalLM",
    };
    json!({
        "architectures": [architecture],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tie_word_embeddings,
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "initializer_range": 0.02,
    })
}
