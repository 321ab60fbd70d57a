//! Values of MTA Hooks, in the encodings in which they travel.
//!
//! **In**: a [`Value`]; or octets in JSON or CBOR. **Out**: the one from the other; members of a value; what of a question was
//! agreed upon.
//! **Never**: reads a value that nests without end, or an object that names a member twice; puts what it read into a fault.
//!
//! draft-degennaro-mta-hooks-01 section 2.2; RFC 8949 (CBOR), RFC 8259 (JSON), RFC 4648 section 4 (Base64).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
pub(super) use ciborium::Value;
use serde::ser::{Error, SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};

use crate::session::callout::{Fault, FaultKind};

/// How deep a value may nest.
const DEPTH: usize = 32;

/// How values travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Cbor,
}

impl Encoding {
    /// As both sides name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Encoding::Json => "json",
            Encoding::Cbor => "cbor",
        }
    }

    pub(super) const fn media(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Cbor => "application/cbor",
        }
    }

    /// The octets of a value.
    pub(super) fn write(self, value: &Value) -> Vec<u8> {
        let mut octets = Vec::with_capacity(1024);
        // Writing into a vector does not fail, and every key is text.
        let written = match self {
            Encoding::Json => serde_json::to_writer(&mut octets, &Json(value)).is_ok(),
            Encoding::Cbor => ciborium::into_writer(value, &mut octets).is_ok(),
        };
        if !written {
            octets.clear();
        }
        octets
    }

    /// The value that the octets are, with nothing behind it.
    pub(super) fn read(self, octets: &[u8]) -> Result<Value, Fault> {
        let read = match self {
            Encoding::Json => {
                let mut json = serde_json::Deserializer::from_slice(octets);
                let value = Value::deserialize(&mut json).and_then(|value| json.end().map(|()| value));
                value.map_err(|error| format!("not JSON, at line {} column {}", error.line(), error.column()))
            }
            Encoding::Cbor => {
                let mut rest = octets;
                match ciborium::de::from_reader_with_recursion_limit(&mut rest, 2 * DEPTH) {
                    Ok(value) if rest.is_empty() => Ok(value),
                    _ => Err(format!("not CBOR, at octet {}", octets.len() - rest.len())),
                }
            }
        };
        read.and_then(|value| checked(value, DEPTH)).map_err(|what| Fault::new(FaultKind::Malformed, what))
    }
}

/// Within bounds, and without tags.
fn checked(value: Value, depth: usize) -> Result<Value, String> {
    let Some(depth) = depth.checked_sub(1) else { return Err(format!("nests deeper than {DEPTH}")) };
    Ok(match value {
        Value::Array(values) => {
            Value::Array(values.into_iter().map(|value| checked(value, depth)).collect::<Result<_, _>>()?)
        }
        Value::Map(members) => {
            let mut names: Vec<&str> = members.iter().filter_map(|(name, _)| name.as_text()).collect();
            names.sort_unstable();
            if names.len() < members.len() {
                return Err("a member whose name is no text".to_owned());
            }
            if names.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err("a member that is named twice".to_owned());
            }
            let member = |(name, value)| Ok((name, checked(value, depth)?));
            Value::Map(members.into_iter().map(member).collect::<Result<_, String>>()?)
        }
        Value::Tag(_, value) => checked(*value, depth)?,
        value => value,
    })
}

/// As JSON has it: octets in Base64.
struct Json<'a>(&'a Value);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bytes(octets) => to.serialize_str(&STANDARD.encode(octets)),
            Value::Array(values) => {
                let mut list = to.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| list.serialize_element(&Json(value)))?;
                list.end()
            }
            Value::Map(members) => {
                let mut map = to.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    let name = name.as_text().ok_or_else(|| S::Error::custom("a name that is no text"))?;
                    map.serialize_entry(name, &Json(value))?;
                }
                map.end()
            }
            value => value.serialize(to),
        }
    }
}

/// An object of these members.
pub(super) fn object<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Map(members.into_iter().map(|(name, value)| (Value::from(name), value)).collect())
}

/// Octets as text; those that are none are shown as such.
pub(super) fn text(octets: &[u8]) -> Value {
    Value::Text(String::from_utf8_lossy(octets).into_owned())
}

/// A value, or null.
pub(super) fn or_null<T: Into<Value>>(value: Option<T>) -> Value {
    value.map_or(Value::Null, Into::into)
}

/// A member that is there, and not null.
pub(super) fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let members = value.as_map()?;
    let found = members.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value);
    found.filter(|value| !value.is_null())
}

/// A member, to be changed.
pub(super) fn member_mut<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let members = value.as_map_mut()?;
    members.iter_mut().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)
}

/// A list of texts; `None`: it is something else.
pub(super) fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_in_both_encodings() {
        let value = object([
            ("text", Value::from("a\"\u{fc}")),
            ("numbers", Value::Array(vec![Value::from(0), Value::from(-5), Value::from(u64::MAX)])),
            ("nothing", Value::Null),
            ("yes", Value::Bool(true)),
            ("inner", object([("x", Value::Array(Vec::new()))])),
        ]);
        for encoding in [Encoding::Json, Encoding::Cbor] {
            assert_eq!(encoding.read(&encoding.write(&value)).unwrap(), value, "{encoding:?}");
        }
        let octets = object([("raw", Value::Bytes(vec![0, 255]))]);
        assert_eq!(Encoding::Cbor.read(&Encoding::Cbor.write(&octets)).unwrap(), octets);
        assert_eq!(Encoding::Json.write(&octets), br#"{"raw":"AP8="}"#);
    }

    #[test]
    fn what_is_not_read() {
        let json = |octets: &str| Encoding::Json.read(octets.as_bytes()).map_err(|fault| fault.to_string());
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(json(&nested(DEPTH)).is_ok());
        for (octets, wrong) in [
            ("{", "not JSON, at line 1 column 1"),
            ("{} x", "not JSON, at line 1 column 4"),
            ("", "not JSON, at line 1 column 0"),
            (r#"{"a":1,"b":{"c":1,"c":2}}"#, "a member that is named twice"),
            (&nested(DEPTH + 1), "nests deeper than 32"),
            (&nested(10_000), "not JSON, at line 1 column 128"),
        ] {
            assert_eq!(json(octets), Err(format!("malformed: {wrong}")));
        }
        let cbor = |octets: &[u8]| Encoding::Cbor.read(octets).map_err(|fault| fault.to_string());
        for (octets, wrong) in [
            (&b"\xa1"[..], "not CBOR, at octet 1"),
            (b"\xa0\xa0", "not CBOR, at octet 1"),
            (b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", "not CBOR, at octet 9"),
            (b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", "not CBOR, at octet 9"),
            (b"\xa1\x01\x02", "a member whose name is no text"),
            (b"\xa2\x61a\x01\x61a\x02", "a member that is named twice"),
            (&[0x81; 200], "not CBOR, at octet 65"),
        ] {
            assert_eq!(cbor(octets), Err(format!("malformed: {wrong}")), "{octets:x?}");
        }
        // A date, as CBOR has it.
        assert_eq!(cbor(b"\xc0\x61a"), Ok(Value::from("a")));
    }
}
