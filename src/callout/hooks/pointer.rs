//! Where in a question something is.
//!
//! **In**: a JSON Pointer as text. **Out**: its steps; whether it lies at or below another; a question with only what lies at or
//! below some.
//! **Never**: takes a text for a pointer that is none.
//!
//! RFC 6901.

use super::value::Value;

/// A place in a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    /// `None`: it is no pointer.
    pub(super) fn parse(text: &str) -> Option<Pointer> {
        if text.is_empty() {
            return Some(Pointer(Vec::new()));
        }
        let step = |step: &str| {
            let mut plain = String::with_capacity(step.len());
            let mut letters = step.chars();
            while let Some(letter) = letters.next() {
                plain.push(match letter {
                    '~' => match letters.next()? {
                        '0' => '~',
                        '1' => '/',
                        _ => return None,
                    },
                    letter => letter,
                });
            }
            Some(plain)
        };
        text.strip_prefix('/')?.split('/').map(step).collect::<Option<_>>().map(Pointer)
    }

    pub(super) fn steps(&self) -> &[String] {
        &self.0
    }

    /// One step further.
    pub(super) fn then(mut self, step: String) -> Pointer {
        self.0.push(step);
        self
    }

    /// Whether it is this place, or one within it.
    pub(super) fn is_within(&self, place: &Pointer) -> bool {
        self.0.starts_with(&place.0)
    }
}

/// What of a question lies at or within these places.
pub(super) fn select(question: Value, places: &[Pointer]) -> Value {
    within(question, &places.iter().map(Pointer::steps).collect::<Vec<_>>())
}

fn within(value: Value, places: &[&[String]]) -> Value {
    match value {
        Value::Map(members) if places.iter().all(|steps| !steps.is_empty()) => {
            let member = |(name, value): (Value, Value)| {
                let leads = |steps: &&[String]| steps.first().map(String::as_str) == name.as_text();
                let below: Vec<&[String]> =
                    places.iter().copied().filter(leads).filter_map(|steps| steps.get(1..)).collect();
                (!below.is_empty()).then(|| (name, within(value, &below)))
            };
            Value::Map(members.into_iter().filter_map(member).collect())
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::{Encoding, object};
    use super::*;

    /// RFC 6901 section 5.
    #[test]
    fn pointers() {
        let steps = |text: &str| Pointer::parse(text).map(|pointer| pointer.0);
        assert_eq!(steps(""), Some(vec![]));
        assert_eq!(steps("/"), Some(vec![String::new()]));
        assert_eq!(steps("/a~1b/m~0n/0"), Some(vec!["a/b".to_owned(), "m~n".to_owned(), "0".to_owned()]));
        assert_eq!(steps("/~01"), Some(vec!["~1".to_owned()]));
        for none in ["a", "/~", "/~2", "#/a"] {
            assert_eq!(steps(none), None, "{none}");
        }
        let [place, below, beside] =
            ["/envelope/to", "/envelope/to/0", "/envelope/top"].map(|text| Pointer::parse(text).unwrap());
        assert!(below.is_within(&place) && place.is_within(&place));
        assert!(!place.is_within(&below) && !beside.is_within(&place));
    }

    #[test]
    fn what_was_agreed_upon() {
        let question = || {
            let client = object([("ip", Value::from("::1")), ("port", Value::from(1))]);
            object([("stage", Value::from("mail")), ("client", client), ("tls", Value::Null)])
        };
        let selected = |places: &[&str]| {
            let places: Vec<Pointer> = places.iter().filter_map(|text| Pointer::parse(text)).collect();
            String::from_utf8(Encoding::Json.write(&select(question(), &places))).unwrap()
        };
        assert_eq!(selected(&["/stage", "/tls"]), r#"{"stage":"mail","tls":null}"#);
        assert_eq!(selected(&["/client/ip", "/envelope"]), r#"{"client":{"ip":"::1"}}"#);
        assert_eq!(selected(&["/client/ip", "/client"]), r#"{"client":{"ip":"::1","port":1}}"#);
        assert_eq!(selected(&[]), "{}");
        assert_eq!(selected(&[""]), r#"{"stage":"mail","client":{"ip":"::1","port":1},"tls":null}"#);
    }
}
