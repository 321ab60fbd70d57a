//! A session whose filter says anything, at any time and in any way.
//!
//! **In**: octets, by which a filter on a real connection answers what it is told (see [`filter`]). **Out**: a session on
//! paper that asks it about everything, from its beginning to its end. **Never** must: a question take for ever, or panic; a
//! fault show control characters or have no bound; a field that is obeyed be more than one; a hop hear what is no command,
//! or the client what is no reply, of what a filter made up.

mod filter;
mod words;

use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

use bolero::check;
use gatepost::callout::{Asked, Asker, CalloutSet, Content, Instance};
use gatepost::message::{Edit, Scan};
use gatepost::session::callout::{CalloutAnswer, CalloutId, Callouts, Fault, FaultKind};
use gatepost::session::route::PoolId;
use gatepost::session::verdict::{CommandVerdict, MessageVerdict, ReplyVerdict, Stage};
use gatepost::smtp::Reply;
use gatepost::spool::Kept;
use tokio::runtime::Runtime;

use self::filter::Filter;
use super::octets::{Inputs, Octets, chosen};
use super::session::shell::{Shell, Tally, transcript_of};
use crate::script::settings::{World, loaded, world};

/// Nothing a filter says takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Configurations of the filter.
const KEYS: [&str; 4] = [
    "effects: [discard], on_quarantine: header",
    "rcpt_after_reply: true, on_error: pass",
    "effects: [discard], rcpt_after_reply: true, on_quarantine: tempfail, macros: { mail: \"i {mail_addr} x\" }",
    "stages: [rcpt, message], on_error: reject",
];

/// What its client says: by DATA, by BDAT, from the beginning again, and what is refused once more.
const LINES: &[&[u8]] = &[
    b"EHLO client.example.org\r\n",
    b"MAIL FROM:<joe@example.org> SIZE=100\r\n",
    b"RCPT TO:<jane@example.com>\r\n",
    b"RCPT TO:<jane@example.com>\r\n",
    b"RCPT TO:<ann@example.com> NOTIFY=NEVER\r\n",
    b"DATA\r\n",
    b"Subject: x\r\nA: b\r\n\tc\r\nA: nul \0\r\n\r\ntext\r\n..\r\n.\r\n",
    b"MAIL FROM:<>\r\nRCPT TO:<jane@example.com>\r\nRCPT TO:<ann@example.com>\r\nBDAT 4\r\nA: b",
    b"BDAT 9 LAST\r\n\r\n\r\ntext\r",
    b"RSET\r\n",
    b"MAIL FROM:<joe@example.org>\r\nRCPT TO:<jane@example.com>\r\n",
    b"EHLO client.example.org\r\n",
    b"MAIL FROM:<joe@example.org>\r\nRCPT TO:<jane@example.com>\r\nBDAT 6 LAST\r\n\r\ntext",
];

/// Filters, sessions that ask them, and what both run on.
struct Stand {
    runtime: Runtime,
    filter: Filter,
    worlds: Vec<(World, Arc<dyn Asker>)>,
}

thread_local! {
    static STAND: Stand = Stand::new();
}

impl Stand {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let filter = runtime.block_on(Filter::start());
        let worlds = KEYS.iter().map(|keys| asking(filter.port(), keys)).collect();
        Self { runtime, filter, worlds }
    }

    /// One session with it: what came of it, and the faults of the filter.
    fn play(&self, input: &[u8]) -> (Tally, Vec<(Stage, Fault)>) {
        let (by, deeds) = chosen(input);
        self.filter.is_to_do(deeds);
        let (world, asker) = &self.worlds[usize::from(by) % self.worlds.len()];
        let mut shell = Shell::new(world);
        let session = Instance::default();
        let (mut transaction, mut number, mut over) = (Instance::default(), 0, 0);
        let mut lines = LINES.iter();
        while !shell.is_over() {
            if over < shell.over {
                over = shell.over;
                asker.reset(&session);
            }
            if let Some(ask) = shell.asks() {
                let (ticket, stage, question) = (ask.ticket, ask.stage, ask.question.clone());
                if number != ask.instance {
                    (transaction, number) = (Instance::default(), ask.instance);
                }
                let kept = || Kept::of_memory(shell.paper.octets().to_vec());
                let content = ask.message.clone().map(|draft| Content { draft, kept: kept() });
                let (session, transaction) = (session.clone(), transaction.clone());
                let asked = Asked { stage, question, content, session, transaction };
                let answer = self.runtime.block_on(async {
                    let answered = self.filter.answers(asker.ask(CalloutId(0), asked));
                    tokio::time::timeout(PATIENCE, answered).await.expect("an answer, or silence")
                });
                if let Some(answer) = answer {
                    is_sound(&answer, stage);
                    shell.answers(answer);
                }
                // Nobody waits for ever.
                while shell.asks().is_some_and(|ask| ask.ticket == ticket) {
                    shell.deadline();
                }
            } else if !shell.connects(true, false) && !shell.replies(0) {
                match lines.next() {
                    Some(line) => shell.sends(0, line),
                    None => break,
                }
            }
        }
        asker.leave(&session);
        let failed = std::mem::take(&mut shell.failed);
        (shell.finish(), failed)
    }
}

