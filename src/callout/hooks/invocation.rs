//! One question to a scanner, and what it answers.
//!
//! **In**: a question, all of it; what was agreed upon. **Out**: the request, of which every attempt is the same; what the
//! answer comes to.
//! **Never**: holds more of a message than a piece of it while it is sent; repeats what a scanner said but for its word for an
//! error.
//!
//! draft-degennaro-mta-hooks-01 sections 5, 6 and 7.

use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Response, StatusCode};

use super::agreed::{Agreed, malformed, timestamp};
use super::changes::Answer;
use super::pointer::select;
use super::scanner::Outcome;
use super::state::State;
use super::value::{Encoding, Value, member};
use super::verdict;
use super::{not_allowed, stage_name};
use crate::callout::answer::Grants;
use crate::callout::transport::{BODY, CONTENT, Outgoing, Place, Reader, Sent};
use crate::callout::transport::{body, digits_at_random, is_of, refused, shown};
use crate::callout::{Asked, Content, unreadable};
use crate::config::types::OnQuarantine;
use crate::message::Strand;
use crate::session::callout::{CalloutAnswer, Fault, FaultKind};
use crate::session::verdict::Stage;

const REGISTRATION: HeaderName = HeaderName::from_static("x-mta-hooks-registration");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-mta-hooks-request-id");
/// Octets of an answer that changes no content.
const ANSWER: usize = 1 << 20;

/// A question.
pub(super) struct Question {
    stage: Stage,
    /// All that can be said.
    all: Value,
    content: Option<Content>,
    /// The same in every attempt.
    id: HeaderValue,
    on_quarantine: OnQuarantine,
}

impl Question {
    pub(super) fn new(asked: Asked, on_quarantine: OnQuarantine) -> Result<Self, Fault> {
        let mut all = Encoding::Cbor.read(&asked.question)?;
        if let Some(members) = all.as_map_mut() {
            members.push((Value::from("timestamp"), Value::from(timestamp(SystemTime::now()))));
        }
        let id = HeaderValue::try_from(digits_at_random()).or_else(|_| malformed("a name that is none"))?;
        Ok(Self { stage: asked.stage, all, content: asked.content, id, on_quarantine })
    }

    /// Asks once.
    pub(super) async fn ask(
        &self,
        place: &Place,
        agreed: &Agreed,
        mut headers: HeaderMap,
        grants: &Grants,
    ) -> Result<Outcome, Fault> {
        let stage = stage_name(self.stage);
        if !agreed.has_stage(stage) {
            return not_allowed(format!("the scanner did not agree to be asked at {stage}"));
        }
        headers.insert(REGISTRATION, agreed.id.clone());
        headers.insert(REQUEST_ID, self.id.clone());
        headers.insert(ACCEPT, HeaderValue::from_static(agreed.encoding.media()));
        let sent = self.sent(agreed)?;
        let outgoing = Outgoing { method: Method::POST, path: Some(&agreed.hook), headers, body: &sent };
        let may_change_content =
            agreed.writable.iter().any(|place| place.steps().first().is_none_or(|step| step == "rawMessage"));
        let most = if may_change_content && self.stage == Stage::Message { CONTENT / 3 * 4 } else { ANSWER };
        let heard: Heard = place.ask(&outgoing, &Taken { encoding: agreed.encoding, most }).await?;
        match heard.status {
            StatusCode::OK | StatusCode::NO_CONTENT => {
                self.answer(heard.value, agreed, grants).await.map(Outcome::Answered)
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Outcome::Unknown(heard.fault())),
            _ if heard.is_for_now() => Ok(Outcome::Later(heard.fault(), heard.wait)),
            _ => Err(heard.fault()),
        }
    }

    /// What of it was agreed upon, with the message behind all else.
    fn sent(&self, agreed: &Agreed) -> Result<Sent, Fault> {
        let question = select(self.all.clone(), &agreed.properties);
        let media = agreed.encoding.media();
        let content = self.content.as_ref().filter(|_| agreed.tells("/rawMessage"));
        let Some(content) = content else {
            return Ok(Sent::octets(media, agreed.encoding.write(&question).into()));
        };
        let length: u64 = content.draft.rope().iter().map(Strand::len).sum();
        if let Some(most) = agreed.most.filter(|most| length > *most) {
            let what = format!("{length} octets; the scanner takes messages of {most} at most");
            return Err(Fault::new(FaultKind::NotAsked, what));
        }
        let mut before = agreed.encoding.write(&question);
        let is_empty = question.as_map().is_none_or(|members| members.is_empty());
        Ok(match agreed.encoding {
            Encoding::Json => {
                before.pop();
                before.extend_from_slice(if is_empty { b"\"rawMessage\":\"" } else { b",\"rawMessage\":\"" });
                Sent::around(media, before, content, true, b"\"}")
            }
            Encoding::Cbor => {
                let members = question.into_map().unwrap_or_default();
                before.clear();
                // A map of so many pairs, the last of which is written here.
                head(5, members.len() as u64 + 1, &mut before);
                for (name, value) in &members {
                    before.extend(Encoding::Cbor.write(name));
                    before.extend(Encoding::Cbor.write(value));
                }
                before.extend(Encoding::Cbor.write(&Value::from("rawMessage")));
                head(2, length, &mut before);
                Sent::around(media, before, content, false, b"")
            }
        })
    }

