//! The effective configuration as YAML.
//!
//! **In**: a [`Config`]. **Out**: text that loads to the same configuration, every key written out, so that
//! `gatepost check` shows what the file, the environment and the defaults came to.
//! **Never**: comments or the order of the file; a key whose writing down would change its meaning is a comment
//! (`hostname` and `limits.sessions`, where the default follows the machine).

mod matches;

use std::fmt::{self, Write};
use std::path::Path;

use self::matches::matching;
use super::callouts::{EFFECT, ON_ERROR, SERIALIZATION, SHOWS};
use super::edges::{IDENTITY, INTERCEPT, LISTENER_TLS, UPSTREAM_TLS};
use super::hops::{AUTH, BALANCE, PROTOCOL};
use super::milters::ON_QUARANTINE;
use super::scalar::{print_duration, print_size};
use super::settings::{ADDED_REFUSED, BARE_NEWLINE, GREETING, LOG_FORMAT, LOG_LEVEL};
use super::types::{
    Callout, CalloutKind, Config, Decide, HostSpec, KeyPair, Listener, ListenerTls, Match, Milter, Occasion,
    Policy, Range, Rewrites, Rule, Source, Target, UpstreamPool, UpstreamTls,
};
use crate::networks::Networks;
use crate::session::route::HopTls;
use crate::session::settings::DoorTls;
use crate::session::verdict::Stage;

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hostname {
            Some(name) => writeln!(f, "hostname: {}", quoted(name))?,
            None => writeln!(f, "# hostname: {}  # the system's", quoted(&self.host_name()))?,
        }
        f.write_str("listeners:\n")?;
        self.listeners.iter().try_for_each(|listener| print_listener(f, listener))?;
        f.write_str("upstreams:\n")?;
        self.upstreams.iter().try_for_each(|(name, upstream)| print_upstream(f, name, upstream))?;
        f.write_str(if self.rules.is_empty() { "rules: []\n" } else { "rules:\n" })?;
        self.rules.iter().try_for_each(|rule| print_rule(f, rule))?;
        f.write_str(if self.callouts.is_empty() { "callouts: []\n" } else { "callouts:\n" })?;
        self.callouts.iter().try_for_each(|callout| print_callout(f, callout))?;
        print_limits(f, self)?;
        print_timeouts(f, self)?;
        let content = &self.content;
        writeln!(f, "content:")?;
        writeln!(f, "  memory: {}", print_size(content.memory as u64))?;
        writeln!(f, "  spool: {}", quoted(&content.spool.to_string_lossy()))?;
        writeln!(f, "  keepalive: {}", print_duration(content.keepalive))?;
        let added = name(&ADDED_REFUSED, content.on_added_recipient_refused);
        writeln!(f, "  on_added_recipient_refused: {added}")?;
        writeln!(f, "  bare_newline: {}", name(&BARE_NEWLINE, content.bare_newline))?;
        writeln!(f, "dns: {{ servers: {} }}", list(self.dns.servers.iter().map(ToString::to_string)))?;
        writeln!(f, "greeting: {}", name(&GREETING, self.greeting))?;
        writeln!(f, "forward_verbs: {}", list(&self.forward_verbs))?;
        writeln!(f, "forward_extensions: {}", list(&self.forward_extensions))?;
        writeln!(f, "workers: {}", self.workers)?;
        match self.admin.address {
            Some(address) => writeln!(f, "admin: {{ address: {} }}", quoted(&address.to_string()))?,
            None => writeln!(f, "admin: off")?,
        }
        match &self.user {
            Some(user) => writeln!(f, "user: {}", quoted(user))?,
            None => writeln!(f, "user: off")?,
        }
        let (format, level) = (name(&LOG_FORMAT, self.log.format), name(&LOG_LEVEL, self.log.level));
        writeln!(f, "log: {{ format: {format}, level: {level} }}")?;
        writeln!(f, "shutdown_grace: {}", print_duration(self.shutdown_grace))
    }
}

