//! One record is at most 16 KiB: what is larger is cut so that it can still be read.
//!
//! In:    a line as it was formatted.
//! Out:   the same, or a shorter one that says how long it was: as text ` (cut: 40000 octets in all)` at its end, as
//!        JSON the longest values shortened, each with `...` at its end, lists of fewer elements, and a field `cut`.
//! Never: leaves JSON that is none, half a character, or a line without its end.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::lists;
use crate::config::types::LogFormat;

/// The longest line, its end included.
pub(super) const MOST: usize = 16 * 1024;

/// What stands where a value was cut.
const MORE: &str = "...";

/// The line, no longer than it may be.
pub(super) fn cut(line: &[u8], format: LogFormat) -> Cow<'_, [u8]> {
    if line.len() <= MOST {
        return Cow::Borrowed(line);
    }
    Cow::Owned(match format {
        LogFormat::Json => json(line),
        LogFormat::Text => text(line),
    })
}

fn text(line: &[u8]) -> Vec<u8> {
    let end = format!(" (cut: {} octets in all)\n", line.len());
    let line = String::from_utf8_lossy(line);
    let mut cut = shortened(&line, MOST - end.len()).to_owned();
    cut.push_str(&end);
    cut.into_bytes()
}

fn json(line: &[u8]) -> Vec<u8> {
    let fields: Map<String, Value> = serde_json::from_slice(line).unwrap_or_default();
    // Few fields are long: halving the bound reaches them first. The last bound leaves little but the names.
    for most in [8192, 4096, 2048, 1024, 512, 256, 128, 64, 16] {
        let mut fields = fields.clone();
        fields.values_mut().for_each(|value| shorten(value, most));
        fields.insert("cut".to_owned(), line.len().into());
        let mut cut = Value::Object(fields).to_string().into_bytes();
        cut.push(b'\n');
        if cut.len() <= MOST {
            return cut;
        }
    }
    format!("{{\"level\":\"WARN\",\"message\":\"log: a record was too long\",\"cut\":{}}}\n", line.len())
        .into_bytes()
}

fn shorten(value: &mut Value, most: usize) {
    match value {
        Value::String(text) if text.len() > most => *text = format!("{}{MORE}", shortened(text, most)),
        Value::Array(all) => lists::shorten(all, most),
        _ => {}
    }
}

/// As many whole characters as fit.
pub(super) fn shortened(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays() {
        let line = [vec![b'x'; MOST - 1], vec![b'\n']].concat();
        assert_eq!(&*cut(&line, LogFormat::Text), &*line);
        assert_eq!(&*cut(&line, LogFormat::Json), &*line);
    }

    #[test]
    fn text_ends_with_how_long_it_was() {
        for fill in ["x", "\u{20ac}", "\u{fffd}x"] {
            let line = format!("{}\n", fill.repeat(20_000));
            let cut = String::from_utf8(cut(line.as_bytes(), LogFormat::Text).into_owned()).unwrap();
            assert!(cut.len() <= MOST && cut.len() > MOST - 4, "{}", cut.len());
            assert!(cut.ends_with(&format!(" (cut: {} octets in all)\n", line.len())));
        }
    }

    #[test]
    fn lists_have_fewer_elements() {
        let each = serde_json::json!({ "given": "a@example.com", "heard": "x".repeat(100) });
        let fields = serde_json::json!({ "level": "INFO", "recipients": vec![each.clone(); 500] });
        let line = format!("{fields}\n");
        let cut = cut(line.as_bytes(), LogFormat::Json);
        assert!(cut.len() <= MOST, "{}", cut.len());
        let read: Value = serde_json::from_slice(&cut).unwrap();
        let kept = read["recipients"].as_array().unwrap();
        let more = kept.last().unwrap()["more"].as_u64().unwrap() as usize;
        assert!(kept.len() > 10 && kept.len() - 1 + more == 500, "{} {more}", kept.len());
        assert!(kept[..kept.len() - 1].iter().all(|one| *one == each));
    }

    #[test]
    fn json_stays_json() {
        // Quotes double, control characters grow sixfold.
        for fill in ["x", "\"", "\u{1}", "\u{20ac}"] {
            let fields = serde_json::json!({
                "level": "INFO", "octets": 7, "sender": fill.repeat(3000), "recipients": fill.repeat(100_000),
            });
            let line = format!("{fields}\n");
            let cut = cut(line.as_bytes(), LogFormat::Json);
            assert!(cut.len() <= MOST && cut.ends_with(b"}\n"), "{fill}: {}", cut.len());
            let read: Value = serde_json::from_slice(&cut).unwrap();
            assert_eq!((&read["level"], &read["octets"]), (&"INFO".into(), &7.into()));
            assert_eq!(read["cut"], line.len());
            assert!(read["recipients"].as_str().unwrap().ends_with("..."), "{fill}");
        }
        let many: Map<String, Value> = (0..2000).map(|key| (format!("a key {key}"), key.into())).collect();
        let line = Value::Object(many).to_string();
        let cut: Value = serde_json::from_slice(&cut(line.as_bytes(), LogFormat::Json)).unwrap();
        assert_eq!(cut["cut"], line.len());
    }
}
