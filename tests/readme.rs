//! The README, done as it says: its commands are run, its transcript is played.
//!
//! In:    `README.md`: shell blocks behind `<!-- run -->`, the configuration behind `<!-- config -->` and the dialog
//!        behind `<!-- transcript -->`; `<!-- callout-config -->`, and `<!-- callout-run -->` with the service in `examples/`.
//! Out:   a failure where a reader who typed along would have met one.
//! Never: edits what it runs, but for the binary in place of the one of a release, and for the addresses: where the
//!        default ports are taken by somebody else, and for the two hops of the transcript, which are played here.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

#[allow(dead_code, reason = "shared with others; not every test program uses all of it")]
#[path = "support/scratch.rs"]
mod scratch;

use self::scratch::free_port;

const README: &str = include_str!("../README.md");
const PATIENCE: Duration = Duration::from_secs(30);
const CONTENT: &str = "Subject: hello\r\n\r\nIt works.\r\n.\r\n";

#[test]
fn what_the_readme_says_to_type_works() {
    let blocks = blocks("run");
    let (server, client): (Vec<_>, Vec<_>) = blocks.iter().partition(|block| is_server(block));
    assert_eq!(server.len(), 1, "one command starts gatepost: {blocks:?}");
    assert!(!client.is_empty(), "and some try it");
    let cwd = tempfile::tempdir().unwrap();
    let mut moved: Vec<(String, String)> = Vec::new();
    if [2525, 9025].iter().any(|&port| TcpListener::bind(("127.0.0.1", port)).is_err()) {
        moved = [2525, 9025].map(|port| (format!(":{port}"), format!(":{}", free_port()))).into();
        let yaml = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy.yaml")).unwrap();
        fs::write(cwd.path().join("proxy.yaml"), elsewhere(&yaml, &moved)).unwrap();
    }
    let gatepost = Gatepost::start(cwd.path(), &elsewhere("127.0.0.1:9025", &moved));
    for block in client {
        type_along(
            &elsewhere(block, &moved).replace("target/release/gatepost", env!("CARGO_BIN_EXE_gatepost")),
            cwd.path(),
        );
    }
    // And again: the second message is another one.
    let again = blocks.iter().find(|block| block.contains("cmp ")).expect("the message is looked at");
    let again: String =
        again.lines().filter(|line| !line.contains("metrics")).map(|line| format!("{line}\n")).collect();
    let again = again.replace("hello", "hello again").replace("hello again.eml", "hello.eml");
    type_along(&elsewhere(&again, &moved).replace("# says", "#"), cwd.path());
    gatepost.stop();
}

#[test]
fn the_service_is_asked() {
    let moved = [2525, 9025, 8080].map(|port| (format!(":{port}"), format!(":{}", free_port())));
    let cwd = tempfile::tempdir().unwrap();
    let listeners = "listeners: [{ address: \"127.0.0.1:2525\", upstream: main }]\n";
    let yaml = elsewhere(&(only("callout-config") + listeners), &moved);
    fs::write(cwd.path().join("proxy.yaml"), yaml).unwrap();
    fs::write(cwd.path().join("hello.eml"), CONTENT).unwrap();
    let service = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/directory.py");
    let port = moved[2].1.trim_start_matches(':');
    let mut service = Command::new("python3").arg(service).arg(port).spawn().expect("python3 runs");
    let listens = || TcpStream::connect(format!("127.0.0.1:{port}")).is_ok();
    let deadline = Instant::now() + PATIENCE;
    while !listens() && Instant::now() < deadline {
        thread::park_timeout(Duration::from_millis(5));
    }
    let gatepost = Gatepost::start(cwd.path(), &elsewhere("127.0.0.1:9025", &moved));
    type_along(&elsewhere(&only("callout-run"), &moved), cwd.path());
    gatepost.stop();
    service.kill().unwrap();
    service.wait().unwrap();
}

/// Runs a block as a reader would, and looks for what it promises.
fn type_along(script: &str, cwd: &Path) {
    let said = Command::new("bash").args(["-euc", script]).current_dir(cwd).output().expect("bash runs");
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{script}\n{out}\n{err}\n(.ci/install-peers installs curl)");
    for promised in script.lines().filter_map(|line| line.strip_prefix("# says: ")) {
        assert!(out.lines().any(|line| line == promised), "{script}\nsaid:\n{out}");
    }
}

