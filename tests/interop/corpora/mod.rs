//! Messages of others: whatever they are, they arrive as they were sent.
//!
//! In:    the messages that readers of mail are tested with, each as it lies there and with CRLF at the end of lines.
//! Out:   one trial for each path: streamed, kept, kept and edited, shown to a service, told to a filter; each of them by
//!        DATA and by BDAT, to a hop that takes chunks and to one that does not.
//! Never: leaves out a message, or forgives an octet: what is to arrive follows from the message and from what
//!        `expected` has written down, or the message is to be refused.

mod expected;
mod library;
mod service;

use libtest_mimic::Trial;

use self::expected::{Way, edited, stuffed};
use self::library::{Message, WITH_CRLF, messages};
use self::service::Service;
use crate::support::gatepost::Gatepost;
use crate::support::keeper::Keeper;
use crate::support::milter::{Milter, Place};
use crate::support::peers::{Peer, trial};
use crate::support::raw::Raw;

pub fn trials() -> Vec<Trial> {
    let filter = [Peer::Corpora, Peer::TestMilter];
    vec![
        trial("corpora::streamed", [Peer::Corpora], streamed),
        trial("corpora::kept", [Peer::Corpora], kept),
        trial("corpora::edited", [Peer::Corpora], one_field_edited),
        trial("corpora::shown_to_a_service", [Peer::Corpora], shown_to_a_service),
        trial("corpora::told_to_a_filter", filter, told_to_a_filter),
    ]
}

fn streamed() {
    all(&Path::with("", ""));
}

fn kept() {
    let rule = "{ name: asks, stages: message, match: { header: { name: X-Nobody-Has-It } }, \
                do: { reply: \"554 5.7.1 Not this\" } }";
    all(&Path::with(rule, ""));
}

fn one_field_edited() {
    let rule =
        "{ name: edits, stages: message, do: { add_header: \"X-Seen: yes\", remove_header: Received } }";
    all(&Path { edits: true, ..Path::with(rule, "") });
}

fn shown_to_a_service() {
    let service = Service::start();
    let url = format!("http://127.0.0.1:{}/", service.port);
    let callout = format!("{{ name: seen, type: http, url: \"{url}\", stages: message, content: whole }}");
    all(&Path { service: Some(service), ..Path::with("", &callout) });
}

fn told_to_a_filter() {
    let place = Place::free();
    let _filter = Milter::test(&place, &["-N", "header"]);
    let callout = format!("{{ name: filter, type: milter, address: \"{}\" }}", place.of_gatepost());
    all(&Path::with("", &callout));
}

/// One gatepost, set up one way, before a hop that takes chunks; and one that sends all mail on to another hop, which
/// does not.
struct Path {
    keepers: [Keeper; 2],
    gateposts: [Gatepost; 2],
    edits: bool,
    service: Option<Service>,
}

impl Path {
    fn with(rule: &str, callout: &str) -> Self {
        let keepers = [true, false].map(Keeper::start);
        let [chunks, data] = [0, 1].map(|hop: usize| [keepers[hop].address()]);
        let away = "{ name: away, stages: mail, do: { route: { upstream: away } } }";
        let gateposts = [[rule, ""], [away, rule]].map(|rules| {
            let more =
                format!("rules: [{}]\ncallouts: [{callout}]\n", rules.join(", ").trim_matches([',', ' ']));
            Gatepost::start(&[("main", &chunks), ("away", &data)], &more)
        });
        Self { keepers, gateposts, edits: false, service: None }
    }
}

/// Every message every way: one session for each.
fn all(path: &Path) {
    let messages = messages();
    let originals = messages.iter().filter(|message| !message.name.ends_with(WITH_CRLF));
    let count = originals.filter(|message| message.has_header()).count();
    assert!(count >= 500, "{count} messages");
    let mut unlike = Vec::new();
    for way in [Way::Data, Way::Chunks, Way::Bridged] {
        let stand = usize::from(way == Way::Bridged);
        let (keeper, gatepost) = (&path.keepers[stand], &path.gateposts[stand]);
        let mut client = Raw::connect(gatepost.listener());
        client.ask("EHLO client.example", 250);
        for (number, message) in messages.iter().enumerate() {
            let heard = send(&mut client, way, number, message);
            let kept = way.kept(&message.octets);
            if let (Some(service), Some(kept)) = (&path.service, &kept)
                && service.shown() != *kept
            {
                unlike.push(format!("{} {way:?}: a service is shown something else", message.name));
            }
            let edited = kept.map(|kept| if path.edits { edited(&kept) } else { kept });
            let expected = edited.and_then(|edited| way.arrives(edited));
            let arrived = keeper.take();
            if arrived.len() != usize::from(expected.is_some())
                || arrived.first() != expected.as_ref()
                || heard.starts_with("250") != expected.is_some()
            {
                let first = expected.unwrap_or_default();
                let other = arrived.first().cloned().unwrap_or_default();
                let at = first.iter().zip(&other).take_while(|(one, other)| one == other).count();
                unlike.push(format!(
                    "{} {way:?}: {heard:?}, {} of 1, from {at} on {:?}, expected {:?}",
                    message.name,
                    arrived.len(),
                    around(&other, at),
                    around(&first, at)
                ));
            }
        }
        client.quit();
    }
    assert!(unlike.is_empty(), "{} are unlike:\n{}", unlike.len(), unlike[..unlike.len().min(40)].join("\n"));
}

fn around(octets: &[u8], at: usize) -> String {
    octets[at.saturating_sub(10)..octets.len().min(at + 30)].escape_ascii().to_string()
}

const ENVELOPE: &str = "MAIL FROM:<sender@client.example>\r\nRCPT TO:<ann@a.example>\r\n";

/// Sends it; the last reply, which is to the whole of it.
fn send(client: &mut Raw, way: Way, number: usize, message: &Message) -> String {
    let sent = way.sent(&message.octets);
    if way == Way::Data {
        client.say(format!("{ENVELOPE}DATA\r\n"));
        for code in [250, 250, 354] {
            client.hear(code);
        }
        client.say([stuffed(&sent), b".\r\n".to_vec()].concat());
        return client.reply();
    }
    let chunks = chunks(&sent, number);
    let mut said = ENVELOPE.as_bytes().to_vec();
    for (place, chunk) in chunks.iter().enumerate() {
        let last = if place + 1 == chunks.len() { " LAST" } else { "" };
        said.extend_from_slice(format!("BDAT {}{last}\r\n", chunk.len()).as_bytes());
        said.extend_from_slice(chunk);
    }
    client.say(said);
    for code in [250, 250] {
        client.hear(code);
    }
    let heard: Vec<_> = chunks.iter().map(|_| client.reply()).collect();
    heard.last().unwrap().clone()
}

/// Cut at odd places, other ones for each message: within a CRLF, before a dot, anywhere; some with nothing in the last.
fn chunks(octets: &[u8], number: usize) -> Vec<&[u8]> {
    let from = number.min(octets.len());
    let find = |what: &[u8]| memchr::memmem::find(&octets[from..], what).map(|at| from + at);
    let mut cuts = vec![number * 7919 % (octets.len() + 1), octets.len() / 2, octets.len() / 2 + 1];
    cuts.extend(find(b"\r\n").map(|at| at + 1));
    cuts.extend(find(b"\n.").map(|at| at + 1));
    cuts.extend(number.is_multiple_of(3).then_some(octets.len()));
    cuts.retain(|cut| *cut <= octets.len());
    cuts.extend([0, octets.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|ends| &octets[ends[0]..ends[1]]).collect()
}
