//! Failing over: the first host of a pool dies somewhere, the second is a real Postfix.
//!
//! In:    a fault, and where in the dialog it strikes.
//! Out:   trials: before content has left, the client sees only success; after, 451, and the client's next attempt
//!        delivers the message exactly once.
//! Never: a made-up second host: what is delivered is what Postfix has stored.
//!
//! RFC 5321 4.5.4.1 (the client keeps what it was not told is delivered), 6.1 (responsibility for a message).

use std::net::SocketAddr;

use libtest_mimic::Trial;

use crate::cases::{outcomes, with_message};
use crate::messages;
use crate::support::clients::{curl, swaks};
use crate::support::gatepost::Gatepost;
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, trial};
use crate::support::postfix::{Postfix, Spec};
use crate::support::raw::Raw;
use crate::support::scratch::{PATIENCE, wait_for};
use crate::support::scripted::{Fault, Scripted};
use crate::support::tap::Tap;
use crate::support::transcript::Heard;

const FROM: &str = "sender@client.example";
const TO: [&str; 3] = ["joe@a.example", "ann@a.example", "bob@a.example"];

/// Short, because the next host can be tried.
const TIMEOUTS: &str = "timeouts: { connect: 1s, greeting: 1s }\n";

pub fn trials() -> Vec<Trial> {
    const CLIENTS: &[Peer] = &[Peer::Postfix, Peer::Curl, Peer::Swaks];
    const POSTFIX: &[Peer] = &[Peer::Postfix];
    let before_content = [
        ("refuses", Fault::Refuses),
        ("hangs", Fault::Hangs),
        ("greets_421", Fault::Greets("421 4.3.2 Service shutting down")),
        ("greets_554", Fault::Greets("554 5.3.2 No service here")),
        ("dies_at_ehlo", Fault::DiesAt("EHLO", 1)),
        ("dies_after_ehlo", Fault::DiesAfter("EHLO", 1)),
        ("dies_at_mail", Fault::DiesAt("MAIL", 1)),
        ("dies_after_mail", Fault::DiesAfter("MAIL", 1)),
        ("dies_at_second_rcpt", Fault::DiesAt("RCPT", 2)),
        ("dies_after_second_rcpt", Fault::DiesAfter("RCPT", 2)),
        ("dies_at_data", Fault::DiesAt("DATA", 1)),
    ];
    let with_content = [
        ("dies_in_content", Fault::DiesInContent(20_000)),
        ("dies_before_last_reply", Fault::DiesBeforeLastReply),
    ];
    let mut trials = Vec::new();
    for (name, fault) in before_content {
        trials.push(trial(&format!("failover::{name}"), CLIENTS, move || only_success(fault)));
    }
    for (name, fault) in with_content {
        trials.push(trial(&format!("failover::{name}"), POSTFIX, move || told_to_come_again(fault)));
        trials.push(trial(&format!("failover::{name}_by_postfix"), POSTFIX, move || comes_again(fault)));
    }
    trials.push(trial("failover::second_host_lacks_smtputf8", POSTFIX, second_host_does_not_fit));
    trials
}

struct Stand {
    gatepost: Gatepost,
    downstream: Tap,
    upstream: Tap,
    scripted: Scripted,
    postfix: Postfix,
}

impl Stand {
    fn with(fault: Fault, main_cf: &'static str) -> Self {
        let postfix = Postfix::start(&Spec { main_cf, ..Spec::receiving("a.example") });
        let upstream = Tap::before(postfix.address());
        let scripted = Scripted::start(fault);
        let hosts: [SocketAddr; 2] = [scripted.address(), upstream.address()];
        let gatepost = Gatepost::start(&[("main", &hosts)], TIMEOUTS);
        let downstream = Tap::before(gatepost.listener());
        Self { gatepost, downstream, upstream, scripted, postfix }
    }

    /// Waits until all is quiet; the mailboxes that got mail.
    fn delivered(&self) -> Vec<String> {
        self.postfix.settle(self.upstream.take().len());
        self.postfix.take_stored().into_iter().map(|stored| stored.mailbox).collect()
    }
}

