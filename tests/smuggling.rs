//! SMTP smuggling: whatever a client or a hop sends, two servers never disagree on where a message or a reply ends.
//!
//! Every vector that is known to have split a message somewhere (CVE-2023-51764, -51765, -51766 and their kin) is put into
//! content, in both `bare_newline` modes, at every split point of the client's octets. What the hop received is then
//! read by models of hops as lax as any that were seen: bare LF or bare CR as line ends, NULs dropped, CRs run together. Each
//! must find at most one message, and the one the client was told about. The same for commands, for BDAT, and the
//! other way round for replies.
//!
//! `BLESS=1` rewrites the table of vectors, modes and octets (`tests/smuggling/table.txt`).

#[allow(dead_code, unused_imports, reason = "each test crate uses its own part of it")]
mod script;

#[path = "smuggling/lax.rs"]
mod lax;
#[path = "smuggling/scene.rs"]
mod scene;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use lax::Lax;
use scene::{Scene, host};
use script::parse::Party;
use script::settings::{World, world};
use script::{Driver, Pure};

/// What was seen to end the content of some server, or to come close to it. All that smtpsmug (hannob, at d346e64) and the
/// scanner of SMTP-Smuggling-Tools (The-Login, at 2d10d45) send is among it.
const VECTORS: [&[u8]; 32] = [
    b"\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\n\0.\n",
    b"\r\0\n.\r\n",
    b"\r\n.\r\0\n",
    b"\r\n\0\0.\0\0\r\n",
    b"\n\n.\n\n",
    b"\r\r.\r\r",
    b"\n.\n.\n",
    b"\r\n..\n",
    b"\n..\r\n",
    b"\r\n.\r\n.",
    b"\n\r.\n\r",
    b"\r\n \x08.\r\n",
    b"\r\n.\x0b\r\n",
    b"\r\n\x1a.\r\n",
    b"\r\r\n\r\n",
    b"\r\r\n\r\r\n",
    b"\r\r\r\n.\r\r\r\n",
    b"\r\n.\r\r\r\n.\r\r\n",
    b"\n.\r\r\n",
    b"\r\n\r\r.\r\r\n",
];

/// What an attacker would have the hop take for commands.
const PAYLOAD: &[u8] =
    b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nSubject: evil\r\n\r\nevil";

const ENVELOPE: &[u8] = b"MAIL FROM:<smith@example.org>\r\nRCPT TO:<jones@example.com>\r\n";

