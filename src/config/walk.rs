//! Walking the merged configuration: nodes that know their path, sections that know which keys were asked for.
//!
//! **In**: figment's merged value, the marks of the file, the variables of the environment. **Out**: typed scalars,
//! lists and sections; whatever does not fit is reported with its place and left out, and the walk goes on, so that
//! one run finds everything. **Never**: stops at an error; knows what a key means.
//!
//! A reader returns `None` when the value was wrong *and has been reported*; callers then use the default and go on.
//! Nothing decoded along a reported error is ever used, see `config::load`.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use figment::value::{Dict, Empty, Value};

use super::error::{Place, Problem, suggestion};
use super::rule::Mark;
use super::yaml::{Marks, join, plain};

/// Where everything was written, and what has been reported so far.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// The file's name as given.
    pub(super) file: String,
    /// Marks of the file by key path.
    pub(super) marks: HashMap<String, Marks>,
    /// Variables by key path.
    pub(super) variables: BTreeMap<String, String>,
    /// Errors.
    pub(super) errors: RefCell<Vec<Problem>>,
    /// Warnings.
    pub(super) warnings: RefCell<Vec<Problem>>,
}

impl Context {
    /// Reports the value at `path` as wrong.
    pub(super) fn error(&self, path: &str, text: String) {
        self.errors.borrow_mut().push(self.problem(path, false, text));
    }

    /// Warns about the value at `path`.
    pub(super) fn warning(&self, path: &str, text: String) {
        self.warnings.borrow_mut().push(self.problem(path, false, text));
    }

    fn problem(&self, path: &str, at_key: bool, text: String) -> Problem {
        let place = self.place(path, at_key);
        // A variable's name says the key path already, unless only something around or below it is meant.
        let named = matches!(&place, Place::Variable(_)) && self.variables.contains_key(path);
        Problem { place, key: if named { String::new() } else { path.to_owned() }, text }
    }

    fn place(&self, path: &str, at_key: bool) -> Place {
        if let Some(name) = self.variables.get(path) {
            return Place::Variable(name.clone());
        }
        let mark = |marks: &Marks| if at_key { marks.key } else { marks.value };
        if let Some(marks) = self.marks.get(path) {
            return Place::File { name: self.file.clone(), mark: mark(marks) };
        }
        let below = format!("{path}.");
        if let Some((_, name)) = self.variables.iter().find(|(key, _)| key.starts_with(&below)) {
            return Place::Variable(name.clone());
        }
        // Not written down at all: what it would stand in is the nearest place.
        let mut around = path;
        while let Some(end) = around.rfind(['.', '[']) {
            around = &around[..end];
            if let Some(marks) = self.marks.get(around) {
                return Place::File { name: self.file.clone(), mark: marks.key };
            }
        }
        Place::File { name: self.file.clone(), mark: Mark::default() }
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
        self.context.marks.get(&self.path).map(|marks| marks.key).unwrap_or_default()
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
        self.context.errors.borrow_mut().push(self.context.problem(&self.path, true, text.into()));
    }

    /// Warns about the value.
    pub(super) fn warning(&self, text: impl Into<String>) {
        self.context.warning(&self.path, text.into());
    }

    /// Reports that something else than `wanted` was found, and returns `None`.
    pub(super) fn expected<T>(&self, wanted: &str) -> Option<T> {
        match self.value {
            Value::Dict(..) => self.error(format!("expected {wanted}, found keys and values")),
            Value::Array(..) => self.error(format!("expected {wanted}, found a list")),
            Value::Empty(..) => self.error(format!("expected {wanted}, found nothing")),
            Value::Bool(_, flag) => self.error(format!("expected {wanted}, found \"{flag}\"")),
            _ => {
                self.error(format!("expected {wanted}, found {}", shown(&self.scalar().unwrap_or_default())))
            }
        }
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

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        match self.value {
            Value::Bool(_, flag) => Some(*flag),
            Value::String(_, text) if plain(text).to_bool().is_some() => self.unquote(),
            _ => self.expected("true or false"),
        }
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(&self, least: u64, most: u64) -> Option<u64> {
        let number = match self.value {
            Value::Num(_, number) => number,
            Value::String(_, text) if plain(text).to_num().is_some() => return self.unquote(),
            _ => return self.expected("a number"),
        };
        match number.to_i128().and_then(|n| u64::try_from(n).ok()) {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                self.error(format!("must be from {least} to {most}"));
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
            _ => {
                self.expected::<()>("a list");
                Vec::new()
            }
        }
    }

    /// The entries of a list, or the one value that stands for a list of one.
    pub(super) fn one_or_list(&self) -> Vec<Node<'a>> {
        match self.value {
            Value::Array(..) => self.list(),
            _ => vec![self.clone()],
        }
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

    fn set_by_variable(&self) -> bool {
        matches!(self.context.place(&self.path, false), Place::Variable(_))
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
                child.key_error("merge keys are not supported");
            } else {
                child.key_error(format!("unknown key{}", suggestion(key, self.known.iter().copied())));
            }
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
