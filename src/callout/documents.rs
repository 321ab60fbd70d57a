//! The documents of `type: http` and its code are held together.
//!
//! `docs/callout.schema.json` is what the types say (`BLESS=1` writes it); every question and answer that
//! `docs/callout.md` shows behind `<!-- question STAGE -->` and `<!-- answer STAGE -->` is one by the schema, and the
//! answers are ones by the decoder, at that stage.

use std::fs;
use std::path::Path;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::answer::{Grants, Said, decode};
use super::question::Asked;
use crate::session::route::PoolId;
use crate::session::verdict::Stage;

const DOCUMENT: &str = include_str!("../../docs/callout.md");

/// The schema of either: what gatepost writes has every member, what it reads may leave out any.
fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12();
    let mut written = settings.clone().for_serialize().into_generator();
    written.subschema_for::<Asked<'_>>();
    let mut read = settings.for_deserialize().into_generator();
    read.subschema_for::<Said>();
    let definitions = |mut generator: SchemaGenerator| generator.take_definitions(true);
    let mut all: Map<String, Value> = definitions(written);
    for (name, schema) in definitions(read) {
        let other = all.insert(name.clone(), schema.clone());
        assert!(other.is_none_or(|other| other == schema), "{name} is one thing in both directions");
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gatepost callout, type http: a question (POST) and its answer",
        "oneOf": [{ "$ref": "#/$defs/Question" }, { "$ref": "#/$defs/Answer" }],
        "$defs": all
    })
}

fn validator(name: &str) -> jsonschema::Validator {
    let mut schema = schema();
    schema["oneOf"] = json!([{ "$ref": format!("#/$defs/{name}") }]);
    jsonschema::validator_for(&schema).unwrap()
}

/// The JSON behind each `<!-- what STAGE -->`.
fn shown(what: &str) -> Vec<(Stage, Value)> {
    let mut found = Vec::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        let marker =
            line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")).unwrap_or_default();
        let Some(stage) = marker.strip_prefix(what).and_then(|rest| rest.strip_prefix(' ')) else { continue };
        let stage = Stage::ALL.into_iter().find(|known| known.as_str() == stage).expect("a stage");
        assert_eq!(lines.next(), Some("```json"), "JSON follows {line}");
        let block: String = lines.by_ref().take_while(|line| *line != "```").collect();
        found.push((stage, serde_json::from_str(&block).unwrap_or_else(|error| panic!("{line}: {error}"))));
    }
    found
}

/// The stages at which services are asked.
pub(super) fn stages() -> Vec<&'static str> {
    Stage::ALL.into_iter().map(Stage::as_str).collect()
}

#[test]
fn the_schema_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/callout.schema.json");
    let schema = format!("{:#}\n", schema());
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap_or_default(), schema, "BLESS=1 writes it");
}

#[test]
fn questions_and_answers_are_shown_for_every_stage() {
    let (question, answer) = (validator("Question"), validator("Answer"));
    let (questions, answers) = (shown("question"), shown("answer"));
    for stage in stages() {
        let stage = Stage::ALL.into_iter().find(|known| known.as_str() == stage).expect("a stage");
        assert!(questions.iter().any(|(of, _)| *of == stage), "a question at {}", stage.as_str());
        assert!(answers.iter().any(|(of, _)| *of == stage), "an answer at {}", stage.as_str());
    }
    for (stage, shown) in questions {
        assert_eq!(shown["stage"], stage.as_str());
        if let Err(error) = question.validate(&shown) {
            panic!("{}: {error}: {shown}", stage.as_str());
        }
    }
    let pools = [("main".into(), PoolId(0)), ("legacy".into(), PoolId(1))];
    let grants = Grants { pools: pools.into(), attempts: 4, line: 2048, discard: true };
    for (stage, shown) in answers {
        if let Err(error) = answer.validate(&shown) {
            panic!("{}: {error}: {shown}", stage.as_str());
        }
        if let Err(fault) = decode(shown.to_string().as_bytes(), stage, &grants) {
            panic!("{}: {fault}: {shown}", stage.as_str());
        }
    }
}

#[test]
fn the_schema_refuses_what_the_decoder_calls_malformed() {
    let answer = validator("Answer");
    let grants = Grants { line: 2048, ..Grants::default() };
    for json in [
        "[]",
        "null",
        r#"{"repli":"550 a"}"#,
        r#"{"reply":550}"#,
        r#"{"accept":false}"#,
        r#"{"disconnect":false}"#,
        r#"{"retry":{}}"#,
        r#"{"retry":[{"upstrem":"main"}]}"#,
        r#"{"route":{}}"#,
        r#"{"route":["legacy"]}"#,
        r#"{"rewrite":{"recipient":1}}"#,
        r#"{"rewrite":{"recipient":{"base64":"YQ==","x":1}}}"#,
        r#"{"rewrite":{"parameters":{"SIZE":1}}}"#,
        r#"{"rewrite":{"parameters":["SIZE"]}}"#,
    ] {
        let value: Value = serde_json::from_str(json).unwrap();
        assert!(!answer.is_valid(&value), "{json}");
        let fault = decode(json.as_bytes(), Stage::Rcpt, &grants).unwrap_err().to_string();
        assert!(fault.starts_with("malformed: "), "{json}: {fault}");
    }
}
