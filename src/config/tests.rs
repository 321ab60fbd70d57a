//! What holds for the configuration as a whole: `proxy.yaml` is the defaults, printing and loading are inverse, and no
//! text makes the loader panic. Wrong files and their messages have a table of their own, `tests/config_errors.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::rule::{Mark, SizeRange, Template, TemplatePiece, Variable};
use super::types::{CalloutKind, Config, Decide, Source};
use super::{EMBEDDED, load_text, yaml};
use crate::session::route::HopTls;
use crate::session::verdict::Stage;

/// Uses every key and every verdict.
const RICH: &str = r#"
hostname: mx.example.com
listeners:
  - address: ["127.0.0.1:2525", "[::1]:2525"]
    upstream: main
    auth: off
  - { address: 127.0.0.1:0, upstream: branch, auth: tls }
upstreams:
  main:
    hosts:
      - 192.0.2.1
      - mail.example.com:2525
      - "[2001:db8::1]:26"
      - 2001:db8::2
      - unix:/run/mta
      - { address: b.example.com., weight: 7 }
    port: 24
    balance: round_robin
    sessions: 90
  branch: { sink: "./a \"b\" ü" }
  store: { hosts: ["unix:/run/lmtp"], protocol: lmtp, health: { interval: 90s } }
  found: { mx: example.com, port: 26, health: off }
  service: { srv: _smtp._tcp.example.com. }
  out: { recipient_mx: true, port: 2525 }
rules:
  - { name: always, stages: [connect, helo, auth, mail, rcpt, data, other], do: accept }
  - name: everything
    stages: [rcpt-reply, mail-reply]
    match:
      listener: "127.0.0.1:*"
      client: [192.0.2.0/24, "2001:db8::/32", 203.0.113.9]
      helo: ["*.example.com", "[192.0.2.1]"]
      sender: ["<>", "*@example.com"]
      code: [550, 55x, 4xx]
      enhanced_code: ["5.1.*", 5.7.1]
      text: "*\"quoted\" \\ ü: #no*"
      verb: rcpt
      authenticated: false
      size: [">10MiB", "<=64KiB", 1..2, 0]
      not: { client: 192.0.2.7, not: { code: 551 } }
    do: { substitute: ["450-4.1.1 not", "450 4.1.1 now"] }
  - { name: a, stages: rcpt, match: { recipient: postmaster, recipient_given: "*" }, do: { reply: "250 Taken" } }
  - { name: b, stages: mail, do: { rewrite: { sender: "<>", parameters: { add: "NOTIFY=NEVER", remove: [auth] } } } }
  - { name: c, stages: rcpt, do: { rewrite: { recipient: "{local}+{{x}}@{domain}" }, route: { upstream: branch } } }
  - { name: d, stages: helo, do: { rewrite: { helo: "[{client}]" }, accept: true } }
  - { name: e, stages: rcpt-reply, do: { retry: [{ recipient: "{local}@b.example" }, { upstream: main }, { mx: "c.example:26" }] } }
  - { name: f, stages: rcpt-reply, do: { retry: [{ recipient: "\"a b\"@b.example", upstream: branch }] } }
  - { name: m, stages: rcpt, do: { map: "./recipients.map", rewrite: { parameters: { add: [NOTIFY=NEVER] } } } }
  - { name: n, stages: rcpt-reply, do: { retry: [{ map: "old \"map\"" }] } }
  - { name: g, stages: connect, do: disconnect }
  - { name: h, stages: other, do: { disconnect: "421 4.7.0 bye" } }
  - { name: i, stages: mail-reply, match: { code: 2xx }, do: { substitute: "251 fine" } }
