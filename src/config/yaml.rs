//! YAML with lines: text in, a figment value and the mark of every key and value out.
//!
//! **In**: the text of a file. **Out**: [`Document`], a figment provider that kept its marks, and problems: syntax
//! errors, duplicate keys, tags, nesting too deep. figment itself carries no lines and serde stops at the
//! first error, hence this and our own decoder.
//! **Never**: knows a key of ours; reads no file; expands aliases without bound (saphyr counts them).
//!
//! YAML 1.2 core schema: `yes`, `no`, `on` and `off` are text, only `true` and `false` are booleans.

use std::collections::HashMap;

use figment::value::{Dict, Empty, Map, Value};
use figment::{Metadata, Profile, Provider};
use saphyr::{LoadableYamlNode, MarkedYaml, Marker, Scalar, ScanError, YamlData};

use super::error::{Place, Problem};
use super::rule::Mark;

/// How deep values may stand in each other; `proxy.yaml` needs eight.
const DEEPEST: usize = 32;

/// How far a line may be indented. Bounds the nesting of blocks before the parser builds (and drops) a tree by recursion.
const WIDEST_INDENT: usize = 200;

/// How many duplicate keys are looked for; each costs another parse.
const MOST_DUPLICATES: u32 = 20;

/// The text that YAML gave for saphyr's duplicates.
const DUPLICATE: &str = "duplicated key in mapping";

/// Where a key and its value stand; an entry of a list has the same mark for both.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    /// The key.
    pub(super) key: Mark,
    /// The value.
    pub(super) value: Mark,
}

/// A parsed file.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The name the file was given by.
    pub(super) name: String,
    /// Its top-level mapping.
    pub(super) dict: Dict,
    /// Marks by key path.
    pub(super) marks: HashMap<String, Marks>,
    /// What was found wrong on the way; the rest is still there to be decoded.
    pub(super) problems: Vec<Problem>,
    /// Whether nothing could be read at all.
    pub(super) unread: bool,
}

impl Provider for Document {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

impl Document {
    /// Parses `text`. A syntax error leaves an empty mapping and one problem.
    pub(super) fn parse(name: &str, text: &str) -> Self {
        let mut document = Self { name: name.to_owned(), ..Self::default() };
        let mut text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
        if let Some(line) = text.split('\n').position(|line| line.contains('\r')) {
            return document.unread(
                Mark { line: line + 1, column: 1 },
                "a CR without its LF; lines end with LF, or with CRLF".to_owned(),
            );
        }
        if let Some(line) = text.split('\n').position(|line| line.contains('\0')) {
            let text = "a NUL character, which no text has; save the file as UTF-8".to_owned();
            return document.unread(Mark { line: line + 1, column: 1 }, text);
        }
        if let Some(line) = too_wide(&text) {
            return document.unread(Mark { line, column: 1 }, "indented too far".to_owned());
        }
        // saphyr stops at a duplicate key. To find all that is wrong in one run, the duplicate gets a name of its own
        // (same length, so that every mark stays right), is reported below, and the text is parsed again.
        let mut renamed = Vec::new();
        let nodes = loop {
            match MarkedYaml::load_from_str(&text) {
                Ok(nodes) => break nodes,
                Err(error) => match rename_duplicate(&text, &error, renamed.len()) {
                    Some((again, original)) => {
                        renamed.push(original);
                        text = again;
                    }
                    None => return document.unread(mark_of(*error.marker()), syntax(error.info())),
                },
            }
        };
        let lines: Vec<&str> = text.lines().collect();
        let mut reader = Reader { document: &mut document, lines: &lines, renamed: &renamed };
        reader.top(&nodes);
        document
    }

    fn unread(mut self, mark: Mark, text: String) -> Self {
        self.problem(mark, "", text);
        self.unread = true;
        self
    }

