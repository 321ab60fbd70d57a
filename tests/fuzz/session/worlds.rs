//! The configurations a session is tried under.
//!
//! **In**: an octet that chooses. **Out**: a [`World`], read by the real decoder, the same one each time.
//! **Never**: has more than one listener; names a file but the map that scripts use.

use std::sync::LazyLock;

use crate::script::settings::{World, world};

/// The pools of most of them, in the order of their numbers.
const POOLS: &str = "
upstreams:
  branch: { hosts: [c, d] }
  domains: { recipient_mx: true }
  lists: { hosts: [e], protocol: lmtp, port: 24 }
  main: { hosts: [a, b] }
";

/// Rules of every kind, each for a local part of its own.
const RULES: &str = r#"
rules:
  - { name: helo-new, stages: helo, match: { helo: "new.*" }, do: { rewrite: { helo: other.example.org } } }
  - { name: helo-no, stages: helo, match: { helo: "no.*" }, do: { reply: "550 5.7.1 No" } }
  - { name: helo-elsewhere, stages: helo, match: { helo: "branch.*" }, do: { route: { upstream: branch } } }
  - { name: hello-lists, stages: helo, match: { helo: "lists.*" }, do: { route: { upstream: lists } } }
  - { name: hello-refused, stages: helo-reply, match: { helo: "refused.*" }, do: { substitute: "550 5.7.1 No" } }
  - { name: mail-new, stages: mail, match: { sender: "new@*" }, do: { rewrite: { sender: other@example.org, parameters: { remove: [SIZE], add: ["BODY=8BITMIME"] } } } }
  - { name: mail-no, stages: mail, match: { sender: "no@*" }, do: { reply: "550 5.7.1 No" } }
  - { name: mail-elsewhere, stages: mail, match: { sender: "branch@*" }, do: { route: { upstream: branch } } }
  - { name: mail-domains, stages: mail, match: { sender: "domains@*" }, do: { route: { upstream: domains } } }
  - { name: mail-withdrawn, stages: mail-reply, match: { sender: "withdrawn@*" }, do: { substitute: "450 4.7.1 No" } }
  - { name: rcpt-new, stages: rcpt, match: { recipient: "new@*" }, do: { rewrite: { recipient: "{local}@other.example", parameters: { add: ["NOTIFY=NEVER"] } } } }
  - { name: rcpt-no, stages: rcpt, match: { recipient: "no@*" }, do: { reply: ["550-5.7.1 No", "550 5.7.1 Never"] } }
  - { name: rcpt-swallowed, stages: rcpt, match: { recipient: "swallowed@*" }, do: { reply: "250 2.1.5 Ok" } }
  - { name: rcpt-elsewhere, stages: rcpt, match: { recipient: "branch@*" }, do: { route: { upstream: branch } } }
  - { name: rcpt-domains, stages: rcpt, match: { recipient: "domains@*" }, do: { route: { upstream: domains } } }
  - { name: rcpt-gone, stages: rcpt, match: { recipient: "gone@*" }, do: { disconnect: true } }
  - { name: rcpt-withdrawn, stages: rcpt-reply, match: { recipient: "withdrawn@*", code: 2xx }, do: { substitute: "450 4.7.1 No" } }
  - { name: rcpt-ladder, stages: rcpt-reply, match: { recipient_given: ["ladder@*", "branch@*"], code: [4xx, 5xx] }, do: { retry: [ { recipient: other@example.net }, { upstream: branch }, { upstream: lists }, { mx: legacy.example } ] } }
  - { name: data-no, stages: data, match: { sender: "nodata@*" }, do: { reply: "554 5.7.1 No" } }
  - { name: data-turned, stages: data-reply, match: { sender: "turned@*" }, do: { substitute: "554 5.7.1 No" } }
  - { name: message-words, stages: message-reply, match: { sender: "turned@*", code: [4xx, 5xx] }, do: { substitute: "550 5.7.1 No" } }
  - { name: other-own, stages: other, match: { verb: EXPN }, do: { reply: "252 2.0.0 Perhaps" } }
  - { name: other-words, stages: other-reply, match: { verb: VRFY }, do: { substitute: "550 5.1.1 No" } }
"#;

const ASKED: &str = r#"
callouts:
  - { type: http, url: "http://127.0.0.1:9/", name: everywhere, effects: [discard], timeout: 5s,
      stages: [connect, helo, auth, mail, rcpt, data, other, connect-reply, helo-reply, auth-reply, mail-reply, rcpt-reply, data-reply, other-reply, message-reply] }
"#;

const ASKED_SOMETIMES: &str = r#"
callouts:
  - { type: http, url: "http://127.0.0.1:9/", name: first, stages: [helo, mail, rcpt, helo-reply, rcpt-reply], on_error: pass }
  - { type: http, url: "http://127.0.0.1:9/", name: second, stages: [rcpt, rcpt-reply, data, message-reply], on_error: reject, refuse_postmaster: true }
"#;

/// Which of [`WORLDS`] asks a callout at every stage.
pub const ASKS_EVERYWHERE: u8 = 2;

static WORLDS: LazyLock<Vec<World>> = LazyLock::new(|| {
    let tls = "certificate: cert.pem, key: key.pem";
    let door = |more: &str| format!("listeners: [{{ address: \"127.0.0.1:2525\", {more} }}]\n");
    let texts = [
        POOLS.to_owned(),
        format!("{POOLS}{RULES}"),
        format!("{POOLS}{ASKED}"),
        format!("{POOLS}{RULES}{ASKED_SOMETIMES}"),
        door(&format!(
            "tls: {{ mode: starttls, require: true, {tls} }}, xclient: {{ from: [192.0.2.0/24] }}"
        )) + "upstreams: { main: { hosts: [a, b], tls: { mode: required, verify: false }, identity: xclient }, branch: { hosts: [c], tls: opportunistic, identity: xforward, identity_required: false }, domains: { recipient_mx: true }, lists: { hosts: [e], protocol: lmtp, port: 24 } }\n"
            + RULES,
        door(&format!("tls: {{ mode: implicit, {tls} }}"))
            + "upstreams: { main: { hosts: [a, b], tls: { mode: implicit, verify: false } } }\n",
        door("tls: passthrough") + POOLS,
        door("tls: { mode: passthrough, implicit: true }") + POOLS,
        door("upstream: domains") + POOLS + RULES,
        door("upstream: lists, greeting_delay: 5s, xclient: { from: [192.0.2.0/24] }")
            + "limits: { recipients: 2, message_size: 500, errors: 3, command_line: 512, attempts: 2 }\ncontent: { bare_newline: reject }\ngreeting: own\nforward_verbs: [XOTHER]\nforward_extensions: [XEXT]\n"
            + POOLS
            + RULES,
        door("upstream: main, greeting_delay: 5s") + "greeting: own\n" + POOLS + RULES + ASKED_SOMETIMES,
    ];
    texts.iter().map(|text| world(text).unwrap_or_else(|errors| panic!("{errors}\n{text}"))).collect()
});

/// The one that an octet chooses.
pub fn chosen(by: u8) -> &'static World {
    &WORLDS[usize::from(by) % WORLDS.len()]
}

/// How many there are.
pub fn count() -> u8 {
    u8::try_from(WORLDS.len()).expect("few")
}