fn modes() -> [(&'static str, World); 2] {
    ["normalize", "reject"]
        .map(|mode| (mode, world(&format!("content: {{ bare_newline: {mode} }}\n")).unwrap()))
}

/// The outer message: text, the vector, the payload, the real end. `first`: the vector is the very beginning.
fn content(vector: &[u8], first: bool) -> Vec<u8> {
    let before: &[u8] = if first { b"" } else { b"text" };
    [before, vector, PAYLOAD, b"\r\n.\r\n"].concat()
}

fn send(world: &World, content: &[u8], pieces: &[&[u8]]) -> Scene {
    let mut scene = Scene::new(world, true);
    scene.say(ENVELOPE);
    scene.say(b"DATA\r\n");
    assert_eq!(pieces.concat(), content);
    pieces.iter().for_each(|piece| scene.say(piece));
    scene
}

/// At most one message by every model, only ever the client's own; and the client heard of exactly what was taken.
fn judge(scene: &Scene, what: &str) {
    let strict = Lax::all().next().map(|strict| strict.messages(&scene.received)).unwrap_or_default();
    for lax in Lax::all() {
        let messages = lax.messages(&scene.received);
        let evil = messages.iter().any(|sender| sender.windows(4).any(|word| word == b"evil"));
        assert!(
            messages.len() <= 1 && !evil && messages == strict,
            "{what}: {lax:?} takes {} messages from\n{}",
            messages.len(),
            scene.received.escape_ascii()
        );
    }
    let replies = scene.replies().unwrap_or_else(|| panic!("{what}: heard {}", scene.heard.escape_ascii()));
    // 220, EHLO, MAIL, RCPT, 354, and one reply to the content.
    let to_content = &replies[5..];
    assert_eq!(to_content.len(), 1, "{what}: one command, one answer: {to_content:?}");
    assert_eq!(
        to_content[0].0 / 100 == 2,
        strict.len() == 1,
        "{what}: heard {to_content:?}, taken {}",
        strict.len()
    );
}

#[test]
fn content_is_never_two_messages() {
    let mut table = String::from(
        "# What a hop receives between its 354 and the end, and what the client hears.\n\
         # The content is: text, the vector, then commands an attacker would have the hop take. Written by tests/smuggling.rs.\n",
    );
    for (mode, world) in modes() {
        for first in [false, true] {
            for vector in VECTORS {
                let content = content(vector, first);
                // A vector that holds a true end is a true end: what follows are the client's own commands.
                if content.windows(5).position(|five| five == b"\r\n.\r\n") != Some(content.len() - 5) {
                    continue;
                }
                if first && content.starts_with(b".\r\n") {
                    continue;
                }
                let name = format!(
                    "{mode} {} {}",
                    if first { "at the start" } else { "in the text" },
                    vector.escape_ascii()
                );
                let whole = send(&world, &content, &[&content]);
                judge(&whole, &name);
                line_of_table(&mut table, &name, &whole);
                for split in 1..content.len() {
                    let (one, two) = content.split_at(split);
                    let scene = send(&world, &content, &[one, two]);
                    judge(&scene, &format!("{name}, split at {split}"));
                    same_message(&whole, &scene, &format!("{name}, split at {split}"));
                }
                let octets: Vec<&[u8]> = content.chunks(1).collect();
                let scene = send(&world, &content, &octets);
                judge(&scene, &format!("{name}, one octet at a time"));
                same_message(&whole, &scene, &name);
            }
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smuggling/table.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &table).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), table, "BLESS=1 rewrites the table");
}

/// The models are what they should be: each vector, passed on as it is, is two messages to one of them.
#[test]
fn the_models_are_lax_enough() {
    for vector in &VECTORS[..14] {
        let octets = [ENVELOPE, b"DATA\r\n", &content(vector, false)].concat();
        let counts: Vec<usize> = Lax::all().map(|lax| lax.messages(&octets).len()).collect();
        assert!(counts[0] == 1 && counts.contains(&2), "{}: {counts:?}", vector.escape_ascii());
    }
}

/// How octets arrive changes nothing in a message that was taken.
fn same_message(whole: &Scene, other: &Scene, what: &str) {
    if Lax::all().next().is_some_and(|strict| strict.messages(&whole.received).len() == 1) {
        assert_eq!(
            whole.received.escape_ascii().to_string(),
            other.received.escape_ascii().to_string(),
            "{what}"
        );
    }
    let codes = |scene: &Scene| {
        scene.replies().map(|replies| replies.iter().map(|reply| reply.0).collect::<Vec<_>>())
    };
    assert_eq!(codes(whole), codes(other), "{what}");
}

fn line_of_table(table: &mut String, name: &str, scene: &Scene) {
    let from = scene.received.windows(6).position(|six| six == b"DATA\r\n").map_or(0, |at| at + 6);
    let replies = scene.replies().unwrap_or_default();
    let taken = scene.received[from..].escape_ascii().to_string().replace("\\\"", "\"");
    let _ = writeln!(table, "\n{name}\n  hop    {taken}\n  client {}", replies[5].0);
}

