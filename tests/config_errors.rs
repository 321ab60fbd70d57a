//! A newcomer's configuration errors: every file under `tests/config` and the exact message it gets.
//!
//! `NN-name.yaml` is loaded through the library; what it says stands in `NN-name.txt`, one line per error
//! (`warning: …` and `ok` for a file that may be used). `BLESS=1 cargo test --test config_errors` rewrites the texts.

use std::fs;
use std::path::{Path, PathBuf};

use gatepost::config::{self, load_text};

fn wrong_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    files
}

fn said(text: &str, variables: &[(&str, &str)]) -> String {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match load_text("proxy.yaml", text, variables) {
        Err(errors) => format!("{errors}\n"),
        Ok(loaded) => {
            let warnings = loaded.warnings.iter().map(|warning| format!("warning: {warning}\n"));
            warnings.chain(["ok\n".to_owned()]).collect()
        }
    }
}

#[test]
fn every_wrong_file_is_told_what_is_wrong() {
    let bless = std::env::var_os("BLESS").is_some();
    let files = wrong_files();
    let mut differences = String::new();
    for path in &files {
        let heard = said(&fs::read_to_string(path).unwrap(), &[]);
        let expected = path.with_extension("txt");
        if bless {
            fs::write(&expected, &heard).unwrap();
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        if heard != wanted {
            differences += &format!("{}\n  wanted:\n{wanted}  heard:\n{heard}", path.display());
        }
    }
    assert!(differences.is_empty(), "{differences}");
    let wrong = files
        .iter()
        .filter(|path| !fs::read_to_string(path.with_extension("txt")).unwrap().ends_with("ok\n"));
    assert!(wrong.count() >= 40, "the table holds 40 wrong files or more");
}

#[test]
fn the_same_wrong_files_with_windows_line_ends() {
    for path in wrong_files() {
        let text = fs::read_to_string(&path).unwrap();
        if !text.contains('\r') {
            assert_eq!(said(&text.replace('\n', "\r\n"), &[]), said(&text, &[]), "{}", path.display());
        }
    }
}

const POOL: &str = "upstreams:\n  Main-1: { hosts: [127.0.0.1:25], port: 26 }\nlisteners:\n  - { address: 127.0.0.1:1, upstream: Main-1 }\n";

#[test]
fn variables_override_the_file() {
    let variables = [
        ("GATEPOST__LIMITS__MESSAGE_SIZE", "10MiB"),
        ("GATEPOST__LOG__LEVEL", "false"),
        ("GATEPOST__UPSTREAMS__MAIN-1__SESSIONS", "7"),
        ("GATEPOST__LIMITS__SESSIONS", "10000"),
        ("GATEPOST_OTHER", "ignored"),
        ("HOME", "ignored"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = load_text("proxy.yaml", POOL, variables).unwrap().config;
    assert_eq!(config.limits.message_size, 10 << 20);
    assert!(config.session_limits.sessions_configured);
    assert_eq!(config.log.level, config::types::LogLevel::Off);
    assert_eq!(config.upstreams["Main-1"].sessions, 7);
    assert_eq!(config.upstreams["Main-1"].port, 26);
}

#[test]
fn wrong_variables_are_named() {
    let table = [
        ("GATEPOST__LIMITS__MESSAGE_SIZE", "ten", "expected a size, such as 25MiB or 4096, found \"ten\""),
        ("GATEPOST__LIMITS__MESAGE_SIZE", "10MiB", "unknown key, did you mean \"message_size\"?"),
        ("GATEPOST__LIMIT__SESSIONS", "1", "limit: unknown key, did you mean \"limits\"?"),
        ("GATEPOST__LIMITS", "1", "expected keys and values, found \"1\""),
        ("GATEPOST__LIMITS__EXEMPT", "192.0.2.0/24", "lists are set in the file only"),
        ("GATEPOST__LISTENERS", "127.0.0.1:1", "lists are set in the file only"),
        ("GATEPOST__LISTENERS__0__ADDRESS", "127.0.0.1:1", "lists are set in the file only"),
        ("GATEPOST__RULES__0__NAME", "x", "rules: lists are set in the file only"),
        ("GATEPOST__WORKERS", "", "expected a number, found nothing"),
        ("GATEPOST__WORKERS", "-1", "must be from 0 to 1024"),
        ("GATEPOST____WORKERS", "1", "an empty key"),
        (
            "GATEPOST__UPSTREAMS__MAIN-1__SINK",
            "./mail",
            "contradicts \"hosts\": a pool has only one of hosts, mx, srv, recipient_mx, original_destination, sink",
        ),
        (
            "GATEPOST__UPSTREAMS__OTHER__PORT",
            "25",
            "upstreams.other: needs one of hosts, mx, srv, recipient_mx, original_destination, sink",
        ),
    ];
    for (name, value, text) in table {
        assert_eq!(said(POOL, &[(name, value)]), format!("{name}: {text}\n"));
    }
    let both =
        [("GATEPOST__LIMITS", "1"), ("GATEPOST__LIMITS__ERRORS", "1"), ("GATEPOST__limits__errors", "2")];
    assert_eq!(
        said(POOL, &both),
        "GATEPOST__LIMITS: expected keys and values, found \"1\"\n\
         GATEPOST__LIMITS__ERRORS: contradicts GATEPOST__LIMITS\n\
         GATEPOST__limits__errors: contradicts GATEPOST__LIMITS\n"
    );
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let said = |path: &Path| {
        let text = config::load(Some(path), []).unwrap_err().to_string();
        text.replace(&folder.path().display().to_string(), "…")
    };
    let path = folder.path().join("proxy.yaml");
    assert_eq!(said(&path), "…/proxy.yaml: cannot be read: No such file or directory (os error 2)");
    assert_eq!(said(folder.path()), "…: cannot be read: Is a directory (os error 21)");
    fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
    assert_eq!(said(&path), "…/proxy.yaml:2:1: not UTF-8");
    fs::File::create(&path).unwrap().set_len(17 << 20).unwrap();
    assert_eq!(said(&path), "…/proxy.yaml: cannot be read: larger than 16MiB");
}

#[test]
fn hostile_yaml_is_bounded() {
    let bomb = |levels: usize| {
        let list = |i: usize| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "));
        (1..levels).map(list).fold("a0: &a0 x\n".to_owned(), |text, line| text + &line)
    };
    let nested = |open: &str, count: usize| format!("rules: {}", open.repeat(count));
    let staircase: String = (0..3000).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    let texts = [
        bomb(9),
        nested("[", 100_000),
        nested("{a: ", 100_000),
        nested("\n- ", 10) + &"- ".repeat(100_000),
        "? ".repeat(100_000),
        "&a - ".repeat(100_000),
        "- &a ".repeat(100_000),
        "!t ".repeat(100_000),
        "a: !t ".repeat(100_000),
        staircase,
        "\u{0}".to_owned(),
        "\u{feff}".to_owned(),
        "a".repeat(1_000_000),
    ];
    for text in texts {
        let heard = said(&text, &[]);
        assert!(heard != "ok\n" && heard.len() < 100_000, "{:.60}… {:.200}", text, heard);
    }
}