fn print_listener(f: &mut fmt::Formatter<'_>, listener: &Listener) -> fmt::Result {
    writeln!(f, "  - address: {}", list(listener.addresses.iter().map(ToString::to_string)))?;
    writeln!(f, "    upstream: {}", quoted(&listener.upstream))?;
    writeln!(f, "    auth: {}", name(&AUTH, listener.auth))?;
    print_listener_tls(f, &listener.tls)?;
    let proxy = &listener.proxy_protocol;
    let networks = |networks: &Networks| list(networks.iter().map(ToString::to_string));
    let (from, required) = (networks(&proxy.from), proxy.required);
    writeln!(f, "    proxy_protocol: {{ from: {from}, required: {required} }}")?;
    writeln!(f, "    xclient: {{ from: {} }}", networks(&listener.xclient))?;
    writeln!(f, "    greeting_delay: {}", print_duration(listener.greeting_delay))?;
    writeln!(f, "    intercept: {}", name(&INTERCEPT, listener.intercept))
}

fn print_listener_tls(f: &mut fmt::Formatter<'_>, tls: &ListenerTls) -> fmt::Result {
    let implicit = tls.mode == DoorTls::PassthroughImplicit;
    let mode = if implicit { DoorTls::Passthrough } else { tls.mode };
    let mut keys = vec![format!("mode: {}", name(&LISTENER_TLS, mode))];
    let pairs: Vec<String> = tls.certificates.iter().map(|pair| mapping(&key_pair(pair))).collect();
    if !pairs.is_empty() {
        keys.push(format!("certificates: [{}]", pairs.join(", ")));
    }
    if tls.require {
        keys.push("require: true".into());
    }
    keys.extend(tls.client_roots.as_ref().map(|roots| format!("client_roots: {}", quoted_path(roots))));
    if implicit {
        keys.push("implicit: true".into());
    }
    writeln!(f, "    tls: {}", mapping(&keys))
}

fn print_upstream_tls(f: &mut fmt::Formatter<'_>, tls: &UpstreamTls) -> fmt::Result {
    let mut keys = vec![format!("mode: {}", name(&UPSTREAM_TLS, tls.mode))];
    keys.extend(towards(tls));
    writeln!(f, "    tls: {}", mapping(&keys))
}

fn towards(tls: &UpstreamTls) -> Vec<String> {
    let mut keys = Vec::new();
    if matches!(tls.mode, HopTls::Required | HopTls::Implicit) {
        keys.push(format!("verify: {}", tls.verify));
    }
    keys.extend(tls.roots.as_ref().map(|roots| format!("roots: {}", quoted_path(roots))));
    if !tls.pins.is_empty() {
        let pins: Vec<_> = tls.pins.iter().map(|pin| quoted(&pin.to_string())).collect();
        keys.push(format!("pin: [{}]", pins.join(", ")));
    }
    keys.extend(tls.server_name.as_ref().map(|name| format!("server_name: {}", quoted(name))));
    keys.extend(tls.certificate.iter().flat_map(key_pair));
    keys
}

