//! `docs/inserting.md`, done as it says.
//!
//! In:    the page's own blocks; a private Postfix that trusts loopback, as Debian's does; Exim's test mode.
//! Out:   the trials: mail goes through gatepost, a stranger may not relay through it, those who could before still
//!        can, and going back leaves everything as it was.
//! Never: edits the blocks but for ports, addresses and the chroot, which a private Postfix has not.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::gate::{BINARY, free_address};
use crate::support::gatepost::Gatepost;
use crate::support::mta::Mta;
use crate::support::peers::{Peer, trial};
use crate::support::postfix::{Postfix, Spec};
use crate::support::raw::Raw;
use crate::support::room;
use crate::support::scratch::{PATIENCE, Scratch, run};
use crate::text;

const PAGE: &str = "docs/inserting.md";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("inserting::before_postfix_and_back", [Peer::Postfix], before_postfix_and_back),
        trial("inserting::exim_trusts_nobody_at_that_port", [Peer::Exim], exim_trusts_nobody_at_that_port),
        trial("inserting::the_readme_says_the_same", [], the_readme_says_the_same),
    ]
}

/// The fenced block behind `<!-- marker -->`.
fn block(marker: &str) -> String {
    let page = text(PAGE);
    let (_, rest) = page.split_once(&format!("<!-- {marker} -->\n```")).unwrap_or_else(|| panic!("{marker}"));
    rest.split_once('\n').unwrap().1.split_once("```").unwrap().0.to_owned()
}

fn moved(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (was, is)| {
        assert!(text.contains(was), "{was} in\n{text}");
        text.replace(was, is)
    })
}

fn before_postfix_and_back() {
    let [entry, listener, admin] = [free_address(), free_address(), free_address()];
    let entry_name = entry.to_string();
    let master_cf =
        moved(&block("master.cf"), &[("127.0.0.1:10025", &entry_name), ("n  -  y  -", "n  -  n  -")]);
    let postfix = Postfix::start(&Spec {
        // What makes the entry necessary.
        main_cf: "mynetworks = 127.0.0.0/8\n\
                  smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
        master_cf,
        ..Spec::receiving("back.example")
    });
    relays(postfix.address(), 250);

    let scratch = Scratch::new("inserting");
    let listeners = format!("\"{listener}\"");
    let changes = [("\"0.0.0.0:2525\", \"[::]:2525\"", listeners.as_str()), ("127.0.0.1:10025", &entry_name)];
    let config = moved(&block("proxy.yaml"), &changes);
    let config = scratch.write("proxy.yaml", format!("{config}admin: {{ address: \"{admin}\" }}\n"));
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(config).stdin(Stdio::null());
    let mut gatepost = Gatepost::start_with(scratch, command, listener, admin);

    // "Mail for a domain of yours is taken, and mail for a stranger is refused."
    relays(listener, 554);
    deliver(listener);
    // Those who relay by their address still can, at an entry that knows it.
    relays(postfix.address(), 250);
    deliver(postfix.address());

    // Back: what was in flight is finished, and nothing is left behind.
    gatepost.signal(Signal::TERM);
    assert_eq!(gatepost.ended(), Some(0));
    deliver(postfix.address());
    postfix.settle(6);
    assert_eq!(postfix.stored_raw().len(), 3);
}

/// Asks whether a stranger's mail to a stranger is taken here.
fn relays(door: SocketAddr, code: u16) {
    let mut client = Raw::connect(door);
    client.ask("EHLO client.example", 250);
    client.ask("MAIL FROM:<you@example.org>", 250);
    client.ask("RCPT TO:<someone@example.net>", code);
    client.quit();
}

fn deliver(door: SocketAddr) {
    let mut client = Raw::connect(door);
    client.ask("EHLO client.example", 250);
    client.ask("MAIL FROM:<you@example.org>", 250);
    client.ask("RCPT TO:<joe@back.example>", 250);
    client.ask("DATA", 354);
    client.say("Subject: inserted\r\n\r\nHello.\r\n.\r\n");
    client.hear(250);
    client.quit();
}

/// Exim's own test of a session (-bh): nothing listens and nothing is delivered. It insists on its account, which its room
/// gives it.
fn exim_trusts_nobody_at_that_port() {
    let scratch = Scratch::new("exim");
    let acl = block("exim acl");
    // As in Exim's own example: whoever connects from loopback may relay.
    let configuration = format!(
        "primary_hostname = mx.example.com\nspool_directory = {0}/spool\nlog_file_path = {0}/spool/%slog\n\
         host_lookup =\nkeep_environment =\ndomainlist local_domains = example.com\ndomainlist relay_to_domains =\n\
         hostlist relay_from_hosts = 127.0.0.1\nacl_smtp_rcpt = rcpt\n{1}\nbegin acl\nrcpt:\n{acl}\n  \
         accept hosts = +relay_from_hosts\n  accept domains = +local_domains\n",
        scratch.path().display(),
        block("exim main")
    );
    scratch.write("exim.conf", configuration);
    let dialog = "EHLO client.example\r\nMAIL FROM:<you@example.org>\r\nRCPT TO:<someone@example.net>\r\n\
                  RCPT TO:<joe@example.com>\r\nQUIT\r\n";
    let dialog = scratch.write("dialog", dialog);
    for (port, stranger) in [(10025, "550 relay not permitted"), (25, "250 Accepted")] {
        let room = Scratch::new("room");
        let mut command = room::command(&room, "exim4-daemon-heavy", &[("Debian-exim", 5001)]);
        command.args(["exim4", "-C"]).arg(scratch.path().join("exim.conf"));
        command.args(["-oMi", &format!("127.0.0.1.{port}")]);
        command.args(["-bh", "127.0.0.1.40000"]).current_dir(scratch.path());
        let said = run(&scratch, &mut command, File::open(&dialog).unwrap().into(), PATIENCE);
        let replies: Vec<&str> = said.stdout.lines().filter(|line| line.starts_with(['2', '5'])).collect();
        let [.., mail, first, second, quit] = replies.as_slice() else { panic!("{said:?}") };
        assert!(mail.starts_with("250 ") && quit.starts_with("221 "), "{said:?}");
        assert_eq!((*first, *second), (stranger, "250 Accepted"), "at port {port}: {said:?}");
    }
}

fn the_readme_says_the_same() {
    let readme = text("README.md");
    let proxy_yaml = block("proxy.yaml");
    let (_, after_the_name) = proxy_yaml.split_once('\n').unwrap();
    for block in [block("master.cf").as_str(), after_the_name] {
        assert!(readme.contains(block), "README.md has another version of\n{block}");
    }
}
