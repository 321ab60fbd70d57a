//! A server that cannot outlive its test.
//!
//! In:    a command that stays in the foreground, and where its output goes.
//! Out:   the server, running in a process group of its own, which can be signalled; ended, with all it has started, when
//!        this is dropped, were it stopped.
//! Never: leaves it behind: it hangs on a shell whose standard input is our pipe, so it is ended even when the test
//!        process is killed.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getpgid, kill_process_group};

use super::scratch::{PATIENCE, wait_child, wait_for};

/// How long a server may take to see its processes off.
const FAREWELL: Duration = Duration::from_secs(10);

/// `cat` ends when the other end of its input closes: by our hand, or because this process is gone.
const SHELL: &str =
    "setsid \"$@\" </dev/null & p=$!; cat >/dev/null; kill -TERM \"-$p\"; kill -CONT \"-$p\"; wait $p";

pub struct Leash {
    shell: Child,
}

impl Leash {
    /// Starts the command; standard output and standard error go to the file `output`.
    pub fn start<S: AsRef<OsStr>>(command: impl IntoIterator<Item = S>, output: &Path) -> Self {
        let output = fs::File::create(output).unwrap();
        let shell = Command::new("sh")
            .args(["-c", SHELL, "leash"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { shell }
    }

    /// Signals the server, and all it has started.
    pub fn signal(&self, signal: Signal) {
        let group = wait_for("a server to lead a process group", PATIENCE, || self.group());
        kill_process_group(group, signal).unwrap();
    }

    /// Of the shell's children it is the one that leads a group (proc(5)).
    fn group(&self) -> Option<Pid> {
        let shell = self.shell.id();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        let mut children = children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        children.find(|child| getpgid(Some(*child)) == Ok(*child))
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Its processes are told with it; an error here has nobody left to hear it.
        let _ = wait_child("a server on its leash", &mut self.shell, FAREWELL);
    }
}
