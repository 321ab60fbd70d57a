//! The callouts of one configuration: whom to ask, what to write, and who carries it.
//!
//! **In**: the configuration's callouts, compiled once, with the files of their TLS; then questions of sessions.
//! **Out**: as [`Callouts`] has it for the session; as [`Asker`] has it for the shell.
//! **Never**: changes once compiled, so that running sessions keep theirs over a reload, connections included (files of
//! TLS that change are taken up by connections made from then on); asks at a stage for which no callout is configured: that costs a session one bit test.
//!
//! A kind brings its codec and its leaf: `http` those of `question`, `answer` and `http`, `policy`, `milter` and `hooks` their own.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::Asker;
use super::carrier::Carrier;
use super::hooks;
use super::milter;
use super::policy;
use super::question::{self, Server};

use crate::config::types::{self as config, CalloutKind, Config, Effect};
use crate::rules::{Asked, When};
use crate::session::callout::{CalloutId, CalloutTerms, Callouts};
use crate::session::route::{HopTls, PoolId};
use crate::session::verdict::{Question, Stage, Stages};
use crate::smtp::ReplyRef;
use crate::tls::ClientTls;

/// All callouts of one configuration.
pub struct CalloutSet {
    /// By [`CalloutId`].
    callouts: Vec<Callout>,
    obeyed: Staged,
    shadows: Staged,
    server: Server,
    /// By [`CalloutId`]: TLS with those that are spoken to under it.
    tls: Vec<Option<Arc<ClientTls>>>,
    carrier: Arc<dyn Asker>,
}

/// Who is asked at which stage.
#[derive(Default)]
struct Staged {
    /// By stage, in file order.
    by_stage: [Vec<CalloutId>; Stage::ALL.len()],
    stages: Stages,
}

impl Staged {
    fn add(&mut self, stage: Stage, callout: CalloutId) {
        self.by_stage[stage as usize].push(callout);
        self.stages = self.stages.with(stage);
    }
}

/// The pure half of one.
struct Callout {
    name: Box<str>,
    when: When,
    terms: CalloutTerms,
    codec: Codec,
    /// It is told of a message's parts.
    tells_structure: bool,
}

/// What its questions are written in.
enum Codec {
    Json,
    /// Attributes, one of which is this text.
    Policy(Box<str>),
    Milter,
    MtaHooks,
}

/// What is wrong with a callout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalloutError {
    /// The callout's name.
    pub callout: String,
    /// Where it stands in the file.
    pub mark: config::Mark,
    /// The key within it, such as `when.recipient`.
    pub key: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for CalloutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "callout {}: {}: {}", self.callout, self.key, self.problem)
    }
}

impl std::error::Error for CalloutError {}

