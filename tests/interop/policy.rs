//! Policy servers: asked by Postfix and by gatepost before it, they are to make no difference to anybody.
//!
//! In:    Postgrey, policyd-spf, and a server that answers on cue; a real Postfix with two doors.
//! Out:   trials: every action in every state, what is asked, messages with fields put before them, a server that dies.
//! Never: looks inside gatepost: what the client hears, what the server is asked and what Postfix stores is the proof.

mod actions;
mod asked;
mod content;
mod lost;
mod postgrey;
mod spf;

use std::net::SocketAddr;

use libtest_mimic::Trial;

use crate::support::gatepost::Gatepost;
use crate::support::maildir::Stored;
use crate::support::mta::Mta as _;
use crate::support::policy::PolicyServer;
use crate::support::postfix::{Postfix, Spec};
use crate::support::raw::Raw;
use crate::support::scratch::free_port;

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    trials.extend(actions::trials());
    trials.extend(asked::trials());
    trials.extend(content::trials());
    trials.extend(lost::trials());
    trials.extend(postgrey::trials());
    trials.extend(spf::trials());
    trials
}

const FROM: &str = "MAIL FROM:<sender@client.example>\r\n";

/// A Postfix that asks nobody, with gatepost before it, and a second door to it where Postfix asks.
struct Stand {
    postfix: Postfix,
    gatepost: Gatepost,
    asking: SocketAddr,
}

impl Stand {
    /// Both ask the server in every state. `keys`: of gatepost's listener; `options`: of Postfix's second door.
    fn in_every_state(server: &PolicyServer, keys: &str, options: &str, spec: Spec) -> Self {
        let address = server.address();
        let check = format!("check_policy_service {{ inet:{address}, policy_context=here }}");
        let restrictions = ["client", "helo", "sender", "recipient", "data"]
            .map(|of| format!(" -o {{ smtpd_{of}_restrictions = {check} }}"))
            .concat();
        let asking = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let door = entry(asking, &format!("-o smtpd_delay_reject=no {restrictions} {options}"));
        let postfix = Postfix::start(&Spec { master_cf: door, ..spec });
        let callout = format!(
            "callouts:\n  - {{ name: policy, type: policy, address: \"{address}\", policy_context: here, \
             stages: [connect, helo, mail, rcpt, data] }}\n"
        );
        let gatepost = Gatepost::start_as(keys, &[("main", &[postfix.address()])], &callout);
        Self { postfix, gatepost, asking }
    }

    /// Postfix alone, and gatepost before it.
    fn doors(&self) -> [SocketAddr; 2] {
        [self.asking, self.gatepost.listener()]
    }
}

/// An entry of `master.cf` for a further door.
fn entry(door: SocketAddr, options: &str) -> String {
    format!("{door} inet n - n - - smtpd\n  {options}\n")
}

/// What a client heard that said these things up to the first refusal: the codes of what was positive, the refusal, and
/// the code of what followed on QUIT.
fn dialog(door: SocketAddr, said: &[&str]) -> Vec<String> {
    let mut raw = Raw::open(door);
    let mut heard = Vec::new();
    for command in ["", "EHLO client.example\r\n"].iter().chain(said) {
        raw.say(command);
        let reply = raw.reply();
        if !reply.starts_with(['2', '3']) {
            heard.push(reply);
            break;
        }
        heard.push(reply[..3].to_owned());
    }
    raw.say("QUIT\r\n");
    heard.push(raw.reply().chars().take(3).collect());
    heard
}

/// One message to these mailboxes.
fn send(door: SocketAddr, to: &[&str], message: &str) -> Vec<String> {
    let recipients: Vec<_> = to.iter().map(|to| format!("RCPT TO:<{to}@a.example>\r\n")).collect();
    let content = format!("{message}.\r\n");
    let mut said = vec![FROM];
    said.extend(recipients.iter().map(String::as_str));
    said.extend(["DATA\r\n", &content]);
    dialog(door, &said)
}

/// A message without the field that its MTA wrote: through which door it came stands there.
fn without_trace(stored: &Stored) -> String {
    let text = String::from_utf8_lossy(&stored.octets);
    let mut in_trace = false;
    let mut is_kept = |line: &&str| {
        in_trace = line.starts_with("Received:") || in_trace && line.starts_with(['\t', ' ']);
        !in_trace
    };
    // Behind the header there is none.
    text.split_inclusive('\n').filter(|line| is_kept(line)).collect()
}

/// Those of this subject, without it.
fn with_subject(texts: &[String], subject: &str) -> Vec<String> {
    let line = format!("Subject: {subject}\n");
    texts.iter().filter(|text| text.contains(&line)).map(|text| text.replace(&line, "")).collect()
}
