//! As whom gatepost runs: `user:`, taken on once everything is open that only root may open.
//!
//! In:    the name of an account; what the running process will want to read and write later.
//! Out:   a process that is that account's, in every thread, and cannot go back; what it may no longer read.
//! Never: goes on as somebody else than was asked for.
//!
//! setuid(2): the C library does it for all threads at once. initgroups(3), passwd(5).

use std::ffi::CString;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, Gid, Uid, User, access, initgroups, setgid, setuid};

use crate::config::types::{self, Config, Decide, Intercept, Source};
use crate::session::route::Identity;

/// An account to run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
}

/// The account that a configuration names, if it names one.
///
/// # Errors
///
/// Why nobody can run as that.
pub fn account(config: &Config) -> Result<Option<Account>, String> {
    let Some(name) = &config.user else { return Ok(None) };
    let found =
        User::from_name(name).map_err(|error| format!("user: {name} cannot be looked up: {error}"))?;
    let Some(User { uid, gid, .. }) = found else { return Err(format!("user: there is no account {name}")) };
    if uid.is_root() {
        return Err(format!("user: {name} is root, whose rights are to be given up"));
    }
    let root = Uid::effective().is_root();
    if !root && uid != Uid::effective() {
        return Err(format!(
            "user: to become {name} gatepost has to be started by root, not by uid {}",
            Uid::effective()
        ));
    }
    let refused = |what: &str| {
        Err(format!(
            "user: contradicts {what}, which takes CAP_NET_ADMIN for as long as gatepost runs: have systemd give it that \
             (deploy/gatepost.service.d/intercept.conf), and leave user out"
        ))
    };
    let source = |pool: &types::UpstreamPool| pool.identity == Identity::SourceAddress;
    if let Some((upstream, _)) = config.upstreams.iter().find(|(_, pool)| source(pool)) {
        return refused(&format!("upstreams.{upstream}.identity: source_address"));
    }
    if let Some(place) = config.listeners.iter().position(|door| door.intercept == Intercept::Tproxy) {
        return refused(&format!("listeners[{place}].intercept: tproxy"));
    }
    Ok(Some(Account { name: name.clone(), uid, gid }))
}

impl Account {
    /// Becomes it, in all threads and for good.
    ///
    /// # Errors
    ///
    /// Which step failed: then nothing may go on.
    pub fn assume(&self) -> Result<(), String> {
        let Self { name, uid, gid } = self;
        if *uid == Uid::current() && *uid == Uid::effective() {
            return Ok(());
        }
        let failed = |what: &str, error: nix::Error| format!("user: cannot become {name}: {what}: {error}");
        let c_name = CString::new(name.as_str()).map_err(|error| format!("user: {name}: {error}"))?;
        // In this order: whoever is not root any more may do neither.
        initgroups(&c_name, *gid).map_err(|error| failed("its groups", error))?;
        setgid(*gid).map_err(|error| failed("its group", error))?;
        setuid(*uid).map_err(|error| failed("its rights", error))?;
        if setuid(Uid::from_raw(0)).is_ok() {
            return Err(format!("user: cannot become {name}: the way back to root is open"));
        }
        Ok(())
    }

    /// What it may not do, once it is assumed, that the configuration wants of it later.
    ///
    /// # Errors
    ///
    /// A Maildir that it could not store into: mail would be refused.
    pub fn lacks(&self, config: &Config, file: Option<&Path>) -> Result<Vec<String>, String> {
        let name = &self.name;
        for (upstream, pool) in &config.upstreams {
            let Source::Sink(maildir) = &pool.source else { continue };
            let there =
                maildir.ancestors().find(|above| above.exists()).filter(|path| !path.as_os_str().is_empty());
            let there = there.unwrap_or(Path::new("."));
            if let Err(error) = access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
                return Err(format!(
                    "upstreams.{upstream}.sink: {}: {name}, as whom gatepost is to run (user), may not write there: {error}",
                    there.display()
                ));
            }
        }
        let reads = config.listeners.iter().flat_map(|listener| listener.tls.files());
        let reads = reads.chain(config.upstreams.values().flat_map(|pool| pool.tls.files()));
        let reads = reads.chain(config.callouts.iter().flat_map(|callout| callout.tls.files()));
        let maps = config.rules.iter().filter_map(|rule| rule.actions.decide.as_ref()).flat_map(maps);
        let mut reads: Vec<PathBuf> = reads.chain(maps).chain(file).map(PathBuf::from).collect();
        reads.sort_unstable();
        reads.dedup();
        let unreadable = reads.iter().filter(|file| access(file.as_path(), AccessFlags::R_OK).is_err());
        let mut lacks: Vec<String> = unreadable
            .map(|file| {
                format!(
                    "user: {name} may not read {}: what changes there is taken up by a restart only",
                    file.display()
                )
            })
            .collect();
        let low = |port: u16| (1..1024).contains(&port);
        if config.listeners.iter().flat_map(|listener| &listener.addresses).any(|address| low(address.port()))
        {
            lacks.push(format!(
                "user: {name} may not listen below port 1024: a reload cannot add such a listener"
            ));
        }
        Ok(lacks)
    }
}

/// The tables that a rule looks recipients up in.
fn maps(decide: &Decide) -> Vec<&Path> {
    match decide {
        Decide::Map(file) => vec![file],
        Decide::Retry(ladder) => ladder.iter().filter_map(|rung| rung.map.as_deref()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(user: &str) -> Result<Option<Account>, String> {
        account(&Config { user: Some(user.to_owned()), ..Config::default() })
    }

    #[test]
    fn who_nobody_can_run_as() {
        assert_eq!(account(&Config::default()), Ok(None));
        assert_eq!(of("no-such-account"), Err("user: there is no account no-such-account".to_owned()));
        let listener = types::Listener { intercept: Intercept::Tproxy, ..types::Listener::default() };
        let source =
            types::UpstreamPool { identity: Identity::SourceAddress, ..types::UpstreamPool::default() };
        for (config, key) in [
            (Config { listeners: vec![listener], ..Config::default() }, "listeners[0].intercept: tproxy"),
            (
                Config { upstreams: [("main".to_owned(), source)].into(), ..Config::default() },
                "upstreams.main.identity: source_address",
            ),
        ] {
            let user = Some("nobody".to_owned());
            let refused = account(&Config { user, ..config }).unwrap_err();
            // Whoever is not root is told that first.
            assert!(refused.contains(key) || refused.contains("started by root"), "{refused}");
        }
        assert_eq!(of("root"), Err("user: root is root, whose rights are to be given up".to_owned()));
    }
}