/// Control octets and line ends within commands.
#[test]
fn commands_are_never_two_commands() {
    let commands: [&[u8]; 10] = [
        b"MAIL FROM:<smith@example.org>\rRCPT TO:<evil@example.com>\r\n",
        b"MAIL FROM:<smith@example.org>\0\r\n",
        b"MAIL FROM:<smith@example.org> SIZE=1\rEVIL\r\n",
        b"MAIL FROM:<\"a\rb\"@example.org>\r\n",
        b"MAIL FROM:<\"a\\\rb\"@example.org>\r\n",
        b"EHLO client\rMAIL FROM:<evil@example.org>\r\n",
        b"NOOP \rMAIL FROM:<evil@example.org>\r\n",
        b"VRFY jones\r\rMAIL FROM:<evil@example.org>\r\n",
        b"HELP \0MAIL\r\n",
        b"XCLIENT ADDR=10.0.0.1 NAME=spike.example\r\n",
    ];
    for (mode, world) in modes() {
        for command in commands {
            for split in 1..=command.len() {
                let mut scene = Scene::new(&world, true);
                let before = scene.received.len();
                scene.say(&command[..split]);
                scene.say(&command[split..]);
                let what = format!("{mode} {} at {split}", command.escape_ascii());
                assert_eq!(scene.received.len(), before, "{what}: {}", scene.received.escape_ascii());
                let replies = scene.replies().unwrap_or_default();
                assert_eq!(replies.len(), 3, "{what}");
                assert_eq!(replies[2].0 / 100, 5, "{what}");
            }
        }
    }
}

/// What a hop is sent as commands holds no bare CR, LF or NUL, whatever the client's lines end in.
#[test]
fn commands_end_in_crlf_and_nothing_else() {
    let world = world("").unwrap();
    let lines: [&[u8]; 4] = [
        b"MAIL FROM:<smith@example.org>\nRCPT TO:<jones@example.com>\nNOOP\n",
        b"\nMAIL FROM:<smith@example.org>\n\n",
        b"NOOP\n\r\nNOOP\r\n\n",
        b"RSET\n\nRSET\r\n",
    ];
    for line in lines {
        for split in 1..=line.len() {
            let mut scene = Scene::new(&world, true);
            scene.say(&line[..split]);
            scene.say(&line[split..]);
            let bare = scene.received.iter().enumerate().any(|(at, &octet)| match octet {
                b'\n' => at == 0 || scene.received[at - 1] != b'\r',
                b'\r' => scene.received.get(at + 1) != Some(&b'\n'),
                octet => octet == 0,
            });
            assert!(!bare, "{}", scene.received.escape_ascii());
        }
    }
}

/// Content by chunks is counted: what looks like an end or a command inside is neither, offered or not, bridged or not.
#[test]
fn chunks_are_never_commands() {
    for (mode, world) in modes() {
        for chunking in [true, false] {
            for vector in VECTORS {
                let body = [b"text", vector, PAYLOAD, b"\r\n.\r\n"].concat();
                let bdat = [format!("BDAT {} LAST\r\n", body.len()).as_bytes(), &body].concat();
                for split in
                    [1, 5, 10, 13, 14, 15, 17, 18, 19, 20, 21, 25, bdat.len() - 5, bdat.len() - 1, bdat.len()]
                {
                    let mut scene = Scene::new(&world, chunking);
                    scene.say(ENVELOPE);
                    scene.say(&bdat[..split]);
                    scene.say(&bdat[split..]);
                    let what = format!("{mode} chunking {chunking} {} at {split}", vector.escape_ascii());
                    let strict =
                        Lax::all().next().map(|strict| strict.messages(&scene.received)).unwrap_or_default();
                    assert_eq!(
                        strict.len(),
                        usize::from(chunking),
                        "{what}: {}",
                        scene.received.escape_ascii()
                    );
                    assert!(strict.iter().all(|sender| sender == b"<smith@example.org>"), "{what}");
                    let replies = scene.replies().unwrap_or_default();
                    assert_eq!(replies.len(), 5, "{what}: {}", scene.heard.escape_ascii());
                    assert_eq!(replies[4].0 / 100 == 2, chunking, "{what}");
                }
            }
        }
    }
}

