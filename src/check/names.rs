//! Names that lead nowhere: of the hosts of pools, of services that are asked, of domains that rungs name.
//!
//! In:    a loaded configuration; what became of its hosts.
//! Out:   a [`Problem`] for each name, with the place it was written at.
//! Never: connects anywhere but to DNS, or asks for the same name twice.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::scoped;
use crate::config::types::{CalloutKind, Config, Decide, SMTP_PORT, Target};
use crate::config::{Loaded, Problem};
use crate::hop::dns::Question;
use crate::hop::{HostReport, Resolver};
use crate::prepare::key_of;

/// The time one name has.
const PATIENCE: Duration = Duration::from_secs(5);
/// Names asked for at a time.
const AT_ONCE: usize = 64;

/// Those of pools.
pub(super) fn of_pools(loaded: &Loaded, hosts: &[HostReport]) -> Vec<Problem> {
    let nowhere = hosts.iter().filter_map(|report| {
        let error = report.result.as_ref().err()?;
        Some(loaded.problem(&key_of(&loaded.config, report), format!("{}: {error}", report.host)))
    });
    nowhere.collect()
}

/// Those of callouts and of rungs, which are looked up only when they are needed.
pub(super) async fn of_others(loaded: &Loaded) -> Vec<Problem> {
    let mut questions = questions(&loaded.config).into_iter();
    let mut problems = Vec::new();
    if questions.len() == 0 {
        return problems;
    }
    let resolver = match Resolver::new(&loaded.config.dns) {
        Ok(resolver) => resolver,
        Err(error) => return vec![loaded.problem("dns", error.to_string())],
    };
    loop {
        let mut asked = JoinSet::new();
        for (question, key) in questions.by_ref().take(AT_ONCE) {
            let resolver = resolver.clone();
            asked.spawn(async move { (resolver.ask(&question, PATIENCE).await.err(), question, key) });
        }
        if asked.is_empty() {
            return problems;
        }
        for (error, question, key) in asked.join_all().await {
            problems.extend(error.map(|error| loaded.problem(&key, format!("{question}: {error}"))));
        }
    }
}

fn host(target: &Target) -> Option<&str> {
    if let Target::Tcp { host, .. } = target { Some(host) } else { None }
}

/// Each once, with the first key that names it.
fn questions(config: &Config) -> BTreeMap<Question, String> {
    let mut questions = BTreeMap::new();
    for (i, callout) in config.callouts.iter().enumerate() {
        let (hosts, key): (Vec<&str>, _) = match &callout.kind {
            CalloutKind::Http(http) => (http.urls.iter().map(|url| &*url.host).collect(), "url"),
            CalloutKind::Policy(policy) => (policy.addresses.iter().filter_map(host).collect(), "address"),
            CalloutKind::MtaHooks(hooks) => (hooks.urls.iter().map(|url| &*url.host).collect(), "url"),
            CalloutKind::Milter(milter) => (milter.addresses.iter().filter_map(host).collect(), "address"),
        };
        for host in hosts.into_iter().filter(|host| scoped(host, SMTP_PORT).is_none()) {
            let question = Question::Name(host.into());
            questions.entry(question).or_insert_with(|| format!("callouts[{i}].{key}"));
        }
    }
    for (i, rule) in config.rules.iter().enumerate() {
        let Some(Decide::Retry(ladder)) = &rule.actions.decide else { continue };
        for (j, rung) in ladder.iter().enumerate() {
            if let Some((domain, _)) = &rung.mx {
                let question = Question::Mx(domain.as_str().into());
                questions.entry(question).or_insert_with(|| format!("rules[{i}].do.retry[{j}].mx"));
            }
        }
    }
    questions
}