fn key_pair(pair: &KeyPair) -> [String; 2] {
    let KeyPair { certificate, key } = pair;
    [format!("certificate: {}", quoted_path(certificate)), format!("key: {}", quoted_path(key))]
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

fn print_upstream(f: &mut fmt::Formatter<'_>, key: &str, upstream: &UpstreamPool) -> fmt::Result {
    writeln!(f, "  {}:", quoted(key))?;
    match &upstream.source {
        Source::Sink(path) => writeln!(f, "    sink: {}", quoted(&path.to_string_lossy()))?,
        Source::Mx(domain) => writeln!(f, "    mx: {}", quoted(domain))?,
        Source::Srv(service) => writeln!(f, "    srv: {}", quoted(service))?,
        Source::RecipientMx => writeln!(f, "    recipient_mx: true")?,
        Source::OriginalDestination => writeln!(f, "    original_destination: true")?,
        Source::Hosts(hosts) => {
            writeln!(f, "    hosts:")?;
            hosts.iter().try_for_each(|host| print_host(f, host))?;
        }
    }
    // The port of a host found by SRV stands in its record.
    if !matches!(upstream.source, Source::Srv(_) | Source::OriginalDestination) {
        writeln!(f, "    port: {}", upstream.port)?;
    }
    if !matches!(upstream.source, Source::OriginalDestination) {
        writeln!(f, "    balance: {}", name(&BALANCE, upstream.balance))?;
    }
    writeln!(f, "    protocol: {}", name(&PROTOCOL, upstream.protocol))?;
    writeln!(f, "    sessions: {}", upstream.sessions)?;
    print_upstream_tls(f, &upstream.tls)?;
    writeln!(f, "    identity: {}", name(&IDENTITY, upstream.identity))?;
    writeln!(f, "    identity_required: {}", upstream.identity_required)?;
    writeln!(f, "    identity_login: {}", upstream.identity_login)?;
    match upstream.health {
        _ if matches!(upstream.source, Source::OriginalDestination) => Ok(()),
        None => writeln!(f, "    health: off"),
        Some(_) if matches!(upstream.source, Source::RecipientMx) => Ok(()),
        Some(interval) => writeln!(f, "    health: {{ interval: {} }}", print_duration(interval)),
    }
}

fn address(target: &Target) -> String {
    match target {
        Target::Unix(path) => format!("unix:{}", path.to_string_lossy()),
        Target::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
        Target::Tcp { host, port } => format!("{host}:{port}"),
    }
}

fn print_host(f: &mut fmt::Formatter<'_>, host: &HostSpec) -> fmt::Result {
    let address = address(&host.target);
    if host.weight == 1 && host.server_name.is_none() {
        return writeln!(f, "      - {}", quoted(&address));
    }
    let mut keys = vec![format!("address: {}", quoted(&address)), format!("weight: {}", host.weight)];
    keys.extend(host.server_name.as_ref().map(|name| format!("tls: {{ server_name: {} }}", quoted(name))));
    writeln!(f, "      - {}", mapping(&keys))
}

fn print_limits(f: &mut fmt::Formatter<'_>, config: &Config) -> fmt::Result {
    let (sessions, limits) = (&config.session_limits, &config.limits);
    writeln!(f, "limits:")?;
    match sessions.sessions_configured {
        true => writeln!(f, "  sessions: {}", sessions.sessions)?,
        false => {
            writeln!(f, "  # sessions: {}  # less where the descriptors do not suffice", sessions.sessions)?
        }
    }
    writeln!(f, "  sessions_per_client: {}", sessions.sessions_per_client)?;
    writeln!(f, "  new_sessions_per_minute: {}", sessions.new_sessions_per_minute)?;
    writeln!(f, "  messages_per_minute: {}", sessions.messages_per_minute)?;
    writeln!(f, "  recipients_per_minute: {}", sessions.recipients_per_minute)?;
    writeln!(f, "  exempt: {}", list(sessions.exempt.iter().map(ToString::to_string)))?;
    f.write_str(if sessions.ranges.is_empty() { "  ranges: []\n" } else { "  ranges:\n" })?;
    sessions.ranges.iter().try_for_each(|range| print_range(f, range))?;
    writeln!(f, "  recipients: {}", limits.recipients)?;
    writeln!(f, "  message_size: {}", print_size(limits.message_size))?;
    writeln!(f, "  command_line: {}", limits.command_line)?;
    writeln!(f, "  auth_line: {}", limits.auth_line)?;
    writeln!(f, "  reply_line: {}", limits.reply_line)?;
    writeln!(f, "  reply: {}", print_size(limits.reply as u64))?;
    writeln!(f, "  errors: {}", limits.errors)?;
    writeln!(f, "  attempts: {}", limits.attempts)
}

fn print_range(f: &mut fmt::Formatter<'_>, range: &Range) -> fmt::Result {
    writeln!(f, "    - from: {}", list(range.from.iter().map(ToString::to_string)))?;
    writeln!(f, "      sessions: {}", range.sessions)?;
    writeln!(f, "      new_sessions_per_minute: {}", range.new_sessions_per_minute)?;
    writeln!(f, "      messages_per_minute: {}", range.messages_per_minute)?;
    writeln!(f, "      recipients_per_minute: {}", range.recipients_per_minute)
}

fn print_timeouts(f: &mut fmt::Formatter<'_>, config: &Config) -> fmt::Result {
    let timeouts = &config.timeouts;
    writeln!(f, "timeouts:")?;
    let all = [
        ("command", timeouts.command),
        ("content", timeouts.content),
        ("connect", timeouts.connect),
        ("tls", timeouts.tls),
        ("greeting", timeouts.greeting),
        ("reply", timeouts.reply),
        ("answer", timeouts.answer),
        ("attempts", timeouts.attempts),
        ("end_of_data", timeouts.end_of_data),
        ("callouts", timeouts.callouts),
    ];
    all.into_iter().try_for_each(|(key, duration)| writeln!(f, "  {key}: {}", print_duration(duration)))
}

fn print_rule(f: &mut fmt::Formatter<'_>, rule: &Rule) -> fmt::Result {
    writeln!(f, "  - name: {}", quoted(&rule.name))?;
    print_stages(f, &rule.stages)?;
    if rule.matches != Match::default() {
        writeln!(f, "    match: {}", matching(&rule.matches))?;
    }
    let mut keys = Vec::new();
    if !rule.actions.rewrites.is_empty() {
        keys.push(format!("rewrite: {}", rewrite(&rule.actions.rewrites)));
    }
    let actions = &rule.actions;
    let edits = [
        ("remove_header", &actions.remove_header),
        ("add_header", &actions.add_header),
        ("remove_recipient", &actions.remove_recipient),
        ("add_recipient", &actions.add_recipient),
    ];
    let given = edits.iter().filter(|(_, edits)| !edits.is_empty());
    keys.extend(given.map(|(key, edits)| format!("{key}: {}", list(*edits))));
    keys.extend(rule.actions.decide.as_ref().map(decision));
    writeln!(f, "    do: {}", mapping(&keys))
}

fn print_callout(f: &mut fmt::Formatter<'_>, callout: &Callout) -> fmt::Result {
    writeln!(f, "  - name: {}", quoted(&callout.name))?;
    match &callout.kind {
        CalloutKind::Http(http) => {
            writeln!(
                f,
                "    type: http\n    url: {}",
                one_or_list(http.urls.iter().map(ToString::to_string))
            )?;
            if callout.stages.contains(&Stage::Message) {
                writeln!(f, "    content: {}", name(&SHOWS, http.content))?;
            }
        }
        CalloutKind::Policy(Policy { addresses, context }) => {
            writeln!(f, "    type: policy\n    address: {}", one_or_list(addresses.iter().map(address)))?;
            if !context.is_empty() {
                writeln!(f, "    policy_context: {}", quoted(context))?;
            }
        }
        CalloutKind::Milter(milter) => print_milter(f, milter)?,
        CalloutKind::MtaHooks(hooks) => {
            let urls = one_or_list(hooks.urls.iter().map(ToString::to_string));
            writeln!(f, "    type: mta_hooks\n    url: {urls}")?;
            if let Some(file) = &hooks.token_file {
                writeln!(f, "    token_file: {}", quoted(&file.to_string_lossy()))?;
            }
            if let Some(serialization) = hooks.serialization {
                writeln!(f, "    serialization: {}", name(&SERIALIZATION, serialization))?;
            }
            writeln!(f, "    on_quarantine: {}", name(&ON_QUARANTINE, hooks.on_quarantine))?;
        }
    }
    if callout.tls.mode != HopTls::Off {
        writeln!(f, "    tls: {}", mapping(&towards(&callout.tls)))?;
    }
    print_stages(f, &callout.stages)?;
    if callout.when != Match::default() {
        writeln!(f, "    when: {}", matching(&callout.when))?;
    }
    let (base, per_mib) = (print_duration(callout.timeout), print_duration(callout.per_mib));
    writeln!(f, "    timeout: {{ base: {base}, per_mib: {per_mib} }}")?;
    writeln!(f, "    on_error: {}", name(&ON_ERROR, callout.on_error))?;
    writeln!(f, "    concurrency: {}", callout.concurrency)?;
    writeln!(f, "    effects: {}", list(callout.effects.iter().map(|effect| name(&EFFECT, *effect))))?;
    writeln!(f, "    refuse_postmaster: {}", callout.refuse_postmaster)?;
    writeln!(f, "    shadow: {}", callout.shadow)
}

fn print_milter(f: &mut fmt::Formatter<'_>, milter: &Milter) -> fmt::Result {
    writeln!(f, "    type: milter\n    address: {}", one_or_list(milter.addresses.iter().map(address)))?;
    let macros = Occasion::ALL.map(|occasion| {
        let names = list(milter.macros(occasion));
        format!("{}: {names}", occasion.as_str())
    });
    writeln!(f, "    macros: {}", mapping(&macros))?;
    if !milter.values.is_empty() {
        let values = milter.values.iter().map(|(name, value)| format!("{}: {}", quoted(name), quoted(value)));
        writeln!(f, "    macro_values: {}", mapping(&values.collect::<Vec<_>>()))?;
    }
    writeln!(f, "    on_quarantine: {}", name(&ON_QUARANTINE, milter.on_quarantine))
}

fn print_stages(f: &mut fmt::Formatter<'_>, stages: &[Stage]) -> fmt::Result {
    writeln!(f, "    stages: [{}]", stages.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", "))
}

