//! Dependencies point one way: which folder of `src/` imports which, and which module of the session, against the tables
//! of layers in ARCHITECTURE.md.
//!
//! In:    the tables; the sources, of which each module of a level is a folder, whether it is one file or many.
//! Out:   each import that the table does not allow, with its file and line; each circle in the table.
//! Never: looks at comments, strings, or what is compiled for tests only.
//!
//! The table stands in the order of the layers: a folder may import only what stands above it, so what obeys the table
//! has no circle. An import is a path from `crate::`, in a `use` line or anywhere else, or one that `super::` leads out
//! of its folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Where a table holds.
struct Level {
    /// What stands above it.
    heading: &'static str,
    /// Where its folders are, and how deep.
    path: &'static str,
    depth: usize,
    /// The same in a path of Rust's.
    root: &'static str,
    /// Files that declare the folders or are above all of them.
    above: &'static [&'static str],
}

const CRATE: Level = Level {
    heading: "## Layers\n",
    path: "src/",
    depth: 0,
    root: "crate::",
    above: &["src/lib.rs", "src/main.rs"],
};

const SESSION: Level = Level {
    heading: "## Layers of the session\n",
    path: "src/session/",
    depth: 1,
    root: "crate::session::",
    above: &["src/session/mod.rs"],
};

/// A folder, and what it may import.
type Row<'t> = (&'t str, Vec<&'t str>);

#[test]
fn imports_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let mut files = Vec::new();
    read(root, &root.join("src"), &mut files);
    assert!(files.len() > 100, "only {} files were read: have they moved?", files.len());
    let wrong = [check(&CRATE, &document, &files), check(&SESSION, &document, &files)].concat();
    assert!(wrong.is_empty(), "against the layers of ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

fn read(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(root, &path, files);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What is wrong with the table and with files that are to obey it.
fn check(level: &Level, document: &str, files: &[(String, String)]) -> Vec<String> {
    let table = layers(document, level.heading);
    let mut wrong = Vec::new();
    for (at, (folder, imports)) in table.iter().enumerate() {
        let above = |name| table[..at].iter().any(|(folder, _)| *folder == name);
        for name in imports.iter().filter(|name| !above(**name)) {
            wrong.push(format!(
                "ARCHITECTURE.md: `{folder}` may not import `{name}`, which does not stand above it"
            ));
        }
    }
    let files: Vec<_> = files
        .iter()
        .filter(|(name, _)| name.starts_with(level.path) && !level.above.contains(&&**name))
        .collect();
    let folders: BTreeSet<&str> = files.iter().map(|(name, _)| level.folder(name)).collect();
    let known = |name: &str| table.iter().find(|(folder, _)| *folder == name);
    let rows = table.iter().map(|(folder, _)| *folder).collect();
    wrong.extend(folders.difference(&rows).map(|name| format!("ARCHITECTURE.md: `{name}` is in no layer")));
    wrong.extend(rows.difference(&folders).map(|name| format!("ARCHITECTURE.md: there is no `{name}`")));
    let code: Vec<_> = files.iter().map(|(name, text)| (name, Code::of(name, text))).collect();
    let for_tests: Vec<&String> = code.iter().flat_map(|(_, code)| &code.for_tests).collect();
    for (name, code) in &code {
        let module = name.trim_end_matches(".rs").trim_end_matches("/mod");
        if for_tests.iter().any(|test| module == **test || module.starts_with(&format!("{test}/"))) {
            continue;
        }
        let own = level.folder(name);
        let allowed = known(own).map(|(_, imports)| imports.as_slice()).unwrap_or_default();
        for (line, import) in code.imports(level.root, module.matches('/').count() - level.depth) {
            let another = import != own && folders.contains(&*import);
            // All of the root at once names nobody, and so everybody.
            if import == "*" || another && !allowed.contains(&&*import) {
                wrong.push(format!("{name}:{line}: `{own}` may not import `{import}`"));
            }
        }
    }
    wrong
}

/// The rows below a heading.
fn layers<'t>(document: &'t str, heading: &str) -> Vec<Row<'t>> {
    let (_, section) = document.split_once(heading).expect("a section about layers");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.map(|(folder, imports)| (folder, imports.split('`').skip(1).step_by(2).collect())).collect()
}

impl Level {
    /// Its module that a file belongs to.
    fn folder<'f>(&self, file: &'f str) -> &'f str {
        let inside = file.strip_prefix(self.path).unwrap_or(file);
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }
}

