//! What the record says in a word or a line.
//!
//! In:    replies.
//! Out:   their first line.
//! Never: more than a line.

use super::peer::Origin;
use super::said::{Said, Written};
use crate::smtp::{Code, ReplyRef};

/// The first line of a reply, without its end.
pub fn first_line(reply: &[u8]) -> Box<[u8]> {
    reply.split(|&octet| octet == b'\r').next().unwrap_or(reply).into()
}

/// What the client was told, in whoever's words.
#[derive(Clone, Copy)]
pub enum Told<'r> {
    /// A reply that was kept.
    Said(&'r Said),
    /// What a verdict, or gatepost, put in a hop's reply's place.
    Written(&'r Written),
    /// A reply as it was heard.
    Heard(Origin, ReplyRef<'r>),
}

impl<'r> Told<'r> {
    /// A reply as it was heard, or what was put in its place.
    pub fn of(origin: Origin, reply: ReplyRef<'r>, instead: Option<&'r Written>) -> Told<'r> {
        instead.map_or(Told::Heard(origin, reply), Told::Written)
    }

    pub fn code(self) -> Code {
        match self {
            Told::Said(said) => said.code(),
            Told::Written(written) => written.code(),
            Told::Heard(_, reply) => reply.code(),
        }
    }

    /// Its first line.
    pub fn line(self) -> Box<[u8]> {
        match self {
            Told::Said(said) => said_line(said),
            Told::Written(written) => first_line(written.as_bytes()),
            Told::Heard(_, reply) => first_line(reply.as_bytes()),
        }
    }
}

fn said_line(said: &Said) -> Box<[u8]> {
    match said {
        Said::Written(reply) => first_line(reply.as_bytes()),
        Said::Heard(_, reply, _) => first_line(reply.as_bytes()),
        Said::Own(own) => {
            format!("{} {} {}", own.code, own.enhanced.unwrap_or_default(), own.text).into_bytes().into()
        }
    }
}