impl CalloutSet {
    /// Compiles a configuration's callouts. `listeners` as for [`RuleSet::compile`](crate::rules::RuleSet::compile).
    ///
    /// # Errors
    ///
    /// Everything that is wrong with any of them.
    pub fn compile(
        config: &Config,
        pools: &dyn Fn(&str) -> Option<PoolId>,
        listeners: &[Vec<String>],
    ) -> Result<Self, Vec<CalloutError>> {
        let mut callouts = Vec::new();
        let (mut obeyed, mut shadows) = (Staged::default(), Staged::default());
        let mut errors = Vec::new();
        let (mut tls, mut bearers) = (Vec::new(), Vec::new());
        for (callout, number) in config.callouts.iter().zip(0..=u16::MAX) {
            let wrong = |key, problem| CalloutError {
                callout: callout.name.clone(),
                mark: callout.mark,
                key,
                problem,
            };
            let secure = callout.tls.mode != HopTls::Off;
            match secure.then(|| ClientTls::load(&callout.tls)).transpose() {
                Ok(loaded) => tls.push(loaded.map(Arc::new)),
                Err(error) => errors.push(wrong("tls".to_owned(), error.to_string())),
            }
            let token = match &callout.kind {
                CalloutKind::MtaHooks(hooks) => hooks.token_file.as_deref(),
                _ => None,
            };
            match token.map(hooks::bearer).transpose() {
                Ok(loaded) => bearers.push(loaded),
                Err(error) => errors.push(wrong("token_file".to_owned(), error)),
            }
            match When::compile(&callout.when, listeners) {
                Ok(when) => {
                    callouts.push(Callout {
                        name: callout.name.as_str().into(),
                        when,
                        terms: terms(callout),
                        codec: match &callout.kind {
                            CalloutKind::Http(_) => Codec::Json,
                            CalloutKind::Policy(policy) => Codec::Policy(policy.context.as_str().into()),
                            CalloutKind::Milter(_) => Codec::Milter,
                            CalloutKind::MtaHooks(_) => Codec::MtaHooks,
                        },
                        tells_structure: matches!(callout.kind, CalloutKind::Http(_))
                            && callout.stages.contains(&Stage::Message),
                    });
                }
                Err(unmatched) => errors.extend(
                    unmatched.into_iter().map(|(key, problem)| wrong(format!("when.{key}"), problem)),
                ),
            }
            for &stage in &callout.stages {
                let staged = if callout.shadow { &mut shadows } else { &mut obeyed };
                staged.add(stage, CalloutId(number));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let first = |names: &Vec<String>| names.first().map(String::as_str).unwrap_or_default().into();
        let server =
            Server { hostname: config.host_name().into(), listeners: listeners.iter().map(first).collect() };
        let carrier: Arc<dyn Asker> = Arc::new(Carrier::new(config, pools, &tls, bearers));
        Ok(Self { callouts, obeyed, shadows, server, tls, carrier })
    }

    /// TLS of each that has any, with the key that names its files.
    pub fn tls(&self) -> impl Iterator<Item = (String, &Arc<ClientTls>)> {
        let numbered = self.tls.iter().enumerate();
        numbered.filter_map(|(place, tls)| Some((format!("callouts[{place}].tls"), tls.as_ref()?)))
    }

    fn get(&self, callout: CalloutId) -> &Callout {
        &self.callouts[usize::from(callout.0)]
    }
}

impl Callouts for CalloutSet {
    fn stages(&self) -> Stages {
        self.obeyed.stages
    }

    fn shadow_stages(&self) -> Stages {
        self.shadows.stages
    }

    fn shadows(&self, question: &Question<'_>, reply: Option<ReplyRef<'_>>) -> Vec<CalloutId> {
        let asked = Asked::new(question, reply);
        let all = self.shadows.by_stage[question.stage as usize].iter().copied();
        all.filter(|id| asked.fits(&self.get(*id).when)).collect()
    }

    fn next(
        &self,
        question: &Question<'_>,
        reply: Option<ReplyRef<'_>>,
        after: Option<CalloutId>,
    ) -> Option<CalloutId> {
        let asked = Asked::new(question, reply);
        let all = self.obeyed.by_stage[question.stage as usize].iter().copied();
        all.filter(|id| Some(*id) > after).find(|id| asked.fits(&self.get(*id).when))
    }

    fn wants_structure(&self) -> bool {
        self.callouts.iter().any(|callout| callout.tells_structure || callout.when.wants_structure())
    }

    fn encode(&self, callout: CalloutId, question: &Question<'_>, reply: Option<ReplyRef<'_>>) -> Box<[u8]> {
        match &self.get(callout).codec {
            Codec::Json => question::encode(&self.server, question, reply),
            Codec::Policy(context) => policy::encode(context, question),
            Codec::Milter => milter::encode(&self.server.hostname, question, reply),
            Codec::MtaHooks => hooks::encode(&self.server, question, reply),
        }
    }

    fn terms(&self, callout: CalloutId) -> CalloutTerms {
        self.get(callout).terms
    }

    fn name(&self, callout: CalloutId) -> &str {
        &self.get(callout).name
    }

    fn carrier(&self) -> &dyn Any {
        &self.carrier
    }
}

/// What holds for it.
pub(super) fn terms(callout: &config::Callout) -> CalloutTerms {
    CalloutTerms {
        timeout: callout.timeout,
        per_mib: callout.per_mib,
        on_error: callout.on_error,
        may_discard: callout.effects.contains(&Effect::Discard),
        refuse_postmaster: callout.refuse_postmaster,
    }
}
