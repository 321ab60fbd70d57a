//! The peers: each a process of its own, with a private configuration in a temporary directory.
//!
//! In:    which peer and how it is entered, the sink's ports, where to put its files.
//! Out:   a running peer that has relayed one message, its address and its process id.
//! Never: leaves a process behind, touches a system-wide configuration, or listens off loopback.
//!
//! What each is told: `configurations`.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::configurations::Setting;
use crate::entry::{Certificates, Entry};
use crate::lockstep::Dialog;
use crate::sink::Sink;

/// Who relays, and in which column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// HAProxy, TCP mode, one thread: every ratio is to it.
    Haproxy,
    /// Nobody: the source talks to the sink.
    Direct,
    /// A relay that does not parse: the floor.
    Relay,
    /// nginx's mail proxy.
    Nginx,
    /// gatepost, `workers: 1`, with rules: the column that judges.
    Gatepost,
    /// The same with the default number of workers.
    GatepostAll,
    /// The same as `Gatepost` without rules.
    GatepostBare,
    /// The same as `Gatepost`, of another build: what a change is measured against.
    GatepostBefore,
}

/// A running peer; dropping it ends the process.
pub struct Peer {
    pub kind: Kind,
    pub entry: Entry,
    address: SocketAddr,
    child: Option<Child>,
}

/// Where the programs and files of the peers are.
pub struct Place {
    pub gatepost: PathBuf,
    /// The gatepost of before a change.
    pub before: Option<PathBuf>,
    pub directory: PathBuf,
    pub certificates: Certificates,
    /// How many sessions each peer takes at once: two descriptors each, and some to spare.
    pub sessions: usize,
}

impl Place {
    /// gatepost's program, for one of its shapes.
    pub fn program(&self, kind: Kind) -> &Path {
        match &self.before {
            Some(before) if kind == Kind::GatepostBefore => before,
            _ => &self.gatepost,
        }
    }
}

impl Kind {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::Haproxy,
        Self::Direct,
        Self::Relay,
        Self::Nginx,
        Self::Gatepost,
        Self::GatepostAll,
        Self::GatepostBare,
        Self::GatepostBefore,
    ];

    /// The name used in options and as the table's heading.
    pub fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Direct => "direct",
            Self::Relay => "relay",
            Self::Nginx => "nginx",
            Self::Gatepost => "gatepost",
            Self::GatepostAll => "gatepost-2",
            Self::GatepostBare => "gatepost-bare",
            Self::GatepostBefore => "gatepost-before",
        }
    }

    /// Whether it is gatepost in one of its shapes.
    pub fn is_gatepost(self) -> bool {
        matches!(self, Self::Gatepost | Self::GatepostAll | Self::GatepostBare | Self::GatepostBefore)
    }

    /// What the program says of its version.
    pub fn version(self, place: &Place) -> io::Result<String> {
        let (program, flag): (&Path, _) = match self {
            Self::Haproxy => (Path::new("haproxy"), "-v"),
            Self::Nginx => (Path::new("nginx"), "-v"),
            _ => (place.program(self), "--version"),
        };
        let output = command(program).arg(flag).output().map_err(|error| missing(program, &error))?;
        let text = [output.stdout, output.stderr].concat();
        let line = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
        Ok(line.split(" - ").next().unwrap_or_default().to_owned())
    }
}

impl Peer {
    /// Starts `kind` before `sink`, entered as said, and waits until a message went through it.
    pub fn start(kind: Kind, entry: Entry, sink: &Sink, place: &Place) -> io::Result<Self> {
        if kind == Kind::Direct {
            let address = (Ipv4Addr::LOCALHOST, sink.smtp_port).into();
            return Ok(Self { kind, entry, address, child: None });
        }
        let port = free_port()?;
        let directory = place.directory.join(format!("{}-{}-{port}", kind.name(), entry.name()));
        std::fs::create_dir(&directory)?;
        let setting = Setting { entry, place, directory: &directory, port, sink };
        let mut command = match kind {
            Kind::Haproxy => setting.haproxy()?,
            Kind::Relay => setting.relay()?,
            Kind::Nginx => setting.nginx()?,
            _ => setting.gatepost(kind)?,
        };
        let log = std::fs::File::create(directory.join("output"))?;
        let program = Path::new(command.get_program()).to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .current_dir(&directory)
            .spawn()
            .map_err(|error| missing(&program, &error))?;
        let mut peer = Self { kind, entry, address: (Ipv4Addr::LOCALHOST, port).into(), child: Some(child) };
        peer.wait_until_ready(sink).map_err(|error| {
            let mut said = String::new();
            for file in ["output", "error.log"] {
                let _ = std::fs::File::open(directory.join(file))
                    .and_then(|mut file| file.read_to_string(&mut said));
            }
            io::Error::other(format!("{} does not relay: {error}\n{said}", kind.name()))
        })?;
        Ok(peer)
    }

    /// Where it is, and how to enter.
    pub fn door(&self) -> (SocketAddr, Entry) {
        (self.address, self.entry)
    }

    /// The process, for a peer that is one.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn wait_until_ready(&mut self, sink: &Sink) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose()) {
                return Err(io::Error::other(format!("it ended at once, {}", status?)));
            }
            match TcpStream::connect(self.address) {
                Ok(_) => break,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
        let before = sink.tally();
        let mut dialog = Dialog::connect(self.door())?;
        for command in
            ["MAIL FROM:<a@a.test>", "RCPT TO:<recipient@sink.test>", "DATA", "\r\nready\r\n.", "QUIT"]
        {
            dialog.say(format!("{command}\r\n").as_bytes())?;
        }
        let after = sink.tally();
        if after.messages - before.messages == 1 {
            Ok(())
        } else {
            Err(io::Error::other("the message is not there"))
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let Some(child) = self.child.as_mut() else { return };
        // A second SIGTERM ends gatepost without waiting for idle sessions; the others go at the first.
        for _ in 0..2 {
            if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let deadline = Instant::now() + Duration::from_secs(2);
            while Instant::now() < deadline {
                if !matches!(child.try_wait(), Ok(None)) {
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// `program`, told to end with us even if we are killed, where util-linux can do that.
pub fn command(program: &Path) -> Command {
    if !Path::new("/usr/bin/setpriv").exists() {
        return Command::new(program);
    }
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

fn missing(program: &Path, error: &io::Error) -> io::Error {
    io::Error::other(format!("cannot run {}: {error}", program.display()))
}

/// A port below the range from which the kernel takes those of outgoing connections: one found by binding
/// to port 0 may be taken by a client before the peer listens, or be where somebody else's client still calls.
pub fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..10_000 {
        let offset = u32::from(NEXT.fetch_add(1, Ordering::Relaxed)) + std::process::id() * 37;
        let port = 15_000 + u16::try_from(offset % 15_000).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("no free port"))
}
