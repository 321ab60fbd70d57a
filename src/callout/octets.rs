//! Octets in JSON, none lost.
//!
//! **In**: octets as they stand in a dialog; or JSON.
//! **Out**: text where they are UTF-8, else `{"base64": "…"}` (RFC 4648 section 4); and the same octets back.
//! **Never**: replaces an octet it cannot show. A service that does not expect `{"base64": …}` fails on it, which is a
//! failed callout, and not another address.
//!
//! Addresses and names are text in all but hostile dialogs: RFC 5321 has ASCII, RFC 6531 has UTF-8. JSON has no place
//! for other octets (RFC 8259 section 8.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The one key of octets that are no text.
const BASE64: &str = "base64";

/// Octets of a dialog, shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'a>(pub &'a [u8]);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(self.0) {
            return to.serialize_str(text);
        }
        let mut map = to.serialize_map(Some(1))?;
        map.serialize_entry(BASE64, &STANDARD.encode(self.0))?;
        map.end()
    }
}

/// Octets that a service gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given(pub Box<[u8]>);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("text or {\"base64\": …}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Given, E> {
        Ok(Given(text.as_bytes().into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        let Some(key) = map.next_key::<String>()? else { return Err(Error::missing_field(BASE64)) };
        if key != BASE64 {
            return Err(Error::unknown_field(&key, &[BASE64]));
        }
        let octets = STANDARD.decode(map.next_value::<String>()?);
        let octets = octets.map_err(|_| Error::custom("not base64 with padding"))?;
        if map.next_key::<serde::de::IgnoredAny>()?.is_some() {
            return Err(Error::custom("more keys than base64"));
        }
        Ok(Given(octets.into()))
    }
}

#[cfg(test)]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::{Given, Shown};

    /// One schema for both directions.
    fn octets() -> Schema {
        json_schema!({
            "description": "Text; octets that are no UTF-8 as base64, none lost.",
            "oneOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": { "base64": { "type": "string", "contentEncoding": "base64" } },
                    "required": ["base64"],
                    "additionalProperties": false
                }
            ]
        })
    }

    impl JsonSchema for Shown<'_> {
        fn schema_name() -> Cow<'static, str> {
            "Octets".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            octets()
        }
    }

    impl JsonSchema for Given {
        fn schema_name() -> Cow<'static, str> {
            "Octets".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            octets()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_octet_is_lost() {
        let all: Vec<u8> = (0..=255).collect();
        for octets in
            [&b""[..], b"a@b", "jürgen@müller.example".as_bytes(), b"j\xfcrgen@ex", b"\"a\\\"b\"@ex", &all]
        {
            let json = serde_json::to_string(&Shown(octets)).unwrap();
            assert_eq!(serde_json::from_str::<Given>(&json).unwrap().0[..], *octets, "{json}");
        }
        assert_eq!(serde_json::to_string(&Shown(b"\xff")).unwrap(), "{\"base64\":\"/w==\"}");
        assert_eq!(serde_json::to_string(&Shown(b"a\"\r\n")).unwrap(), "\"a\\\"\\r\\n\"");
    }

    #[test]
    fn what_is_no_octets() {
        for json in [
            "1",
            "null",
            "[]",
            "{}",
            r#"{"base65":"/w=="}"#,
            r#"{"base64":1}"#,
            r#"{"base64":"/w"}"#,
            r#"{"base64":"/w==","x":1}"#,
            r#"{"base64":"!"}"#,
            r#""\ud800""#,
        ] {
            assert!(serde_json::from_str::<Given>(json).is_err(), "{json}");
        }
    }
}
