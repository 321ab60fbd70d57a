//! gatepost: arguments, configuration, logging, run.

use std::process::ExitCode;

use gatepost::cli::{self, Arguments, Command, Visiting};
use gatepost::config::Loaded;
use gatepost::systemd::Activated;
use gatepost::{check, health, log, run, show};

fn main() -> ExitCode {
    // Before anything opens a descriptor or starts a thread.
    let activated = Activated::from_environment();
    let arguments = cli::parse();
    let loaded = match cli::load(&arguments) {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    let logging = match log::begin(&loaded.config.log) {
        Ok(logging) => logging,
        Err(error) => {
            log::say(&format!("log: {error}"));
            return ExitCode::FAILURE;
        }
    };
    cli::warn(&loaded);
    let status = act(loaded, arguments, activated);
    logging.finish();
    status
}

/// Does what was asked for.
fn act(loaded: Loaded, arguments: Arguments, activated: Result<Activated, String>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            log::say(&format!("runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match arguments.command() {
        Command::Run(show) => {
            let writer = match show::begin(&show) {
                Ok(writer) => writer,
                Err(error) => {
                    log::say(&format!("--show-dialogs: {error}"));
                    return ExitCode::FAILURE;
                }
            };
            let status = runtime.block_on(run::run(loaded, arguments.config, activated));
            if let Some(writer) = writer {
                writer.finish();
            }
            status
        }
        Command::Ask(moment) => cli::ask(&loaded, &moment),
        Command::Health => health::health(loaded.config.admin.address),
        Command::Check(Visiting { probe: false, offline }) => {
            match runtime.block_on(check::check(&loaded, offline)) {
                Ok(resolve) => cli::print(&loaded, resolve),
                Err(errors) => cli::misconfigured(&errors),
            }
        }
        Command::Check(Visiting { probe: true, .. }) => match runtime.block_on(check::probe(&loaded)) {
            Ok(report) => cli::print_report(&report),
            Err(errors) => cli::misconfigured(&errors),
        },
    }
}
