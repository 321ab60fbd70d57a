//! Each key of `match` by itself, two together, lists and `not`.

use super::*;
use crate::config::types::{CodePattern, SizeRange, TlsKeys, TlsMatch};
use crate::session::client::{Certificate, ClientFacts, ProxiedFacts, TlsFacts, XclientFacts};

/// Whether a rule with this `match` speaks to this question at `rcpt`.
fn holds(matches: Match, question: &Question<'_>) -> bool {
    compile(&[rule(&[Stage::Rcpt], matches, says("550 5.7.1 no"))]).command(question).verdict.is_some()
}

/// Whether it speaks to this reply at `rcpt-reply`.
fn holds_reply(matches: Match, line: &str) -> bool {
    let set = compile(&[rule(&[Stage::RcptReply], matches, Some(Decide::Accept))]);
    set.reply(&question(Stage::RcptReply), reply(line).as_ref(), None).is_some()
}

fn codes(patterns: &[&str]) -> Vec<CodePattern> {
    let digit = |c: char| c.to_digit(10).map(|d| d as u8);
    let pattern = |p: &&str| {
        let mut digits = p.chars().map(digit);
        CodePattern { digits: std::array::from_fn(|_| digits.next().unwrap()) }
    };
    patterns.iter().map(pattern).collect()
}

fn sized(least: u64, most: u64) -> Match {
    Match { size: vec![SizeRange { least, most }], ..Match::default() }
}

#[test]
fn recipients() {
    let table: &[(&[&str], &[u8], bool)] = &[
        (&["jones@example.net"], b"jones@example.net", true),
        (&["JONES@Example.NET"], b"jones@example.net", true),
        (&["jones@example.net"], b"Jones@EXAMPLE.net", true),
        (&["<jones@example.net>"], b"jones@example.net", true),
        (&["jones@example.net"], b"smith@example.net", false),
        (&["smith@example.net", "jones@example.net"], b"jones@example.net", true),
        (&["jones@example.net"], b"\"jones\"@example.net.", true),
        (&["\"jones\"@example.net."], b"jones@example.net", true),
        (&["jones@example.net"], b"@relay.test,@b.test:jones@example.net", true),
        (&["@relay.test:jones@example.net"], b"jones@example.net", true),
        (&["@relay.test:j*@example.net"], b"jones@example.net", true),
        (&["jones@b\u{fc}cher.example"], b"jones@xn--bcher-kva.example", true),
        (&["jones@xn--bcher-kva.example"], "jones@B\u{fc}cher.example".as_bytes(), true),
        (&["*@b\u{fc}cher.example"], b"jones@XN--bcher-kva.example", true),
        (&["*@*.b\u{fc}cher.example"], b"jones@a.xn--bcher-kva.example", true),
        (&["*@mail*.b\u{fc}cher.example"], b"jones@mail1.xn--bcher-kva.example", true),
        (&["*@example.net"], b"jones@Example.net", true),
        (&["*@example.net"], b"jones@mx.example.net", false),
        (&["*@*.example.net"], b"jones@example.net", false),
        (&["*@*.example.net"], b"jones@a.mx.example.net", true),
        (&["*@*.example.net"], b"jones@badexample.net", false),
        (&["j*s@example.net"], b"jones@example.net", true),
        (&["j*s@example.net"], b"jonas.x@example.net", false),
        (&["j*s@*.example.net"], b"jones@a.example.net", true),
        (&["jones@*"], b"jones@anything.test", true),
        (&["jones@ex*.net"], b"jones@example.net", true),
        (&["*@*"], b"jones@example.net", true),
        (&["*@*"], b"postmaster", false),
        (&["*"], b"postmaster", true),
        (&["*"], b"jones@example.net", true),
        (&["*.net"], b"jones@example.net", true),
        (&["postmaster"], b"PostMaster", true),
        (&["postmaster"], b"postmaster@example.net", false),
        (&["postmaster@example.net"], b"postmaster", false),
        (&["post*"], b"postmaster", true),
        // In a local part all but the star is ordinary.
        (&["who?@example.net"], b"who?@example.net", true),
        (&["who?@example.net"], b"whoa@example.net", false),
        (&["{a}?*@example.net"], b"{a}?b@example.net", true),
        // A quoted local part may hold an @: what stands before the last one is never a domain.
        (&["*@evil.example"], b"\"x@evil.example\"@example.net", false),
        (&["*x@*"], b"\"x@y\"@example.net", false),
        (&["\"x@y\"@example.net"], b"\"x@y\"@example.net", true),
        (&["\"x *\"@example.net"], b"\"x y\"@example.net", true),
        (&["\"jon*\"@example.net"], b"jones@example.net", true),
        (&["*@[192.0.2.1]"], b"jones@[192.0.2.1]", true),
        (&["jones@[192.0.2.1]"], b"jones@[192.0.2.1]", true),
        (&["*@[192.0.*]"], b"jones@[192.0.2.1]", true),
        (&["*@[*"], b"jones@[IPv6:2001:db8::1]", true),
        (&["*@[*"], b"jones@example.net", false),
        // No domain is above an address literal.
        (&["*@*.2.1"], b"jones@[192.0.2.1]", false),
    ];
    for (patterns, recipient, expected) in table {
        let mut asked = question(Stage::Rcpt);
        asked.recipient = Some(path(recipient));
        let matches = Match { recipient: list(patterns), ..Match::default() };
        assert_eq!(holds(matches, &asked), *expected, "{patterns:?} {}", recipient.escape_ascii());
    }
}