/// Once with commands one by one, once in a group.
fn only_success(fault: Fault) {
    for pipelined in [false, true] {
        let stand = Stand::with(fault, "");
        let (scratch, file) = with_message("failover", &messages::plain());
        let outcome = if pipelined {
            swaks(&scratch, stand.downstream.address(), FROM, &TO, &file, &["--pipeline"])
        } else {
            curl(&scratch, stand.downstream.address(), FROM, &TO, &file, &[])
        };
        let heard: Vec<Heard> =
            stand.downstream.take().iter().map(|said| Heard::from_server(&said.server)).collect();
        let output = stand.gatepost.output();
        assert!(heard.iter().all(Heard::only_success), "the client noticed: {heard:#?}\n{output}");
        assert!(outcome.contains("exit status: 0"), "{outcome}\n{heard:#?}\n{output}");
        assert_eq!(stand.delivered(), ["ann", "bob", "joe"], "each once");
        if fault != Fault::Refuses {
            assert_eq!(stand.scripted.dialogs().len(), 1, "the first host was tried, and only once");
        }
    }
}

/// The client is told 451, nothing is delivered, and the session is good for another try.
fn told_to_come_again(fault: Fault) {
    let stand = Stand::with(fault, "");
    let mut client = Raw::connect(stand.downstream.address());
    client.ask("EHLO client.example", 250);
    let message = messages::large(200_000);
    let send = |client: &mut Raw, code: u16| {
        client.ask(&format!("MAIL FROM:<{FROM}>"), 250);
        client.ask("RCPT TO:<joe@a.example>", 250);
        client.ask("DATA", 354);
        client.say(format!("{message}.\r\n"));
        client.hear(code)
    };
    let reply = send(&mut client, 451);
    assert!(reply.starts_with("451 4."), "{reply}");
    assert_eq!(stand.postfix.stored_raw().len(), 0, "nothing delivered that the client was not told of");
    assert_eq!(stand.scripted.dialogs()[0].iter().filter(|line| line.starts_with("MAIL")).count(), 1);
    send(&mut client, 250);
    client.quit();
    assert_eq!(stand.delivered(), ["joe"], "delivered once, by the second try");
}

/// A real sender keeps the message and brings it again: nothing lost, nothing twice.
fn comes_again(fault: Fault) {
    let stand = Stand::with(fault, "");
    let sending = Postfix::start(&Spec::sending(stand.downstream.address()));
    let (_scratch, file) = with_message("failover", &messages::large(200_000).replace("\r\n", "\n"));
    sending.submit(&["-i", "-f", FROM, "--", "joe@a.example", "ann@a.example"], &file);
    // The queue and the log are written by different daemons.
    let log = wait_for("both recipients to be put off", PATIENCE, || {
        let log = outcomes(&sending.log());
        (sending.deferred() > 0 && log.matches("status=").count() >= 2).then_some(log)
    });
    assert_eq!(log.matches("status=deferred").count(), 2, "{log}");
    assert!(log.contains("said: 451 4."), "{log}");
    assert_eq!(stand.postfix.stored_raw().len(), 0, "nothing delivered that the sender was not told of");
    sending.flush();
    sending.settle(0);
    sending.wait_for_sent(2);
    assert_eq!(stand.delivered(), ["ann", "joe"], "each once");
}

/// What the transaction has used the next host must offer: it is not handed over to one that would spoil it.
fn second_host_does_not_fit() {
    let stand = Stand::with(Fault::DiesAt("RCPT", 2), "smtputf8_enable = no");
    let mut client = Raw::connect(stand.downstream.address());
    client.ask("EHLO client.example", 250);
    client.ask("MAIL FROM:<jürgen@client.example> SMTPUTF8", 250);
    client.ask("RCPT TO:<joe@a.example>", 250);
    let reply = client.ask("RCPT TO:<ann@a.example>", 421);
    assert!(reply.starts_with("421 4.4.2"), "{reply}");
    assert_eq!(client.reply(), "", "and the dialog is over");
    assert!(stand.delivered().is_empty());
}
