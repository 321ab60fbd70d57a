//! Walking the merged configuration: nodes that know their path, sections that know which keys were asked for.
//!
//! **In**: figment's merged value, the marks of the file, the variables of the environment. **Out**: typed scalars,
//! lists and sections; whatever does not fit is reported with its place and left out, and the walk goes on, so that
//! one run finds everything. **Never**: stops at an error; knows what a key means.
//!
//! A reader returns `None` when the value was wrong *and has been reported*; callers then use the default and go on.
//! Nothing decoded along a reported error is ever used, see `config::load`.

use std::cell::RefCell;
use std::path::PathBuf;

use figment::value::{Dict, Empty, Value};

use super::error::{Problem, suggestion};
use super::places::{NamedFiles, Places};
use super::rule::Mark;
use super::unknown;
use super::yaml::{join, plain};

/// Where everything was written, and what has been reported so far.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// Where everything was written.
    pub(super) places: Places,
    /// Errors.
    pub(super) errors: RefCell<Vec<Problem>>,
    /// Warnings.
    pub(super) warnings: RefCell<Vec<Problem>>,
    /// The files that were named.
    pub(super) files: RefCell<NamedFiles>,
}

impl Context {
    /// Reports the value at `path` as wrong.
    pub(super) fn error(&self, path: &str, text: String) {
        self.errors.borrow_mut().push(self.places.at(path, false, text));
    }

    /// Warns about the value at `path`.
    pub(super) fn warning(&self, path: &str, text: String) {
        self.warnings.borrow_mut().push(self.places.at(path, false, text));
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    context: &'a Context,
    value: &'a Value,
    path: String,
}

impl<'a> Node<'a> {
    /// The whole configuration.
    pub(super) fn top(context: &'a Context, value: &'a Value) -> Self {
        Self { context, value, path: String::new() }
    }

    /// The value, for readers that take several shapes.
    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// Where it stands in the file.
    pub(super) fn mark(&self) -> Mark {
        self.context.places.marks.get(&self.path).map(|marks| marks.key).unwrap_or_default()
    }

    /// Reports the value as wrong.
    pub(super) fn error(&self, text: impl Into<String>) {
        // Null of the second kind stands for what the YAML reader has reported already.
        if !matches!(self.value, Value::Empty(_, Empty::Unit)) {
            self.context.error(&self.path, text.into());
        }
    }

    /// Reports the key as wrong.
    pub(super) fn key_error(&self, text: impl Into<String>) {
        let problem = self.context.places.at(&self.path, true, text.into());
        self.context.errors.borrow_mut().push(problem);
    }

    /// Warns about the value.
    pub(super) fn warning(&self, text: impl Into<String>) {
        self.context.warning(&self.path, text.into());
    }

    /// Reports that something else than `wanted` was found, and returns `None`.
    pub(super) fn expected<T>(&self, wanted: &str) -> Option<T> {
        self.expected_near(wanted, "")
    }

    /// The same, with what was likely meant behind it.
    pub(super) fn expected_near<T>(&self, wanted: &str, near: &str) -> Option<T> {
        let found = match self.value {
            Value::Dict(..) => "keys and values".to_owned(),
            Value::Array(..) => "a list".to_owned(),
            Value::Empty(..) => "nothing".to_owned(),
            Value::Bool(_, flag) => format!("\"{flag}\""),
            _ => shown(&self.scalar().unwrap_or_default()),
        };
        self.error(format!("expected {wanted}, found {found}{near}"));
        None
    }

    /// Text or a number, as it was written; nothing is reported.
    pub(super) fn scalar(&self) -> Option<String> {
        match self.value {
            Value::String(_, text) => Some(text.clone()),
            Value::Num(_, number) => number.to_i128().map(|n| n.to_string()),
            _ => None,
        }
    }

    /// Text that is not empty and has no control characters.
    pub(super) fn text(&self) -> Option<String> {
        let Some(text) = self.scalar() else { return self.expected("text") };
        if text.is_empty() {
            return self.expected("text");
        }
        if text.chars().any(char::is_control) {
            self.error("holds a line end or another control character");
            return None;
        }
        Some(text)
    }

