//! The queue by itself: numbers that stay, answers that find their entry, space that is given back.

use std::time::Instant;

use super::{Answer, Owed, Said, What};
use crate::session::peer::HopId;
use crate::smtp::{Code, Reply, Verb, own};

fn hop(number: u32) -> HopId {
    HopId::numbered(number).unwrap()
}

fn noop() -> What {
    What::Other(Verb::Noop, None)
}

/// Who owes each answer, or what it is.
fn answers(owed: &Owed) -> Vec<String> {
    let shown = owed.iter().map(|entry| match &entry.answer {
        Answer::Hop(hop) => format!("hop {}", hop.number()),
        Answer::Heard(hop, _) => format!("heard {}", hop.number()),
        Answer::Own(said) => said.code().to_string(),
        other => format!("{other:?}"),
    });
    shown.collect()
}

#[test]
fn numbers_stay_wherever_the_head_has_got_to() {
    let now = Instant::now();
    let mut owed = Owed::new(now);
    let numbers: Vec<u32> = (1..=4).map(|at| owed.push(now, noop(), Answer::Hop(hop(at)))).collect();
    let first = owed.pop().unwrap();
    owed.answer(numbers[2], Said::Own(&own::BYE));
    let reply = Reply::parse_written(&["250 Ok"]).unwrap();
    owed.heard(numbers[3], hop(4), reply.as_ref());
    assert_eq!(answers(&owed), ["hop 2", "221", "heard 4"]);
    assert_eq!(owed.put_back(first.what, first.answer), numbers[0]);
    owed.reassign(numbers[1], Some(hop(9)));
    assert_eq!(answers(&owed), ["hop 1", "hop 9", "221", "heard 4"]);
    assert_eq!((owed.len(), owed.head_number()), (4, numbers[0]));
    owed.answer(numbers[3] + 1, Said::Own(&own::BYE));
    assert_eq!(answers(&owed)[3], "heard 4", "nobody has that number");
}

#[test]
fn another_hop_takes_the_lost_ones_place_and_nobody_elses() {
    let now = Instant::now();
    let mut owed = Owed::new(now);
    let reply = || Box::new(Reply::parse_written(&["250 Ok"]).unwrap());
    owed.push(now, noop(), Answer::Hop(hop(1)));
    owed.push(now, noop(), Answer::Hop(hop(2)));
    owed.push(now, noop(), Answer::Heard(hop(1), reply()));
    owed.push(now, noop(), Answer::Heard(hop(2), reply()));
    owed.push(now, What::Chunk, Answer::Heard(hop(1), reply()));
    owed.replace(hop(1), hop(3));
    // What was heard is heard again, but for content, which is not said twice.
    assert_eq!(answers(&owed), ["hop 3", "hop 2", "hop 3", "heard 2", "heard 1"]);
}

#[test]
fn content_that_is_refused_answers_whoever_waits_for_its_hop() {
    let now = Instant::now();
    let mut owed = Owed::new(now);
    owed.push(now, noop(), Answer::Hop(hop(1)));
    assert!(!owed.refuse_content(&Said::Own(&own::CONTENT_LOST)), "nobody waits for content");
    owed.push(now, What::Chunk, Answer::Hop(hop(1)));
    assert!(owed.refuse_content(&Said::Own(&own::CONTENT_LOST)));
    assert_eq!(answers(&owed), ["hop 1", "451"]);
}

#[test]
fn an_idle_session_keeps_no_large_queue() {
    let now = Instant::now();
    let mut owed = Owed::new(now);
    for _ in 0..100 {
        owed.push(now, What::Local, Answer::Own(Said::Own(&own::BYE)));
    }
    while owed.pop().is_some() {
        assert!(owed.is_empty() || owed.entries.capacity() >= 100, "one that is in use is not moved");
    }
    assert_eq!(owed.entries.capacity(), 0);
    // What a client needs that waits for each answer stays.
    owed.push(now, What::Local, Answer::Own(Said::Own(&own::BYE)));
    let few = owed.entries.capacity();
    owed.pop();
    assert!(few > 0 && owed.entries.capacity() == few);
}

/// Which replies of a hop are answers at all (RFC 5321 4.3.2, RFC 3207 4, RFC 4954 4).
#[test]
fn what_is_an_answer_to_what() {
    let cases: [(What, &[u16], &[u16]); 5] = [
        (What::Data, &[354, 421, 554], &[250, 235]),
        (What::StartTls, &[220, 454, 501], &[250, 354]),
        (What::Auth(None), &[235, 334, 535], &[354]),
        (What::Chunk, &[250, 451, 552], &[354]),
        (noop(), &[250, 252, 421, 500], &[354, 334]),
    ];
    for (what, answers, others) in cases {
        for (codes, takes) in [(answers, true), (others, false)] {
            for code in codes {
                assert_eq!(what.takes(Code::new(*code).unwrap()), takes, "{what:?}: {code}");
            }
        }
    }
}
