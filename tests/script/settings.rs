//! A script's configuration, as a session takes it.
//!
//! **In**: the lines between `---` of a script, which are `proxy.yaml` and are read by the real decoder.
//! **Out**: [`World`]: the session's settings, its entrance, and the hosts' names by pool.
//! **Never**: resolves a name; the hosts of a pool are tried in the order written, whatever `balance` says.
//!
//! What a script does not set is as the defaults have it, but: `hostname: gate.example.org`, and one pool `main`
//! with one host `a`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use gatepost::callout::CalloutSet;
use gatepost::config::{self, types};
use gatepost::hop::PoolSpec;
use gatepost::limits::Sessions;
use gatepost::prepare::settings;
use gatepost::rules::{Maps, RuleSet};
use gatepost::session::callout::Callouts;
use gatepost::session::client::ClientFacts;
use gatepost::session::route::{
    Destination, Domain, HopTerms, Host, HostNews, NextHops, Pick, Picked, PoolId, PoolKind, TargetId,
};
use gatepost::session::settings::{Entrance, Settings};
use gatepost::session::verdict::{NoRules, Rules, Stages};
use gatepost::smtp::BareNewline;

use super::callouts::Spoken;
use super::prompt::Prompt;
use super::shadowed::Shadowed;

/// All that surrounds a session.
pub struct World {
    /// What a session knows of the configuration.
    pub settings: Arc<Settings>,
    /// Who may have a session.
    pub sessions: Arc<Sessions>,
    /// Through which door the client comes.
    pub entrance: Entrance,
    /// The pools' names, by their numbers.
    pub pools: Vec<String>,
    /// How the hosts of each are spoken to.
    pub terms: Vec<HopTerms>,
    /// Callouts that answer by themselves.
    pub prompt: Option<Arc<Prompt>>,
    /// What the hosts of its pools are told.
    pub news: Arc<News>,
    /// Whether dialogs with them are running out.
    pub stress: Arc<AtomicBool>,
}

/// Who answers a session's questions.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// The script's callouts, with its lines.
    Written,
    /// Its rules, each as a callout.
    Ruled,
    /// Its rules as rules, and behind them one callout at these stages, which has nothing to say.
    Passing(Stages),
    /// The script's callouts, and one in shadow at every stage.
    Shadowed,
}

/// Reads a configuration as a session takes it.
pub fn world(yaml: &str) -> Result<World, String> {
    of(&loaded(yaml)?.config, Asked::Written)
}

/// The same with other callouts than the script's.
pub fn world_asking(yaml: &str, asked: Asked) -> Result<World, String> {
    of(&loaded(yaml)?.config, asked)
}

/// Reads a configuration.
pub fn loaded(yaml: &str) -> Result<config::Loaded, String> {
    let mut text = yaml.to_owned();
    if !yaml.lines().any(|line| line.starts_with("hostname:")) {
        text.push_str("hostname: gate.example.org\n");
    }
    if !yaml.lines().any(|line| line.starts_with("upstreams:")) {
        text.push_str("upstreams: { main: { hosts: [a] } }\n");
    }
    config::load_text("script", &text, std::iter::empty()).map_err(|errors| errors.to_string())
}

