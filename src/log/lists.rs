//! Lists in a record that is JSON: arrays of objects.
//!
//! In:    the elements of a list; a line as it was formatted, where a list is a string of JSON, because the formatter has
//!        no other values.
//! Out:   that string; the line with the array itself in the string's place.
//! Never: takes a field for a list that is not called like one, or puts in what is no array of objects.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::config::types::LogFormat;

/// How a list's field begins. Inside of a value its quotes would be escaped.
const BEGINNINGS: [&str; 2] = ["\"recipients\":\"", "\"verdicts\":\""];

/// What the last element says where some were left out: how many.
const MORE: &str = "more";

/// A list as a string: as many elements as there is room for, and how many more there are.
pub(super) fn fold(values: impl ExactSizeIterator<Item = Value>, room: usize) -> String {
    let mut values = values;
    let (mut all, mut octets) = (Vec::new(), 0);
    while let Some(value) = values.next() {
        octets += value.to_string().len() + 1;
        if octets > room {
            all.push(more(values.len() as u64 + 1));
            break;
        }
        all.push(value);
    }
    Value::Array(all).to_string()
}

/// Takes elements away until the rest has so many octets at most.
pub(super) fn shorten(all: &mut Vec<Value>, most: usize) {
    let (mut kept, mut octets) = (0, 0);
    for value in all.iter() {
        octets += value.to_string().len() + 1;
        if octets > most {
            break;
        }
        kept += 1;
    }
    if kept < all.len() {
        let left_out = all.split_off(kept).iter().map(|value| value[MORE].as_u64().unwrap_or(1)).sum();
        all.push(more(left_out));
    }
}

fn more(left_out: u64) -> Value {
    serde_json::json!({ MORE: left_out })
}

/// The line with arrays where it has strings of them.
pub(super) fn unfold(line: &[u8], format: LogFormat) -> Cow<'_, [u8]> {
    let mut line = Cow::Borrowed(line);
    if format != LogFormat::Json {
        return line;
    }
    for beginning in BEGINNINGS {
        let Ok(text) = str::from_utf8(&line) else { return line };
        let Some(found) = text.find(beginning) else { continue };
        let start = found + beginning.len() - 1;
        let mut strings = serde_json::Deserializer::from_str(&text[start..]).into_iter::<String>();
        let Some(Ok(list)) = strings.next() else { continue };
        let end = start + strings.byte_offset();
        if serde_json::from_str::<Vec<Map<String, Value>>>(&list).is_ok() {
            line = [&text[..start], &list, &text[end..]].concat().into_bytes().into();
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfolded(line: &str) -> String {
        String::from_utf8(unfold(line.as_bytes(), LogFormat::Json).into_owned()).unwrap()
    }

    #[test]
    fn a_list_becomes_an_array() {
        let list = fold([serde_json::json!({ "given": "a\"b" })].into_iter(), 100);
        let line = serde_json::json!({ "level": "INFO", "recipients": list, "verdicts": "[]" }).to_string();
        let read: Value = serde_json::from_str(&unfolded(&line)).unwrap();
        assert_eq!(read["recipients"][0]["given"], "a\"b");
        assert_eq!(read["verdicts"].as_array().map(Vec::len), Some(0));
        assert_eq!(*unfold(line.as_bytes(), LogFormat::Text), *line.as_bytes());
    }

    #[test]
    fn nothing_else_does() {
        let inside = serde_json::json!({ "reply": "\"recipients\":\"[{}]\"" }).to_string();
        for line in [
            inside.as_str(),
            "{\"recipients\":\"postmaster\"}",
            "{\"recipients\":\"[1]\"}",
            "{\"recipients\":\"[{}",
            "{\"sender\":\"[{}]\"}",
        ] {
            assert_eq!(unfolded(line), line);
        }
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let values = || (0..100).map(|number| serde_json::json!({ "n": number }));
        let mut all: Vec<Value> = serde_json::from_str(&fold(values(), 200)).unwrap();
        assert_eq!(all.last().unwrap()[MORE], 100 - (all.len() - 1));
        shorten(&mut all, 50);
        assert_eq!(all.last().unwrap()[MORE], 100 - (all.len() - 1));
        shorten(&mut all, 0);
        assert_eq!(all, [serde_json::json!({ "more": 100 })]);
    }
}