callouts:
  - name: directory
    type: http
    url: "http://directory.example:8080/ask?from=mx"
    stages: [rcpt, rcpt-reply]
    when: { recipient: "*@example.com", client: 192.0.2.0/24, not: { sender: "<>" } }
    timeout: 250ms
    on_error: pass
    concurrency: 7
    effects: [discard]
    refuse_postmaster: true
  - { name: other, type: http, url: "http://[::1]?x", stages: connect, tls: off }
  - { name: secure, type: http, url: "https://directory.example", stages: rcpt,
      tls: { roots: roots.pem, server_name: d.example, certificate: own.pem, key: own.key } }
  - { name: unverified, type: http, url: "https://[::1]:80/", stages: rcpt, tls: { verify: false } }
  - { name: two, type: http, url: ["http://127.0.0.1:1/a", "http://b.example/"], stages: mail }
  - { name: stripper, type: http, url: "http://127.0.0.1/", stages: [message, data], content: whole }
  - { name: greylist, type: policy, address: "127.0.0.1:10023" }
  - { name: policies, type: policy, address: ["unix:/run/policy", "[::1]:10024", "policy.example:1"], stages: [connect, data],
      policy_context: "mx \"one\"", effects: [discard], concurrency: 3, shadow: true }
  - { name: rspamd, type: milter, address: "127.0.0.1:11332", timeout: { base: 20s, per_mib: 500ms } }
  - { name: filter, type: milter, address: ["unix:/run/filter", "[::1]:8891"], rcpt_after_reply: true, on_quarantine: header,
      macros: { connect: "j client_ptr", eom: [] }, macro_values: { daemon_name: "ORIGI \"NATING\"" } }
  - { name: scanner, type: mta_hooks, url: "https://scanner.example/", stages: [mail, message], on_quarantine: tempfail,
      token_file: scanner.token, serialization: cbor }
limits: { sessions: 5, sessions_per_client: 6, exempt: [192.0.2.1, "2001:db8::/64"], new_sessions_per_minute: 9,
          messages_per_minute: 10, recipients_per_minute: 11,
          ranges: [{ from: [192.0.2.0/24, "2001:db8::/32"], sessions: 12, new_sessions_per_minute: 13,
                     messages_per_minute: 14, recipients_per_minute: 15 }, { from: [203.0.113.9] }], recipients: 7, message_size: 1000,
          command_line: 512, auth_line: 1KiB, reply_line: 2KiB, reply: 3KiB, errors: 8, attempts: 0 }
timeouts: { command: 1s, content: 2s, connect: 3s, tls: 4s, greeting: 5s, reply: 6s, answer: 7s, attempts: 250ms,
            end_of_data: 1h, callouts: 1d }
content: { memory: 0, spool: ./spool, bare_newline: reject }
dns: { servers: [127.0.0.1, "127.0.0.1:5353", "::1"] }
greeting: own
forward_verbs: [xadr]
forward_extensions: [XADR, x-one]
workers: 3
admin: { address: "[::1]:9025" }
log: { format: json, level: trace }
shutdown_grace: 0s
"#;

fn load(text: &str) -> Config {
    match load_text("proxy.yaml", text, []) {
        Ok(loaded) => unmarked(loaded.config),
        Err(errors) => panic!("{errors}\n{text}"),
    }
}

/// Without the marks, which differ wherever the same rule or callout is written elsewhere.
fn unmarked(mut config: Config) -> Config {
    for rule in &mut config.rules {
        rule.mark = Mark::default();
    }
    for callout in &mut config.callouts {
        callout.mark = Mark::default();
    }
    config
}

/// `proxy.yaml` with its commented keys taken out of their comments: `# key: …`, and below a `# key:` without a value
/// every `#   key: …` until another line.
fn uncommented() -> String {
    let key = |text: &str| {
        text.split_once(':').is_some_and(|(word, rest)| {
            let name = word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            !word.is_empty() && name && (rest.is_empty() || rest.starts_with(' '))
        })
    };
    let mut below = false;
    let mut lines = Vec::new();
    for line in EMBEDDED.lines() {
        let indent = line.len() - line.trim_start().len();
        match line.trim_start().strip_prefix("# ") {
            Some(text) if key(text) => {
                below = text.ends_with(':');
                lines.push(format!("{:indent$}{text}", ""));
            }
            Some(text) if below && text.strip_prefix("  ").is_some_and(key) => {
                lines.push(format!("{:indent$}{text}", ""));
            }
            _ => {
                below = false;
                lines.push(line.to_owned());
            }
        }
    }
    lines.join("\n")
}

#[test]
fn the_embedded_file_is_the_defaults() {
    assert_eq!(load(EMBEDDED), Config::default());
    let mut config = load(&uncommented());
    assert_eq!(config.hostname.take().as_deref(), Some("mx.example.com"), "an example, the only one");
    assert!(config.session_limits.sessions_configured);
    config.session_limits.sessions_configured = false;
    assert_eq!(config, Config::default());
}

#[test]
fn the_embedded_file_shows_every_key() {
    let paths = |text: &str| {
        let document = yaml::Document::parse("", text);
        assert!(document.problems.is_empty(), "{:?}", document.problems);
        document.marks.into_keys().filter(|path| !path.ends_with("address[0]")).collect::<Vec<_>>()
    };
    let shown = paths(&uncommented());
    let mut config = Config::default();
    config.session_limits.sessions_configured = true;
    config.hostname = Some("mx.example.com".to_owned());
    for path in paths(&config.to_string()) {
        assert!(shown.contains(&path), "{path} is not in proxy.yaml");
    }
}

