//! From a configuration to what runs it: maps read, rules compiled, pools built, names resolved, descriptors counted.
//!
//! In:    a loaded [`Config`].
//! Out:   [`Prepared`], or every error as a line that names its place.
//! Never: listens or starts a thread; `check`, start and reload all go through here.

mod room;

use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Once};

use tokio::task::spawn_blocking;

pub use self::room::no_room;

use crate::callout::CalloutSet;
use crate::config::types::{self, Config, Greeting, LogLevel, Source};
use crate::config::{FileFault, Loaded};
use crate::hop::target::Endpoint;
use crate::hop::{Directory, HopSet, HostReport, Pools, Prober, Refresher, Registry};
use crate::limits::descriptors;
use crate::net::listen::Entry;
use crate::privileges::{self, Account};
use crate::rules::{Map, Maps, RuleSet, unreadable_map};
use crate::session::callout::Callouts;
use crate::session::limiter::Limiter;
use crate::session::route::{Identity, NextHops, PoolId};
use crate::session::settings::{Door, Keeping, Settings};
use crate::session::verdict::Rules;
use crate::show;
use crate::tls::{TlsSet, client_hello, faults};

/// What a configuration comes to.
pub struct Prepared {
    /// As sessions see it.
    pub settings: Arc<Settings>,
    /// As metrics and readiness see it.
    pub pools: Arc<Pools>,
    /// What keeps the pools' addresses fresh.
    pub refresher: Refresher,
    /// TLS with clients and with hosts.
    pub tls: Arc<TlsSet>,
    /// What asks their hosts whether they would serve.
    pub prober: Prober,
    /// Every address to listen on.
    pub doors: Vec<Entry>,
    /// As whom to run, if not as whoever started it.
    pub account: Option<Account>,
    /// `limits.sessions`, as it can be kept.
    pub sessions: usize,
    /// What each host resolved to.
    pub hosts: Vec<HostReport>,
    /// What each map holds.
    pub maps: Vec<String>,
}

/// Whether names are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// All of them, once.
    Ask,
    /// None: what they stand for is not known.
    Leave,
}

/// What is wrong with the files that a configuration names. What maps hold is looked at if something else is `wrong`: else
/// it is told of when they are read to be used.
pub fn files(config: &Config, wrong: bool) -> Vec<FileFault> {
    let mut found = faults::faults(config);
    for (name, upstream) in &config.upstreams {
        if let Source::Sink(path) = &upstream.source
            && path.exists()
            && !path.is_dir()
        {
            let text = format!("{}: is not a directory, which a Maildir is", path.display());
            let within = format!("upstreams.{name}.sink");
            found.push(FileFault { within, file: path.clone(), key: "sink", text });
        }
    }
    let named =
        || config.rules.iter().enumerate().flat_map(|(i, rule)| rule.maps().map(move |file| (i, file)));
    let of_map = |i: usize, file: &Path, text: String| FileFault {
        within: format!("rules[{i}].do"),
        file: file.to_owned(),
        key: "map",
        text,
    };
    found.extend(named().filter_map(|(i, file)| Some(of_map(i, file, unreadable_map(file)?))));
    if wrong || !found.is_empty() {
        let pools: Vec<&str> = config.upstreams.keys().map(String::as_str).collect();
        for error in Maps::load(&config.rules, &pools).1.into_iter().filter(|error| error.line > 0) {
            let first = named().find(|(_, file)| **file == error.file);
            found.extend(first.map(|(i, file)| of_map(i, file, error.to_string())));
        }
    }
    found
}

/// The key path of what a host report is about.
pub fn key_of(config: &Config, report: &HostReport) -> String {
    let pool = format!("upstreams.{}", report.pool);
    match config.upstreams.get(&*report.pool).map(|upstream| &upstream.source) {
        Some(Source::Hosts(hosts)) => {
            let named = |host: &types::HostSpec| Endpoint::from(&host.target).to_string() == *report.host;
            hosts.iter().position(named).map_or(pool.clone(), |place| format!("{pool}.hosts[{place}]"))
        }
        Some(Source::Mx(_)) => format!("{pool}.mx"),
        Some(Source::Srv(_)) => format!("{pool}.srv"),
        _ => pool,
    }
}