    /// The path of a file or directory. It is noted, so that what is found wrong with it later can be said of this key.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let path = PathBuf::from(self.text()?);
        self.context.files.borrow_mut().add(&self.path, &path);
        Some(path)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        match self.value {
            Value::Bool(_, flag) => Some(*flag),
            Value::String(_, text) if plain(text).to_bool().is_some() => self.unquote(),
            _ => {
                let near = match self.scalar().unwrap_or_default().to_ascii_lowercase().as_str() {
                    "yes" | "on" | "y" | "1" => ", did you mean true?",
                    "no" | "off" | "n" | "0" => ", did you mean false?",
                    _ => "",
                };
                self.expected_near("true or false", near)
            }
        }
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(&self, least: u64, most: u64) -> Option<u64> {
        let number = match self.value {
            Value::Num(_, number) => number,
            Value::String(_, text) if plain(text).to_num().is_some() => return self.unquote(),
            _ => {
                let text = self.scalar().unwrap_or_default();
                if text.len() > 1 && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0') {
                    self.error(format!("must be from {least} to {most}, found {text}"));
                    return None;
                }
                // 1_000 and 1,000, as numbers are written elsewhere.
                let digits: String = text.chars().filter(|c| !matches!(c, '_' | ',' | '\'')).collect();
                let meant = digits.trim_start_matches('0').parse::<u64>().ok().filter(|_| !text.is_empty());
                let near = meant.map(|n| format!(", did you mean {n}?")).unwrap_or_default();
                return self.expected_near("a number", &near);
            }
        };
        match number.to_i128().and_then(|n| u64::try_from(n).ok()) {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                let found = number.to_i128().map(|n| format!(", found {n}")).unwrap_or_default();
                self.error(format!("must be from {least} to {most}{found}"));
                None
            }
        }
    }

    fn unquote<T>(&self) -> Option<T> {
        self.error("the quotes make this text; leave them out");
        None
    }

    /// One of the names given; `false` is read as `off`.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let names = || choices.iter().map(|(name, _)| *name);
        let given = match self.value {
            Value::Bool(_, false) => Some("off".to_owned()),
            _ => self.scalar(),
        };
        let Some(given) = given else {
            return self.expected(&one_of(names()));
        };
        let found = choices.iter().find(|(name, _)| *name == given).map(|(_, value)| *value);
        if found.is_none() {
            let wanted = one_of(names());
            let near = suggestion(&given, names());
            self.error(format!("expected {wanted}, found {}{near}", shown(&given)));
        }
        found
    }

    /// The entries of a list.
    pub(super) fn list(&self) -> Vec<Node<'a>> {
        self.list_like("[%]")
    }

    /// The same where people write one value alone: they are shown `shape`, in which `%` stands for what they wrote.
    pub(super) fn list_like(&self, shape: &str) -> Vec<Node<'a>> {
        match self.value {
            Value::Array(_, entries) => entries
                .iter()
                .enumerate()
                .map(|(i, value)| Self { context: self.context, value, path: format!("{}[{i}]", self.path) })
                .collect(),
            Value::Empty(..) => Vec::new(),
            _ if self.set_by_variable() => {
                self.error("lists are set in the file only");
                Vec::new()
            }
            Value::Dict(..) => {
                self.expected_near::<()>("a list", "; begin each entry with \"- \"");
                Vec::new()
            }
            _ => {
                let own = self.written().map(|text| format!(", such as {}", shape.replace('%', &text)));
                let own = own.unwrap_or_default();
                self.expected::<()>(&format!("a list{own}"));
                Vec::new()
            }
        }
    }

    /// A scalar as it may stand within brackets or braces; none if it is not a short one.
    pub(super) fn written(&self) -> Option<String> {
        let text = self.scalar().filter(|text| !text.is_empty() && text.len() <= 60)?;
        let bare = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
        let good =
            text.chars().all(bare) && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
        Some(if good && text.matches(':').count() <= 1 && !text.ends_with(':') {
            text
        } else {
            format!("{text:?}")
        })
    }

    /// The entries of a list, or the one value that stands for a list of one.
    pub(super) fn one_or_list(&self) -> Vec<Node<'a>> {
        match self.value {
            Value::Array(..) => self.list(),
            _ => vec![self.clone()],
        }
    }

    /// Whether there is a list, or nothing, which is as good as an empty one.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.value, Value::Array(..) | Value::Empty(..))
    }

    /// Whether there are keys and values.
    pub(super) fn is_section(&self) -> bool {
        matches!(self.value, Value::Dict(..))
    }

    /// Keys and values.
    pub(super) fn section(&self) -> Option<Section<'a>> {
        let dict = match self.value {
            Value::Dict(_, dict) => Some(dict),
            Value::Empty(..) => None,
            _ => return self.expected("keys and values"),
        };
        Some(Section { node: self.clone(), dict, known: Vec::new() })
    }

    /// The same where people write one value alone: they are shown `shape`, in which `%` stands for the value that they
    /// wrote if it `fits`, else for `example`.
    pub(super) fn section_like(
        &self,
        shape: &str,
        example: &str,
        fits: impl Fn(&str) -> bool,
    ) -> Option<Section<'a>> {
        if matches!(self.value, Value::Dict(..) | Value::Empty(..)) {
            return self.section();
        }
        let own = self.scalar().filter(|text| fits(text)).and_then(|_| self.written());
        let shape = shape.replace('%', own.as_deref().unwrap_or(example));
        self.expected(&format!("keys and values, such as {shape}"))
    }

    fn set_by_variable(&self) -> bool {
        self.context.places.is_variable(&self.path)
    }
}