#[test]
fn what_is_printed_loads_to_the_same() {
    let off = "upstreams: { main: { sink: ./mail } }\nadmin: false\nuser: mail\n";
    assert_eq!((load(off).admin.address, load(off).user.as_deref()), (None, Some("mail")));
    for text in [RICH, EMBEDDED, off] {
        let config = load(text);
        assert_eq!(load(&config.to_string()), config, "{config}");
    }
}

#[test]
fn the_rich_file_is_read_as_it_is_meant() {
    let config = load(RICH);
    let rule = |name: &str| config.rules.iter().find(|rule| rule.name == name).unwrap();
    assert_eq!(rule("everything").stages, [Stage::RcptReply, Stage::MailReply]);
    assert_eq!(rule("everything").matches.verb, ["RCPT"]);
    assert_eq!(rule("a").actions.decide, Some(Decide::Reply(vec!["250 Taken".to_owned()])));
    assert_eq!(rule("g").actions.decide, Some(Decide::Disconnect(None)));
    let pieces = |text: &str| TemplatePiece::Text(text.to_owned());
    let variable = TemplatePiece::Variable;
    assert_eq!(
        rule("c").actions.rewrites.recipient,
        Some(Template(vec![variable(Variable::Local), pieces("+{x}@"), variable(Variable::Domain)]))
    );
    let Source::Hosts(hosts) = &config.upstreams["main"].source else { panic!("main has hosts") };
    let ports: Vec<String> = hosts.iter().map(|host| format!("{:?}", host.target)).collect();
    assert_eq!(ports[3], r#"Tcp { host: "2001:db8::2", port: 24 }"#);
    assert_eq!(ports[5], r#"Tcp { host: "b.example.com", port: 24 }"#);
    let url = |place: usize| match &config.callouts[place].kind {
        CalloutKind::Http(http) => http.urls[0].clone(),
        CalloutKind::Policy(_) | CalloutKind::Milter(_) | CalloutKind::MtaHooks(_) => {
            panic!("callouts[{place}]")
        }
    };
    assert_eq!(url(1).to_string(), "http://[::1]/?x");
    assert_eq!((url(2).to_string().as_str(), url(2).port), ("https://directory.example/", 443));
    assert_eq!(config.callouts[2].tls.mode, HopTls::Implicit);
    assert_eq!(url(3).to_string(), "https://[::1]:80/");
    let filter = config.callouts.iter().find(|callout| callout.name == "filter").unwrap();
    assert!(filter.stages.contains(&Stage::RcptReply) && !filter.stages.contains(&Stage::Rcpt));
    assert_eq!(config.dns.servers[2], SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 53)));
}

proptest! {
    #[test]
    fn any_value_prints_and_loads(
        text in "[^\\p{Cc}]{1,40}",
        milliseconds in 1..86_400_000u64,
        octets in 1..=1u64 << 40,
        (least, most) in any::<(u64, u64)>(),
        path in "[ -~]{1,20}",
    ) {
        let mut config = load(RICH);
        config.timeouts.reply = Duration::from_millis(milliseconds);
        config.limits.message_size = octets;
        config.content.spool = path.into();
        let rule = &mut config.rules[1];
        rule.matches.text = vec![text.clone()];
        rule.matches.size = vec![SizeRange { least: least.min(most), most: least.max(most) }];
        let local = TemplatePiece::Variable(Variable::Local);
        config.rules[4].actions.rewrites.recipient = Some(Template(vec![local, TemplatePiece::Text(text)]));
        prop_assert_eq!(load(&config.to_string()), config);
    }

    #[test]
    fn no_text_makes_the_loader_panic(
        changes in prop::collection::vec((0..RICH.len(), "[-:?{}\\[\\]\"'*&!|>%@#, \n\t\r0a~\u{e000}ü]{0,3}"), 1..4),
    ) {
        let mut text = RICH.to_owned();
        for (at, with) in changes {
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let end = at + text[at..].chars().next().map_or(0, char::len_utf8);
            text.replace_range(at..end, &with);
        }
        if let Err(errors) = load_text("proxy.yaml", &text, []) {
            prop_assert!(errors.iter().count() > 0);
        }
    }
}
