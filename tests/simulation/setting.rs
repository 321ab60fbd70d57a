//! The configuration of one simulated session, by chance.
//!
//! **In**: the seed's generator. **Out**: [`Settings`] with pools, limits and rules of every kind.
//! **Never**: sets a limit that no configuration may set.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gatepost::dialog::{Limits, Timeouts};
use gatepost::session::callout::Callouts;
use gatepost::session::limiter::NoLimits;
use gatepost::session::route::{HopTerms, PoolKind};
use gatepost::session::settings::{Keeping, Settings};
use gatepost::smtp::BareNewline;

use super::bent::Bent;
use super::rng::Rng;
use super::rules::Chance;
use super::stage::door::door;
use crate::script::settings::Listed;

/// The pools there are.
pub const POOLS: u16 = 4;

/// Draws one. `reject`: bare CR and LF in content are refused; `terms`: of each pool; `stress`: whether
/// dialogs are running out.
pub fn settings(
    rng: &mut Rng,
    bent: Bent,
    reject: bool,
    callouts: Arc<dyn Callouts>,
    terms: &[HopTerms],
    stress: &Arc<AtomicBool>,
) -> Settings {
    let names = |names: &[&str]| names.iter().map(|&name| Arc::from(name)).collect::<Vec<Arc<str>>>();
    let main = &["a", "b", "c"][..1 + rng.below(3)];
    let branch = &["d", "e"][..1 + rng.below(2)];
    let third: &[&str] = if rng.percent(50) { &["a", "f"] } else { &["f"] };
    let pools = [names(main), names(branch), names(third), Vec::new()];
    // Some sessions start where the hop is each recipient's, or at a host that speaks LMTP.
    let first = [PoolKind::ByRecipient(25), PoolKind::Lmtp].get(rng.below(12)).copied().unwrap_or_default();
    let third = if rng.percent(20) { PoolKind::Lmtp } else { PoolKind::Smtp };
    let kinds = vec![first, PoolKind::Smtp, third, PoolKind::ByRecipient(25)];
    let limits = Limits {
        recipients: if rng.percent(20) { 2 } else { 1000 },
        message_size: if rng.percent(15) { 2000 } else { 1 << 20 },
        errors: if rng.percent(20) { 3 } else { 20 },
        attempts: 1 + rng.below(4),
        ..Limits::default()
    };
    Settings {
        hostname: "gate.example.org".into(),
        own_greeting: rng.percent(25),
        limits,
        timeouts: Timeouts::default(),
        doors: vec![door(rng)],
        bare_newline: if reject { BareNewline::Reject } else { BareNewline::Normalize },
        keeping: Keeping { keepalive: std::time::Duration::from_secs(30), ..Keeping::default() },
        forward_verbs: Vec::new(),
        forward_extensions: Vec::new(),
        records: rng.percent(50),
        trace: rng.percent(30),
        rules: Box::new(Chance::new(rng, bent, POOLS)),
        callouts,
        limiter: Arc::new(NoLimits),
        client_hello: gatepost::tls::client_hello::read,
        next_hops: Box::new(Listed { kinds, stress: Arc::clone(stress), ..Listed::new(&pools, terms) }),
    }
}
