//! The configuration: `proxy.yaml`, the environment, and what they mean.
//!
//! **In**: a file (or the one embedded in the binary) and variables `GATEPOST__A__B`. **Out**: a checked
//! [`Config`], or every error at once, each with its line, column and key path.
//! **Never**: no sockets, no name resolution; a configuration that is not understood whole is not used at all.
//!
//! The way through: `yaml` keeps the marks, `env` the variables' names, figment merges the two, `walk` and the
//! decoders beside it read the merged tree, `check` compares its sections, `print` writes it down again.

mod action;
mod address;
pub mod callout;
mod callouts;
mod check;
pub mod edge;
mod edges;
mod env;
mod error;
mod hops;
mod message;
mod milter;
mod milters;
mod network;
pub mod operation;
mod places;
mod print;
mod reach;
mod reply;
pub mod rule;
mod rules;
mod scalar;
mod settings;
mod stage;
mod strangers;
mod template;
#[cfg(test)]
mod tests;
pub mod types;
mod unknown;
mod walk;
mod yaml;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use figment::Figment;

pub(crate) use address::scoped;
pub use check::own_listener;
pub(crate) use edges::identity_name;
pub(crate) use error::suggestion;
pub use error::{Errors, Place, Problem};
pub use places::{FileFault, Places};
pub(crate) use scalar::read_size;
pub(crate) use stage::{knows, stages};
pub use types::Config;
pub(crate) use walk::shown;

/// The configuration used when there is no file: the repository's own `proxy.yaml`.
pub const EMBEDDED: &str = include_str!("../../proxy.yaml");

/// The file looked for when none is named.
pub const DEFAULT_FILE: &str = "proxy.yaml";

/// What is said of a file in another encoding.
const NOT_UTF8: &str = "not UTF-8, in which the file has to be saved";

/// What messages call the embedded file.
const EMBEDDED_NAME: &str = "built-in proxy.yaml";

/// No file may be larger; a hundred thousand rules fit.
const LARGEST_FILE: u64 = 16 << 20;

/// A configuration that may be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed but should be looked at, in file order.
    pub warnings: Vec<Problem>,
    /// The name of the file it came from, for messages.
    pub file: String,
    /// Where its keys were written, for what is found out about them later.
    pub places: Arc<Places>,
}

impl Loaded {
    /// What is wrong with the value at a key path, told with its place.
    pub fn problem(&self, key: &str, text: impl Into<String>) -> Problem {
        self.places.problem(key, text)
    }
}

impl Loaded {
    /// Whether there was no file, so that the embedded one stands in.
    pub fn is_embedded(&self) -> bool {
        self.file == EMBEDDED_NAME
    }
}

/// Loads a configuration: from `path`, else from `proxy.yaml` in the working directory if it exists, else the
/// embedded one; then from `variables` (see [`environment`]). To reload is to call it again.
///
/// `files` is asked what is wrong with the files that the configuration names, even where it is wrong itself (that it is
/// told, too): all that is wrong is told at once.
///
/// # Errors
///
/// Everything that is wrong.
pub fn load(
    path: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
    files: impl Fn(&Config, bool) -> Vec<FileFault>,
) -> Result<Loaded, Errors> {
    let name = path.unwrap_or(Path::new(DEFAULT_FILE));
    match read(name) {
        Ok(octets) => {
            let name = name.display().to_string();
            let text = String::from_utf8(octets).map_err(|error| {
                let line =
                    error.as_bytes()[..error.utf8_error().valid_up_to()].split(|b| *b == b'\n').count();
                unreadable(&name, rule::Mark { line, column: 1 }, NOT_UTF8.to_owned())
            })?;
            load_text_with(&name, &text, variables, files)
        }
        Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => {
            load_text_with(EMBEDDED_NAME, EMBEDDED, variables, files)
        }
        Err(error) => {
            let text = format!("cannot be read: {error}");
            Err(unreadable(&name.display().to_string(), rule::Mark::default(), text))
        }
    }
}

/// Loads a configuration from `text`, which messages call `name`, and from `variables`; looks at no file that it names.
///
/// # Errors
///
/// Everything that is wrong with the text.
pub fn load_text(
    name: &str,
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Errors> {
    load_text_with(name, text, variables, |_, _| Vec::new())
}

/// The same, with `files` as of [`load`].
///
/// # Errors
///
/// Everything that is wrong.
pub fn load_text_with(
    name: &str,
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
    files: impl Fn(&Config, bool) -> Vec<FileFault>,
) -> Result<Loaded, Errors> {
    let document = yaml::Document::parse(name, text);
    if document.unread {
        // Whatever else is missing then would only be missing because nothing was read.
        return Err(Errors::new(document.problems));
    }
    let environment = env::Environment::read(variables, &document.dict);
    let merged = Figment::new().merge(&document).merge(&environment).find_value("");
    let merged = merged.map_err(|error| unreadable(name, rule::Mark::default(), error.to_string()))?;
    let context = walk::Context {
        places: Places { file: name.to_owned(), marks: document.marks, variables: environment.variables },
        ..walk::Context::default()
    };
    let config = settings::config(&walk::Node::top(&context, &merged));
    check::check(&config, &context);
    let wrong = [&document.problems, &environment.problems, &*context.errors.borrow()]
        .iter()
        .any(|all| !all.is_empty());
    for fault in files(&config, wrong) {
        let key = context.files.borrow().key_of(&fault);
        context.error(&key, fault.text);
    }
    let errors = [document.problems, environment.problems, context.errors.into_inner()].concat();
    if !errors.is_empty() {
        return Err(Errors::new(errors));
    }
    let warnings = error::in_order(context.warnings.into_inner());
    Ok(Loaded { config, warnings, file: name.to_owned(), places: Arc::new(context.places) })
}

/// The variables of this process, as [`load`] takes them.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    // A value that is not UTF-8 is kept, wrong as it is, so that it is refused and not overlooked.
    let text = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (text(name), text(value)))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > LARGEST_FILE {
        return Err(io::Error::other(format!("larger than {}", scalar::print_size(LARGEST_FILE))));
    }
    Ok(octets)
}

fn unreadable(name: &str, mark: rule::Mark, text: String) -> Errors {
    let place = Place::File { name: name.to_owned(), mark };
    Errors::new(vec![Problem { place, key: String::new(), text }])
}
