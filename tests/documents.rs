//! The documents speak of what is there: every file, link and name in them exists.
//!
//! In:    the Markdown files of the repository's root and of `docs/`.
//! Out:   each mention that leads nowhere, with its document and line.
//! Never: follows a link out of the repository; looks into fenced blocks, which show other people's files.
//!
//! Checked are relative links, code spans that are paths below a folder of ours, and in ARCHITECTURE.md every type or
//! function that a table row names beside its file.

use std::fs;
use std::path::{Path, PathBuf};

/// What a path in a code span begins with.
const OURS: [&str; 8] = ["src/", "tests/", "docs/", "benches/", "deploy/", ".ci/", "examples/", "proxy.yaml"];

#[test]
fn what_the_documents_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    for document in documents(root) {
        let folder = document.parent().unwrap();
        let text = fs::read_to_string(&document).unwrap();
        let name = document.strip_prefix(root).unwrap().display().to_string();
        for (number, line) in prose(&text) {
            let links = links(line).into_iter().map(|link| folder.join(link));
            let spans = spans(line).filter(|span| is_path(span)).map(|span| root.join(span));
            for path in links.chain(spans).filter(|path| !path.exists()) {
                wrong.push(format!("{name}:{number}: {} is not there", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_the_map_names_is_in_its_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let mut checked = 0;
    for (number, line) in prose(&text).filter(|(_, line)| line.starts_with("| `src/")) {
        let place = spans(line).next().unwrap();
        let source = source(&root.join(place));
        let is_name = |span: &&str| span.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':');
        for name in spans(line).skip(1).filter(is_name) {
            let last = name.rsplit("::").next().unwrap();
            let declares = |line: &str| {
                ["struct", "enum", "trait", "fn", "const", "static", "mod", "type"]
                    .iter()
                    .any(|word| line.split(&format!("{word} {last}")).skip(1).any(ends_word))
            };
            assert!(source.lines().any(declares), "ARCHITECTURE.md:{number}: {place} declares no {name}");
            checked += 1;
        }
    }
    assert!(checked > 30, "the map names what it maps: {checked}");
}

/// Whether the name before `rest` ends there.
fn ends_word(rest: &str) -> bool {
    !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn documents(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in [root.to_owned(), root.join("docs"), root.join("docs/decisions"), root.join("deploy")] {
        let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        found.extend(entries.filter(|path| path.extension().is_some_and(|ext| ext == "md")));
    }
    assert!(found.len() > 8, "{found:?}");
    found.sort();
    found
}

/// A file's text, or that of all files below a folder.
fn source(path: &Path) -> String {
    if path.is_file() {
        return fs::read_to_string(path).unwrap();
    }
    fs::read_dir(path).unwrap().map(|entry| source(&entry.unwrap().path())).collect()
}

/// The numbered lines outside fenced and indented blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence && !line.starts_with("    ")).then_some((index + 1, line))
    })
}

/// Targets of relative links, without their anchors.
fn links(line: &str) -> Vec<&str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

/// Text between backticks.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn is_path(span: &str) -> bool {
    OURS.iter().any(|ours| span.starts_with(ours))
        && !span.contains([' ', '*', '<', '{'])
        && !span.contains("NNNN")
}
