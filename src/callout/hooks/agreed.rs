//! What a scanner offers, and what was agreed upon with it.
//!
//! **In**: its discovery document; what it answered to a registration.
//! **Out**: an [`Offer`], the registration that takes it up; [`Agreed`]; or a [`Fault`] that says which member is wrong.
//! **Never**: leaves the scanner's own host; takes more for agreed upon than was offered and wanted.
//!
//! draft-degennaro-mta-hooks-01 sections 3 and 4. What a scanner may change is what its discovery document names and gatepost
//! can carry out: no message of the registration says it.

use std::time::{Duration, SystemTime};

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::pointer::Pointer;
use super::question::SAID;
use super::value::{Encoding, Value, member, object, texts};
use super::{EXTENSION, WRITABLE};
use crate::config::types::Serialization;
use crate::session::callout::{Fault, FaultKind};

/// Octets of a registration's name.
const LONGEST_ID: usize = 255;

/// What a scanner offers.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) registration: PathAndQuery,
    encodings: Vec<Encoding>,
    stages: Vec<String>,
    writable: Vec<Pointer>,
    /// Octets of a message, at most.
    most: Option<u64>,
    extended: bool,
}

/// What was agreed upon.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) id: HeaderValue,
    /// Where questions go.
    pub(super) hook: PathAndQuery,
    /// Where the registration is ended.
    pub(super) end: Option<PathAndQuery>,
    pub(super) encoding: Encoding,
    stages: Vec<String>,
    /// What it is told of a question.
    pub(super) properties: Vec<Pointer>,
    /// What it may change.
    pub(super) writable: Vec<Pointer>,
    pub(super) most: Option<u64>,
    /// Whether it knows what gatepost says beyond the draft.
    pub(super) extended: bool,
    /// When it is over; `None`: never.
    pub(super) expires: Option<SystemTime>,
    /// When another is asked for.
    pub(super) renew: Option<SystemTime>,
}

/// What is wrong with a document of theirs.
pub(super) fn malformed<T>(what: impl Into<Box<str>>) -> Result<T, Fault> {
    Err(Fault::new(FaultKind::Malformed, what))
}

fn required<'a>(value: &'a Value, name: &str) -> Result<&'a Value, Fault> {
    member(value, name).map_or_else(|| malformed(format!("{name} is missing")), Ok)
}

fn required_text<'a>(value: &'a Value, name: &str) -> Result<&'a str, Fault> {
    required(value, name)?.as_text().map_or_else(|| malformed(format!("{name} is no text")), Ok)
}

fn list<'a>(value: &'a Value, name: &str) -> Result<Vec<&'a str>, Fault> {
    let Some(value) = member(value, name) else { return Ok(Vec::new()) };
    texts(value).map_or_else(|| malformed(format!("{name} is no list of texts")), Ok)
}

/// Pointers, as far as they are some.
fn pointers(value: &Value, name: &str) -> Result<Vec<Pointer>, Fault> {
    Ok(list(value, name)?.into_iter().filter_map(Pointer::parse).collect())
}

/// A URL of theirs: on their own host, wherever it says it is relative to.
fn path(base: &Uri, name: &str, text: &str) -> Result<PathAndQuery, Fault> {
    let elsewhere = || Fault::new(FaultKind::Malformed, format!("{name} is not on the scanner's own host"));
    if text.starts_with('/') && !text.starts_with("//") {
        return text.parse().or_else(|_| malformed(format!("{name} is no URL")));
    }
    if text.starts_with("//") {
        return Err(elsewhere());
    }
    let Ok(uri) = text.parse::<Uri>() else { return malformed(format!("{name} is no URL")) };
    if uri.scheme().is_none() {
        // Relative to the folder in which they answered.
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        let whole = format!("{folder}/{text}");
        return whole.parse().or_else(|_| malformed(format!("{name} is no URL")));
    }
    let port =
        |uri: &Uri| uri.port_u16().or(if uri.scheme_str() == Some("https") { Some(443) } else { Some(80) });
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    if uri.scheme() != base.scheme() || host(&uri) != host(base) || port(&uri) != port(base) {
        return Err(elsewhere());
    }
    uri.path_and_query().cloned().ok_or_else(elsewhere)
}

impl Offer {
    /// Reads a discovery document, found at `base`.
    pub(super) fn read(document: &Value, base: &Uri) -> Result<Offer, Fault> {
        let version = required_text(document, "version")?;
        if version.split('.').next() != Some("1") {
            return malformed("a version that is not 1");
        }
        let endpoints = required(document, "endpoints")?;
        let known =
            |name: &&str| [Encoding::Json, Encoding::Cbor].into_iter().find(|each| each.name() == *name);
        let encodings = list(document, "serialization")?;
        let capabilities = required(document, "capabilities")?;
        let Some(inbound) = member(capabilities, "inbound") else {
            return malformed("it offers nothing for mail that comes in");
        };
        let most = member(document, "limits").and_then(|limits| member(limits, "maxMessageSize"));
        Ok(Offer {
            registration: path(base, "endpoints.registration", required_text(endpoints, "registration")?)?,
            encodings: encodings.iter().filter_map(known).collect(),
            stages: list(inbound, "stages")?.into_iter().map(str::to_owned).collect(),
            writable: pointers(inbound, "updateProperties")?,
            most: most.and_then(Value::as_integer).and_then(|most| u64::try_from(most).ok()),
            extended: list(document, "extensions")?.contains(&EXTENSION),
        })
    }

