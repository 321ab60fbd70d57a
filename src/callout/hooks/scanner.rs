//! One scanner: what was agreed upon with it, for as long as that holds.
//!
//! **In**: questions. **Out**: answers; registrations, made and ended when it is time.
//! **Never**: registers twice at once; asks a scanner that has said to wait; tries again what a scanner has taken up and not
//! answered.
//!
//! draft-degennaro-mta-hooks-01 sections 3, 4 and 6.4.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::time::sleep;

use super::agreed::{Agreed, Offer};
use super::invocation::{Heard, Question, Taken};
use super::value::{Encoding, Value};
use crate::callout::answer::Grants;
use crate::callout::transport::{BODY, Outgoing, Place, Sent};
use crate::config::types::Serialization;
use crate::session::callout::{CalloutAnswer, Fault, FaultKind};

/// Where a discovery document is, unless the URL says otherwise.
const WELL_KNOWN: &str = "/.well-known/mta-hooks";
/// How often a question is asked again, and how long before the first time, the last time, and at random beside.
const AGAIN: (u32, Duration, Duration, Duration) =
    (3, Duration::from_millis(100), Duration::from_secs(5), Duration::from_millis(100));

/// What is wanted of a scanner.
pub(super) struct Wanted {
    pub(super) stages: Vec<&'static str>,
    pub(super) serialization: Option<Serialization>,
    pub(super) timeout: Duration,
    pub(super) hostname: Box<str>,
    pub(super) bearer: Option<HeaderValue>,
    /// There is no other to ask.
    pub(super) alone: bool,
}

/// A scanner.
pub(super) struct Scanner {
    wanted: Arc<Wanted>,
    agreed: ArcSwapOption<Agreed>,
    /// Held by whoever registers.
    registering: tokio::sync::Mutex<()>,
    /// Before that it is not to be asked.
    busy_until: Mutex<Option<Instant>>,
    /// Before that no renewal is tried again.
    renews_from: Mutex<Option<Instant>>,
}

/// The longest that a scanner may have nobody ask it.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How long between two attempts to renew a registration that holds yet: each may cost the question that makes it.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(10);

/// What became of a question.
pub(super) enum Outcome {
    Answered(CalloutAnswer),
    /// The scanner knows of no registration.
    Unknown(Fault),
    /// Not now; perhaps after so long.
    Later(Fault, Option<Duration>),
}

impl Scanner {
    pub(super) fn new(wanted: Arc<Wanted>) -> Self {
        let (agreed, registering, busy_until, renews_from) = Default::default();
        Self { wanted, agreed, registering, busy_until, renews_from }
    }

    pub(super) fn is_registered(&self) -> bool {
        self.agreed.load().is_some()
    }

    /// Asks, and again where the draft has it.
    pub(super) async fn ask(
        &self,
        place: &Place,
        question: &Question,
        grants: &Grants,
    ) -> Result<CalloutAnswer, Fault> {
        let (mut forgotten, mut tries) = (false, 0);
        loop {
            self.until_free().await?;
            let (fault, wait) = match self.attempt(place, question, grants).await {
                Ok(Outcome::Answered(answer)) => return Ok(answer),
                Ok(Outcome::Unknown(fault)) if forgotten => return Err(fault),
                Ok(Outcome::Unknown(_)) => {
                    forgotten = true;
                    continue;
                }
                Ok(Outcome::Later(fault, wait)) => (fault, wait),
                Err(fault) if fault.kind == FaultKind::Unreachable => (fault, None),
                Err(fault) => return Err(fault),
            };
            if let Some(wait) = wait {
                self.is_busy_for(wait);
            }
            if tries == AGAIN.0 || !self.wanted.alone || wait.is_some_and(|wait| wait >= self.wanted.timeout)
            {
                return Err(fault);
            }
            let usual = AGAIN.1.saturating_mul(1 << tries).min(AGAIN.2);
            sleep(wait.unwrap_or(usual) + at_random(AGAIN.3)).await;
            tries += 1;
        }
    }

    async fn attempt(&self, place: &Place, question: &Question, grants: &Grants) -> Result<Outcome, Fault> {
        let agreed = match self.agreed(place).await {
            Ok(agreed) => agreed,
            // What is wrong with a registration is told as that.
            Err(Unregistered::Later(fault, wait)) => return Ok(Outcome::Later(fault, wait)),
            Err(Unregistered::Never(fault)) => return Err(fault),
        };
        let outcome = question.ask(place, &agreed, self.headers(), grants).await;
        if let Ok(Outcome::Unknown(_)) = outcome {
            self.forget(&agreed);
        }
        outcome
    }

    /// What was agreed upon; agrees upon it where nothing was, or that is over.
    async fn agreed(&self, place: &Place) -> Result<Arc<Agreed>, Unregistered> {
        let is_over = |agreed: &Agreed| agreed.expires.is_some_and(|end| SystemTime::now() >= end);
        let is_due = |agreed: &Agreed| agreed.renew.is_some_and(|end| SystemTime::now() >= end);
        let held = self.agreed.load_full().filter(|agreed| !is_over(agreed));
        let _turn = match held {
            Some(agreed) if !is_due(&agreed) => return Ok(agreed),
            // One question renews it; the others go on as before.
            Some(agreed) => match self.registering.try_lock() {
                Err(_) => return Ok(agreed),
                Ok(turn) => turn,
            },
            None => self.registering.lock().await,
        };
        let held = self.agreed.load_full().filter(|agreed| !is_over(agreed));
        if let Some(agreed) = held.clone().filter(|agreed| !is_due(agreed) || !self.may_renew()) {
            return Ok(agreed);
        }
        match (self.register(place).await, held) {
            (Ok(agreed), _) => {
                let agreed = Arc::new(agreed);
                self.agreed.store(Some(Arc::clone(&agreed)));
                *self.renews_from.lock().unwrap_or_else(PoisonError::into_inner) = None;
                Ok(agreed)
            }
            (Err(unregistered), Some(agreed)) => {
                // It holds yet; a later question tries again.
                let host = place.uri().authority().map(ToString::to_string).unwrap_or_default();
                tracing::warn!(
                    "MTA Hooks: the registration with {host} is not renewed: {}",
                    unregistered.fault()
                );
                Ok(agreed)
            }
            (Err(unregistered), None) => Err(unregistered),
        }
    }

