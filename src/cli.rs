//! The command line: `gatepost [run]`, `check`, `ask` and `health`, each with `--config FILE`.
//!
//! **In**: the process's arguments and environment. **Out**: [`Arguments`], then by [`load`] a configuration, whose
//! warnings [`warn`] says, or the exit status 2 after every error has been said; [`print()`] for `check`.
//! **Never**: starts anything, resolves a name, or writes to standard output what is not the effective configuration.
//!
//! `main` puts between [`load`] and [`print()`] what else `check` has to find out, such as whether host names resolve.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::ask::{self, Moment};
use crate::check::Report;
use crate::config::types::Config;
use crate::config::{self, Loaded};
use crate::log;
use crate::prepare;
use crate::show::Show;

/// The exit status for a configuration that cannot be used; clap uses it for wrong arguments, too.
const MISCONFIGURED: u8 = 2;

/// What gatepost was asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "gatepost",
    version,
    about = "A transparent SMTP proxy: two live dialogs, rules and callouts at every step",
    after_help = "Without --config, proxy.yaml in the working directory is read if it exists, else a built-in one that \
                  listens on 127.0.0.1:2525 and stores mail in ./mail. Variables such as \
                  GATEPOST__LIMITS__MESSAGE_SIZE=10MiB override single values.\n\
                  SIGTERM drains, a second one ends at once; SIGHUP reads the configuration again."
)]
pub struct Arguments {
    /// What to do; running is the default
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file
    #[arg(long, short, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Take mail sessions (the default)
    Run(Show),
    /// Check the configuration and print what it comes to; with --probe, visit the hosts of all pools, too
    Check(Visiting),
    /// Ask the rules about a moment of a dialog, with --callouts the callouts, too; no mail is sent to anybody
    #[command(
        after_help = "Example: gatepost ask --stage rcpt-reply --client 192.0.2.7 --sender a@example.org \
                            --recipient b@example.com --reply \"550 5.1.1 No such user\""
    )]
    Ask(Box<Moment>),
    /// Ask whether the gatepost at admin.address lives; the exit status says so
    Health,
}

/// How far a check goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Args)]
pub struct Visiting {
    /// Connect to every host of every pool and say what is wrong there; the exit status is 1 if anything is
    #[arg(long)]
    pub probe: bool,
    /// Do not look names up; without it the exit status is 1 if one leads nowhere
    #[arg(long, conflicts_with = "probe")]
    pub offline: bool,
}

impl Arguments {
    /// What to do.
    pub fn command(&self) -> Command {
        self.command.clone().unwrap_or(Command::Run(Show::default()))
    }
}

/// Reads the arguments of this process; says help, version or what is wrong with them and exits.
pub fn parse() -> Arguments {
    Arguments::parse()
}

/// Loads the configuration. Errors go to standard error, and with them comes the exit status.
pub fn load(arguments: &Arguments) -> Result<Loaded, ExitCode> {
    // Whoever asks a rule or for a sign of life need not be allowed to read a private key.
    let looks = matches!(arguments.command(), Command::Run(_) | Command::Check(_));
    let files = |config: &Config, wrong| if looks { prepare::files(config, wrong) } else { Vec::new() };
    config::load(arguments.config.as_deref(), config::environment(), files)
        .map_err(|errors| misconfigured(&errors.to_string()))
}

/// Says what a configuration warns about; once there is a log, so that whoever reads it keeps nobody waiting.
pub fn warn(loaded: &Loaded) {
    loaded.warnings.iter().for_each(|warning| log::say(&format!("warning: {warning}")));
}

/// Prints the effective configuration, as the last step of `gatepost check`; names that `resolve` not are its failure.
pub fn print(loaded: &Loaded, resolve: bool) -> ExitCode {
    let printed = put(&format!("# the effective configuration, from {}\n{}", loaded.file, loaded.config));
    if resolve { printed } else { ExitCode::FAILURE }
}

/// Prints what was found at the hosts, as the last step of `gatepost check --probe`.
pub fn print_report(report: &Report) -> ExitCode {
    let printed = put(&report.to_string());
    if report.is_good() { printed } else { ExitCode::FAILURE }
}

/// Says what is wrong with the configuration, which ends everything.
pub fn misconfigured(errors: &str) -> ExitCode {
    log::say(errors.trim_end());
    ExitCode::from(MISCONFIGURED)
}

/// Asks the rules and prints the answer.
pub fn ask(loaded: &Loaded, moment: &Moment) -> ExitCode {
    match ask::ask(loaded, moment) {
        Ok(text) => put(&text),
        Err(errors) => misconfigured(&errors),
    }
}

fn put(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // `gatepost check | head` is not a failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            log::say(&format!("standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn reads_the_documented_forms() {
        <Arguments as CommandFactory>::command().debug_assert();
        let parse = |words: &[&str]| {
            let arguments = Arguments::try_parse_from(std::iter::once(&"gatepost").chain(words)).ok()?;
            Some((arguments.command(), arguments.config.map(|path| path.display().to_string())))
        };
        let file = || Some("p.yaml".to_owned());
        assert_eq!(parse(&[]), Some((Command::Run(Show::default()), None)));
        assert_eq!(parse(&["run"]), Some((Command::Run(Show::default()), None)));
        assert_eq!(parse(&["--config", "p.yaml"]), Some((Command::Run(Show::default()), file())));
        assert_eq!(parse(&["run", "--config", "p.yaml"]), Some((Command::Run(Show::default()), file())));
        let check = |probe| Command::Check(Visiting { probe, offline: false });
        assert_eq!(parse(&["check", "--config=p.yaml"]), Some((check(false), file())));
        assert_eq!(parse(&["--config", "p.yaml", "check"]), Some((check(false), file())));
        assert_eq!(parse(&["check", "--probe"]), Some((check(true), None)));
        let offline = Command::Check(Visiting { probe: false, offline: true });
        assert_eq!(parse(&["check", "--offline"]), Some((offline, None)));
        assert_eq!(parse(&["check", "--offline", "--probe"]), None);
        assert_eq!(parse(&["run", "--probe"]), None);
        assert_eq!(parse(&["ask"]), None);
        assert_eq!(parse(&["ask", "--stage", "disconnect"]), None);
        assert!(matches!(parse(&["ask", "--stage", "rcpt"]), Some((Command::Ask(_), None))));
        assert_eq!(parse(&["health"]), Some((Command::Health, None)));
        assert_eq!(parse(&["chek"]), None);
        assert_eq!(parse(&["run", "p.yaml"]), None);
        assert_eq!(parse(&["--config"]), None);
    }
}