/// A source file without comments, strings, and what is there for tests.
struct Code {
    text: String,
    /// Modules of other files that are there for tests, as paths without an ending.
    for_tests: Vec<String>,
}

impl Code {
    fn of(file: &str, source: &str) -> Code {
        const TESTS: &str = "#[cfg(test)]";
        let mut text = bare(source);
        let mut for_tests = Vec::new();
        while let Some(start) = text.find(TESTS) {
            let end = start + TESTS.len() + item(&text[start + TESTS.len()..]);
            let words: Vec<&str> = text[start..end].trim_end_matches(';').split_whitespace().collect();
            if let [.., "mod", name] = words[..] {
                let inside = file.trim_end_matches(".rs").trim_end_matches("/mod");
                for_tests.push(format!("{inside}/{name}"));
            }
            let blank: String = text[start..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
            text.replace_range(start..end, &blank);
        }
        Code { text, for_tests }
    }

    /// The first names behind each way to a root, with their lines. In a module so many levels below it, as many
    /// `super::` lead there.
    fn imports(&self, root: &str, depth: usize) -> Vec<(usize, String)> {
        let supers = "super::".repeat(depth);
        let mut found = Vec::new();
        for root in [root, supers.as_str()] {
            for (at, _) in self.text.match_indices(root) {
                let before = self.text[..at].trim_end_matches("self::").chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || "_:$".contains(c)) {
                    continue;
                }
                let line = 1 + self.text[..at].matches('\n').count();
                found.extend(names(&self.text[at + root.len()..]).into_iter().map(|name| (line, name)));
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

/// The first names of a path, or of a group of paths.
fn names(path: &str) -> Vec<String> {
    let name = |path: &str| {
        path.trim_start().chars().take_while(|c| c.is_alphanumeric() || "_*".contains(*c)).collect()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut names, mut depth) = (vec![name(group)], 1);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(name(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// How long the item is that begins here, with its other attributes.
fn item(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return at;
        }
        if depth == 0 && (c == ';' || c == '}') {
            return at + 1;
        }
    }
    text.len()
}

/// The same lines with neither comments nor what stands in quotes.
fn bare(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skipped = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => 1 + quoted(&rest[1..], '"'),
            'r' if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_') => raw(rest),
            // A character, not a lifetime.
            '\'' if rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'') => {
                1 + quoted(&rest[1..], '\'')
            }
            _ => 0,
        };
        if skipped == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            out.push(' ');
            rest = &rest[skipped..];
        }
    }
    out
}

/// How much stands before a closing quote, with it.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// How long a raw string is; 0: here is none.
fn raw(text: &str) -> usize {
    let marks = text[1..].chars().take_while(|c| *c == '#').count();
    let Some(inside) = text[1 + marks..].strip_prefix('"') else { return 0 };
    let end = format!("\"{}", "#".repeat(marks));
    2 + marks + inside.find(&end).map_or(inside.len(), |at| at + end.len())
}

/// A tree that never was.
mod made_up {
    use super::{CRATE, SESSION, check};

    const TABLE: &str = "## Layers\n\n| folder | may import |\n|---|---|\n| `words` | |\n| `talk` | `words` |\n\
                         | `run` | `talk`, `words` |\n\n## Other\n\n| `talk` | `run` |\n";

    /// What is wrong with the table where `talk/line.rs` is this.
    fn wrong(table: &str, line: &str) -> Vec<String> {
        let files = [
            ("src/lib.rs", "pub mod run;\npub mod talk;\npub mod words;\nuse crate::run::go;\n"),
            ("src/words.rs", "pub struct Word;\n"),
            ("src/talk/mod.rs", "mod line;\nuse crate::words::Word;\n"),
            ("src/talk/line.rs", line),
            ("src/talk/line/inner.rs", "use crate::talk::line;\n"),
            ("src/run.rs", "use crate::talk;\nuse super::words::Word;\n"),
        ];
        check(&CRATE, table, &files.map(|(name, text)| (name.to_owned(), text.to_owned())))
    }

    #[test]
    fn what_the_table_allows_passes() {
        assert!(
            wrong(TABLE, "use crate::words::{self, Word};\nuse super::super::words;\nuse super::run;\n")
                .is_empty()
        );
    }

