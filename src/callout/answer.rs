//! A verdict as JSON: what a service may answer, read with suspicion.
//!
//! **In**: the octets of an answer, the stage they answer, what the configuration grants.
//! **Out**: a [`CalloutAnswer`] in the two verdict types that rules give; or a [`Fault`] that says what is wrong and
//! where (`retry[1].upstream: no upstream is called "legcy"`).
//! **Never**: mends what is wrong, or takes a part of an answer: a nonsensical answer is a failed callout. Never puts
//! a value of the answer in a fault, save names of keys and pools.
//!
//! The members are a rule's `do`, with a rule's meaning; `docs/callout.md` has them, `docs/callout.schema.json` is made
//! from these types. What depends on the hop's reply (a 4xx never becomes a 2xx) is the session's to check.

mod meaning;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::octets::Given;
use crate::session::callout::{CalloutAnswer, Fault, FaultKind};
use crate::session::route::PoolId;
use crate::session::verdict::Stage;
use meaning::Wrong;

/// What the configuration lets a callout say.
#[derive(Debug, Default)]
pub struct Grants {
    /// The pools by name.
    pub pools: BTreeMap<Box<str>, PoolId>,
    /// Rungs of a ladder: `limits.attempts`.
    pub attempts: usize,
    /// Octets of an address, name or all parameters: `limits.command_line`.
    pub line: usize,
    /// `effects: [discard]`.
    pub discard: bool,
}

/// Most characters of a fault: keys of an answer may be long.
const LONGEST_FAULT: usize = 200;

/// Reads an answer.
pub fn decode(octets: &[u8], stage: Stage, grants: &Grants) -> Result<CalloutAnswer, Fault> {
    let said = parse(octets)?;
    said.at(stage, grants)
        .map_err(|Wrong(key, what)| Fault::new(FaultKind::NotAllowed, format!("{key}: {what}")))
}

/// Parses the form; whether the stage allows it is asked later.
fn parse(octets: &[u8]) -> Result<Said, Fault> {
    let malformed = |what: String| Err(Fault::new(FaultKind::Malformed, what));
    let mut json = serde_json::Deserializer::from_slice(octets);
    let said = match serde_path_to_error::deserialize::<_, Object<Said>>(&mut json) {
        Ok(Object(said)) => said,
        Err(error) => {
            let path = error.path().to_string();
            let what = without_values(&error.into_inner().to_string());
            // Where it cannot say where, it has a mark for it.
            return malformed(if matches!(&*path, "." | "?") {
                what
            } else {
                bounded(&format!("{path}: {what}"))
            });
        }
    };
    match json.end() {
        Ok(()) => Ok(said),
        Err(error) => malformed(without_values(&error.to_string())),
    }
}

/// What a service said.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Answer"))]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    /// At helo, mail and rcpt: new values.
    rewrite: Option<Object<Rewrite>>,
    /// At the stages of commands: answer in the hop's place.
    reply: Option<Lines>,
    /// Up to rcpt: to another pool.
    route: Option<Object<Route>>,
    /// At the stages of replies: the client hears this instead.
    substitute: Option<Lines>,
    /// At rcpt-reply: try the recipient again.
    retry: Option<Vec<Object<Attempt>>>,
    /// Ask no further.
    accept: Option<True>,
    /// Close the client, with this reply or gatepost's own 421.
    disconnect: Option<Close>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Rewrite {
    /// At mail: the new sender, without brackets; "<>" is the null path.
    sender: Option<Given>,
    /// At rcpt: the new recipient, without brackets.
    recipient: Option<Given>,
    /// At helo: the new name.
    helo: Option<Given>,
    /// At mail and rcpt: all parameters, in place of those there are.
    parameters: Option<Pairs>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Route {
    /// A pool of the configuration's upstreams.
    upstream: String,
}

/// One attempt; at least one of them, and not both upstream and mx.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Attempt {
    /// Another recipient, without brackets.
    recipient: Option<Given>,
    /// Another pool.
    upstream: Option<String>,
    /// The mail hosts of this domain, "legacy.example" or "legacy.example:2525".
    mx: Option<String>,
}

