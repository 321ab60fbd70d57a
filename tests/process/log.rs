//! What is written about a session: both dialogs at trace, one record for each transaction, what clients are not shown.
//!
//! In:    a session with two transactions, a rule that rewrites a recipient; hops that offer what cannot be passed on.
//! Out:   lines that show each side as it was; records as text and as JSON, each with both sides; what is not shown.
//! Never: judges what must not be logged; `secrets` does.

use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Value, json};

use super::gate::Gate;
use super::hop::Hop;
use crate::raw::Raw;
use crate::scratch::{PATIENCE, wait_for};

const REWRITE: &str = "rules:\n  - name: moved\n    stages: rcpt\n    match: { recipient: \"*@old.example\" }\n    \
                       do: { rewrite: { recipient: \"{local}@new.example\" } }\n";

/// A message, and a transaction that is given up; the log once both records are there.
fn logged(log: &str) -> String {
    logged_until(log, |_| true)
}

/// The same, once it holds what else is waited for.
fn logged_until(log: &str, is_all: impl Fn(&str) -> bool) -> String {
    let hop = Hop::start("hop.example");
    let gate = Gate::start(&hop.upstream(), &format!("{REWRITE}log: {log}\n"));
    let mut client = gate.client();
    client.ask("MAIL FROM:<a@example.org>", 250);
    client.ask("RCPT TO:<b@old.example>", 250);
    client.ask("DATA", 354);
    client.say("Subject: twice\r\n\r\n.\r\n");
    client.hear(250);
    client.ask("MAIL FROM:<>", 250);
    client.ask("RSET", 250);
    client.quit();
    wait_for("both records", PATIENCE, || {
        let output = gate.output();
        (records(&output).len() >= 2 && is_all(&output)).then_some(output)
    })
}

fn records(output: &str) -> Vec<&str> {
    output.lines().filter(|line| line.contains("sender")).collect()
}

#[test]
fn trace_shows_both_dialogs() {
    // What the client heard last is told behind its records.
    let output = logged_until("{ level: trace }", |output| output.contains(" S: 221 "));
    for line in [
        " S: 220 hop.example ESMTP",
        " C: EHLO client.example",
        "    [1] S: 220 hop.example ESMTP",
        "    [1] C: EHLO client.example",
        " C: RCPT TO:<b@old.example>",
        "    [1] C: RCPT TO:<b@new.example>",
        "    [1] S: 250 2.0.0 Kept",
        " S: 250 2.0.0 Kept",
        " S: 221 ",
    ] {
        assert!(output.contains(line), "{line:?} is missing in\n{output}");
    }
    assert!(!output.contains("Subject: twice"), "content is never logged:\n{output}");
}

#[test]
fn one_record_of_each_transaction() {
    let output = logged("{ format: text }");
    let records = records(&output);
    assert_eq!(records.len(), 2, "{output}");
    for part in [
        "<a@example.org>",
        "<b@old.example> as <b@new.example>",
        "moved",
        "outcome=\"accepted\"",
        "250 2.0.0 Kept",
        "client.example",
        "hop=",
    ] {
        assert!(records[0].contains(part), "{part:?} is missing in {}", records[0]);
    }
    assert!(
        records[1].contains("sender=\"<>\"") && records[1].contains("outcome=\"none\""),
        "{}",
        records[1]
    );
    assert!(!output.contains("C: "), "no dialogs at info: {output}");
}

#[test]
fn records_are_json_where_that_is_wanted() {
    let output = logged("{ format: json }");
    let records = records(&output);
    assert_eq!(records.len(), 2, "{output}");
    let expected = [
        [("sender", "<a@example.org>"), ("outcome", "accepted"), ("reply", "250 2.0.0 Kept")],
        [("sender", "<>"), ("outcome", "none"), ("level", "INFO")],
    ];
    for (line, expected) in records.iter().zip(expected) {
        // JSON is YAML, and a parser of YAML is at hand.
        let parsed = Yaml::load_from_str(line).unwrap();
        let record = parsed.first().and_then(Yaml::as_mapping).unwrap();
        let field = |name: &str| {
            let found = record.iter().find(|(key, _)| key.as_str() == Some(name));
            found.and_then(|(_, value)| value.as_str())
        };
        for (name, value) in expected {
            assert_eq!(field(name), Some(value), "{name} of {line}");
        }
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    }
    let first: Value = serde_json::from_str(records[0]).unwrap();
    let host = first["recipients"][0]["attempts"][0]["host"].as_str().unwrap();
    assert_eq!(
        first["recipients"],
        json!([{
            "given": "b@old.example", "sent": "b@new.example", "heard": "250 2.0.0 Ok", "by": format!("hop {host}"),
            "attempts": [{ "sent": "b@new.example", "host": host, "reply": "250 2.0.0 Ok" }],
        }])
    );
    assert_eq!(first["verdicts"], json!([{ "stage": "rcpt", "by": "moved", "verdict": "rewrite" }]));
}

/// Every session finds it out anew, and counts it; a line for each host and thing is enough.
#[test]
fn what_clients_are_not_shown_is_named_once_a_host() {
    let hops = [(); 2].map(|()| Hop::offering("250-X-NEW\r\n250 AUTH PLAIN GSSAPI SCRAM-SHA-256-PLUS"));
    let [a, b] = [&hops[0], &hops[1]].map(|hop| hop.address);
    let gate = Gate::start(&format!("{{ hosts: [\"{a}\", \"{b}\"], balance: round_robin }}"), "");
    for _ in 0..4 {
        let mut client = Raw::connect(gate.listener);
        let shown = client.ask("EHLO client.example", 250);
        assert!(shown.contains("AUTH PLAIN\r\n"), "{shown}");
        client.ask("MAIL FROM:<a@example.org>", 250);
        client.ask("RSET", 250);
        client.quit();
    }
    // The last record stands behind all there is to say.
    let output = wait_for("four records", PATIENCE, || {
        let output = gate.output();
        (records(&output).len() == 4).then_some(output)
    });
    for host in [a, b] {
        for line in [
            format!(
                "an EHLO keyword is not shown to clients: see forward_extensions host=\"{host}\" keyword=\"X-NEW\""
            ),
            format!(
                "a SASL mechanism is not shown to clients: it cannot pass a proxy host=\"{host}\" mechanism=\"GSSAPI\""
            ),
            format!("it cannot pass a proxy host=\"{host}\" mechanism=\"SCRAM-SHA-256-PLUS\""),
        ] {
            assert_eq!(output.matches(&line).count(), 1, "{line}\n{output}");
        }
    }
    assert_eq!(output.matches("is not shown to clients").count(), 6, "{output}");
    let counted = |what| gate.metric(&format!("gatepost_hidden_{what}_total"), &[]);
    assert_eq!((counted("mechanisms"), counted("keywords")), (8.0, 4.0));
}