    fn problem(&mut self, mark: Mark, key: &str, text: String) {
        let place = Place::File { name: self.name.clone(), mark };
        self.problems.push(Problem { place, key: key.to_owned(), text });
    }
}

/// A scalar as YAML's core schema reads it when it is not quoted: null, boolean, integer, else text.
///
/// What would not print as it was written (`010`, `0x1F`, `1.50`) stays text, so that nothing is changed by reading it.
pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::from(Empty::None),
        "true" | "True" | "TRUE" => Value::from(true),
        "false" | "False" | "FALSE" => Value::from(false),
        _ => match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Value::from(number),
            _ => Value::from(text),
        },
    }
}

/// The path of `key` below `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn mark_of(marker: Marker) -> Mark {
    // saphyr counts lines from 1 and columns from 0.
    Mark { line: marker.line(), column: marker.col() + 1 }
}

/// The first line whose run of indentation and block indicators is too long.
fn too_wide(text: &str) -> Option<usize> {
    let run =
        |line: &str| line.bytes().take_while(|b| matches!(b, b' ' | b'\t' | b'-' | b'?' | b':')).count();
    text.lines().position(|line| run(line) > WIDEST_INDENT && !line.trim().is_empty()).map(|n| n + 1)
}

/// Words a parser's complaint for whoever wrote the file.
fn syntax(info: &str) -> String {
    let hint = match info {
        _ if info.contains("anchor") || info.contains("alias") => {
            " (a value that begins with * or & needs quotes)"
        }
        _ if info.contains("tab") || info.contains('\t') => " (indent with spaces)",
        _ if info.contains("mapping values are not allowed") => " (a value that holds \": \" needs quotes)",
        _ if info.contains("flow") => " (a bracket, brace or comma is missing before this place)",
        _ if info.contains("'-'") => " (entries of a list begin at the same column)",
        DUPLICATE => " (too many duplicate keys, or not a plain one)",
        _ => "",
    };
    format!("not valid YAML: {info}{hint}")
}

/// The text with the duplicate key that `error` complains of renamed, and the character that was taken for it.
fn rename_duplicate(text: &str, error: &ScanError, count: usize) -> Option<(String, char)> {
    let number = u32::try_from(count).ok().filter(|n| *n < MOST_DUPLICATES)?;
    let name = char::from_u32(PRIVATE_USE + number)?;
    if error.info() != DUPLICATE || text.contains(name) {
        return None;
    }
    let mut at = text.char_indices().skip(error.marker().index());
    let (mut start, mut original) = at.next()?;
    if original == '"' || original == '\'' {
        (start, original) = at.next()?;
    }
    if !(original.is_alphanumeric() || original == '_' || original == '<') {
        return None;
    }
    let mut again = text.to_owned();
    again.replace_range(start..start + original.len_utf8(), name.encode_utf8(&mut [0; 4]));
    Some((again, original))
}

/// Unicode's first private use character; nobody names a key by it.
const PRIVATE_USE: u32 = 0xE000;

/// Turns saphyr's tree into figment's.
struct Reader<'a> {
    document: &'a mut Document,
    lines: &'a [&'a str],
    /// What the first characters of renamed duplicates were, by number.
    renamed: &'a [char],
}