    /// The encoding that is wanted, or else the more compact one.
    fn encoding(&self, wanted: Option<Serialization>) -> Result<Encoding, Fault> {
        let order = match wanted {
            Some(Serialization::Json) => &[Encoding::Json][..],
            Some(Serialization::Cbor) => &[Encoding::Cbor],
            None => &[Encoding::Cbor, Encoding::Json],
        };
        let offered = order.iter().find(|encoding| self.encodings.contains(encoding));
        offered.copied().map_or_else(|| malformed("serialization: none that is wanted is offered"), Ok)
    }

    /// The registration that takes it up, for these stages.
    pub(super) fn registration(
        &self,
        stages: &[&'static str],
        wanted: Option<Serialization>,
        timeout: Duration,
        hostname: &str,
    ) -> Result<Value, Fault> {
        if let Some(stage) = stages.iter().find(|stage| !self.stages.iter().any(|offered| offered == *stage))
        {
            return malformed(format!("it is to be asked at {stage}, and does not offer that"));
        }
        let stages = stages.iter().map(|stage| Value::from(*stage)).collect();
        let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        Ok(object([
            ("name", Value::from("gatepost")),
            ("version", Value::from(env!("CARGO_PKG_VERSION"))),
            ("timeoutMs", Value::from(timeout)),
            ("expiresAt", Value::Null),
            ("serialization", Value::from(self.encoding(wanted)?.name())),
            ("inbound", object([("stages", Value::Array(stages)), ("properties", Value::Null)])),
            ("outbound", Value::Null),
            ("filter", Value::Null),
            ("metadata", object([("hostname", Value::from(hostname))])),
        ]))
    }

    /// Reads what the scanner answered to that, at `base`.
    pub(super) fn agree(&self, answer: &Value, base: &Uri, now: SystemTime) -> Result<Agreed, Fault> {
        let id = required_text(answer, "registrationId")?;
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_:".contains(&octet);
        if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(plain) {
            return malformed("registrationId is no name");
        }
        let id = HeaderValue::from_str(id).or_else(|_| malformed("registrationId is no name"))?;
        match required_text(answer, "status")? {
            "active" => {}
            _ => return Err(Fault::new(FaultKind::Refused, "the registration is not active")),
        }
        let negotiated = required(answer, "negotiated")?;
        let named = required_text(negotiated, "serialization")?;
        let encoding = self.encodings.iter().find(|encoding| encoding.name() == named);
        let Some(&encoding) = encoding else { return malformed("negotiated.serialization was not offered") };
        let Some(inbound) = member(negotiated, "inbound") else {
            return malformed("negotiated.inbound: nothing was agreed upon");
        };
        let said = || SAID.into_iter().filter_map(Pointer::parse).collect();
        let mut properties = match member(inbound, "properties") {
            None => said(),
            Some(_) => pointers(inbound, "properties")?,
        };
        if self.extended {
            properties.extend(Pointer::parse("/ext").map(|ext| ext.then(EXTENSION.to_owned())));
        }
        let expires = match member(answer, "expiresAt") {
            None => None,
            Some(text) => Some(date(text).map_or_else(|| malformed("expiresAt is no date"), Ok)?),
        };
        let end = member(answer, "endpoints").and_then(|endpoints| member(endpoints, "deregistration"));
        let end = end.and_then(Value::as_text).map(|text| path(base, "endpoints.deregistration", text));
        Ok(Agreed {
            id,
            hook: path(base, "hookEndpoint", required_text(answer, "hookEndpoint")?)?,
            end: end.transpose()?,
            encoding,
            stages: list(inbound, "stages")?.into_iter().map(str::to_owned).collect(),
            properties,
            writable: self.writable.clone(),
            most: self.most,
            extended: self.extended,
            expires,
            // Nine tenths of its time, and a minute at least before it is over.
            renew: expires.and_then(|expires| {
                let left = expires.duration_since(now).ok()?;
                Some(expires - (left / 10).max(Duration::from_secs(60)).min(left / 2))
            }),
        })
    }
}

impl Agreed {
    /// Whether it is asked at this stage.
    pub(super) fn has_stage(&self, stage: &str) -> bool {
        self.stages.iter().any(|agreed| agreed == stage)
    }

    /// Whether it is told this.
    pub(super) fn tells(&self, place: &str) -> bool {
        let place = Pointer::parse(place);
        place.is_some_and(|place| self.properties.iter().any(|told| place.is_within(told)))
    }

    /// Whether it may change what is there.
    pub(super) fn may_change(&self, place: &Pointer) -> bool {
        let is_ext = place.steps().first().is_some_and(|step| step == "ext");
        if is_ext {
            return self.extended && place.steps().get(1).is_some_and(|step| step == EXTENSION);
        }
        let ours = WRITABLE.iter().filter_map(|text| Pointer::parse(text));
        self.writable.iter().any(|named| place.is_within(named))
            && ours.into_iter().any(|ours| place.is_within(&ours))
    }
}

/// A date and time whose offset is `Z` (RFC 3339).
fn date(value: &Value) -> Option<SystemTime> {
    let text = value.as_text().filter(|text| text.ends_with('Z'))?;
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

/// Now, as such a date to the second.
pub(super) fn timestamp(now: SystemTime) -> String {
    let now = OffsetDateTime::from(now);
    now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default()
}