/// Prepares to run a configuration, whose sessions are counted by `limiter`.
///
/// # Errors
///
/// One line for each thing that is wrong with it.
pub async fn prepare(
    loaded: &Loaded,
    registry: &Arc<Registry>,
    limiter: Arc<dyn Limiter>,
    names: Names,
) -> Result<Prepared, String> {
    let config = &loaded.config;
    let mut errors = String::new();
    let mut tls = tls(loaded).await.unwrap_or_else(|wrong| {
        errors.push_str(&wrong);
        TlsSet::default()
    });
    let pools = Arc::new(Pools::new(config, &tls, registry));
    let hops = HopSet::new(&pools, Directory::new(config, registry));
    let (compiling, numbered) = (loaded.clone(), Arc::clone(&pools));
    // A million lines take a moment, in which a signal or a scrape is not kept waiting; as may a certificate's file.
    let compiled = spawn_blocking(move || {
        let names: Vec<&str> = numbered.iter().map(|pool| &**pool.name()).collect();
        (rules(&compiling, &names), callouts(&compiling, &|name| number(&names, name)))
    });
    let (compiled, callouts) = compiled.await.map_err(|error| format!("rules: {error}\n"))?;
    let compiled = compiled.map_err(|wrong| errors.push_str(&wrong));
    let callouts = callouts.map_err(|wrong| errors.push_str(&wrong));
    for (key, of_callout) in callouts.iter().flat_map(CalloutSet::tls) {
        tls.add_callout(key, Arc::clone(of_callout));
    }
    let account = privileges::account(config).unwrap_or_else(|wrong| {
        let _ = writeln!(errors, "{}: {wrong}", loaded.file);
        None
    });
    let sessions = sessions_that_fit(loaded, &mut errors);
    let listening = config.listeners.iter().flat_map(|listener| listener.addresses.iter().copied()).collect();
    let mut refresher = Refresher::new(&config.dns, Arc::clone(&pools), Arc::clone(registry), listening);
    let hosts = match names {
        Names::Ask => refresher.first().await,
        Names::Leave => Vec::new(),
    };
    for report in &hosts {
        if let Some(listener) = report.own_listener {
            let text = format!(
                "{} is gatepost's own listener {listener}: mail would go round in a loop",
                report.host
            );
            let _ = writeln!(errors, "{}", loaded.problem(&key_of(config, report), text));
        }
    }
    let doors = doors(config, &hops);
    match (compiled, callouts, sessions) {
        (Ok((rules, maps)), Ok(callouts), Some(sessions)) if errors.is_empty() => Ok(Prepared {
            settings: Arc::new(settings(
                config,
                Box::new(rules),
                Arc::new(callouts),
                Box::new(hops),
                limiter,
            )),
            prober: Prober::new(config, Arc::clone(&pools)),
            pools,
            tls: Arc::new(tls),
            refresher,
            doors,
            account,
            sessions,
            hosts,
            maps,
        }),
        _ => Err(errors),
    }
}

/// Reads certificates, keys and roots.
async fn tls(loaded: &Loaded) -> Result<TlsSet, String> {
    let reading = loaded.clone();
    let read = spawn_blocking(move || TlsSet::load(&reading.config)).await;
    read.map_err(|error| format!("tls: {error}\n"))?
        .map_err(|wrong| wrong.into_iter().map(|error| format!("{}: {error}\n", loaded.file)).collect())
}

/// Reads the maps and compiles the rules; `pools` are the names of the pools in the order of their numbers. With the
/// rules comes a line about each map.
///
/// # Errors
///
/// One line for each thing that is wrong with them.
pub fn rules(loaded: &Loaded, pools: &[&str]) -> Result<(RuleSet, Vec<String>), String> {
    let config = &loaded.config;
    let (maps, wrong) = Maps::load(&config.rules, pools);
    let mut errors: String = wrong.iter().map(|error| format!("{error}\n")).collect();
    let number = |name: &str| number(pools, name);
    let rules = RuleSet::compile(&config.rules, &number, &maps, &listeners(config)).map_err(|wrong| {
        for error in wrong {
            let _ = writeln!(errors, "{}:{}:{}: {error}", loaded.file, error.mark.line, error.mark.column);
        }
    });
    let entries = |(file, map): (&Path, &Map)| format!("map {}: {} entries", file.display(), map.len());
    match rules {
        Ok(rules) if errors.is_empty() => Ok((rules, maps.iter().map(entries).collect())),
        _ => Err(errors),
    }
}

/// The number of a pool, by its place among their names.
fn number(pools: &[&str], name: &str) -> Option<PoolId> {
    let at = pools.iter().position(|pool| *pool == name)?;
    u16::try_from(at).ok().map(PoolId)
}

