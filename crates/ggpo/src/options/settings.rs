//! The settings of a run, as the schemas of its structures have them.

use std::sync::OnceLock;

use ggpo_train::run::{Corpora, DEFAULT_EPOCHS, Description, RunConfig};
use schemars::schema_for;
use serde_json::{Map, Value as Json};
use toml::Value;

use super::names;

/// A setting that is no table of settings itself.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Where it stands in a run's description, for example `method.lora.rank`.
    pub(crate) path: String,
    /// The name of its option.
    pub(crate) option: String,
    /// What it says.
    pub(crate) form: Form,
    /// What it is; more than one entry where it belongs to several kinds of a part.
    pub(crate) meanings: Vec<Meaning>,
}

/// What a setting is.
#[derive(Debug)]
pub(crate) struct Meaning {
    /// The kind of the part that has the setting; none if all have.
    pub(crate) kind: Option<String>,
    /// The documentation of the field.
    pub(crate) about: String,
    /// The value where nothing is said.
    pub(crate) default: Option<Value>,
}

/// What a setting says.
#[derive(Debug, PartialEq)]
pub(crate) enum Form {
    /// Yes or no.
    Switch,
    /// A whole number between two bounds.
    Whole(i64, i64),
    /// Any number.
    Number,
    /// Any text.
    Text,
    /// One of several words.
    Choice(Vec<Choice>),
    /// Texts.
    List,
    /// Texts, or one text.
    ListOrText,
    /// A whole number or something else.
    WholeOr(Box<Form>),
    /// A table of one field.
    Field(String, Box<Form>),
}

/// A word that can be chosen.
#[derive(Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) name: String,
    pub(crate) about: String,
}

impl Setting {
    /// Whether one of the kinds of its part has it; all do if it is of no kind.
    pub(crate) fn is_of(&self, kind: &str) -> bool {
        let mut kinds = self.meanings.iter().map(|meaning| &meaning.kind);
        kinds.any(|of| of.as_deref().is_none_or(|of| of == kind))
    }

    /// The kinds of its part that have it; empty if it is of no kind.
    pub(crate) fn kinds(&self) -> Vec<&str> {
        let kinds = self.meanings.iter().map(|meaning| meaning.kind.as_deref());
        kinds.flatten().collect()
    }

    /// The path of the part that it belongs to.
    pub(crate) fn part(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(part, _)| part)
    }
}

/// All settings of a run that have an option, in the order of the help.
pub(crate) fn settings() -> &'static [Setting] {
    static SETTINGS: OnceLock<Vec<Setting>> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let schema = schema_for!(RunConfig).to_value();
        let none = Map::new();
        let mut walk = Walk {
            definitions: schema
                .get("$defs")
                .and_then(Json::as_object)
                .unwrap_or(&none),
            defaults: defaults(),
            settings: vec![epochs()],
        };
        walk.table("", &schema, None);
        let mut settings = walk.settings;
        settings.sort_by_cached_key(|setting| (names::rank(&setting.path), setting.path.clone()));
        settings
    })
}

/// The settings of which a path in `paths` speaks, in that order.
pub(crate) fn settings_of(paths: &[&str]) -> Vec<&'static Setting> {
    let all = settings().iter();
    all.filter(|setting| paths.contains(&setting.path.as_str()))
        .collect()
}

/// A setting of a description that a run, for which it is worked out, has not.
fn epochs() -> Setting {
    Setting {
        path: "epochs".to_owned(),
        option: "epochs".to_owned(),
        form: Form::Whole(0, u32::MAX.into()),
        meanings: vec![Meaning {
            kind: None,
            about: "Passes over the training rows.".to_owned(),
            default: Some(i64::from(DEFAULT_EPOCHS).into()),
        }],
    }
}

/// Settings without a default of their own: paths, and numbers of steps.
const WITHOUT: [(&str, bool); 5] = [
    ("model", true),
    ("task.train", true),
    ("training.steps", false),
    ("evaluate_every", false),
    ("checkpoint_every", false),
];

/// The defaults of a run.
fn defaults() -> Description {
    let mut description = Description::default();
    for (path, is_path) in WITHOUT {
        let value = if is_path { "a".into() } else { Value::from(1) };
        description.set(path, value).expect("a table");
    }
    let complete = description.complete(&Corpora::default());
    let mut defaults = Description::of(&complete.expect("a complete description"));
    for (path, _) in WITHOUT {
        defaults.remove(path);
    }
    defaults
}

/// The name of the field that names a kind.
const KIND: &str = "kind";

struct Walk<'a> {
    definitions: &'a Map<String, Json>,
    defaults: Description,
    settings: Vec<Setting>,
}

impl<'a> Walk<'a> {
    /// All settings of a table, or of one kind of it.
    fn table(&mut self, path: &str, schema: &'a Json, kind: Option<&str>) {
        for (name, property) in properties(schema).into_iter().flatten() {
            let path = match path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            let names_the_kind = kind.is_some() && name == KIND;
            if !names_the_kind && !names::NO_OPTIONS.contains(&path.as_str()) {
                self.setting(path, property, kind);
            }
        }
    }