/// A world whose filter is at that port, and who asks it.
fn asking(port: u16, keys: &str) -> (World, Arc<dyn Asker>) {
    let yaml = format!(
        "callouts: [{{ name: filter, type: milter, address: \"127.0.0.1:{port}\", timeout: 5s, {keys} }}]\n"
    );
    let mut world = world(&yaml).unwrap();
    let config = loaded(&yaml).unwrap().config;
    let set = CalloutSet::compile(&config, &|_| Some(PoolId(0)), &[Vec::new()]).unwrap();
    let asker = Arc::clone(set.carrier().downcast_ref::<Arc<dyn Asker>>().unwrap());
    Arc::get_mut(&mut world.settings).unwrap().callouts = Arc::new(set);
    (world, asker)
}

/// Whether an answer is of its stage, and within bounds.
fn is_sound(answer: &Result<CalloutAnswer, Fault>, stage: Stage) {
    match answer {
        Err(fault) => {
            let kinds = [FaultKind::Lost, FaultKind::Malformed, FaultKind::NotAllowed, FaultKind::Refused];
            assert!(kinds.contains(&fault.kind), "{fault}");
            let is_bounded = fault.what.chars().count() <= 512 && !fault.what.chars().any(char::is_control);
            assert!(is_bounded, "{}", fault.what.escape_debug());
        }
        Ok(CalloutAnswer::Command { verdict, .. }) => {
            assert!(!stage.is_reply() && stage != Stage::Message);
            match verdict {
                None => {}
                Some(CommandVerdict::Reply(reply) | CommandVerdict::Disconnect(Some(reply))) => {
                    refuses(reply)
                }
                Some(verdict) => assert_eq!(*verdict, CommandVerdict::Disconnect(None)),
            }
        }
        Ok(CalloutAnswer::Reply(verdict)) => {
            assert_eq!(stage, Stage::RcptReply);
            match verdict {
                None => {}
                Some(ReplyVerdict::Substitute(reply) | ReplyVerdict::Disconnect(Some(reply))) => {
                    refuses(reply)
                }
                Some(verdict) => assert_eq!(*verdict, ReplyVerdict::Disconnect(None)),
            }
        }
        Ok(CalloutAnswer::Message(answer)) => {
            assert_eq!(stage, Stage::Message);
            if let Some(MessageVerdict::Reply(reply) | MessageVerdict::Disconnect(Some(reply))) =
                &answer.verdict
            {
                refuses(reply);
            }
            assert!(answer.edits.len() + answer.envelope.len() <= 2_002, "changes without a bound");
            answer.edits.iter().for_each(is_one_field);
        }
    }
}

fn refuses(reply: &Reply) {
    assert!(reply.code().is_negative(), "{}", reply.as_bytes().escape_ascii());
}

/// What can be obeyed puts one field where it says one.
fn is_one_field(edit: &Edit) {
    let (Edit::Append(field) | Edit::Insert { field, .. } | Edit::Change { field, .. }) = edit else {
        return;
    };
    if edit.fault().is_none() {
        let mut scan = Scan::default();
        scan.take(&[&field[..], b"\r\n"].concat());
        let message = scan.finish();
        let whole: Vec<&[u8]> = message.fields().map(|field| field.octets()).collect();
        assert_eq!(whole, [&field[..]], "{}", field.escape_ascii());
        assert!(!field.contains(&0), "{}", field.escape_ascii());
    }
}

#[test]
fn milter() {
    check!(name = "milter").with_iterations(1_000).with_generator(Inputs).for_each(|Octets(input)| {
        let Err(panic) = catch_unwind(|| STAND.with(|stand| stand.play(input))) else { return };
        let what = panic.downcast_ref::<String>().cloned();
        let what = what.or_else(|| panic.downcast_ref::<&str>().map(|&what| what.to_owned()));
        let transcript = transcript_of(|| drop(STAND.with(|stand| stand.play(input))));
        panic!("{}\n{transcript}", what.unwrap_or_default());
    });
}

/// What never happens is not tested: what a filter may do is done, and mail goes its way.
#[test]
fn a_message_goes_by_a_filter() {
    for by in 0..KEYS.len() as u8 {
        let (tally, failed) = STAND.with(|stand| stand.play(&[by]));
        assert!(tally.accepted == 3 && tally.asked >= 7 && failed.is_empty(), "{by}: {tally:?} {failed:?}");
    }
}

/// Each change alone, at the end of the first of three messages.
#[test]
fn changes_of_a_filter() {
    // Two octets for each of O, C, H, M, R R R, T, L L L, N and B; at E how many changes, then which.
    let played = |number: usize| {
        let input = [&[0; 1 + 2 * 13][..], &[1, number as u8]].concat();
        STAND.with(|stand| stand.play(&input))
    };
    let (mut refused, mut obeyed) = (Vec::new(), Vec::new());
    for (number, change) in words::LAWFUL.iter().chain(words::UNLAWFUL).enumerate() {
        let (tally, failed) = played(number);
        let name = format!("{}: {failed:?}", change.escape_ascii());
        let is_obeyed = tally.accepted == 3 && failed.is_empty();
        let is_refused = tally.accepted == 2 && failed.len() == 1 && failed[0].0 == Stage::Message;
        match number < words::LAWFUL.len() {
            true if !is_obeyed => refused.push(name),
            false if !is_refused => obeyed.push(name),
            _ => {}
        }
    }
    assert!(refused.is_empty() && obeyed.is_empty(), "refused: {refused:#?}\nobeyed: {obeyed:#?}");
}