#[test]
fn senders_and_recipients_as_given() {
    let mut asked = question(Stage::Rcpt);
    asked.recipient = Some(path(b"new@example.net"));
    let given = |pattern| Match { recipient_given: list(&[pattern]), ..Match::default() };
    assert!(holds(given("jones@example.net"), &asked));
    assert!(!holds(given("new@example.net"), &asked));
    assert!(holds(to_recipient("new@example.net"), &asked));
    let from = |pattern| Match { sender: list(&[pattern]), ..Match::default() };
    assert!(holds(from("*@src.example"), &asked));
    assert!(!holds(from("<>"), &asked));
    asked.sender = Some(path(b""));
    assert!(holds(from("<>"), &asked));
    assert!(holds(from("*"), &asked));
    assert!(!holds(from("*@*"), &asked));
    assert!(!holds(from("*@src.example"), &asked));
    asked.sender = None;
    assert!(!holds(from("*"), &asked), "what is not known fits nothing");
    assert!(holds(Match { not: Some(Box::new(from("*"))), ..Match::default() }, &asked));
}

#[test]
fn clients_and_listeners() {
    let mut asked = question(Stage::Rcpt);
    let client =
        |block: &str| Match { client: [block.parse().unwrap()].into_iter().collect(), ..Match::default() };
    assert!(holds(client("192.0.2.0/24"), &asked));
    assert!(!holds(client("198.51.100.0/24"), &asked));
    assert!(holds(client("::ffff:192.0.2.0/120"), &asked));
    asked.client = "::ffff:192.0.2.9".parse().unwrap();
    assert!(holds(client("192.0.2.8/30"), &asked));
    asked.client = "2001:db8::7".parse().unwrap();
    assert!(holds(client("2001:db8::/32"), &asked));
    let listener = |pattern| Match { listener: list(&[pattern]), ..Match::default() };
    assert!(holds(listener("127.0.0.1:2525"), &asked));
    assert!(holds(listener("*:2525"), &asked));
    assert!(!holds(listener("*:25"), &asked));
    asked.listener = 1;
    assert!(holds(listener("[::1]:25"), &asked));
    assert!(holds(listener("192.0.2.7:*"), &asked), "one of its addresses is enough");
    asked.listener = 2;
    assert!(!holds(listener("*"), &asked));
}

#[test]
fn as_whom_a_client_authenticated() {
    let mut asked = question(Stage::Rcpt);
    let login = |patterns: &[&str]| Match { login: list(patterns), ..Match::default() };
    assert!(!holds(login(&["*"]), &asked), "nobody said");
    let xclient = XclientFacts { login: Some("Jones@example.com".into()), ..XclientFacts::default() };
    let facts = ClientFacts { xclient: Some(xclient), ..ClientFacts::default() };
    asked.facts = Some(&facts);
    for (patterns, fits) in [
        (&["*@example.com"][..], true),
        (&["jones@EXAMPLE.com"], true),
        (&["smith@*", "j????@*"], true),
        (&["*@example.net"], false),
        (&["jones"], false),
    ] {
        assert_eq!(holds(login(patterns), &asked), fits, "{patterns:?}");
    }
}

