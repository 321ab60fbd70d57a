//! A whole session: a client, hops, callouts, name servers and the clock, all of them as the octets say.
//!
//! **In**: octets, each a step or a part of one (see [`Play`]). **Out**: a session from its beginning to its end.
//! **Never** must: it panic, run in circles, wait without a deadline or for ever; say to a hop what is no command, to a
//! client what is no reply, or to anybody what he cannot hear; count a message as accepted that no hop accepted whole.

pub mod hop;
pub mod play;
pub mod shell;
pub mod words;
pub mod worlds;

use std::panic::catch_unwind;

use bolero::check;

use self::play::Play;
use self::shell::transcript_of;
use super::octets::{Inputs, Octets};

#[test]
fn session() {
    check!(name = "session")
        .with_iterations(1_000)
        .with_generator(Inputs)
        .for_each(|Octets(input)| plays(input));
}

fn plays(input: &[u8]) {
    let Err(panic) = catch_unwind(|| Play::new(input).play_on()) else { return };
    let what = panic.downcast_ref::<String>().cloned();
    let what = what.or_else(|| panic.downcast_ref::<&str>().map(|&what| what.to_owned())).unwrap_or_default();
    panic!("{what}\n{}", transcript_of(|| drop(Play::new(input).play_on())));
}

/// What never happens is not tested: under each configuration a message goes its way.
#[test]
fn a_message_goes_its_way() {
    // EHLO, MAIL, RCPT, DATA, content, its end, QUIT; and everybody does well in between.
    let lines = [1, 3, 4, 5, 6, 7, 8].map(|line| [line, 0x58]).concat();
    let secured = [&[1, 0x58, 43][..], &[0x58], &lines].concat();
    for world in 0..worlds::count() {
        let plain = Play::new(&[&[world, 0x58][..], &lines].concat()).play_on();
        let secured = Play::new(&[&[world, 0xed, 0x58][..], &secured].concat()).play_on();
        let passed = Play::new(&[world, 64, 0x58, 0xa8, 0, 26]).play_on();
        println!("{world}: {plain:?}\n   {secured:?}\n   {passed:?}");
        assert!(plain.accepted + secured.accepted + passed.passed > 0, "{world}");
    }
}
