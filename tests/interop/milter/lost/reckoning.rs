//! What clients were told, held against what gatepost counted and what Postfix has.
//!
//! In:    a gatepost whose clients have left; a Postfix that has delivered all.
//! Out:   nothing; or what does not agree.
//! Never: looks while anything is under way.

use std::collections::BTreeMap;

use super::Gate;
use super::filter::{Fault, Filter, MARK};
use super::load::Step;
use crate::support::postfix::Postfix;
use crate::support::scratch::{PATIENCE, wait_for};

/// What `/metrics` and the log tell in the end, and that nothing is left open.
pub fn figures(gate: &Gate, fault: Fault) {
    let metric = |name: &str, labels: &[&str]| gate.gatepost.metric(&format!("gatepost_{name}"), labels);
    for name in ["gatepost_sessions_open", "gatepost_hop_dialogs_open"] {
        wait_for(name, PATIENCE, || (gate.gatepost.metric(name, &[]) < 0.5).then_some(()));
    }
    wait_for("connections and files to be closed", PATIENCE, || {
        gate.gatepost.left_open().is_empty().then_some(())
    });
    let mut files: Vec<_> = std::fs::read_dir(gate.gatepost.scratch().path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["cwd", "output", "proxy.yaml"], "nothing is left in content.spool");

    assert_eq!(gate.failures(""), gate.questions(&["verdict=\"failed\""]));
    let (expected, others): (&[_], &[_]) = match fault {
        Fault::Killed => (&["unreachable", "not_asked"], &["timed_out"]),
        Fault::Frozen => (&["timed_out", "not_asked"], &["unreachable", "lost"]),
        // In the midst of an answer, or of what is said again: that may be seldom.
        Fault::OneOfTwo => (&[], &["timed_out", "not_asked", "unreachable"]),
    };
    for kind in expected {
        assert!(gate.failures(&format!("reason=\"{kind}\"")) > 0.0, "{kind}");
    }
    for kind in others.iter().chain(&["malformed", "not_allowed", "refused"]) {
        assert_eq!(gate.failures(&format!("reason=\"{kind}\"")), 0.0, "{kind}");
    }
    if fault == Fault::OneOfTwo {
        assert!(!gate.gatepost.output().contains("not asked any more"), "the breaker stays closed");
    } else {
        gate.gatepost.logged("callout filter: answers again, and is asked");
        for step in Step::ALL {
            let stage = format!("stage=\"{}\"", step.stage());
            assert!(gate.questions(&[&stage, "verdict=\"failed\""]) > 0.0, "{stage}");
        }
    }
    let accepted = gate.account.sent().iter().filter(|sent| sent.is_accepted).count();
    assert_eq!(metric("messages_total", &["outcome=\"accepted\""]), accepted as f64);
    for name in ["panics_total", "spool_failures_total", "malformed_replies_total"] {
        assert_eq!(metric(name, &[]), 0.0, "{name}");
    }
    for outcome in ["lost", "discarded", "delivered_unheard"] {
        assert_eq!(metric("messages_total", &[&format!("outcome=\"{outcome}\"")]), 0.0, "{outcome}");
    }
}

/// What clients were told, and what Postfix has.
pub fn stored(postfix: &Postfix, filter: &Filter, gates: &[Gate]) {
    let mut stored = BTreeMap::<(String, String), Vec<(bool, String)>>::new();
    for message in postfix.stored_raw() {
        let head = String::from_utf8_lossy(&message.octets);
        let subject = head.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned();
        let body = String::from_utf8_lossy(message.body()).into_owned();
        stored.entry((subject, message.mailbox.clone())).or_default().push((message.has_line(MARK), body));
    }
    for Gate { account, passes, .. } in gates {
        for refusal in account.refusals().iter() {
            let expected = if refusal.step == Step::Connect { "421 4.3.0 " } else { "451 4.3.0 " };
            assert!(!passes && refusal.reply.starts_with(expected), "{}: {refusal:?}", account.name);
            assert!(filter.was_away(refusal.under_way), "{refusal:?} {:?}", filter.absences);
        }
        let mut unmarked = 0;
        for sent in account.sent().iter().filter(|sent| sent.is_accepted) {
            for to in &sent.to {
                let key = (format!("{} {}", account.name, sent.number), to.clone());
                let found = stored.remove(&key).unwrap_or_default();
                let [(is_marked, body)] = &found[..] else { panic!("{} of {sent:?} to {to}", found.len()) };
                assert!(*body == sent.body(), "{sent:?} was altered");
                assert!(
                    *is_marked || *passes && filter.was_away(sent.under_way),
                    "not asked about: {sent:?}"
                );
                unmarked += usize::from(!is_marked);
            }
        }
        if filter.fault != Fault::OneOfTwo {
            assert_eq!(unmarked > 0, *passes, "{}: {unmarked} without the filter's field", account.name);
        }
    }
    assert!(stored.is_empty(), "nobody was told of these: {:?}", stored.keys());
}
