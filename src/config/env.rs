//! The environment as a figment provider: `GATEPOST__LIMITS__MESSAGE_SIZE=10MiB` sets `limits.message_size`.
//!
//! **In**: names and values as data (so that tests need no process environment) and the file's keys.
//! **Out**: [`Environment`], a provider that remembers which variable set which key path, and problems.
//! **Never**: reads lists from variables (they are written in the file only); looks at a variable without the prefix.
//!
//! Key paths are compared without regard to case: a variable names the key of the file that it equals, and else the
//! lower-case one. Values are read as unquoted YAML scalars.

use std::collections::BTreeMap;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::error::{Place, Problem};
use super::yaml::{join, plain};

/// What a variable's name starts with.
const PREFIX: &str = "GATEPOST__";

/// What joins the keys of a path.
const SEPARATOR: &str = "__";

/// The variables that set something.
#[derive(Debug, Default)]
pub(super) struct Environment {
    dict: Dict,
    /// Variable names by the key path they set.
    pub(super) variables: BTreeMap<String, String>,
    /// What was found wrong on the way.
    pub(super) problems: Vec<Problem>,
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("environment")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

impl Environment {
    /// Takes the variables with our prefix, in the order of their names.
    pub(super) fn read(variables: impl IntoIterator<Item = (String, String)>, file: &Dict) -> Self {
        let mut ours: Vec<_> = variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        ours.sort();
        let mut environment = Self::default();
        for (name, value) in ours {
            environment.set(&name, &value, file);
        }
        environment
    }

    fn set(&mut self, name: &str, value: &str, file: &Dict) {
        let keys: Vec<&str> = name[PREFIX.len()..].split(SEPARATOR).collect();
        if keys.iter().any(|key| key.is_empty()) {
            return self.problem(name, "an empty key".to_owned());
        }
        let mut known = Some(file);
        let mut path = String::new();
        let mut names = Vec::with_capacity(keys.len());
        for key in keys {
            let key = spelled(key, known);
            path = join(&path, &key);
            let below = known.and_then(|dict| dict.get(&key));
            if matches!(below, Some(Value::Array(..))) {
                return self.problem(name, "lists are set in the file only".to_owned());
            }
            known = below.and_then(Value::as_dict);
            names.push(key);
        }
        let taken = self.variables.iter().find(|(other, _)| {
            let (short, long) = if other.len() < path.len() { (*other, &path) } else { (&path, *other) };
            long.strip_prefix(short.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        if let Some((_, other)) = taken {
            return self.problem(name, format!("contradicts {other}"));
        }
        insert(&mut self.dict, &names, plain(value));
        self.variables.insert(path, name.to_owned());
    }

    fn problem(&mut self, name: &str, text: String) {
        self.problems.push(Problem { place: Place::Variable(name.to_owned()), key: String::new(), text });
    }
}

/// The file's own spelling of `key` if it has exactly one, else lower case.
fn spelled(key: &str, file: Option<&Dict>) -> String {
    let mut same = file.into_iter().flat_map(Dict::keys).filter(|name| name.eq_ignore_ascii_case(key));
    match (same.next(), same.next()) {
        (Some(name), None) => name.clone(),
        _ => key.to_ascii_lowercase(),
    }
}

fn insert(dict: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            dict.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let below = dict.entry(first.clone()).or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, below) = below {
                insert(below, rest, value);
            }
        }
    }
}