    /// Discovery and registration.
    async fn register(&self, place: &Place) -> Result<Agreed, Unregistered> {
        let base = place.uri();
        let well_known = WELL_KNOWN.parse().ok();
        let path = if base.path() == "/" { well_known.as_ref() } else { base.path_and_query() };
        let nothing = Sent::nothing();
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(Encoding::Json.media()));
        let outgoing = Outgoing { method: Method::GET, path, headers, body: &nothing };
        let document = told("discovery", place, &outgoing, StatusCode::OK).await?;
        let offer = Offer::read(&document, base).map_err(|fault| named("discovery", fault))?;
        let wanted = &self.wanted;
        let wish = offer.registration(&wanted.stages, wanted.serialization, wanted.timeout, &wanted.hostname);
        let wish = Encoding::Json.write(&wish.map_err(|fault| named("discovery", fault))?);
        let wish = Sent::octets(Encoding::Json.media(), wish.into());
        let mut headers = self.headers();
        headers.insert(ACCEPT, HeaderValue::from_static(Encoding::Json.media()));
        let path = Some(&offer.registration);
        let outgoing = Outgoing { method: Method::POST, path, headers, body: &wish };
        let answer = told("registration", place, &outgoing, StatusCode::CREATED).await?;
        let agreed = offer.agree(&answer, &place.at(&offer.registration), SystemTime::now());
        let agreed = agreed.map_err(|fault| named("registration", fault))?;
        tracing::info!(
            id = agreed.id.to_str().unwrap_or_default(),
            encoding = agreed.encoding.name(),
            "MTA Hooks: registered with {}",
            base.authority().map(ToString::to_string).unwrap_or_default()
        );
        Ok(agreed)
    }

    /// Ends the registration.
    pub(super) async fn deregister(&self, place: &Place) {
        let Some(agreed) = self.agreed.swap(None) else { return };
        let Some(path) = &agreed.end else { return };
        let nothing = Sent::nothing();
        let outgoing =
            Outgoing { method: Method::DELETE, path: Some(path), headers: self.headers(), body: &nothing };
        let reader = Taken { encoding: Encoding::Json, most: BODY };
        if let Err(fault) = place.ask(&outgoing, &reader).await {
            tracing::info!("MTA Hooks: a registration is left to expire: {fault}");
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(bearer) = &self.wanted.bearer {
            headers.insert(AUTHORIZATION, bearer.clone());
        }
        headers
    }

    /// The scanner has forgotten this registration; another may have been made meanwhile.
    fn forget(&self, agreed: &Arc<Agreed>) {
        self.agreed.rcu(|held| held.clone().filter(|held| !Arc::ptr_eq(held, agreed)));
    }

    /// Waits until it may be asked, unless there is another or no time for that.
    async fn until_free(&self) -> Result<(), Fault> {
        let busy = *self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
        let left = busy.map(|end| end.saturating_duration_since(Instant::now())).unwrap_or_default();
        if left.is_zero() {
            return Ok(());
        }
        if !self.wanted.alone || left >= self.wanted.timeout {
            return Err(Fault::new(FaultKind::Refused, "the scanner has said to wait (Retry-After)"));
        }
        sleep(left).await;
        Ok(())
    }

    fn is_busy_for(&self, wait: Duration) {
        let mut busy = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
        *busy = Some(Instant::now() + wait.min(LONGEST_WAIT)).max(*busy);
    }

    /// Whether a renewal may be tried now; then none is for a while.
    fn may_renew(&self) -> bool {
        let mut from = self.renews_from.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may = from.is_none_or(|from| now >= from);
        if may {
            *from = Some(now + BETWEEN_RENEWALS);
        }
        may
    }
}

/// Why there is no registration.
enum Unregistered {
    Later(Fault, Option<Duration>),
    Never(Fault),
}

impl Unregistered {
    fn fault(&self) -> &Fault {
        let (Unregistered::Later(fault, _) | Unregistered::Never(fault)) = self;
        fault
    }
}

/// A document of the scanner's.
async fn told(
    what: &str,
    place: &Place,
    outgoing: &Outgoing<'_>,
    wanted: StatusCode,
) -> Result<Value, Unregistered> {
    let reader = Taken { encoding: Encoding::Json, most: BODY };
    let heard: Heard = place.ask(outgoing, &reader).await.map_err(|fault| named(what, fault))?;
    match heard.value {
        Some(value) if heard.status == wanted => Ok(value),
        _ if heard.is_for_now() => Err(Unregistered::Later(said(what, heard.fault()), heard.wait)),
        _ => Err(named(what, heard.fault())),
    }
}

fn said(what: &str, fault: Fault) -> Fault {
    Fault::new(fault.kind, format!("{what}: {}", fault.what))
}

fn named(what: &str, fault: Fault) -> Unregistered {
    let fault = said(what, fault);
    match fault.kind {
        FaultKind::Unreachable => Unregistered::Later(fault, None),
        _ => Unregistered::Never(fault),
    }
}

fn at_random(most: Duration) -> Duration {
    most.mul_f64((RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64)
}
