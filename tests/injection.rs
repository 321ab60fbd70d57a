//! What is put into a dialog in plain, before TLS, counts for nothing under it; and what a stranger says by XCLIENT, nowhere.
//!
//! Somebody on the way cannot read TLS, but can write before it begins (CVE-2011-0411 and its kin: commands behind
//! STARTTLS in the same packet). Every vector is said at every split point of its octets. Then the client itself does its
//! handshake, if it still can, and goes on; what hop and client hear from there on must be what they hear when nobody was on
//! the way.
//!
//! RFC 3207 4.2 and 6.

#[allow(dead_code, unused_imports, reason = "each test crate uses its own part of it")]
mod script;

use std::rc::Rc;

use script::handshake::handshake;
use script::parse::Party;
use script::settings::{World, world};
use script::{Driver, Pure};

const TLS: &str =
    "listeners: [{ address: \"127.0.0.1:25\", tls: { mode: starttls, certificate: c, key: k } }]\n";

/// What is said in plain, and how the dialog goes on: `true`: there is a handshake; `false`: the client is let go.
const VECTORS: [(&[u8], bool); 17] = [
    (b"STARTTLS\r\n", true),
    (b"STARTTLS\n", true),
    (b"starttls \t\r\n", true),
    (b"EHLO evil.example\r\nSTARTTLS\r\n", true),
    (b"HELO evil.example\r\nNOOP\r\nRSET\r\nSTARTTLS\r\n", true),
    (b"MAIL FROM:<evil@example.org>\r\nRSET\r\nSTARTTLS\r\n", true),
    (b"WIZ\r\nMAIL evil\r\nSTARTTLS\r\n", true),
    (b"STARTTLS\r\nRSET\r\n", false),
    (b"STARTTLS\r\n\r\n", false),
    (b"STARTTLS\r\n\n", false),
    (b"STARTTLS\r\n ", false),
    (b"STARTTLS\n\rEHLO evil.example\r\n", false),
    (b"STARTTLS\r\nSTARTTLS\r\n", false),
    (b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\n", false),
    (b"STARTTLS\r\nAUTH PLAIN ZXZpbA==\r\n", false),
    (b"EHLO evil.example\r\nSTARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@example.org>\r\n", false),
    (b"STARTTLS\r\n\x16\x03\x01\x00\x05evil", false),
];

/// A session before a hop that takes everything.
struct Scene {
    driver: Pure,
    to_hop: Vec<u8>,
    seen: usize,
    to_client: Vec<u8>,
}

fn host() -> Party {
    Party::Host(Rc::from("a"))
}

impl Scene {
    fn new(world: &World) -> Scene {
        let driver = Pure::new(world, usize::MAX);
        let mut scene = Scene { driver, to_hop: Vec::new(), seen: 0, to_client: Vec::new() };
        scene.turn();
        scene
    }

    fn is_closed(&mut self) -> bool {
        self.driver.closed(&Party::Client, false)
    }

    fn say(&mut self, octets: &[u8]) {
        if !self.is_closed() {
            self.driver.feed(&Party::Client, octets);
        }
        self.turn();
    }

    /// The client's own handshake; whether gatepost was ready for it.
    fn shake_hands(&mut self) -> bool {
        let done = handshake("<starttls>").unwrap();
        !self.is_closed() && self.driver.secure(&Party::Client, &done).is_ok()
    }

    /// Everybody takes what was said, and the hop answers, until nothing moves.
    fn turn(&mut self) {
        loop {
            for party in self.driver.connecting() {
                self.driver.connect(&party, true);
                self.driver.feed(&party, b"220 a.example.net ESMTP\r\n");
            }
            self.to_client.append(self.driver.heard(&Party::Client, &|_| true));
            let said = std::mem::take(self.driver.heard(&host(), &|_| true));
            self.to_hop.extend(said);
            let rest = &self.to_hop[self.seen..];
            let Some(end) = rest.iter().position(|&octet| octet == b'\n') else { return };
            let reply: &[u8] = match &rest[..4.min(end)] {
                b"EHLO" => b"250-a.example.net\r\n250-AUTH PLAIN\r\n250 PIPELINING\r\n",
                b"DATA" => b"354 Go ahead\r\n",
                _ => b"250 2.0.0 Ok\r\n",
            };
            self.seen += end + 1;
            if !self.driver.closed(&host(), false) {
                self.driver.feed(&host(), reply);
            }
        }
    }

    /// What the client hears, and the hop, when it says this.
    fn hears(&mut self, octets: &[u8]) -> (String, String) {
        let (client, hop) = (self.to_client.len(), self.to_hop.len());
        self.say(octets);
        let heard = |all: &[u8], from: usize| all[from..].escape_ascii().to_string();
        // A hop that is let go hears QUIT; whether one is says nothing of what the next hears.
        let hop = heard(&self.to_hop, hop);
        (heard(&self.to_client, client), hop.trim_start_matches("QUIT\\r\\n").to_owned())
    }
}

/// What a client says under TLS.
const UNDER_TLS: [&[u8]; 2] = [
    b"EHLO client.example.org\r\nMAIL FROM:<smith@example.org>\r\nRCPT TO:<jones@example.com>\r\n",
    b"MAIL FROM:<smith@example.org>\r\n",
];

#[test]
fn what_was_said_before_tls_counts_for_nothing_under_it() {
    let world = world(TLS).unwrap();
    let undisturbed = UNDER_TLS.map(|said| {
        let mut scene = Scene::new(&world);
        scene.say(b"STARTTLS\r\n");
        assert!(scene.shake_hands());
        scene.hears(said)
    });
    assert!(undisturbed[0].1.contains("EHLO client.example.org"), "{undisturbed:?}");
    for (vector, goes_on) in VECTORS {
        for split in 0..=vector.len() {
            for (said, undisturbed) in UNDER_TLS.iter().zip(&undisturbed) {
                let what = format!("{}, split at {split}", vector.escape_ascii());
                let mut scene = Scene::new(&world);
                let (one, two) = vector.split_at(split);
                scene.say(one);
                scene.say(two);
                let shaken = scene.shake_hands();
                assert_eq!((shaken, scene.is_closed()), (goes_on, !goes_on), "{what}");
                if goes_on {
                    assert_eq!(scene.hears(said), *undisturbed, "{what}");
                }
                let behind = vector
                    .split(|&octet| octet == b'\n')
                    .skip_while(|line| !line.to_ascii_uppercase().starts_with(b"STARTTLS"));
                for line in behind.skip(1).filter(|line| line.len() > 4) {
                    let heard = scene.to_hop.windows(line.len()).filter(|window| window == &line).count();
                    let before = vector.windows(line.len()).filter(|window| window == &line).count() - 1;
                    assert!(heard <= before, "{what}: the hop hears {}", line.escape_ascii());
                }
            }
        }
    }
}

/// What comes behind the 220 is a handshake or nothing: each octet that is none ends the session.
#[test]
fn nothing_is_read_between_the_220_and_the_handshake() {
    let world = world(TLS).unwrap();
    for octet in 0..=u8::MAX {
        let mut scene = Scene::new(&world);
        scene.say(b"STARTTLS\r\n");
        assert!(scene.to_client.ends_with(b"220 2.0.0 Ready to start TLS\r\n"));
        let heard = scene.hears(&[octet]);
        assert_eq!(heard, (String::new(), String::new()), "octet {octet}");
        assert!(scene.is_closed(), "octet {octet}");
    }
}

/// XCLIENT and XFORWARD, right and wrong, of a peer that is not listed.
const STRANGER: [&[u8]; 8] = [
    b"XCLIENT ADDR=203.0.113.7\r\n",
    b"xclient name=lab.example.com ADDR=203.0.113.7 PORT=25 LOGIN=evil HELO=evil.example\r\n",
    b"XCLIENT ADDR=203.0.113.7\n",
    b"XCLIENT\r\n",
    b"XCLIENT ADDR=203.0.113\r\n",
    b"XCLIENT +41DDR=203.0.113.7\r\n",
    b"XFORWARD ADDR=203.0.113.7 SOURCE=LOCAL\r\n",
    b"XFORWARD SOURCE=SOMEWHERE\r\n",
];

#[test]
fn what_a_stranger_says_of_itself_has_no_effect() {
    const LISTED: [&str; 2] = ["", "xclient: { from: [198.51.100.0/24] }"];
    const DIALOG: [&[u8]; 3] = [
        b"EHLO client.example.org\r\n",
        b"MAIL FROM:<smith@example.org>\r\nRCPT TO:<jones@example.com>\r\n",
        b"RSET\r\n",
    ];
    for listed in LISTED {
        let world = world(&format!(
            "listeners: [{{ address: \"127.0.0.1:25\", {listed} }}]\nrules:\n\
             \x20 - {{ name: known, stages: mail, match: {{ client: 192.0.2.1 }}, do: accept }}\n\
             \x20 - {{ name: lab, stages: mail, do: {{ reply: \"550 5.7.1 Not you\" }} }}\n"
        ))
        .unwrap();
        let mut undisturbed = Scene::new(&world);
        let heard = DIALOG.map(|said| undisturbed.hears(said));
        for vector in STRANGER {
            for split in 0..vector.len() {
                let mut scene = Scene::new(&world);
                for (said, heard) in DIALOG.iter().zip(&heard) {
                    let what = format!("{listed} {}, split at {split}", vector.escape_ascii());
                    let (one, two) = vector.split_at(split);
                    let mut refusal = scene.hears(one);
                    let more = scene.hears(two);
                    refusal.0 += &more.0;
                    let code = if listed.is_empty() { "500 5.5.1 " } else { "550 5.7.0 " };
                    assert!(refusal.0.starts_with(code) && refusal.0.matches("\\n").count() == 1, "{what}");
                    assert_eq!(
                        (refusal.1.as_str(), more.1.as_str()),
                        ("", ""),
                        "{what}: the hop hears of it"
                    );
                    assert_eq!(scene.hears(said), *heard, "{what}");
                }
            }
        }
    }
}
