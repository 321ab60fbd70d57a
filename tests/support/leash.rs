//! A server that cannot outlive its test.
//!
//! In:    a command that stays in the foreground, and where its output goes.
//! Out:   the server, running in a process group of its own; ended, with all it has started, when this is dropped.
//! Never: leaves it behind: it hangs on a shell whose standard input is our pipe, so it is ended even when the test
//!        process is killed.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::scratch::wait_child;

/// How long a server may take to see its processes off.
const FAREWELL: Duration = Duration::from_secs(10);

/// `cat` ends when the other end of its input closes: by our hand, or because this process is gone.
const SHELL: &str = "setsid \"$@\" </dev/null & p=$!; cat >/dev/null; kill -TERM \"-$p\"; wait $p";

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
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Its processes are told with it; an error here has nobody left to hear it.
        let _ = wait_child("a server on its leash", &mut self.shell, FAREWELL);
    }
}
