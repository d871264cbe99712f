//! What `config.json` says about the head: `architectures`, the labels, and
//! the kind of problem.

use serde_json::{Map, Value, json};

use super::{ConfigJson, FAMILIES, Fields, model_types};
use crate::Result;
use crate::model::families::HeadKind;
use crate::model::{Body, Head, Model};

impl ConfigJson {
    /// The head that `architectures`, `id2label` (or `num_labels`) and
    /// `problem_type` name. One label without a `problem_type` is a
    /// regression.
    ///
    /// # Errors
    /// If the architecture is another than those this project calculates, as
    /// one without a head is, or the labels contradict it.
    pub fn head(&self) -> Result<Head> {
        let fields = Fields::new(&self.path, &self.fields);
        let model_type = fields.text("model_type")?;
        let mut families = FAMILIES.iter();
        let Some((about, _)) = families.find(|(about, _)| about.model_type == model_type) else {
            return Err(fields.wrong("model_type", &model_types()));
        };
        let found = match fields.get("architectures").and_then(Value::as_array) {
            Some(list) if list.len() == 1 => list[0].as_str().unwrap_or_default(),
            _ => "",
        };
        let mut known = about.architectures.iter();
        match known.find(|(_, name)| *name == found) {
            Some((HeadKind::Tokens, _)) => Ok(Head::Tokens),
            Some((HeadKind::Sequence, _)) => self.sequence_head(),
            None => {
                let names: Vec<&str> = about.architectures.iter().map(|(_, it)| *it).collect();
                let expected = format!("one of {} for this model type", names.join(", "));
                Err(fields.wrong("architectures", &expected))
            }
        }
    }

    fn sequence_head(&self) -> Result<Head> {
        let fields = Fields::new(&self.path, &self.fields);
        let classes = self.labels()?.len();
        let problem = match fields.get("problem_type") {
            None => None,
            Some(_) => Some(fields.text("problem_type")?),
        };
        match (problem, classes) {
            (None | Some("regression"), 1) => Ok(Head::Value),
            (None | Some("single_label_classification"), 2..) => Ok(Head::Classes(classes)),
            _ => {
                let expected = format!(
                    "\"single_label_classification\" with two labels or more, or \"regression\" with one, as there are {classes}"
                );
                Err(fields.wrong("problem_type", &expected))
            }
        }
    }

    /// Names of the classes in their order, from `id2label`. Where that is
    /// absent they are `LABEL_0` and so on, as many as `num_labels` says or
    /// else two, which is what Transformers leaves out when it writes the file.
    ///
    /// # Errors
    /// If `id2label` does not give a name to every number from 0, or
    /// `num_labels` contradicts it.
    pub fn labels(&self) -> Result<Vec<String>> {
        let fields = Fields::new(&self.path, &self.fields);
        let Some(names) = fields.get("id2label") else {
            return Ok(numbered(match fields.get("num_labels") {
                None => 2,
                Some(_) => fields.count_up_to("num_labels", MOST_CLASSES)?,
            }));
        };
        let expected = "a name for every class, under the keys \"0\", \"1\" and so on";
        let names = names.as_object().filter(|names| !names.is_empty());
        let names = names.ok_or_else(|| fields.wrong("id2label", expected))?;
        let labels: Option<Vec<String>> = (0..names.len())
            .map(|class| Some(names.get(&class.to_string())?.as_str()?.to_owned()))
            .collect();
        let labels = labels.ok_or_else(|| fields.wrong("id2label", expected))?;
        if fields.count_or("num_labels", labels.len())? != labels.len() {
            let expected = format!("{}, as id2label says", labels.len());
            return Err(fields.wrong("num_labels", &expected));
        }
        Ok(labels)
    }
}

/// Most classes whose names are made up.
const MOST_CLASSES: usize = 1 << 16;

fn numbered(classes: usize) -> Vec<String> {
    (0..classes).map(|class| format!("LABEL_{class}")).collect()
}

/// Sets what the fields say about the head to that of `model`.
pub(super) fn describe(fields: &mut Map<String, Value>, model: &Model, labels: &[String]) {
    let architecture = model.body.architecture(model.head);
    let architecture = architecture.expect("a model has a head that its family knows");
    fields.insert("architectures".to_owned(), json!([architecture]));
    for name in ["id2label", "label2id", "num_labels", "problem_type"] {
        fields.remove(name);
    }
    let Some(outputs) = model.head.outputs() else {
        return;
    };
    let labels = match labels {
        [] => numbered(outputs),
        given => given.to_vec(),
    };
    assert_eq!(labels.len(), outputs, "one label per class");
    let by_number = labels.iter().enumerate();
    let id2label: Map<_, _> = by_number
        .clone()
        .map(|(class, label)| (class.to_string(), json!(label)))
        .collect();
    let label2id: Map<_, _> = by_number
        .map(|(class, label)| (label.clone(), json!(class)))
        .collect();
    let problem = match model.head {
        Head::Value => "regression",
        _ => "single_label_classification",
    };
    fields.insert("id2label".to_owned(), id2label.into());
    fields.insert("label2id".to_owned(), label2id.into());
    fields.insert("problem_type".to_owned(), json!(problem));
}

impl Body {
    /// What Transformers calls the body with this head, if there is such an
    /// architecture.
    fn architecture(&self, head: Head) -> Option<&'static str> {
        let mut known = self.about().architectures.iter();
        let found = known.find(|(kind, _)| *kind == HeadKind::of(head));
        found.map(|(_, name)| *name)
    }

    /// Whether the family can have this head.
    pub(crate) fn knows(&self, head: Head) -> bool {
        self.architecture(head).is_some()
    }
}