    fn setting(&mut self, path: String, property: &'a Json, kind: Option<&str>) {
        let (schema, optional) = self.resolved(property);
        if properties(schema).is_some() {
            return self.table(&path, schema, kind);
        }
        let mut default = self.default(&path, property, kind);
        let about = description(property).or_else(|| description(schema));
        let form = match tagged(schema) {
            None => self.form(schema),
            Some(kinds) => {
                for (kind, schema) in &kinds {
                    self.table(&path, schema, Some(kind));
                }
                let choice = |(kind, schema): &(&str, &Json)| choice(kind, schema);
                let mut choices: Vec<Choice> = kinds.iter().map(choice).collect();
                if optional {
                    default.get_or_insert_with(|| "none".into());
                    choices.push(Choice {
                        name: "none".to_owned(),
                        about: String::new(),
                    });
                }
                Form::Choice(choices)
            }
        };
        let meaning = Meaning {
            kind: kind.map(str::to_owned),
            about: about.unwrap_or_default(),
            default,
        };
        match self.settings.iter_mut().find(|known| known.path == path) {
            Some(known) => {
                assert_eq!(known.form, form, "{path} is of one form for all kinds");
                known.meanings.push(meaning);
            }
            None => self.settings.push(Setting {
                option: names::option(&path),
                path,
                form,
                meanings: vec![meaning],
            }),
        }
    }

    /// The default of a setting; of one that chooses a kind, the kind.
    fn default(&self, path: &str, property: &Json, kind: Option<&str>) -> Option<Value> {
        let said = match kind {
            None => self.defaults.get(path).cloned(),
            Some(_) => None,
        };
        let written = || {
            let default = property.get("default").filter(|json| !json.is_null())?;
            Some(Value::try_from(default).expect("a default has a TOML form"))
        };
        match said.or_else(written)? {
            Value::Table(table) => table.get(KIND).cloned(),
            value => Some(value),
        }
    }

    /// The schema behind references, and whether nothing may stand for it.
    fn resolved(&self, schema: &'a Json) -> (&'a Json, bool) {
        if let Some(name) = schema.get("$ref").and_then(Json::as_str) {
            let name = name.rsplit('/').next().unwrap_or_default();
            return self.resolved(&self.definitions[name]);
        }
        if let Some(either) = schema.get("anyOf").and_then(Json::as_array) {
            let nothing = |schema: &&Json| schema.get("type").is_some_and(|name| name == "null");
            if let [some, none] = either.as_slice()
                && nothing(&none)
            {
                return (self.resolved(some).0, true);
            }
        }
        (schema, types(schema).contains(&"null"))
    }

    fn form(&self, schema: &'a Json) -> Form {
        let list = |name: &str| schema.get(name).and_then(Json::as_array);
        if let Some(words) = list("enum") {
            let words = words.iter().filter_map(Json::as_str);
            return Form::Choice(words.map(|word| choice(word, &Json::Null)).collect());
        }
        if let Some(one) = list("oneOf") {
            return self.one_of(one);
        }
        if let Some(any) = list("anyOf") {
            let forms = any.iter().map(|schema| self.form(self.resolved(schema).0));
            let forms: Vec<Form> = forms.collect();
            return either(forms);
        }
        match types(schema).first() {
            Some(&"boolean") => Form::Switch,
            Some(&"integer") => whole(schema),
            Some(&"number") => Form::Number,
            Some(&"string") => Form::Text,
            Some(&"array") => Form::List,
            _ => panic!("options know no form of {schema}"),
        }
    }

    /// Words, or one table of one field.
    fn one_of(&self, one: &'a [Json]) -> Form {
        let mut choices = Vec::new();
        for schema in one {
            if let Some(fields) = properties(schema) {
                let (name, field) = fields.iter().next().expect("a field");
                let form = self.form(self.resolved(field).0);
                return Form::Field(name.clone(), Box::new(form));
            }
            let word = schema.get("const").and_then(Json::as_str);
            match (word, schema.get("enum").and_then(Json::as_array)) {
                (Some(word), _) => choices.push(choice(word, schema)),
                (None, Some(words)) => {
                    let words = words.iter().filter_map(Json::as_str);
                    choices.extend(words.map(|word| choice(word, &Json::Null)));
                }
                (None, None) => panic!("options know no form of {schema}"),
            }
        }
        Form::Choice(choices)
    }
}

fn either(forms: Vec<Form>) -> Form {
    let mut forms = forms.into_iter();
    match (forms.next(), forms.next(), forms.next()) {
        (Some(Form::Whole(..)), Some(other), None) => Form::WholeOr(Box::new(other)),
        (Some(Form::List), Some(Form::Text), None) => Form::ListOrText,
        forms => panic!("options know no form of either of {forms:?}"),
    }
}

fn whole(schema: &Json) -> Form {
    let format = schema.get("format").and_then(Json::as_str);
    match format.unwrap_or_default() {
        "uint32" => Form::Whole(0, u32::MAX.into()),
        format if format.starts_with('u') => Form::Whole(0, i64::MAX),
        _ => Form::Whole(i64::MIN, i64::MAX),
    }
}

fn choice(name: &str, schema: &Json) -> Choice {
    Choice {
        name: name.to_owned(),
        about: description(schema).unwrap_or_default(),
    }
}

fn properties(schema: &Json) -> Option<&Map<String, Json>> {
    schema.get("properties")?.as_object()
}

/// The kinds of a part, if the schema is that of one.
fn tagged(schema: &Json) -> Option<Vec<(&str, &Json)>> {
    let one = schema.get("oneOf")?.as_array()?;
    let kind = |schema: &'_ Json| schema.get("properties")?.get(KIND)?.get("const").cloned();
    if one.iter().any(|schema| kind(schema).is_none()) {
        return None;
    }
    let named = one.iter().map(|schema| {
        let kind = &schema["properties"][KIND]["const"];
        (kind.as_str().expect("the name of a kind"), schema)
    });
    Some(named.collect())
}

fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(name)) => vec![name],
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The documentation of a schema, each paragraph on one line.
fn description(schema: &Json) -> Option<String> {
    let text = schema.get("description")?.as_str()?.replace('`', "");
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        words.join(" ")
    });
    Some(paragraphs.collect::<Vec<_>>().join("\n\n"))
}