/// Keys and values, of which each is asked for by name; [`Section::end`] reports the others.
#[derive(Debug)]
pub(super) struct Section<'a> {
    node: Node<'a>,
    dict: Option<&'a Dict>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The section itself, to report it as a whole.
    pub(super) fn node(&self) -> &Node<'a> {
        &self.node
    }

    /// The value of `key`, if it is there.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Node<'a>> {
        self.known.push(key);
        self.dict?.contains_key(key).then(|| self.child(key)).flatten()
    }

    /// The value of `key` as `read` takes it; the default if it is not there or wrong.
    pub(super) fn get_or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Node<'a>) -> Option<T>,
    ) -> T {
        self.get(key).and_then(|node| read(&node)).unwrap_or(default)
    }

    /// The value of `key`; its absence is reported.
    pub(super) fn require(&mut self, key: &'static str, why: &str) -> Option<Node<'a>> {
        let found = self.get(key);
        if found.is_none() && !self.misspelt(&[key]) {
            self.node.error(format!("\"{key}\" is missing{why}"));
        }
        found
    }

    /// Whether a key is there that is likely meant to be one of `keys`; it is reported as unknown, which is enough.
    pub(super) fn misspelt(&self, keys: &[&str]) -> bool {
        let given = self.dict.into_iter().flat_map(Dict::keys);
        given
            .filter(|key| !keys.contains(&key.as_str()))
            .any(|key| !suggestion(key, keys.iter().copied()).is_empty())
    }

    /// All values by key, whatever the keys are.
    pub(super) fn all(&mut self) -> Vec<(&'a str, Node<'a>)> {
        let Some(dict) = self.dict else { return Vec::new() };
        self.dict = None;
        let node =
            |value, key: &str| Node { context: self.node.context, value, path: join(&self.node.path, key) };
        dict.iter().map(|(key, value)| (key.as_str(), node(value, key))).collect()
    }

    /// Reports every key that nobody asked for.
    pub(super) fn end(self) {
        for key in
            self.dict.into_iter().flat_map(Dict::keys).filter(|key| !self.known.contains(&key.as_str()))
        {
            let Some(child) = self.child(key) else { continue };
            if key == "<<" {
                child.key_error("merge keys are not supported; write the keys out");
                continue;
            }
            let near = unknown::instead(key, &self.known);
            child.key_error(format!("unknown key{near}"));
        }
    }

    fn child(&self, key: &str) -> Option<Node<'a>> {
        let value = self.dict?.get(key)?;
        Some(Node { context: self.node.context, value, path: join(&self.node.path, key) })
    }
}

/// What was found, in quotes and not too long.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.as_slice() {
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
        [] => "nothing".to_owned(),
    }
}