fn of(config: &types::Config, asked: Asked) -> Result<World, String> {
    let names: Vec<&String> = config.upstreams.keys().collect();
    let pool = |name: &str| names.iter().position(|&known| known == name).map(|at| PoolId(at as u16));
    let listeners: Vec<Vec<String>> = config.listeners.iter().map(|_| Vec::new()).collect();
    let (maps, wrong) =
        Maps::load(&config.rules, &names.iter().map(|name| name.as_str()).collect::<Vec<_>>());
    if let Some(wrong) = wrong.first() {
        return Err(wrong.to_string());
    }
    let compiled = |rules: &[types::Rule]| {
        RuleSet::compile(rules, &pool, &maps, &listeners)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    let rules = compiled(&config.rules)?;
    let prompt = match asked {
        Asked::Written | Asked::Shadowed => None,
        Asked::Passing(stages) => Some(Arc::new(Prompt::passing(stages))),
        Asked::Ruled => {
            let each: Result<Vec<RuleSet>, String> = config.rules.chunks(1).map(compiled).collect();
            Some(Arc::new(Prompt::ruled(each?)))
        }
    };
    let rules: Box<dyn Rules> = match asked {
        Asked::Ruled => Box::new(NoRules),
        Asked::Written | Asked::Passing(_) | Asked::Shadowed => Box::new(rules),
    };
    let pools: Vec<Vec<Arc<str>>> = config.upstreams.values().map(hosts).collect();
    let specs = config.upstreams.iter().map(|(name, upstream)| PoolSpec::new(name, upstream));
    let (kinds, terms): (Vec<PoolKind>, Vec<HopTerms>) = specs.map(|spec| (spec.kind, spec.terms)).unzip();
    let listener = &config.listeners[0];
    let entrance = Entrance {
        listener: 0,
        pool: pool(&listener.upstream).ok_or("the listener's pool is none of the upstreams")?,
        client: SocketAddr::from(([192, 0, 2, 1], 40000)),
        facts: (listener.intercept != types::Intercept::Off).then(|| {
            let destination = Some(SocketAddr::from(([198, 51, 100, 25], 25)));
            Box::new(ClientFacts { destination, ..ClientFacts::default() })
        }),
    };
    let callouts = CalloutSet::compile(config, &pool, &listeners)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let callouts: Arc<dyn Callouts> = match &prompt {
        Some(prompt) => prompt.clone(),
        None => Arc::new(Spoken(callouts)),
    };
    let callouts = match asked {
        Asked::Shadowed => Arc::new(Shadowed(callouts)),
        _ => callouts,
    };
    let listed = Listed::new(&pools, &terms);
    let (news, stress) = (Arc::clone(&listed.news), Arc::clone(&listed.stress));
    let hops = Box::new(Listed { kinds, ..listed });
    let sessions = Sessions::new(config.session_limits.sessions, &config.session_limits);
    let settings =
        Settings { records: true, trace: false, ..settings(config, rules, callouts, hops, sessions.clone()) };
    let pools = names.into_iter().cloned().collect();
    Ok(World { settings: Arc::new(settings), sessions, entrance, pools, terms, prompt, news, stress })
}

fn hosts(upstream: &types::UpstreamPool) -> Vec<Arc<str>> {
    match &upstream.source {
        types::Source::Hosts(hosts) => hosts
            .iter()
            .map(|host| match &host.target {
                types::Target::Tcp { host, .. } => Arc::from(host.as_str()),
                types::Target::Unix(path) => Arc::from(path.to_string_lossy()),
            })
            .collect(),
        types::Source::Sink(_) | types::Source::RecipientMx => Vec::new(),
        types::Source::OriginalDestination => vec![Arc::from("a")],
        types::Source::Mx(name) | types::Source::Srv(name) => vec![Arc::from(name.as_str())],
    }
}

/// What hosts are told, by their names and in order; kept from when somebody listens.
#[derive(Debug, Default)]
pub struct News(Mutex<Option<Vec<Told>>>);

/// A host's name, and what it was told.
pub type Told = (Arc<str>, HostNews);

impl News {
    /// Keeps what is told from now on.
    pub fn listen(&self) {
        self.0.lock().unwrap().get_or_insert_default();
    }

    /// What was told since.
    pub fn told(&self) -> Vec<Told> {
        self.0.lock().unwrap().clone().unwrap_or_default()
    }
}

/// A host of the script.
#[derive(Debug)]
pub struct Named {
    id: TargetId,
    /// It has offered STARTTLS.
    offered: AtomicBool,
    name: Arc<str>,
    terms: HopTerms,
    news: Arc<News>,
}

impl Host for Named {
    fn id(&self) -> TargetId {
        self.id
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn terms(&self) -> HopTerms {
        self.terms
    }

    fn offers_tls(&self, _: Instant) {
        self.offered.store(true, Relaxed);
    }

    fn has_offered_tls(&self, _: Instant) -> bool {
        self.offered.load(Relaxed)
    }

    fn news(&self, news: HostNews, _: Instant) {
        if let Some(told) = &mut *self.news.0.lock().unwrap() {
            told.push((Arc::clone(&self.name), news));
        }
    }
}

impl Named {
    /// The host of this name. The same name is the same host, in whatever pool.
    fn new(name: &Arc<str>, terms: HopTerms, news: &Arc<News>) -> Arc<Named> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let is_loopback = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let terms = HopTerms { is_loopback, ..terms };
        let id = TargetId(hasher.finish());
        Arc::new(Named {
            id,
            offered: AtomicBool::default(),
            name: Arc::clone(name),
            terms,
            news: Arc::clone(news),
        })
    }
}

/// Pools whose hosts are tried in the order written.
pub struct Listed {
    /// The hosts of each.
    pub pools: Vec<Vec<Arc<Named>>>,
    /// What they are like; SMTP where nothing is said.
    pub kinds: Vec<PoolKind>,
    /// What the hosts are told.
    pub news: Arc<News>,
    /// Whether dialogs are running out, with the hosts of whatever pool.
    pub stress: Arc<AtomicBool>,
}

impl Listed {
    /// The pools with these hosts, and how they are spoken to.
    pub fn new(pools: &[Vec<Arc<str>>], terms: &[HopTerms]) -> Listed {
        let news = Arc::default();
        let named = |(pool, terms): (&Vec<Arc<str>>, &HopTerms)| {
            pool.iter().map(|name| Named::new(name, *terms, &news)).collect()
        };
        Listed {
            pools: pools.iter().zip(terms).map(named).collect(),
            kinds: Vec::new(),
            news,
            stress: Arc::default(),
        }
    }
}

impl NextHops for Listed {
    fn pick(&self, pool: PoolId, tried: &[TargetId], _: Instant) -> Pick {
        match self.kind(pool) {
            PoolKind::Original => Pick::None,
            _ => first_of(&self.pools[usize::from(pool.0)], tried),
        }
    }

    fn pick_at(&self, pool: PoolId, _: SocketAddr, tried: &[TargetId], _: Instant) -> Pick {
        first_of(&self.pools[usize::from(pool.0)], tried)
    }

    fn kind(&self, pool: PoolId) -> PoolKind {
        self.kinds.get(usize::from(pool.0)).copied().unwrap_or_default()
    }

    fn is_stressed(&self, _: PoolId) -> bool {
        self.stress.load(Relaxed)
    }
}

/// The hosts of a domain that a script's lookup found.
#[derive(Debug)]
pub struct Hosts {
    domain: Domain,
    hosts: Vec<Arc<Named>>,
}

impl Hosts {
    /// These, in order.
    pub fn new<S: AsRef<str>>(terms: HopTerms, domain: Domain, names: &[S]) -> Hosts {
        let news = Arc::default();
        let hosts = names.iter().map(|name| Named::new(&name.as_ref().into(), terms, &news)).collect();
        Hosts { domain, hosts }
    }
}

impl Destination for Hosts {
    fn domain(&self) -> &Domain {
        &self.domain
    }

    fn pick(&self, tried: &[TargetId], _: Instant) -> Pick {
        first_of(&self.hosts, tried)
    }
}

fn first_of(hosts: &[Arc<Named>], tried: &[TargetId]) -> Pick {
    let mut left = hosts.iter().filter(|host| !tried.contains(&host.id));
    match left.next() {
        None => Pick::None,
        Some(host) => Pick::Host(Picked { host: host.clone(), more: left.next().is_some() }),
    }
}