#[test]
fn names_verbs_and_facts() {
    let mut asked = question(Stage::Rcpt);
    let helo = |pattern| Match { helo: list(&[pattern]), ..Match::default() };
    assert!(holds(helo("*.EXAMPLE"), &asked));
    assert!(!holds(helo("example"), &asked));
    asked.helo = Some(b"[192.0.2.1]");
    assert!(holds(helo("[192.0.2.?]"), &asked));
    asked.helo = None;
    assert!(!holds(helo("*"), &asked));
    let verb = |pattern| Match { verb: list(&[pattern]), ..Match::default() };
    assert!(holds(verb("RCPT"), &asked));
    assert!(holds(verb("R*"), &asked));
    assert!(!holds(verb("MAIL"), &asked));
    let authenticated = |is| Match { authenticated: Some(is), ..Match::default() };
    assert!(holds(authenticated(false), &asked));
    assert!(!holds(authenticated(true), &asked));
    asked.authenticated = true;
    assert!(holds(authenticated(true), &asked));
    assert!(!holds(sized(0, u64::MAX), &asked), "none declared, in no range");
    asked.size = Some(1000);
    assert!(holds(sized(1000, 1000), &asked));
    assert!(!holds(sized(1001, u64::MAX), &asked));
    assert!(holds(
        Match { size: [sized(0, 9).size, sized(900, 1100).size].concat(), ..Match::default() },
        &asked
    ));
}

#[test]
fn replies() {
    let code = |patterns: &[&str]| Match { code: codes(patterns), ..Match::default() };
    for (patterns, line, expected) in [
        (&["550"][..], "550 5.1.1 no", true),
        (&["550"], "551 no", false),
        (&["55x"], "551 no", true),
        (&["5xx"], "501 no", true),
        (&["5xx"], "450 later", false),
        (&["4xx", "550"], "550 no", true),
        (&["2xx"], "250 ok", true),
    ] {
        assert_eq!(holds_reply(code(patterns), line), expected, "{patterns:?} {line}");
    }
    let enhanced = |pattern| Match { enhanced_code: list(&[pattern]), ..Match::default() };
    assert!(holds_reply(enhanced("5.1.*"), "550 5.1.10 no"));
    assert!(!holds_reply(enhanced("5.1.?"), "550 5.1.10 no"));
    assert!(holds_reply(enhanced("?.1.1"), "550 5.1.1"));
    assert!(!holds_reply(enhanced("*"), "550 no"));
    assert!(!holds_reply(enhanced("*"), "550 4.1.1 no code of this class"));
    let text = |pattern| Match { text: list(&[pattern]), ..Match::default() };
    assert!(holds_reply(text("*User Unknown*"), "550 5.1.1 <x>: user unknown in table"));
    assert!(holds_reply(text("user unknown"), "550 5.1.1 User unknown"));
    assert!(holds_reply(text("user unknown"), "550 User unknown"));
    assert!(holds_reply(text("second*"), "550-5.1.1 first|550 5.1.1 second line"));
    assert!(!holds_reply(text("first*second*"), "550-5.1.1 first|550 5.1.1 second line"));
    let both = Match { code: codes(&["5xx"]), ..text("*quota*") };
    assert!(holds_reply(both.clone(), "552 5.2.2 over quota"));
    assert!(!holds_reply(both.clone(), "452 4.2.2 over quota"));
    assert!(!holds_reply(both, "550 5.1.1 who"));
    let not = Match { not: Some(Box::new(code(&["2xx"]))), ..Match::default() };
    assert!(holds_reply(not.clone(), "450 later"));
    assert!(!holds_reply(not, "250 ok"));
}

