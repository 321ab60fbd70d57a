//! The whole law on one page.

use super::*;

/// Each cell: what is allowed, or why not.
fn sign(law: Result<(), Why>) -> char {
    match law {
        Ok(()) => '+',
        Err(Why::NotHere) => '.',
        Err(Why::Intermediate) => '3',
        Err(Why::Positive) => '2',
        Err(Why::NoDiscard) => 'D',
        Err(Why::ForNoPositive) => 'N',
        Err(Why::Accepted) => 'A',
        Err(Why::NotRefused) => 'R',
    }
}

fn line(stage: Stage) -> String {
    const CLASSES: [u8; 4] = [2, 3, 4, 5];
    let of = |law: &dyn Fn(u8) -> Result<(), Why>| CLASSES.iter().map(|c| sign(law(*c))).collect();
    let plain = |verdict| sign(taken(stage, verdict).map(drop)).to_string();
    let mut cells: Vec<String> = Vec::new();
    for verdict in Verdict::ALL {
        match verdict {
            Reply => {
                cells.extend([false, true].map(|leave| of(&|said| reply(stage, said, leave))));
            }
            Substitute => cells.extend(CLASSES.map(|heard| of(&|said| substitute(stage, heard, said)))),
            Retry => cells.push(of(&|heard| retry(stage, heard))),
            Disconnect => {
                let own: String = of(&|said| disconnect(stage, Some(said)));
                cells.push(format!("{own}{}", sign(disconnect(stage, None))));
            }
            Route | Map | Accept | Discard => cells.push(plain(verdict)),
        }
    }
    let parts = Part::ALL.into_iter().filter(|part| rewrites(stage, *part));
    let parts: Vec<_> = parts.map(Part::as_str).collect();
    format!("{:<13} {} {}", stage.as_str(), cells.join(" "), parts.join(" ")).trim_end().to_owned()
}

/// Every stage, verdict and class, as section 1 of the semantics has them.
///
/// `reply`, without and with leave to discard, `substitute` for a 2xx, 3xx, 4xx and 5xx, and `disconnect`: said with
/// 2xx, 3xx, 4xx, 5xx (`disconnect`: or gatepost's own). `retry`: behind a 2xx, 3xx, 4xx, 5xx.
#[test]
fn matrix() {
    let expected = "\
stage         reply     r m substitute          retr a disco d rewrite
connect       23++ 23++ + . .... .... .... .... .... + 23+++ .
helo          23++ 23++ + . .... .... .... .... .... + 23+++ . helo
auth          23++ 23++ + . .... .... .... .... .... + 23+++ .
mail          23++ 23++ + . .... .... .... .... .... + 23+++ . sender parameters
rcpt          D3++ +3++ + + .... .... .... .... .... + 23+++ . recipient parameters
data          23++ 23++ . . .... .... .... .... .... + 23+++ .
other         +3++ +3++ . . .... .... .... .... .... + 23+++ .
message       23++ 23++ + . .... .... .... .... .... + 23+++ + sender
connect-reply .... .... . . +3++ N3++ N3++ N3++ .... + 23+++ .
helo-reply    .... .... . . 23++ 23++ 23++ 23++ .... + 23+++ .
auth-reply    .... .... . . +3++ N3++ N3++ N3++ .... + 23+++ .
mail-reply    .... .... . . +3++ N3++ N3++ N3++ .... + 23+++ .
rcpt-reply    .... .... . . +3++ N3++ N3++ N3++ RR++ + 23+++ .
data-reply    .... .... . . 23++ 23++ 23++ 23++ .... + 23+++ .
other-reply   .... .... . . +3++ N3++ N3++ N3++ .... + 23+++ .
message-reply .... .... . . +3AA N3++ N3++ N3++ .... + ..... .
";
    let lines: Vec<&str> = expected.lines().skip(1).collect();
    assert_eq!(Stage::ALL.map(line).join("\n"), lines.join("\n"));
}
