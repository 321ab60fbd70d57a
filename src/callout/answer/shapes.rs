//! The shapes that members of an answer have.
//!
//! **In**: JSON. **Out**: objects, one or a list, a reply's lines, `true`; each with what was expected where it is something else.
//! **Never**: takes one shape for another: serde would read a list of its values as an object.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use crate::callout::octets::Given;

/// Keys and values: serde would take a list of the values as well, which is no answer.
#[derive(Debug)]
pub(in crate::callout) struct Object<T>(pub(in crate::callout) T);

/// Values by keyword, "" for those without, in the order given.
#[derive(Debug)]
pub(in crate::callout) struct Pairs(pub(in crate::callout) Vec<(String, Given)>);

/// One, or a list of them.
#[derive(Debug)]
pub(super) struct OneOrMore<T>(pub(super) Vec<T>);

/// A reply: one line, or several.
#[derive(Debug)]
pub(in crate::callout) struct Lines(pub(in crate::callout) Vec<String>);

/// `true`, and nothing else.
#[derive(Debug)]
pub(in crate::callout) struct True;

/// `true`, or a reply.
#[derive(Debug)]
pub(in crate::callout) struct Close(pub(in crate::callout) Option<Lines>);

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

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = OneOrMore<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, or a list")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMore<T>, E> {
                T::deserialize(text.into_deserializer()).map(|one| OneOrMore(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<OneOrMore<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMore)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMore<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMore(vec![one]))
            }
        }
        from.deserialize_any(Entries(PhantomData))
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

#[cfg(test)]
mod schema {
    use std::borrow::Cow;
    use std::collections::BTreeMap;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::{Close, Given, Lines, Object, OneOrMore, Pairs, True};

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

    impl<T: JsonSchema> JsonSchema for OneOrMore<T> {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            "OneOrMore".into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            let one = generator.subschema_for::<T>();
            json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
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