#[test]
fn the_transcript_is_what_happens() {
    let transcript = only("transcript");
    let hops = ["[1] ", "[2] "].map(|hop| {
        let column: Vec<&str> = column(&transcript, hop);
        play_hop(column.iter().filter_map(|line| line.strip_prefix("S: ")).map(str::to_owned).collect())
    });
    let [client, admin] = [free_port(), free_port()];
    let mut yaml = only("config");
    for (name, (address, _)) in ["mx.example.com", "old.example.com"].iter().zip(&hops) {
        let (was, is) = (format!("[\"{name}\"]"), format!("[\"{address}\"]"));
        assert!(yaml.contains(&was), "{was} in {yaml}");
        yaml = yaml.replace(&was, &is);
    }
    yaml.push_str(&format!("listeners: [{{ address: \"127.0.0.1:{client}\", upstream: main }}]\n"));
    let cwd = tempfile::tempdir().unwrap();
    fs::write(cwd.path().join("proxy.yaml"), yaml).unwrap();
    let gatepost = Gatepost::start(cwd.path(), &format!("127.0.0.1:{admin}"));
    play_client(SocketAddr::from(([127, 0, 0, 1], client)), &column(&transcript, ""));
    let trace: String = gatepost
        .stop()
        .lines()
        .filter_map(|line| Some(line.split_once(" TRACE gatepost::log: ")?.1.rsplit_once(" session=")?.0))
        .map(|line| format!("{line}\n"))
        .collect();
    for hop in ["", "[1] ", "[2] "] {
        let (promised, happened) = (column(&transcript, hop), column(&trace, hop));
        assert!(!promised.is_empty(), "the transcript shows {hop:?}");
        let happened = &happened[..happened.len().min(promised.len())];
        assert_eq!(promised, happened, "column {hop:?} of\n{trace}");
    }
    for (_, hop) in hops {
        hop.join().unwrap();
    }
}

/// The fenced block behind each `<!-- marker -->`.
fn blocks(marker: &str) -> Vec<String> {
    let marker = format!("<!-- {marker} -->");
    let mut found = Vec::new();
    let mut lines = README.lines();
    while lines.any(|line| line == marker) {
        assert!(lines.next().is_some_and(|line| line.starts_with("```")), "a block follows {marker}");
        found
            .push(lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect());
    }
    found
}

fn only(marker: &str) -> String {
    let mut found = blocks(marker);
    assert_eq!(found.len(), 1, "{marker}");
    found.remove(0)
}

fn is_server(block: &str) -> bool {
    block.trim() == "cargo run --release"
}

fn elsewhere(text: &str, moved: &[(String, String)]) -> String {
    moved.iter().fold(text.to_owned(), |text, (was, is)| text.replace(was, is))
}

/// The lines of one party's dialog: a hop's are indented and begin with its number, the client's are not.
fn column<'a>(dialog: &'a str, hop: &str) -> Vec<&'a str> {
    dialog
        .lines()
        .filter_map(|line| match hop {
            "" => (!line.starts_with(' ')).then_some(line),
            _ => line.strip_prefix("    ")?.strip_prefix(hop),
        })
        .collect()
}

/// A hop that gives one reply of its script to each command, and 221 when there is none left.
fn play_hop(script: Vec<String>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let hop = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut commands = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut script = script.into_iter();
        loop {
            let mut reply = String::new();
            for line in script.by_ref() {
                reply.push_str(&line);
                reply.push_str("\r\n");
                if line.as_bytes().get(3) == Some(&b' ') {
                    break;
                }
            }
            let reply = if reply.is_empty() { "221 2.0.0 Bye\r\n".to_owned() } else { reply };
            // Whoever has said QUIT need not wait for the answer.
            let gone = stream.write_all(reply.as_bytes()).is_err();
            if reply.starts_with("354") {
                assert!(commands.any(|line| line.unwrap() == "."), "content ends");
            } else if gone || reply.starts_with("221") || commands.next().is_none_or(|line| line.is_err()) {
                return;
            }
        }
    });
    (address, hop)
}

/// The client's side of the transcript, in lockstep.
fn play_client(gatepost: SocketAddr, column: &[&str]) {
    let mut stream = TcpStream::connect(gatepost).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap()).lines();
    for line in column.iter().chain(&["C: QUIT"]) {
        if line.starts_with("C: (") {
            // Content, which is counted and not shown; it was said behind the 354.
            continue;
        }
        if let Some(command) = line.strip_prefix("C: ") {
            stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        } else {
            assert_eq!(format!("S: {}", replies.next().expect("a reply").unwrap()), *line);
        }
        if line.starts_with("S: 354") {
            stream.write_all(CONTENT.as_bytes()).unwrap();
        }
    }
    assert!(replies.next().expect("a reply").unwrap().starts_with("221"));
}

/// A running gatepost; ended with the test, whatever becomes of it.
struct Gatepost {
    child: Child,
    said: Option<JoinHandle<String>>,
}

impl Gatepost {
    /// Starts it and waits until it has said how to try it.
    fn start(cwd: &Path, admin: &str) -> Gatepost {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .current_dir(cwd)
            .env("GATEPOST__ADMIN__ADDRESS", admin)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut before = String::new();
        let ready = lines.by_ref().any(|line| {
            before.push_str(&line);
            before.push('\n');
            line.starts_with("try it: curl ")
        });
        let said = thread::spawn(move || lines.map(|line| format!("{line}\n")).collect());
        let gatepost = Gatepost { child, said: Some(said) };
        assert!(ready, "gatepost did not start:\n{before}");
        assert!(before.contains("listening on 127.0.0.1:"), "it says where: {before}");
        gatepost
    }

    /// Has it drain; what it said since it was ready.
    fn stop(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success(), "it drains");
        self.said.take().and_then(|said| said.join().ok()).unwrap_or_default()
    }
}

impl Drop for Gatepost {
    fn drop(&mut self) {
        // After stop() there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
