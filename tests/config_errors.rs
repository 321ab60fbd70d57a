//! A newcomer's configuration errors: every file under `tests/config` and the exact message it gets.
//!
//! `NN-name.yaml` is loaded through the library; what it says stands in `NN-name.txt`, one line per error
//! (`warning: …` and `ok` for a file that may be used). `BLESS=1 cargo test --test config_errors` rewrites the texts.
//! The files that they name (certificates, keys, maps) are made afresh, in a folder of their own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use gatepost::config::{self, load_text_with};
use gatepost::prepare;

#[allow(dead_code, reason = "shared with process; not every test needs all of it")]
#[path = "support/certificates.rs"]
mod certificates;

/// The folder in which the files are that the configurations name, which is the working directory from then on.
static NAMED: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let authority = certificates::Authority::new("Example Root");
    for name in ["a", "b", "cert", "other", "own"] {
        authority.server(&["mx.example.com"]).write(dir, name);
    }
    fs::copy(dir.join("cert.key"), dir.join("key.pem")).unwrap();
    for name in ["r", "roots"] {
        authority.write(dir, name);
    }
    let pem = fs::read_to_string(dir.join("key.pem")).unwrap();
    fs::write(dir.join("encrypted.key"), pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")).unwrap();
    let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
                       -----END RSA PRIVATE KEY-----\n";
    fs::write(dir.join("traditional.key"), traditional).unwrap();
    fs::write(dir.join("cert.der"), [0x30, 0x82, 0, 0]).unwrap();
    fs::write(dir.join("torn.pem"), "-----BEGIN PRIVATE KEY-----\n!\n").unwrap();
    fs::write(dir.join("junk.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    fs::write(dir.join("empty"), "").unwrap();
    fs::create_dir(dir.join("folder")).unwrap();
    fs::write(dir.join("wrong.map"), "joe@a.example\nann@a.example upstream:none\n").unwrap();
    for map in ["r.map", "old.map", "recipients.map"] {
        fs::write(dir.join(map), "").unwrap();
    }
    std::env::set_current_dir(dir).unwrap();
    folder
});

fn wrong_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    files
}

fn said(text: &str, variables: &[(&str, &str)]) -> String {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    LazyLock::force(&NAMED);
    match load_text_with("proxy.yaml", text, variables, prepare::files) {
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
}

/// Several wrong values may stand in one file: each is one that somebody could have written alone. The same mistake at
/// another place is not another one.
#[test]
fn the_table_holds_what_strangers_try() {
    let mut told = BTreeSet::new();
    let mut files = BTreeSet::new();
    for path in wrong_files() {
        let text = fs::read_to_string(path.with_extension("txt")).unwrap();
        for line in text.lines().filter(|line| *line != "ok") {
            // Without `proxy.yaml:12:7: `, and without the numbers in the key.
            let said = line.split_once(": ").map_or(line, |(_, said)| said);
            let (key, text) = said.split_once(": ").unwrap_or(("", said));
            let key: String = key.chars().filter(|c| !c.is_ascii_digit()).collect();
            told.insert(format!("{key}: {text}"));
            files.insert(path.clone());
        }
    }
    assert!(told.len() >= 400, "{} wrong configurations", told.len());
    assert!(files.len() >= 90, "{} files with something wrong", files.len());
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
    let config = config::load_text("proxy.yaml", POOL, variables).unwrap().config;
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
        ("GATEPOST__LIMITS", "1", "expected keys and values, such as { sessions: 1 }, found \"1\""),
        (
            "GATEPOST__LIMITS__MESSAGE_SIZE",
            "10M",
            "expected a size, such as 25MiB or 4096, found \"10M\", did you mean 10MiB?",
        ),
        ("GATEPOST__TIMEOUTS__REPLY", "60", "needs a unit, such as 60s or 60m"),
        ("GATEPOST__GREETING", "Hop", "expected hop or own, found \"Hop\", did you mean \"hop\"?"),
        ("GATEPOST__ADMIN__ADDRESS", "::1:9025", "an IPv6 address with a port is written \"[::1]:9025\""),
        (
            "GATEPOST__UPSTREAMS__MAIN-1__IDENTITY_LOGIN",
            "yes",
            "expected true or false, found \"yes\", did you mean true?",
        ),
        ("GATEPOST__UPSTREAMS__MAIN-1__HOSTS", "a.example.com", "lists are set in the file only"),
        ("GATEPOST__SHUTDOWN_GRACE", "-1s", "expected a duration, such as 30s, 5m or 250ms, found \"-1s\""),
        ("GATEPOST__MESSAGE_SIZE", "10MiB", "unknown key; it belongs to limits"),
        ("GATEPOST__LIMITS__EXEMPT", "192.0.2.0/24", "lists are set in the file only"),
        ("GATEPOST__LISTENERS", "127.0.0.1:1", "lists are set in the file only"),
        ("GATEPOST__LISTENERS__0__ADDRESS", "127.0.0.1:1", "lists are set in the file only"),
        ("GATEPOST__RULES__0__NAME", "x", "rules: lists are set in the file only"),
        ("GATEPOST__WORKERS", "", "expected a number, found nothing"),
        ("GATEPOST__WORKERS", "-1", "must be from 0 to 1024, found -1"),
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
        "GATEPOST__LIMITS: expected keys and values, such as { sessions: 1 }, found \"1\"\n\
         GATEPOST__LIMITS__ERRORS: contradicts GATEPOST__LIMITS\n\
         GATEPOST__limits__errors: contradicts GATEPOST__LIMITS\n"
    );
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let said = |path: &Path| {
        let text = config::load(Some(path), [], |_, _| Vec::new()).unwrap_err().to_string();
        text.replace(&folder.path().display().to_string(), "…")
    };
    let path = folder.path().join("proxy.yaml");
    assert_eq!(said(&path), "…/proxy.yaml: cannot be read: No such file or directory (os error 2)");
    assert_eq!(said(folder.path()), "…: cannot be read: Is a directory (os error 21)");
    fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
    assert_eq!(said(&path), "…/proxy.yaml:2:1: not UTF-8, in which the file has to be saved");
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
