//! A directory of one's own, free ports, and waiting for events.
//!
//! In:    a name; a condition to wait for; a command to run.
//! Out:   a path that other users may enter (Postfix drops its rights), a port, the awaited value, a finished program.
//! Never: waits without a deadline. A condition is looked at again every few milliseconds; nothing is assumed to
//!        have happened because time has passed.

use std::collections::HashSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// How long a program that should be done at once may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A temporary directory, removed at the end unless `INTEROP_KEEP` is set.
pub struct Scratch {
    dir: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Scratch {
    pub fn new(name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix(&format!("gatepost-{name}-")).tempdir().unwrap();
        let path = dir.path().to_owned();
        // Delivery agents run as other users and must be able to walk through.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir: Some(dir), path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file below the directory and says where it is.
    pub fn write(&self, name: &str, octets: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, octets).unwrap();
        path
    }

    pub fn make_dir(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("INTEROP_KEEP").is_some()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("kept {}", dir.keep().display());
        }
    }
}

/// What a program said before it ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A loopback port nobody listens on. Below the range from which the kernel takes source ports, and never given out
/// twice, so that tests running side by side do not meet.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let given = given.get_or_insert_with(HashSet::new);
    // Processes started one after the other begin far apart.
    let start = std::process::id().wrapping_mul(1_009) % 10_000;
    (0..10_000)
        .map(|step| 20_000 + ((start + step) % 10_000) as u16)
        .find(|&port| {
            !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() && given.insert(port)
        })
        .expect("one of ten thousand ports is free")
}

/// Whether somebody listens there, without a connection that he would count (proc_net_tcp(5); 0A is LISTEN).
pub fn is_listened_at(address: SocketAddr) -> bool {
    let port = format!(":{:04X}", address.port());
    fs::read_to_string("/proc/net/tcp").is_ok_and(|table| {
        table.lines().any(|line| {
            let mut columns = line.split_whitespace().skip(1);
            columns.next().is_some_and(|local| local.ends_with(&port)) && columns.nth(1) == Some("0A")
        })
    })
}

/// Waits until `look` finds something, or panics at the deadline with what was waited for.
pub fn wait_for<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Waits for a child to end; kills it and says so if it does not.
pub fn wait_child(what: &str, child: &mut Child, patience: Duration) -> Result<ExitStatus, String> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| format!("{what}: {error}"))? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            // It may have ended in between: both answers are fine, the verdict is the same.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{what}: still running after {patience:?}"));
        }
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Runs a program to its end with bounded patience. Its output goes through files, so it can never block on us.
pub fn run(scratch: &Scratch, command: &mut Command, stdin: Stdio, patience: Duration) -> Finished {
    let what = format!("{:?}", command.get_program());
    let out = tempfile::NamedTempFile::new_in(scratch.path()).unwrap();
    let err = tempfile::NamedTempFile::new_in(scratch.path()).unwrap();
    command.stdin(stdin).stdout(out.reopen().unwrap()).stderr(err.reopen().unwrap());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
    let ended = wait_child(&what, &mut child, patience);
    let (stdout, stderr) = (text(&out), text(&err));
    match ended {
        Ok(status) => Finished { status, stdout, stderr },
        Err(why) => panic!("{why}\n{stdout}\n{stderr}"),
    }
}

fn text(file: &tempfile::NamedTempFile) -> String {
    String::from_utf8_lossy(&fs::read(file.path()).unwrap()).into_owned()
}
