//! A room for a server whose package excludes another one's: it runs as if it were installed, and nobody else sees it.
//!
//! In:    where `.ci/install-peers` has unpacked it, the accounts it wants, the command in the foreground.
//! Out:   the running server on its leash.
//! Never: changes a file of the system: `/usr`, `/etc` and `/var` are overlaid in a mount namespace, which goes with
//!        the server.
//!
//! unshare(1), mount(8) and the kernel's overlayfs; this takes root, and a container that may mount.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::leash::Leash;
use super::scratch::{PATIENCE, Scratch, run};

/// Where `.ci/install-peers` puts what cannot be installed beside the rest.
pub fn cache() -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    cache.join("gatepost-peers")
}

/// Why there can be no room here, if so.
pub fn lacking() -> Option<String> {
    static REFUSED: OnceLock<Option<String>> = OnceLock::new();
    REFUSED
        .get_or_init(|| {
            let scratch = Scratch::new("room");
            let mut command = Command::new("unshare");
            command.args(inside(&scratch, &scratch.make_dir("tree"), &[])).arg("true");
            let done = run(&scratch, &mut command, Stdio::null(), PATIENCE);
            (!done.status.success())
                .then(|| format!("overlays cannot be mounted here: {}", done.stderr.trim()))
        })
        .clone()
}

/// Starts `sh -c script` in a room with the package's tree; the output goes to the file `output`.
pub fn start(scratch: &Scratch, package: &str, accounts: &[(&str, u32)], script: &str) -> Leash {
    let tree = cache().join(package);
    let mut command: Vec<std::ffi::OsString> = vec!["unshare".into()];
    command.extend(inside(scratch, &tree, accounts));
    command.extend(["sh", "-ec", script].map(Into::into));
    Leash::start(command, &scratch.path().join("output"))
}

/// A machine that has the server installed has an account of that name already, under another number.
pub fn accounts_take_the_place_of_others() {
    let scratch = Scratch::new("room");
    let tree = scratch.make_dir("tree");
    scratch.make_dir("tree/etc");
    for (file, line) in
        [("passwd", "Debian-exim:x:99:99::/var/spool/exim4:/bin/false\n"), ("group", "Debian-exim:x:99:\n")]
    {
        let here = std::fs::read_to_string(Path::new("/etc").join(file)).unwrap();
        scratch.write(&format!("tree/etc/{file}"), line.to_owned() + &here);
    }
    let mut command = Command::new("unshare");
    command.args(inside(&scratch, &tree, &[("Debian-exim", 5001)]));
    command.args([
        "sh",
        "-c",
        "id -u Debian-exim; id -g Debian-exim; grep -c ^Debian-exim: /etc/passwd /etc/group",
    ]);
    let done = run(&scratch, &mut command, Stdio::null(), PATIENCE);
    assert_eq!(done.stdout, "5001\n5001\n/etc/passwd:1\n/etc/group:1\n", "{}", done.stderr);
}

/// What runs its further arguments in a room with the package's tree.
pub fn command(scratch: &Scratch, package: &str, accounts: &[(&str, u32)]) -> Command {
    let mut command = Command::new("unshare");
    command.args(inside(scratch, &cache().join(package), accounts));
    command
}

/// The arguments of unshare(1) up to the command.
fn inside(scratch: &Scratch, tree: &Path, accounts: &[(&str, u32)]) -> [std::ffi::OsString; 6] {
    let lines: String =
        accounts.iter().map(|(name, id)| format!("{name}:x:{id}:{id}::/nonexistent:/bin/sh\n")).collect();
    let script = scratch.write("room.sh", include_str!("room.sh"));
    let accounts = scratch.write("accounts", lines);
    let room = scratch.make_dir("room");
    [OsStr::new("--mount"), "sh".as_ref(), script.as_ref(), tree.as_ref(), room.as_ref(), accounts.as_ref()]
        .map(Into::into)
}