    #[test]
    fn a_wrong_import_is_named_with_its_line() {
        let table = [
            ("use std::fmt;\nuse crate::run::go;\n", 2),
            ("pub use crate::{\n    words::Word,\n    run,\n};\n", 1),
            ("use crate::{words::{self, run}, run::{go}};\n", 1),
            ("use crate::words::run;\nuse crate::words;\nuse super::super::{words, run as go};\n", 3),
            ("\n\nfn f() {\n    crate::run::go();\n}\n", 4),
            ("use super::super::run;\n", 1),
            ("use self::super::super::{words, run};\n", 1),
            ("fn f(c: char) -> bool {\n    c == '\"' || c == '\\''\n}\nuse crate::run;\n", 4),
            ("#[cfg(test)]\nuse crate::words;\nuse crate::run;\n", 3),
            ("#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n\nfn g() -> crate::run::Go {}\n", 6),
        ];
        for (line, number) in table {
            let expected = format!("src/talk/line.rs:{number}: `talk` may not import `run`");
            assert_eq!(wrong(TABLE, line), [expected], "{line}");
        }
    }

    #[test]
    fn the_root_as_a_whole_is_not_imported() {
        assert_eq!(wrong(TABLE, "use crate::*;\n"), ["src/talk/line.rs:1: `talk` may not import `*`"]);
    }

    #[test]
    fn what_is_no_import_or_for_tests_passes() {
        for line in [
            "// use crate::run;\n/// [`go`](crate::run::go)\n/* crate::run */\n",
            "const A: &str = \"crate::run\";\nconst B: &str = r#\"\"crate::run\"#;\n",
            "#[cfg(test)]\nmod tests {\n    use crate::run;\n}\n",
            "#[cfg(test)]\n#[path = \"run.rs\"]\npub(crate) mod inner;\n",
            "#[cfg(test)]\nuse crate::{run, words};\n",
            "macro_rules! m { () => { $crate::run::go() } }\n",
            "use crate::talk::run;\nuse other_crate::run;\n",
        ] {
            assert_eq!(wrong(TABLE, line), [""; 0], "{line}");
        }
    }

    #[test]
    fn modules_of_other_files_that_are_for_tests_pass() {
        let files = [
            ("src/words.rs", ""),
            ("src/talk/mod.rs", "#[cfg(test)]\nmod tests;\n"),
            ("src/talk/tests.rs", "use crate::run;\n"),
            ("src/talk/tests/more.rs", "use crate::run;\n"),
            ("src/run.rs", ""),
        ];
        let mut files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(check(&CRATE, TABLE, &files), [""; 0]);
        files[1].1.clear();
        assert_eq!(check(&CRATE, TABLE, &files).len(), 2, "not for tests any more");
    }

    #[test]
    fn a_circle_in_the_table_is_found() {
        let table = TABLE.replace("| `words` | |", "| `words` | `run` |");
        let expected = "ARCHITECTURE.md: `words` may not import `run`, which does not stand above it";
        assert_eq!(wrong(&table, ""), [expected]);
    }

    #[test]
    fn the_table_has_what_there_is() {
        let table = TABLE.replace("| `words` | |", "| `word` | |");
        let expected = ["ARCHITECTURE.md: `words` is in no layer", "ARCHITECTURE.md: there is no `word`"];
        let found = wrong(&table, "");
        assert!(expected.iter().all(|line| found.contains(&(*line).to_owned())), "{found:?}");
    }

    #[test]
    fn the_session_has_layers_of_its_own() {
        let table = "## Layers of the session\n\n| `words` | |\n| `machine` | `words` |\n| `conductor` | `machine` |\n";
        let files = |line: &str| {
            [
                ("src/session/mod.rs", "use self::conductor::Conductor;\n"),
                ("src/session/words.rs", "use crate::smtp::Code;\nuse super::super::smtp;\n"),
                ("src/session/machine/mod.rs", "use super::words::Word;\nmod part;\n"),
                ("src/session/machine/part.rs", line),
                ("src/session/conductor.rs", "use super::machine::Machine;\n"),
                ("src/run.rs", "use crate::session::conductor::Conductor;\n"),
            ]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
        };
        let fair = "use super::Machine;\nuse crate::session::words::Word;\nuse super::super::words;\n";
        assert_eq!(check(&SESSION, table, &files(fair)), [""; 0]);
        for line in ["use crate::session::conductor;\n", "use super::super::conductor::Conductor;\n"] {
            let expected = "src/session/machine/part.rs:1: `machine` may not import `conductor`";
            assert_eq!(check(&SESSION, table, &files(line)), [expected], "{line}");
        }
    }
}
