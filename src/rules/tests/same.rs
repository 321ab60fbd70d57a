//! The index against a plain scan: whatever the rules, both give the same answers.

use proptest::prelude::*;

use super::*;

const ADDRESSES: &[&str] = &[
    "a@x.example",
    "b@x.example",
    "A@sub.x.example",
    "a@deep.sub.x.example",
    "\"a\"@y.example",
    "b@y.example.",
    "postmaster",
    "a@[192.0.2.1]",
    "ab@example",
];

const PATTERNS: &[&str] = &[
    "<>",
    "*",
    "*@*",
    "postmaster",
    "a@x.example",
    "b@x.example",
    "*@x.example",
    "*@*.x.example",
    "*@*.example",
    "a*@x.example",
    "a*@*.x.example",
    "*b@y.example",
    "a@y.example",
    "a@*",
    "*@s*.example",
    "*example",
    "*@[192.0.2.1]",
    "*@example",
];

const CLIENTS: &[&str] =
    &["192.0.2.1/32", "192.0.2.0/24", "192.0.0.0/8", "2001:db8::/32", "0.0.0.0/0", "::/0"];

const ASKING: &[&str] = &["192.0.2.1", "192.0.2.9", "198.51.100.1", "2001:db8::1", "::ffff:192.0.2.1", "::1"];

const TEMPLATES: &[&str] =
    &["{local}@x.example", "a@sub.{domain}", "{sender}", "{recipient_given}", "b@y.example"];

fn patterns() -> impl Strategy<Value = Vec<String>> {
    let some = prop::collection::vec(prop::sample::select(PATTERNS), 1..3);
    prop_oneof![1 => Just(Vec::new()), 2 => some.prop_map(|some| list(&some))]
}

fn matches() -> impl Strategy<Value = Match> {
    (flat(), prop::option::weighted(0.2, flat()))
        .prop_map(|(flat, not)| Match { not: not.map(Box::new), ..flat })
}

/// A `match` without `not`.
fn flat() -> impl Strategy<Value = Match> {
    let clients = prop::collection::vec(prop::sample::select(CLIENTS), 0..2);
    (patterns(), patterns(), patterns(), clients).prop_map(|(recipient, recipient_given, sender, client)| {
        let client = client.iter().map(|block| block.parse().unwrap()).collect();
        Match { recipient, recipient_given, sender, client, ..Match::default() }
    })
}

fn rules() -> impl Strategy<Value = Vec<Written>> {
    let moves = prop::option::weighted(0.7, prop::sample::select(TEMPLATES).prop_map(template));
    let one = (matches(), moves, prop::bool::weighted(0.2), any::<bool>());
    prop::collection::vec(one, 0..24).prop_map(|all| {
        let each = all.into_iter().enumerate().map(|(at, (matches, moves, decides, replies))| {
            let stage = if replies { Stage::RcptReply } else { Stage::Rcpt };
            let line = list(&[&format!("550 {at}")]);
            let mut rule = rule(&[stage], matches, None);
            match replies {
                true => rule.actions.decide = Some(Decide::Substitute(line)),
                false => {
                    rule.actions.rewrites.recipient = moves;
                    rule.actions.decide = decides.then_some(Decide::Reply(line));
                }
            }
            rule
        });
        each.collect()
    })
}

fn asked() -> impl Strategy<Value = (String, String, String, std::net::IpAddr)> {
    let address = || prop::sample::select(ADDRESSES).prop_map(str::to_owned);
    let sender = prop_oneof![1 => Just(String::new()), 4 => address()];
    (address(), address(), sender, prop::sample::select(ASKING).prop_map(|client| client.parse().unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn as_a_scan_of_all_rules((rules, questions) in (rules(), prop::collection::vec(asked(), 1..8))) {
        let (fast, slow) = (compile(&rules), without_index(&rules));
        for (recipient, given, sender, client) in questions {
            let mut asked = question(Stage::Rcpt);
            asked.recipient = Some(path(recipient.as_bytes()));
            asked.recipient_given = Some(path(given.as_bytes()));
            asked.sender = Some(path(sender.as_bytes()));
            asked.client = client;
            let rcpt = |set: &RuleSet| format!("{:?}", set.command(&asked));
            prop_assert_eq!(rcpt(&fast), rcpt(&slow));
            asked.stage = Stage::RcptReply;
            let refusal = reply("550 5.1.1 who");
            for after in [None, Some(RuleId(0)), Some(RuleId(7))] {
                let heard = |set: &RuleSet| set.reply(&asked, refusal.as_ref(), after);
                prop_assert_eq!(heard(&fast), heard(&slow));
            }
        }
    }
}
