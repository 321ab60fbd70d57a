//! SIGHUP: the file is read again.
//!
//! In:    files that are right, wrong, and not there; listeners that come and go.
//! Out:   new sessions come under a good file, running ones keep theirs; a wrong file changes nothing, is said in the
//!        log with line and column, and counted.
//! Never: looks inside the process.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

use super::gate::{Gate, SINK, client_of, first_reply, free_address, wait_refused};
use super::hop::Hop;
use crate::scratch::{PATIENCE, Scratch, wait_for};

const REFUSE: &str =
    "rules:\n  - { name: closed, stages: mail, do: { reply: \"550 5.7.1 Closed for today\" } }\n";
const MAIL: &str = "MAIL FROM:<a@example.org>";

#[test]
fn new_sessions_come_under_a_good_file_and_running_ones_keep_theirs() {
    let gate = Gate::start(SINK, "");
    let mut running = gate.client();
    gate.write(&[gate.listener], SINK, REFUSE);
    gate.reload("done");
    running.ask(MAIL, 250);
    let mut new = gate.client();
    let reply = new.ask(MAIL, 550);
    assert!(reply.starts_with("550 5.7.1 Closed for today"), "{reply}");
    running.ask("RSET", 250);
    running.ask(MAIL, 250);
    running.quit();
    new.quit();
    gate.logged(&["reload: done"]);
}

#[test]
fn a_broken_file_changes_nothing_and_says_where() {
    let gate = Gate::start(SINK, REFUSE);
    let path = gate.write(&[gate.listener], SINK, "limits:\n  sesions: 3\n");
    let wrong = fs::read_to_string(path).unwrap().lines().position(|line| line.contains("sesions")).unwrap();
    gate.reload("refused");
    let place = format!("proxy.yaml:{}:3: limits.sesions: unknown key", wrong + 1);
    let output = gate.output();
    let said =
        output.lines().find(|line| line.contains(&place)).unwrap_or_else(|| panic!("{place}\n{output}"));
    assert!(said.contains("ERROR") && said.contains("reload: nothing changed"), "{said}");
    assert_eq!(gate.metric("gatepost_reloads_total", &["outcome=\"done\""]), 0.0);
    gate.client().ask(MAIL, 550);
}

#[test]
fn a_map_is_read_again_and_a_broken_one_changes_nothing() {
    let scratch = Scratch::new("map");
    let write = |text: &str| scratch.write("recipients.map", text);
    let file = write("joe@example.net upstream:main\n# all others\n@example.net nobody@example.net\n");
    let more = format!(
        "rules: [{{ name: recipients, stages: rcpt, do: {{ map: {} }} }}]\nlog: {{ level: trace }}\n",
        file.display()
    );
    let gate = Gate::start(SINK, &more);
    // What the hop is told; the last one, and the others are counted.
    let mut asked = 0;
    let mut sent = || {
        let mut client = gate.client();
        client.ask(MAIL, 250);
        client.ask("RCPT TO:<joe@example.net>", 250);
        client.quit();
        asked += 1;
        wait_for("the line in the log", PATIENCE, || {
            let output = gate.output();
            let lines: Vec<&str> = output.lines().filter(|line| line.contains("[1] C: RCPT")).collect();
            let last = lines.last().filter(|_| lines.len() == asked)?;
            Some(last[last.find('<')?..=last.find('>')?].to_owned())
        })
    };
    assert_eq!(sent(), "<joe@example.net>");
    write("joe@example.net joseph@example.org\n");
    gate.reload("done");
    assert_eq!(sent(), "<joseph@example.org>");
    write("joe@example.net ann@example.org\njoe@example.net\n*@example.net x@example.org\n");
    gate.reload("refused");
    let output = gate.output();
    for (line, what) in [(2, "nothing stands behind"), (3, "is a pattern")] {
        let place = format!("reload: nothing changed: {}:{line}: ", file.display());
        let said = output.lines().find(|said| said.contains(&place));
        assert!(said.is_some_and(|said| said.contains(what)), "{place}\n{output}");
    }
    assert_eq!(sent(), "<joseph@example.org>");
    fs::remove_file(&file).unwrap();
    gate.reload("refused");
    assert_eq!(sent(), "<joseph@example.org>");
}

#[test]
fn a_file_that_is_not_yaml_or_not_there_changes_nothing() {
    let gate = Gate::start(SINK, "");
    let path = gate.write(&[gate.listener], SINK, "rules: [\n");
    gate.reload("refused");
    gate.client().ask(MAIL, 250);
    fs::remove_file(path).unwrap();
    gate.reload("refused");
    gate.client().ask(MAIL, 250);
    gate.write(&[gate.listener], SINK, REFUSE);
    gate.reload("done");
    gate.client().ask(MAIL, 550);
}

#[test]
fn listeners_come_and_go() {
    let gate = Gate::start(SINK, "");
    let added = free_address();
    let mut running = gate.client();
    gate.write(&[gate.listener, added], SINK, "");
    gate.reload("done");
    client_of(added).quit();
    gate.client().quit();
    gate.write(&[added], SINK, "");
    gate.reload("done");
    wait_refused(gate.listener);
    client_of(added).quit();
    running.ask(MAIL, 250);
    running.quit();
}

#[test]
fn limits_and_hops_of_new_sessions_are_the_new_ones() {
    let (old, new) = (Hop::start("old.example"), Hop::start("new.example"));
    let gate = Gate::start(&old.upstream(), "");
    let mut running = gate.client();
    gate.write(&[gate.listener], &new.upstream(), "limits: { sessions_per_client: 2 }\n");
    gate.reload("done");
    let reply = first_reply(gate.listener);
    assert!(reply.starts_with("220 new.example"), "{reply}");
    let open = || gate.metric("gatepost_sessions_open", &[]);
    wait_for("that session to be over", PATIENCE, || (open() == 1.0).then_some(()));
    let _second = gate.client();
    let reply = first_reply(gate.listener);
    assert!(reply.starts_with("421 4.7.0 "), "the running one counts: {reply}");
    for command in [MAIL, "RCPT TO:<b@example.net>"] {
        running.ask(command, 250);
    }
    running.ask("DATA", 354);
    running.say("By the old way.\r\n.\r\n");
    running.hear(250);
    assert_eq!((old.contents(), new.contents()), (1, 0));
}

#[test]
fn a_listener_whose_address_is_taken_changes_nothing() {
    let gate = Gate::start(SINK, "");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = (taken.local_addr().unwrap(), taken);
    gate.write(&[gate.listener, taken.0], SINK, REFUSE);
    gate.reload("refused");
    gate.logged(&[&format!("{}: cannot listen", taken.0)]);
    gate.client().ask(MAIL, 250);
}

#[test]
fn a_listener_that_stays_loses_no_client() {
    let gate = Gate::start(SINK, "");
    let over = AtomicBool::new(false);
    let heard = thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            let mut heard = Vec::new();
            while !over.load(Ordering::SeqCst) {
                heard.push(first_reply(gate.listener));
            }
            heard
        });
        for more in [REFUSE, "", REFUSE, "", REFUSE, ""] {
            gate.write(&[gate.listener], SINK, more);
            gate.reload("done");
        }
        over.store(true, Ordering::SeqCst);
        connecting.join().unwrap()
    });
    assert!(!heard.is_empty());
    for reply in &heard {
        assert!(reply.starts_with("220 "), "one of {} clients heard {reply:?}", heard.len());
    }
}