fn rewrite(rewrites: &Rewrites) -> String {
    let mut keys = Vec::new();
    let templates =
        [("sender", &rewrites.sender), ("recipient", &rewrites.recipient), ("helo", &rewrites.helo)];
    for (key, template) in templates {
        keys.extend(template.as_ref().map(|template| format!("{key}: {}", quoted(&template.to_string()))));
    }
    keys.extend(rewrites.parameters.as_ref().map(|parameters| {
        format!("parameters: {{ remove: {}, add: {} }}", list(&parameters.remove), list(&parameters.add))
    }));
    mapping(&keys)
}

fn decision(decide: &Decide) -> String {
    match decide {
        Decide::Reply(lines) => format!("reply: {}", list(lines)),
        Decide::Substitute(lines) => format!("substitute: {}", list(lines)),
        Decide::Route { upstream } => format!("route: {{ upstream: {} }}", quoted(upstream)),
        Decide::Map(file) => format!("map: {}", quoted(&file.to_string_lossy())),
        Decide::Accept => "accept: true".to_owned(),
        Decide::Discard => "discard: true".to_owned(),
        Decide::Disconnect(None) => "disconnect: true".to_owned(),
        Decide::Disconnect(Some(lines)) => format!("disconnect: {}", list(lines)),
        Decide::Retry(ladder) => {
            let rungs = ladder.iter().map(|rung| {
                let recipient =
                    rung.recipient.as_ref().map(|t| format!("recipient: {}", quoted(&t.to_string())));
                let upstream = rung.upstream.as_ref().map(|name| format!("upstream: {}", quoted(name)));
                let mx =
                    rung.mx.as_ref().map(|(name, port)| format!("mx: {}", quoted(&format!("{name}:{port}"))));
                let map = rung.map.as_ref().map(|file| format!("map: {}", quoted(&file.to_string_lossy())));
                mapping(&recipient.into_iter().chain(upstream).chain(mx).chain(map).collect::<Vec<_>>())
            });
            format!("retry: [{}]", rungs.collect::<Vec<_>>().join(", "))
        }
    }
}

fn mapping(keys: &[String]) -> String {
    if keys.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", keys.join(", ")) }
}

fn list(values: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| quoted(value.as_ref())).collect();
    format!("[{}]", values.join(", "))
}

fn one_or_list(values: impl ExactSizeIterator<Item = String>) -> String {
    if values.len() == 1 { values.map(|value| quoted(&value)).collect() } else { list(values) }
}

/// A YAML scalar in double quotes, in which everything but `"`, `\` and control characters stands for itself.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The name of a choice; the tables hold every variant, as the round trip test shows.
fn name<T: PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, other)| *other == value).map_or("", |(name, _)| name)
}
