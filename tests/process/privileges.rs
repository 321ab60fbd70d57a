//! `user`: root's rights are given up once everything is open that takes them.
//!
//! In:    a start as root, an account; a port below 1024, files that only root may read.
//! Out:   a process that is the account's in every thread, and serves; sentences about what it may not do any more.
//! Never: runs where the test is not root's: there is nothing to give up then, and only the refusal is looked at.
//!
//! setuid(2), initgroups(3).

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::gate::{client_of, free_address, yaml};
use crate::certificates::Authority;
use crate::scratch::{Finished, PATIENCE, Scratch, run, wait_child, wait_for};

const ACCOUNT: &str = "nobody";

fn id(arguments: &[&str]) -> String {
    let said = Command::new("id").args(arguments).arg(ACCOUNT).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

fn started(scratch: &Scratch, config: &str) -> (Child, SocketAddr) {
    let admin = free_address();
    scratch.write("proxy.yaml", config.replace("ADMIN", &admin.to_string()));
    let output = fs::File::create(scratch.path().join("output")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.current_dir(scratch.path()).stdin(Stdio::null()).stderr(output);
    (command.spawn().unwrap(), admin)
}

fn output(scratch: &Scratch) -> String {
    fs::read_to_string(scratch.path().join("output")).unwrap()
}

fn check(scratch: &Scratch) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    run(scratch, command.arg("check").current_dir(scratch.path()), Stdio::null(), PATIENCE)
}

/// A port below 1024 that nobody has.
fn low_port() -> Option<SocketAddr> {
    let addresses = (600..1024).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    addresses.into_iter().find(|address| std::net::TcpListener::bind(address).is_ok())
}

#[test]
fn rights_are_given_up_in_every_thread_and_mail_goes() {
    if !geteuid().is_root() {
        return;
    }
    let (uid, gid): (u32, u32) = (id(&["-u"]).parse().unwrap(), id(&["-g"]).parse().unwrap());
    let scratch = Scratch::new("user");
    let files = Authority::new("Example Root").server(&["mx.example"]).write(scratch.path(), "cert");
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    chown(scratch.make_dir("mail"), Some(uid), Some(gid)).unwrap();
    let listener = low_port().expect("one port below 1024 is free");
    let tls = format!(
        "tls: {{ mode: starttls, certificate: \"{}\", key: \"{}\" }}",
        files.certificate.display(),
        files.key.display()
    );
    let config = format!(
        "hostname: gate.example\nuser: {ACCOUNT}\nworkers: 2\nadmin: {{ address: ADMIN }}\n\
         listeners: [{{ address: \"{listener}\", {tls} }}]\nupstreams: {{ main: {{ sink: ./mail }} }}\n"
    );
    let (mut child, _) = started(&scratch, &config);
    wait_for("gatepost to listen", PATIENCE, || output(&scratch).contains("try it: curl").then_some(()));
    let mut client = client_of(listener);
    for (command, code) in
        [("MAIL FROM:<a@example.org>", 250), ("RCPT TO:<b@example.net>", 250), ("DATA", 354)]
    {
        client.ask(command, code);
    }
    client.ask("Subject: kept\r\n\r\n.", 250);
    let stored = fs::read_dir(scratch.path().join("mail/new")).unwrap().next().unwrap().unwrap();
    assert_eq!(stored.metadata().unwrap().uid(), uid);
    let groups = id(&["-G"]);
    let mut groups: Vec<&str> = groups.split(' ').collect();
    groups.sort_unstable();
    let threads = format!("/proc/{}/task", child.id());
    let mut seen = 0;
    for thread in fs::read_dir(threads).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(field("Uid:"), vec![uid.to_string(); 4], "{status}");
        assert_eq!(field("Gid:"), vec![gid.to_string(); 4], "{status}");
        let mut has = field("Groups:");
        has.sort_unstable();
        assert_eq!(has, groups, "{status}");
        assert_eq!(field("CapEff:"), ["0000000000000000"], "{status}");
        seen += 1;
    }
    assert!(seen >= 4, "control, log and two workers: {seen}");
    let said = output(&scratch);
    for lack in
        ["may not read ", "cert.key: what changes there is taken up by a restart only", "below port 1024"]
    {
        assert!(said.contains(lack), "{lack} is missing in\n{said}");
    }
    // A reload that needs what was given up changes nothing, and says why.
    let other = low_port().unwrap();
    let config = config
        .replace(&format!("{{ address: \"{listener}\", {tls} }}"), &format!("{{ address: \"{other}\" }}"));
    let (_, admin) = said.split_once("on http://").unwrap();
    let admin = admin.split_whitespace().next().unwrap();
    scratch.write("proxy.yaml", config.replace("ADMIN", admin));
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    wait_for("the reload to be refused", PATIENCE, || {
        output(&scratch).contains(&format!("{other}: cannot listen: Permission denied")).then_some(())
    });
    client.ask("NOOP", 250);
    client.quit();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(wait_child("gatepost", &mut child, PATIENCE).unwrap().success(), "{}", output(&scratch));
}

#[test]
fn a_maildir_that_it_could_not_write_ends_the_start() {
    if !geteuid().is_root() {
        return;
    }
    let scratch = Scratch::new("user");
    let config = yaml(&[free_address()], free_address(), "{ sink: ./mail }", &format!("user: {ACCOUNT}\n"));
    let (mut child, _) = started(&scratch, &config);
    let status = wait_child("gatepost", &mut child, PATIENCE).unwrap();
    let said = output(&scratch);
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("upstreams.main.sink: ") && said.contains("may not write there"), "{said}");
}

#[test]
fn an_account_nobody_can_run_as_is_an_error_of_the_configuration() {
    let scratch = Scratch::new("user");
    let try_one = |user: &str, listening: &str, pool: &str| {
        let config = yaml(&[free_address()], free_address(), pool, &format!("user: {user}\n"));
        scratch.write(
            "proxy.yaml",
            config.replace(", upstream: main }", &format!(", upstream: main{listening} }}")),
        );
        let checked = check(&scratch);
        assert_eq!(checked.status.code(), Some(2), "{}", checked.stderr);
        checked.stderr
    };
    let sink = "{ sink: ./mail }";
    let said = try_one("no-such-account", "", sink);
    assert!(said.contains("proxy.yaml: user: there is no account no-such-account"), "{said}");
    let said = try_one("1000", "", sink);
    assert!(said.contains("user: expected the name of an account, not its number"), "{said}");
    if geteuid().is_root() {
        let said = try_one("nobody", ", intercept: tproxy", sink);
        assert!(said.contains("user: contradicts listeners[0].intercept: tproxy"), "{said}");
        let said = try_one("nobody", "", "{ hosts: [\"127.0.0.1:2\"], identity: source_address }");
        assert!(said.contains("user: contradicts upstreams.main.identity: source_address"), "{said}");
    }
}
