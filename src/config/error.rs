//! What is wrong with a configuration, said so that it can be found.
//!
//! **In**: a place (file, line and column, or an environment variable), a key path, a sentence.
//! **Out**: [`Errors`], all of them at once in file order, one line each:
//! `proxy.yaml:12:7: upstreams.main.host: unknown key, did you mean "hosts"?`
//! **Never**: decides what is wrong; never prints without bound (a wrong file can be long).

use std::fmt;

use super::rule::Mark;

/// How many errors are printed before the rest is only counted.
const MOST_PRINTED: usize = 100;

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At a line and column of a file.
    File {
        /// The file's name as it was given.
        name: String,
        /// Where in it; line 0 means the file as a whole.
        mark: Mark,
    },
    /// In an environment variable.
    Variable(String),
}

/// One thing that is wrong, or that deserves a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The key path, such as `upstreams.main.hosts[0]`; empty where there is none.
    pub key: String,
    /// What.
    pub text: String,
}

impl Problem {
    /// Sorts by place: the file from top to bottom, then the environment.
    fn order(&self) -> (u8, Mark, &str, &str) {
        match &self.place {
            Place::File { mark, .. } => (0, *mark, "", &self.key),
            Place::Variable(name) => (1, Mark::default(), name, &self.key),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File { name, mark } if mark.line > 0 => {
                write!(f, "{name}:{}:{}: ", mark.line, mark.column)?
            }
            Place::File { name, .. } => write!(f, "{name}: ")?,
            Place::Variable(name) => write!(f, "{name}: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// Everything that is wrong, in file order; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(Vec<Problem>);

impl Errors {
    /// Puts the problems in file order and drops repetitions.
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self(in_order(problems))
    }

    /// One by one, in file order.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().take(MOST_PRINTED).enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        match self.0.len().saturating_sub(MOST_PRINTED) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more errors"),
        }
    }
}

impl std::error::Error for Errors {}

/// Sorts problems by place and drops repetitions.
pub(super) fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| a.order().cmp(&b.order()));
    problems.dedup();
    problems
}

/// `, did you mean "hosts"?` where one of `known` is near enough to `given`, else nothing.
pub(crate) fn suggestion<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let given = given.to_lowercase();
    let near = (given.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&given, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= near && *distance < name.chars().count())
        .min()
        .map(|(_, name)| format!(", did you mean \"{name}\"?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(suggestion("host", ["port", "hosts"]), ", did you mean \"hosts\"?");
        assert_eq!(suggestion("Hosts", ["port", "hosts"]), ", did you mean \"hosts\"?");
        assert_eq!(suggestion("mesage_size", ["message_size"]), ", did you mean \"message_size\"?");
        assert_eq!(suggestion("colour", ["port", "hosts"]), "");
        assert_eq!(suggestion("x", ["mx"]), ", did you mean \"mx\"?");
        assert_eq!(suggestion("x", ["y"]), "");
    }

    #[test]
    fn counts_what_it_does_not_print() {
        let problem = |line| Problem {
            place: Place::File { name: "f".into(), mark: Mark { line, column: 1 } },
            key: String::new(),
            text: "wrong".into(),
        };
        let text = Errors::new((1..=150).rev().map(problem).collect()).to_string();
        assert!(text.starts_with("f:1:1: wrong\nf:2:1: wrong\n"));
        assert!(text.ends_with("f:100:1: wrong\nand 50 more errors"));
    }
}