    /// What an answer means.
    pub(super) async fn answer(
        &self,
        answer: Option<Value>,
        agreed: &Agreed,
        grants: &Grants,
    ) -> Result<CalloutAnswer, Fault> {
        let before = State::of(&self.all);
        let mut after = before.clone();
        if let Some(value) = answer.filter(|value| !value.is_null()) {
            let answer = Answer::read(value)?;
            if let Some((number, _)) = answer
                .ops
                .iter()
                .enumerate()
                .find(|(_, op)| !op.places().all(|place| agreed.may_change(place)))
            {
                return malformed(format!("operation {number} is about what was not agreed upon"));
            }
            let mut skipped = 0;
            for (number, op) in answer.ops.into_iter().enumerate() {
                match after.apply(op) {
                    Err(_) if answer.whole => {
                        return malformed(format!("operation {number} of a patch cannot be carried out"));
                    }
                    Err(_) => skipped += 1,
                    Ok(()) => {}
                }
            }
            if skipped > 0 {
                let id = self.id.to_str().unwrap_or_default();
                tracing::info!(request = id, skipped, "MTA Hooks: changes that cannot be carried out");
            }
        }
        let asked = verdict::Asked {
            stage: self.stage,
            before: &before,
            content: self.content.as_ref(),
            grants,
            on_quarantine: self.on_quarantine,
        };
        if let (Value::Bytes(octets), Some(content)) = (&after.raw, &self.content)
            && content.is(octets).await.map_err(|error| unreadable(&error))?
        {
            after.raw = Value::Null;
            after.headers.clone_from(&before.headers);
        }
        asked.answer(after)
    }
}

/// The head of a CBOR item (RFC 8949 section 3).
fn head(major: u8, length: u64, to: &mut Vec<u8>) {
    to.push(major << 5 | 27);
    to.extend_from_slice(&length.to_be_bytes());
}

/// What a scanner answered.
pub(super) struct Heard {
    pub(super) status: StatusCode,
    pub(super) value: Option<Value>,
    /// It says to wait so long.
    pub(super) wait: Option<Duration>,
}

impl Heard {
    /// Whether it may be asked again.
    pub(super) fn is_for_now(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error()
    }

    /// What is wrong with it, with the scanner's own word for that.
    pub(super) fn fault(&self) -> Fault {
        let error = self.value.as_ref().and_then(|value| member(value, "error"));
        let code = error.and_then(|error| member(error, "code")).and_then(Value::as_text);
        let plain = |code: &&str| {
            code.len() <= 40 && code.bytes().all(|octet| octet.is_ascii_uppercase() || octet == b'_')
        };
        let code = code.filter(plain).map(|code| format!(" {code}")).unwrap_or_default();
        Fault::new(FaultKind::Refused, format!("status {}{code}", self.status.as_u16()))
    }
}

/// What is read of an answer.
pub(super) struct Taken {
    pub(super) encoding: Encoding,
    pub(super) most: usize,
}

impl Reader for Taken {
    type Read = Heard;

    async fn read(&self, response: Response<Incoming>) -> Result<Heard, Fault> {
        let status = response.status();
        if status.is_redirection() {
            return Err(refused(&response));
        }
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let is_error = !status.is_success();
        let is_json = is_of(response.headers(), Encoding::Json.media());
        let is_agreed = is_of(response.headers(), self.encoding.media());
        let given = shown(response.headers(), &CONTENT_TYPE);
        let octets = body(response, if is_error { BODY } else { self.most }).await;
        let value = match octets {
            // What is said beside an error is not needed.
            Err(_) if is_error => None,
            Err(fault) => return Err(fault),
            Ok(octets) if octets.is_empty() => None,
            Ok(octets) if is_error => {
                let encoding = if is_json { Encoding::Json } else { self.encoding };
                encoding.read(&octets).ok()
            }
            Ok(octets) if is_agreed => Some(self.encoding.read(&octets)?),
            Ok(_) => {
                return malformed(format!("the content type is {given}, not {}", self.encoding.media()));
            }
        };
        Ok(Heard { status, value, wait: wait.map(Duration::from_secs) })
    }
}