/// A hop that loses its first host before content has left has BDAT bridged to DATA: the rules of content hold.
#[test]
fn bridged_chunks_are_never_two_messages() {
    for mode in ["normalize", "reject"] {
        let world = world(&format!("content: {{ bare_newline: {mode} }}\n")).unwrap();
        for vector in VECTORS {
            let body = [b"text", vector, PAYLOAD].concat();
            let bdat = [format!("BDAT {} LAST\r\n", body.len()).as_bytes(), &body].concat();
            let mut scene = Scene::new(&world, true);
            scene.say(ENVELOPE);
            scene.driver.eof(&host());
            // The host comes back without CHUNKING; what it hears from here on is what counts.
            (scene.received, scene.seen, scene.chunking) = (Vec::new(), 0, false);
            scene.driver.feed(&Party::Client, &bdat);
            for party in scene.driver.connecting() {
                scene.driver.connect(&party, true);
            }
            scene.driver.feed(&host(), b"220 a.example.net again\r\n");
            scene.turn();
            let what = format!("{mode}, bridged, {}", vector.escape_ascii());
            let strict = Lax::all().next().map(|strict| strict.messages(&scene.received)).unwrap_or_default();
            for lax in Lax::all() {
                let messages = lax.messages(&scene.received);
                assert!(
                    messages == strict
                        && messages.len() <= 1
                        && messages.iter().all(|sender| sender == b"<smith@example.org>"),
                    "{what}: {lax:?} takes {messages:?} from {}",
                    scene.received.escape_ascii()
                );
            }
            let replies = scene.replies().unwrap_or_default();
            assert_eq!(replies.len(), 5, "{what}: {}", scene.heard.escape_ascii());
            assert_eq!(replies[4].0 / 100 == 2, strict.len() == 1, "{what}");
        }
    }
}

/// A hop's reply cannot smuggle a reply: what is malformed reaches nobody, and what comes unasked neither.
#[test]
fn replies_are_never_two_replies() {
    let replies: [&[u8]; 18] = [
        b"250 ok\n550 smuggled\r\n",
        b"250 ok\r550 smuggled\r\n",
        b"250 ok\r\r\n550 smuggled\r\n",
        b"250 ok\0\r\n550 smuggled\r\n",
        b"250 ok\n\r550 smuggled\r\n",
        b"250-ok\n250 smuggled\r\n250 ok\r\n",
        b"250-ok\r250 smuggled\r\n250 ok\r\n",
        b"250-ok\r\n550 smuggled\r\n",
        b"250-ok\r\n251-smuggled\r\n250 ok\r\n",
        b"250-ok\r\nsmuggled\r\n250 ok\r\n",
        b"250-ok\r\n250\tsmuggled\r\n",
        b"250 ok\r\n550 smuggled\r\n",
        b"250 ok\r\n250 smuggled\r\n250 smuggled\r\n",
        b"250 ok\r\n354 smuggled\r\n",
        b"250 ok\r\n421 smuggled\r\n",
        b"2500 smuggled\r\n",
        b"354 smuggled\r\n",
        b"250 ok\x0b\r\n\r\n550 smuggled\r\n",
    ];
    let world = world("").unwrap();
    for reply in replies {
        for split in 1..=reply.len() {
            let mut driver = Pure::new(&world, usize::MAX);
            for party in driver.connecting() {
                driver.connect(&party, true);
            }
            driver.feed(&host(), b"220 a.example.net\r\n");
            driver.feed(&Party::Client, b"EHLO client.example.org\r\n");
            driver.feed(&host(), b"250-a.example.net\r\n250 PIPELINING\r\n");
            driver.feed(&Party::Client, b"MAIL FROM:<smith@example.org>\r\n");
            driver.heard(&Party::Client, &|_| true).clear();
            driver.feed(&host(), &reply[..split]);
            if !driver.closed(&host(), false) {
                driver.feed(&host(), &reply[split..]);
            }
            driver.pass(Duration::from_secs(1));
            let heard = driver.heard(&Party::Client, &|_| true).clone();
            let what = format!("{} at {split}: heard {}", reply.escape_ascii(), heard.escape_ascii());
            assert!(!heard.windows(8).any(|word| word == b"smuggled"), "{what}");
            assert_eq!(
                heard.iter().filter(|&&octet| octet == b'\n').count(),
                1,
                "one command, one answer: {what}"
            );
            assert!(heard.ends_with(b"\r\n"), "{what}");
        }
    }
}