/// Compiles the callouts, and reads the files of their TLS.
///
/// # Errors
///
/// One line for each thing that is wrong with them.
pub fn callouts(loaded: &Loaded, pools: &dyn Fn(&str) -> Option<PoolId>) -> Result<CalloutSet, String> {
    CalloutSet::compile(&loaded.config, pools, &listeners(&loaded.config)).map_err(|wrong| {
        let mut errors = String::new();
        for error in wrong {
            let _ = writeln!(errors, "{}:{}:{}: {error}", loaded.file, error.mark.line, error.mark.column);
        }
        errors
    })
}

/// The names each listener may be meant by.
fn listeners(config: &Config) -> Vec<Vec<String>> {
    let names = |listener: &types::Listener| listener.addresses.iter().map(ToString::to_string).collect();
    config.listeners.iter().map(names).collect()
}

fn sessions_that_fit(loaded: &Loaded, errors: &mut String) -> Option<usize> {
    static TOLD: Once = Once::new();
    let limits = &loaded.config.session_limits;
    let descriptors = descriptors::raise();
    // No bound of ours is that of the descriptors.
    let sessions = if limits.sessions == 0 { descriptors::enough_for(descriptors) } else { limits.sessions };
    match descriptors::fit(sessions, limits.sessions_configured, descriptors) {
        Ok((sessions, lowered)) => {
            if let Some(lowered) = lowered {
                // Whoever just tries it out has no mistake to mend.
                TOLD.call_once(|| match loaded.is_embedded() {
                    true => tracing::info!("{lowered}"),
                    false => tracing::warn!("{lowered}"),
                });
            }
            Some(sessions)
        }
        Err(too_few) => {
            let _ = writeln!(errors, "{}", loaded.problem("limits.sessions", too_few.to_string()));
            None
        }
    }
}

fn doors(config: &Config, hops: &HopSet) -> Vec<Entry> {
    let mut doors = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        // The configuration was checked: the upstream is there, and there are not so many listeners.
        let Some(pool) = hops.id(&listener.upstream) else { continue };
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        let intercept = listener.intercept;
        let entry = |&address| Entry { address, listener: number, pool, intercept };
        doors.extend(listener.addresses.iter().map(entry));
    }
    doors
}

/// What sessions of a configuration go by, with who decides, where their mail goes and who counts it.
pub fn settings(
    config: &Config,
    rules: Box<dyn Rules>,
    callouts: Arc<dyn Callouts>,
    next_hops: Box<dyn NextHops>,
    limiter: Arc<dyn Limiter>,
) -> Settings {
    // A rule may lead from any listener to any pool.
    let tells_destination =
        config.upstreams.values().any(tells_destination) || config.callouts.iter().any(hears_destination);
    Settings {
        hostname: config.host_name().into(),
        own_greeting: config.greeting == Greeting::Own,
        limits: config.limits.clone(),
        timeouts: config.timeouts.clone(),
        doors: config.listeners.iter().map(|listener| door(listener, tells_destination)).collect(),
        bare_newline: config.content.bare_newline,
        keeping: Keeping {
            memory: config.content.memory,
            folder: config.content.spool.clone(),
            keepalive: config.content.keepalive,
            added_refused: config.content.on_added_recipient_refused,
        },
        forward_verbs: config.forward_verbs.iter().map(|verb| verb.as_str().into()).collect(),
        forward_extensions: config.forward_extensions.iter().map(|word| word.as_str().into()).collect(),
        records: config.log.level >= LogLevel::Info,
        trace: config.log.level >= LogLevel::Trace || show::is_on(),
        rules,
        callouts,
        next_hops,
        limiter,
        client_hello: client_hello::read,
    }
}

/// Whether a pool's hosts are told where a client connected to.
fn tells_destination(upstream: &types::UpstreamPool) -> bool {
    use Identity::{None, ProxyV1, ProxyV2, SourceAddress, Xclient, Xforward};
    match upstream.identity {
        Xclient | ProxyV1 | ProxyV2 => true,
        None | Xforward | SourceAddress => false,
    }
}

/// Policy servers, filters and scanners are told it, too.
fn hears_destination(callout: &types::Callout) -> bool {
    use types::CalloutKind::{Http, Milter, MtaHooks, Policy};
    match callout.kind {
        Policy(_) | Milter(_) | MtaHooks(_) => true,
        Http(_) => false,
    }
}

fn door(listener: &types::Listener, tells_destination: bool) -> Door {
    Door {
        tls: listener.tls.mode,
        require_tls: listener.tls.require,
        auth: listener.auth,
        xclient: listener.xclient.clone(),
        proxies: listener.proxy_protocol.from.clone(),
        only_proxies: listener.proxy_protocol.required,
        tells_destination,
        greeting_delay: listener.greeting_delay,
    }
}
