//! `gatepost check`: what only others can tell. Names are resolved unless `--offline`; with `--probe` every host of every
//! pool is visited.
//!
//! In:    a loaded configuration.
//! Out:   a line for each host's addresses on standard error; of a probe a [`Report`] for people, and whether anything
//!        in it is wrong.
//! Never: listens, sends mail, or takes longer than a minute for hosts, of which 64 are visited at once.

mod header;
mod names;
mod relay;
mod report;
mod secure;
mod visit;
mod words;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::report::Entry;
pub use self::report::Report;
use self::visit::Voice;
use crate::config::Loaded;
use crate::config::types::{Source, UpstreamPool};
use crate::hop::{Pool, Registry};
use crate::log::say;
use crate::prepare::{Names, Prepared, no_room, prepare};
use crate::session::limiter::NoLimits;

/// Hosts visited at a time.
const AT_ONCE: usize = 64;

/// Validates and resolves a configuration; says every host's addresses on standard error, and each name that leads
/// nowhere with its place. Whether all lead somewhere; `offline`, none is looked up.
///
/// # Errors
///
/// What is wrong, one line each.
pub async fn check(loaded: &Loaded, offline: bool) -> Result<bool, String> {
    let prepared = resolve(loaded, if offline { Names::Leave } else { Names::Ask }).await?;
    if offline {
        return Ok(true);
    }
    let mut nowhere = names::of_pools(loaded, &prepared.hosts);
    nowhere.extend(names::of_others(loaded).await);
    for problem in &nowhere {
        say(&problem.to_string());
    }
    if !nowhere.is_empty() {
        say(&format!(
            "{} of the names lead nowhere; gatepost check --offline does not look them up",
            nowhere.len()
        ));
    }
    Ok(nowhere.is_empty())
}

/// The same, and visits every host.
///
/// # Errors
///
/// What is wrong with the configuration, one line each. What is wrong with hosts is in the report.
pub async fn probe(loaded: &Loaded) -> Result<Report, String> {
    let prepared = resolve(loaded, Names::Ask).await?;
    let voice = Arc::new(Voice::new(&loaded.config));
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let (mut entries, mut visits) = (Vec::new(), JoinSet::new());
    for pool in prepared.pools.iter() {
        let Some(upstream) = loaded.config.upstreams.get(&**pool.name()) else { continue };
        entries.extend(without_a_visit(pool, upstream, &prepared));
        if matches!(upstream.source, Source::Sink(_)) {
            continue;
        }
        for target in pool.targets() {
            let place = entries.len();
            entries.push(Entry::new(pool.name(), &target.to_string()));
            let (voice, room, upstream) = (Arc::clone(&voice), Arc::clone(&room), upstream.clone());
            visits.spawn(async move {
                let _room = room.acquire().await;
                (place, visit::visit(&voice, &upstream, &target).await)
            });
        }
    }
    while let Some(visited) = visits.join_next().await {
        let (place, findings) = visited.map_err(|error| format!("a visit ended: {error}\n"))?;
        entries[place].findings = findings;
    }
    Ok(Report::new(entries))
}

async fn resolve(loaded: &Loaded, names: Names) -> Result<Prepared, String> {
    let registry = Arc::new(Registry::new(Instant::now()));
    let prepared = prepare(loaded, &registry, Arc::new(NoLimits), names).await?;
    for report in prepared.hosts.iter().filter(|report| report.result.is_ok()) {
        say(&report.to_string());
    }
    for report in &prepared.maps {
        say(report);
    }
    for warning in prepared.tls.expiring().into_iter().chain(no_room(&loaded.config)) {
        say(&format!("warning: {warning}"));
    }
    Ok(prepared)
}

/// What there is to say of a pool, or of hosts of it, that cannot be visited.
fn without_a_visit(pool: &Pool, upstream: &UpstreamPool, prepared: &Prepared) -> Vec<Entry> {
    let name = pool.name();
    let of_all = |host: &str, text: &str| {
        let mut entry = Entry::new(name, host);
        entry.findings.note("hosts", text);
        vec![entry]
    };
    match &upstream.source {
        Source::Sink(path) => of_all(&format!("sink:{}", path.display()), "a part of gatepost"),
        Source::RecipientMx => of_all("recipient_mx", "known only with each recipient"),
        Source::OriginalDestination => of_all("original_destination", "known only with each client"),
        Source::Hosts(_) | Source::Mx(_) | Source::Srv(_) => {
            let of_pool = prepared.hosts.iter().filter(|report| *report.pool == **name);
            let unresolved = of_pool.filter_map(|report| {
                let error = report.result.as_ref().err()?;
                let mut entry = Entry::new(name, &report.host);
                entry.findings.wrong(&words::unresolved(error));
                Some(entry)
            });
            unresolved.collect()
        }
    }
}