/// Keys and values: serde would take a list of the values as well, which is no answer.
#[derive(Debug)]
struct Object<T>(T);

/// Values by keyword, "" for those without, in the order given.
#[derive(Debug)]
struct Pairs(Vec<(String, Given)>);

/// A reply: one line, or several.
#[derive(Debug)]
struct Lines(Vec<String>);

/// `true`, and nothing else.
#[derive(Debug)]
struct True;

/// `true`, or a reply.
#[derive(Debug)]
struct Close(Option<Lines>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Keys<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Keys<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        from.deserialize_any(Keys(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("parameters, such as {\"SIZE\": \"1000\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_any(Each)
    }
}

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Lines;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a reply, such as \"550 5.7.1 Not here\", or a list of its lines")
            }

            fn visit_str<E: Error>(self, line: &str) -> Result<Lines, E> {
                Ok(Lines(vec![line.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Lines, A::Error> {
                let mut lines = Vec::new();
                while let Some(line) = list.next_element()? {
                    lines.push(line);
                }
                Ok(Lines(lines))
            }
        }
        from.deserialize_any(OneOrMore)
    }
}

impl<'de> Deserialize<'de> for True {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if bool::deserialize(from)? {
            Ok(True)
        } else {
            Err(Error::custom("expected true; leave it out instead"))
        }
    }
}

impl<'de> Deserialize<'de> for Close {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TrueOrReply;
        impl<'de> Visitor<'de> for TrueOrReply {
            type Value = Close;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, or a reply")
            }

            fn visit_bool<E: Error>(self, flag: bool) -> Result<Close, E> {
                if flag { Ok(Close(None)) } else { Err(E::custom("expected true; leave it out instead")) }
            }

            fn visit_str<E: Error>(self, line: &str) -> Result<Close, E> {
                Ok(Close(Some(Lines(vec![line.to_owned()]))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Close, A::Error> {
                let lines = SeqAccessDeserializer::new(list);
                Lines::deserialize(lines).map(|lines| Close(Some(lines)))
            }
        }
        from.deserialize_any(TrueOrReply)
    }
}

/// A parser's complaint without what stands between double quotes, which is a value of the answer.
fn without_values(complaint: &str) -> String {
    match (complaint.find('"'), complaint.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            bounded(&format!("{}\"…\"{}", &complaint[..first], &complaint[last + 1..]))
        }
        _ => bounded(complaint),
    }
}

/// Not too long, and without control characters.
fn bounded(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '?' } else { c };
    let mut bounded: String = text.chars().take(LONGEST_FAULT).map(plain).collect();
    if text.chars().nth(LONGEST_FAULT).is_some() {
        bounded.push('…');
    }
    bounded
}

#[cfg(test)]
mod schema {
    use std::borrow::Cow;
    use std::collections::BTreeMap;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::{Close, Given, Lines, Object, Pairs, True};

    impl<T: JsonSchema> JsonSchema for Object<T> {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            T::schema_name()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            generator.subschema_for::<T>()
        }
    }

    impl JsonSchema for Pairs {
        fn schema_name() -> Cow<'static, str> {
            "Parameters".into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            BTreeMap::<String, Given>::json_schema(generator)
        }
    }

    impl JsonSchema for Lines {
        fn schema_name() -> Cow<'static, str> {
            "Reply".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            let line = json_schema!({
                "description": "One line of a reply as the client hears it, such as \"550 5.7.1 Not here\".",
                "type": "string",
                "pattern": "^[2-5][0-5][0-9]([ -][\\t -~]*)?$",
                "maxLength": 510
            });
            json_schema!({
                "oneOf": [line, { "type": "array", "items": line, "minItems": 1, "maxItems": 100 }]
            })
        }
    }

    impl JsonSchema for True {
        fn schema_name() -> Cow<'static, str> {
            "True".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "const": true })
        }
    }

    impl JsonSchema for Close {
        fn schema_name() -> Cow<'static, str> {
            "Close".into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            json_schema!({ "oneOf": [{ "const": true }, generator.subschema_for::<Lines>()] })
        }
    }
}
