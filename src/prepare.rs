//! From a configuration to what runs it: rules compiled, pools built, names resolved, descriptors counted.
//!
//! In:    a loaded [`Config`].
//! Out:   [`Prepared`], or every error as a line that names its place.
//! Never: listens or starts a thread; `check`, start and reload all go through here.

use std::fmt::Write;
use std::sync::Arc;

use crate::callout::CalloutSet;
use crate::config::Loaded;
use crate::config::types::{self, AuthShown, Config, Greeting, LogLevel};
use crate::hop::{Directory, HopSet, HostReport, Pools, Prober, Refresher, Registry};
use crate::limits::descriptors;
use crate::net::listen::Entry;
use crate::rules::RuleSet;
use crate::session::settings::{Limits, Settings, Timeouts};
use crate::smtp::BareNewline;

/// What a configuration comes to.
pub struct Prepared {
    /// As sessions see it.
    pub settings: Arc<Settings>,
    /// As metrics and readiness see it.
    pub pools: Arc<Pools>,
    /// What keeps the pools' addresses fresh.
    pub refresher: Refresher,
    /// What asks their hosts whether they would serve.
    pub prober: Prober,
    /// Every address to listen on.
    pub doors: Vec<Entry>,
    /// `limits.sessions`, as it can be kept.
    pub sessions: usize,
    /// What each host resolved to.
    pub hosts: Vec<HostReport>,
}

/// Prepares to run a configuration.
///
/// # Errors
///
/// One line for each thing that is wrong with it.
pub async fn prepare(loaded: &Loaded, registry: &Arc<Registry>) -> Result<Prepared, String> {
    let config = &loaded.config;
    let mut errors = String::new();
    let pools = Arc::new(Pools::new(config, registry));
    let hops = HopSet::new(&pools, Directory::new(config, registry));
    let names: Vec<Vec<String>> = config
        .listeners
        .iter()
        .map(|listener| listener.addresses.iter().map(ToString::to_string).collect())
        .collect();
    let rules = RuleSet::compile(&config.rules, &|name| hops.id(name), &names).map_err(|wrong| {
        for error in wrong {
            let _ = writeln!(errors, "{}:{}:{}: {error}", loaded.file, error.mark.line, error.mark.column);
        }
    });
    let callouts = CalloutSet::compile(config, &|name| hops.id(name), &names).map_err(|wrong| {
        for error in wrong {
            let _ = writeln!(errors, "{}:{}:{}: {error}", loaded.file, error.mark.line, error.mark.column);
        }
    });
    let sessions = sessions_that_fit(config, &mut errors);
    let listening = config.listeners.iter().flat_map(|listener| listener.addresses.iter().copied()).collect();
    let mut refresher = Refresher::new(&config.dns, Arc::clone(&pools), Arc::clone(registry), listening);
    let hosts = refresher.first().await;
    for report in hosts.iter().filter(|report| report.own_listener.is_some()) {
        let _ = writeln!(errors, "{}: {report}", loaded.file);
    }
    let doors = doors(config, &hops);
    match (rules, callouts, sessions) {
        (Ok(rules), Ok(callouts), Some(sessions)) if errors.is_empty() => Ok(Prepared {
            settings: Arc::new(settings(config, rules, callouts, hops)),
            prober: Prober::new(config, Arc::clone(&pools)),
            pools,
            refresher,
            doors,
            sessions,
            hosts,
        }),
        _ => Err(errors),
    }
}

fn sessions_that_fit(config: &Config, errors: &mut String) -> Option<usize> {
    let limits = &config.limits;
    match descriptors::fit(limits.sessions, limits.sessions_configured, descriptors::raise()) {
        Ok((sessions, lowered)) => {
            if let Some(lowered) = lowered {
                tracing::warn!("{lowered}");
            }
            Some(sessions)
        }
        Err(too_few) => {
            let _ = writeln!(errors, "{too_few}");
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
        let auth = listener.auth == AuthShown::Hop;
        doors.extend(listener.addresses.iter().map(|&address| Entry {
            address,
            listener: number,
            pool,
            auth,
        }));
    }
    doors
}

fn settings(config: &Config, rules: RuleSet, callouts: CalloutSet, hops: HopSet) -> Settings {
    let (limits, timeouts) = (&config.limits, &config.timeouts);
    Settings {
        hostname: config.host_name().into(),
        own_greeting: config.greeting == Greeting::Own,
        limits: Limits {
            recipients: limits.recipients,
            message_size: limits.message_size,
            command_line: limits.command_line,
            auth_line: limits.auth_line,
            reply_line: limits.reply_line,
            reply: limits.reply,
            errors: u32::try_from(limits.errors).unwrap_or(u32::MAX),
            attempts: limits.attempts,
        },
        timeouts: Timeouts {
            command: timeouts.command,
            content: timeouts.content,
            connect: timeouts.connect,
            greeting: timeouts.greeting,
            reply: timeouts.reply,
            answer: timeouts.answer,
            attempts: timeouts.attempts,
            end_of_data: timeouts.end_of_data,
            callouts: timeouts.callouts,
        },
        bare_newline: match config.content.bare_newline {
            types::BareNewline::Normalize => BareNewline::Normalize,
            types::BareNewline::Reject => BareNewline::Reject,
        },
        forward_verbs: config.forward_verbs.iter().map(|verb| verb.as_str().into()).collect(),
        forward_extensions: config.forward_extensions.iter().map(|word| word.as_str().into()).collect(),
        records: config.log.level >= LogLevel::Info,
        trace: config.log.level >= LogLevel::Trace,
        rules: Box::new(rules),
        callouts: Arc::new(callouts),
        hops: Box::new(hops),
    }
}
