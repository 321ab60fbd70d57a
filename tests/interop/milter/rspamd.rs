//! rspamd: what it refuses, puts off, marks and rewrites.
//!
//! In:    rspamd as its package has it, alone, with a rule of four lines that takes the subject's word for an action.
//! Out:   one trial: what clients hear, and what is stored, through either door.
//! Never: DNS, Redis, or anything beyond loopback.
//!
//! rspamd's documentation of `milter_headers`, GTUBE and actions.

use libtest_mimic::Trial;

use super::{Stand, dialog, sending};
use crate::messages;
use crate::support::milter::{Milter, Place};
use crate::support::peers::{Peer, found, trial};
use crate::support::scratch::Scratch;

pub fn trials() -> Vec<Trial> {
    vec![trial("milter::rspamd", [Peer::Postfix, Peer::Rspamd], judged)]
}

const RULE: &str = "\
rspamd_config:register_symbol({ name = 'TOLD', type = 'prefilter', callback = function(task)
  local action = (task:get_subject() or ''):match('^do: (.*)$')
  if action then task:set_pre_result(action, 'the subject says so') end
end })
";

const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n";

fn rspamd() -> Milter {
    let scratch = Scratch::new("rspamd");
    let place = Place::free();
    let here = scratch.path().display().to_string();
    scratch.write("rule.lua", RULE);
    let configuration = scratch.write(
        "rspamd.conf",
        format!(
            "lua = \"{here}/rule.lua\";\n\
             options {{ filters = \"\"; pidfile = \"{here}/pid\"; tempdir = \"{here}\"; hs_cache_dir = \"{here}\";\n\
             control_socket = \"{here}/control.sock mode=0600\"; dns {{ nameserver = [\"127.0.0.1:9\"]; timeout = 0.1s; }} }}\n\
             logging {{ type = \"console\"; level = \"warning\"; }}\n\
             worker \"rspamd_proxy\" {{ bind_socket = \"{}\"; milter = yes; count = 1;\n\
             upstream \"local\" {{ default = yes; self_scan = yes; }} }}\n\
             actions {{ reject = 15; add_header = 6; rewrite_subject = 5; greylist = 4; }}\n",
            place.of_gatepost()
        ),
    );
    let command = [found("rspamd").display().to_string(), "-f".into(), "-i".into(), "-c".into()];
    Milter::start(scratch, place, command.into_iter().chain([configuration.display().to_string()]))
}

fn judged() {
    let rspamd = rspamd();
    let stand = Stand::before(rspamd.place(), "");
    let table = [
        ("plain", "Hello\r\n", "250"),
        ("gtube", GTUBE, "554 5.7.1 Gtube pattern"),
        ("do: reject", "Hello\r\n", "554 5.7.1 the subject says so"),
        ("do: soft reject", "Hello\r\n", "451 4.7.1 the subject says so"),
        ("do: add header", "Hello\r\n", "250"),
        ("do: rewrite subject", "Hello\r\n", "250"),
    ];
    let [direct, through] = stand.doors().map(|door| {
        let mut heard = Vec::new();
        for (subject, body, expected) in table {
            let said = sending(&["ann"], &messages::message(subject, body), false);
            let answers = dialog(door, &said);
            let of_content = &answers[answers.len() - 2];
            assert!(of_content.starts_with(expected), "{subject}: {answers:?}");
            heard.push(answers);
        }
        (heard, stand.take())
    });
    assert_eq!(direct.0, through.0);
    assert_eq!(direct.1, through.1);
    let stored = through.1.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>();
    assert_eq!(stored.len(), 3, "{stored:?}");
    assert!(stored.iter().any(|text| text.contains("X-Spam: Yes")), "{stored:?}");
    assert!(
        stored.iter().any(|text| text.contains("Subject: *** SPAM *** do: rewrite subject")),
        "{stored:?}"
    );
}