#[test]
fn keys_together_and_not() {
    let asked = question(Stage::Rcpt);
    let both = |recipient, sender| Match { sender: list(&[sender]), ..to_recipient(recipient) };
    assert!(holds(both("*@example.net", "*@src.example"), &asked));
    assert!(!holds(both("*@example.net", "*@other.example"), &asked));
    assert!(!holds(both("*@other.example", "*@src.example"), &asked));
    let except = |recipient, sender| Match {
        not: Some(Box::new(Match { sender: list(&[sender]), ..Match::default() })),
        ..to_recipient(recipient)
    };
    assert!(holds(except("*@example.net", "*@other.example"), &asked));
    assert!(!holds(except("*@example.net", "*@src.example"), &asked));
    // All keys of `not` must hold for it to forbid.
    let not = |inner| Match { not: Some(Box::new(inner)), ..Match::default() };
    assert!(holds(not(both("*@example.net", "*@other.example")), &asked));
    assert!(!holds(not(both("*@example.net", "*@src.example")), &asked));
    assert!(holds(not(not(to_recipient("*@example.net"))), &asked));
    assert!(holds(Match::default(), &asked));
    assert!(!holds(not(Match::default()), &asked));
}

#[test]
fn what_is_no_pattern() {
    for pattern in [
        "",
        "jones@",
        "jones@exa mple.net",
        "{a,b}@example.net",
        "a@b@example.net",
        "m\u{fc}*",
        "jones@b\u{fc}*.example",
    ] {
        let rules = [rule(&[Stage::Rcpt], to_recipient(pattern), Some(Decide::Accept))];
        let errors = RuleSet::compile(&rules, &pools, &Maps::default(), &[]).unwrap_err();
        assert_eq!((errors.len(), errors[0].key.as_str()), (1, "match.recipient"), "{pattern}");
        assert!(errors[0].problem.contains(&format!("{pattern}\"")) || pattern.is_empty(), "{}", errors[0]);
    }
}

#[test]
fn the_tls_the_client_comes_through() {
    let certificate =
        |verified| Certificate { subject: "CN=relay.example,O=Ex".into(), verified, fault: None };
    let facts = |certificate| ClientFacts {
        tls: Some(TlsFacts {
            version: "TLSv1.3".into(),
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            server_name: Some("mx.example.com".into()),
            certificate,
            resumed: false,
        }),
        ..ClientFacts::default()
    };
    let (bare, known, unknown) =
        (facts(None), facts(Some(certificate(true))), facts(Some(certificate(false))));
    let proxied = ProxiedFacts { tls: bare.tls.clone(), ..ProxiedFacts::default() };
    let proxied = ClientFacts { proxied: Some(proxied), ..ClientFacts::default() };
    let of = |keys| Match { tls: Some(TlsMatch::Of(keys)), ..Match::default() };
    let version = |glob| of(TlsKeys { version: list(&[glob]), ..TlsKeys::default() });
    let verified = |is| of(TlsKeys { verified: Some(is), ..TlsKeys::default() });
    let shows = |glob| of(TlsKeys { certificate: list(&[glob]), ..TlsKeys::default() });
    let is = |is| Match { tls: Some(TlsMatch::Is(is)), ..Match::default() };
    // What holds in plain; under TLS; with a certificate that is vouched for; with one that is not.
    let table = [
        (is(true), [false, true, true, true]),
        (is(false), [true, false, false, false]),
        (version("TLSv1.3"), [false, true, true, true]),
        (version("tlsv1.*"), [false, true, true, true]),
        (version("TLSv1.2"), [false; 4]),
        (of(TlsKeys { cipher: list(&["*_SHA384"]), ..TlsKeys::default() }), [false, true, true, true]),
        (of(TlsKeys { server_name: list(&["mx.*"]), ..TlsKeys::default() }), [false, true, true, true]),
        (shows("CN=relay.example,*"), [false, false, true, true]),
        (shows("*"), [false, false, true, true]),
        (verified(true), [false, false, true, false]),
        (verified(false), [false, true, false, true]),
        (Match { not: Some(Box::new(verified(true))), ..Match::default() }, [true, true, false, true]),
        (of(TlsKeys { verified: Some(true), version: list(&["TLSv1.2"]), ..TlsKeys::default() }), [false; 4]),
    ];
    for (matches, expected) in table {
        let asked = [None, Some(&bare), Some(&known), Some(&unknown)].map(|facts| {
            let mut asked = question(Stage::Rcpt);
            asked.facts = facts;
            holds(matches.clone(), &asked)
        });
        assert_eq!(asked, expected, "{matches:?}");
    }
    let mut asked = question(Stage::Rcpt);
    asked.facts = Some(&proxied);
    assert!(holds(is(true), &asked), "the balancer's word is as good");
}