impl Reader<'_> {
    fn top(&mut self, nodes: &[MarkedYaml<'_>]) {
        if let Some(second) = nodes.get(1) {
            self.document.problem(
                mark_of(second.span.start),
                "",
                "a second YAML document; one file is one, without --- in it".to_owned(),
            );
        }
        let Some(first) = nodes.first() else { return };
        if matches!(first.data, YamlData::BadValue | YamlData::Value(Scalar::Null)) {
            return;
        }
        match self.value(first, "", 0) {
            Some(Value::Dict(_, dict)) => self.document.dict = dict,
            Some(_) => {
                self.document.unread = true;
                let text = "expected keys and values, such as \"hostname: mx.example.com\"".to_owned();
                self.document.problem(mark_of(first.span.start), "", text);
            }
            None => {}
        }
    }

    fn value(&mut self, node: &MarkedYaml<'_>, path: &str, depth: usize) -> Option<Value> {
        let mark = mark_of(node.span.start);
        if depth > DEEPEST {
            self.document.problem(mark, path, "nested too deeply".to_owned());
            return None;
        }
        match &node.data {
            YamlData::Value(Scalar::String(text)) => Some(Value::from(text.as_ref())),
            YamlData::Value(_) => Some(plain(&self.raw(node))),
            YamlData::Sequence(entries) => {
                let mut list = Vec::with_capacity(entries.len());
                for (i, entry) in entries.iter().enumerate() {
                    let path = format!("{path}[{i}]");
                    let mark = mark_of(entry.span.start);
                    self.document.marks.insert(path.clone(), Marks { key: mark, value: mark });
                    // An entry that cannot be read was reported; null keeps the numbers of those behind it.
                    list.push(self.value(entry, &path, depth + 1).unwrap_or(Value::from(Empty::Unit)));
                }
                Some(Value::from(list))
            }
            YamlData::Mapping(entries) => {
                let mut dict = Dict::new();
                for (key, value) in entries {
                    self.entry(&mut dict, key, value, path, depth);
                }
                Some(Value::from(dict))
            }
            YamlData::Tagged(..) => {
                self.document.problem(
                    mark,
                    path,
                    "YAML tags are not supported; leave out what begins with !".to_owned(),
                );
                None
            }
            YamlData::BadValue | YamlData::Representation(..) | YamlData::Alias(_) => {
                self.document.problem(mark, path, "not a value that can be read".to_owned());
                None
            }
        }
    }

    /// Reads one key and its value into `dict`, unless the key is there already.
    fn entry(
        &mut self,
        dict: &mut Dict,
        key: &MarkedYaml<'_>,
        value: &MarkedYaml<'_>,
        path: &str,
        depth: usize,
    ) {
        let mark = mark_of(key.span.start);
        let (name, renamed) = match &key.data {
            YamlData::Value(Scalar::String(text)) => self.original(text),
            YamlData::Value(_) => (self.raw(key), false),
            _ => return self.document.problem(mark, path, "a key must be a single word".to_owned()),
        };
        let path = join(path, &name);
        if renamed || dict.contains_key(&name) {
            let first = self.document.marks.get(&path).map_or(0, |marks| marks.key.line);
            return self.document.problem(
                mark,
                &path,
                format!("duplicate key, first at line {first}; keep one of them"),
            );
        }
        self.document.marks.insert(path.clone(), Marks { key: mark, value: mark_of(value.span.start) });
        // One that cannot be read was reported: as a key without a value it is not also reported as missing.
        let value = self.value(value, &path, depth + 1).unwrap_or(Value::from(Empty::Unit));
        dict.insert(name, value);
    }

    /// The name a key had before [`rename_duplicate`], and whether it was renamed.
    fn original(&self, key: &str) -> (String, bool) {
        let mut rest = key.chars();
        let number = rest.next().map_or(0, u32::from).checked_sub(PRIVATE_USE);
        match number.and_then(|n| self.renamed.get(n as usize)) {
            Some(first) => (std::iter::once(*first).chain(rest).collect(), true),
            None => (key.to_owned(), false),
        }
    }

    /// An unquoted scalar as it was written; saphyr keeps only what it read it as.
    fn raw(&self, node: &MarkedYaml<'_>) -> String {
        let written = self.written(node);
        if !written.starts_with('*') {
            return written;
        }
        // An alias stands there, and its anchor's place is not known.
        match &node.data {
            YamlData::Value(Scalar::Integer(number)) => number.to_string(),
            YamlData::Value(Scalar::Boolean(flag)) => flag.to_string(),
            YamlData::Value(Scalar::FloatingPoint(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    fn written(&self, node: &MarkedYaml<'_>) -> String {
        let (start, end) = (node.span.start, node.span.end);
        let line = self.lines.get(start.line().wrapping_sub(1)).copied().unwrap_or_default();
        line.chars().skip(start.col()).take(end.index().saturating_sub(start.index())).collect()
    }
}
