//! The peers: each a process of its own, with a private configuration in a temporary directory.
//!
//! In:    which peer, the sink's ports, where to put its files.
//! Out:   a running peer that has relayed one message, its address and its process id.
//! Never: leaves a process behind, touches a system-wide configuration, or listens off loopback.
//!
//! What is configured is the fixed part of the comparison: HAProxy in TCP mode with one thread, nginx's mail
//! proxy with one worker and 16 KiB buffers, gatepost with rules and metrics on.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

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
}

/// A running peer; dropping it ends the process.
pub struct Peer {
    pub kind: Kind,
    pub address: SocketAddr,
    child: Option<Child>,
}

/// Where the programs and files of the peers are.
pub struct Place {
    pub gatepost: PathBuf,
    pub directory: PathBuf,
    /// How many sessions each peer takes at once: two descriptors each, and some to spare.
    pub sessions: usize,
}

impl Kind {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 7] = [
        Self::Haproxy,
        Self::Direct,
        Self::Relay,
        Self::Nginx,
        Self::Gatepost,
        Self::GatepostAll,
        Self::GatepostBare,
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
        }
    }

    /// Whether it is gatepost in one of its shapes.
    pub fn is_gatepost(self) -> bool {
        matches!(self, Self::Gatepost | Self::GatepostAll | Self::GatepostBare)
    }

    /// What the program says of its version.
    pub fn version(self, place: &Place) -> io::Result<String> {
        let (program, flag): (&Path, _) = match self {
            Self::Haproxy => (Path::new("haproxy"), "-v"),
            Self::Nginx => (Path::new("nginx"), "-v"),
            _ => (&place.gatepost, "--version"),
        };
        let output = command(program).arg(flag).output().map_err(|error| missing(program, &error))?;
        let text = [output.stdout, output.stderr].concat();
        let line = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
        Ok(line.split(" - ").next().unwrap_or_default().to_owned())
    }
}

impl Peer {
    /// Starts `kind` before `sink` and waits until a message went through it.
    pub fn start(kind: Kind, sink: &Sink, place: &Place) -> io::Result<Self> {
        if kind == Kind::Direct {
            return Ok(Self { kind, address: (Ipv4Addr::LOCALHOST, sink.smtp_port).into(), child: None });
        }
        let port = free_port()?;
        let admin = free_port()?;
        let directory = place.directory.join(format!("{}-{port}", kind.name()));
        std::fs::create_dir(&directory)?;
        let mut command = match kind {
            Kind::Haproxy => haproxy(place, &directory, port, sink)?,
            Kind::Relay => relay(port, sink)?,
            Kind::Nginx => nginx(place, &directory, port, sink)?,
            _ => gatepost(kind, place, &directory, port, admin, sink)?,
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
        let mut peer = Self { kind, address: (Ipv4Addr::LOCALHOST, port).into(), child: Some(child) };
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
        let mut dialog = Dialog::connect(self.address)?;
        for command in [
            "EHLO a.test",
            "MAIL FROM:<a@a.test>",
            "RCPT TO:<recipient@sink.test>",
            "DATA",
            "\r\nready\r\n.",
            "QUIT",
        ] {
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

fn haproxy(place: &Place, directory: &Path, port: u16, sink: &Sink) -> io::Result<Command> {
    let file = directory.join("haproxy.cfg");
    let text = format!(
        "global\n  nbthread 1\n  maxconn {sessions}\ndefaults\n  mode tcp\n  maxconn {sessions}\n  timeout connect 5s\n  \
         timeout client 10m\n  timeout server 10m\nlisten smtp\n  bind 127.0.0.1:{port}\n  \
         server sink 127.0.0.1:{}\n",
        sink.smtp_port,
        sessions = place.sessions,
    );
    std::fs::write(&file, text)?;
    let mut command = command(Path::new("haproxy"));
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn relay(port: u16, sink: &Sink) -> io::Result<Command> {
    let mut command = command(&std::env::current_exe()?);
    command.args(["--bench", "--relay"]).arg(port.to_string()).arg(sink.smtp_port.to_string());
    Ok(command)
}

fn nginx(place: &Place, directory: &Path, port: u16, sink: &Sink) -> io::Result<Command> {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_mail_module.so";
    let file = directory.join("nginx.conf");
    let module = if Path::new(MODULE).exists() { format!("load_module {MODULE};\n") } else { String::new() };
    let text = format!(
        "{module}worker_processes 1;\ndaemon off;\npid nginx.pid;\nerror_log error.log;\n\
         events {{ worker_connections {}; }}\n\
         mail {{\n  server_name proxy.test;\n  auth_http 127.0.0.1:{}/;\n  timeout 10m;\n  proxy_timeout 10m;\n  \
         proxy_pass_error_message on;\n  proxy_buffer 16k;\n  smtp_client_buffer 16k;\n  smtp_auth none;\n  xclient off;\n  \
         smtp_capabilities PIPELINING \"SIZE 104857600\" 8BITMIME CHUNKING ENHANCEDSTATUSCODES;\n  \
         server {{ listen 127.0.0.1:{port} backlog=4096; protocol smtp; }}\n}}\n",
        2 * place.sessions + 100,
        sink.auth_port
    );
    std::fs::write(&file, text)?;
    let mut command = command(Path::new("nginx"));
    command.arg("-p").arg(directory).arg("-c").arg(file).args(["-e", "error.log"]);
    Ok(command)
}

fn gatepost(
    kind: Kind,
    place: &Place,
    directory: &Path,
    port: u16,
    admin: u16,
    sink: &Sink,
) -> io::Result<Command> {
    let file = directory.join("proxy.yaml");
    let workers = if kind == Kind::GatepostAll { "" } else { "workers: 1\n" };
    // Rules at three stages that are asked for every message and never match.
    let rules = if kind == Kind::GatepostBare {
        ""
    } else {
        "rules:\n  \
         - { name: lab, stages: mail, match: { client: 192.0.2.0/24, sender: \"*@lab.example\" }, do: { reply: \"550 5.7.1 Use the submission service\" } }\n  \
         - { name: moved, stages: rcpt, match: { recipient: \"*@old.example\" }, do: { rewrite: { recipient: \"{local}@new.example\" } } }\n  \
         - { name: gone, stages: rcpt, match: { recipient: \"gone@example.com\" }, do: { reply: \"550 5.1.1 No such mailbox\" } }\n  \
         - { name: name, stages: helo, match: { helo: \"*.invalid\" }, do: { reply: \"550 5.7.1 Not with that name\" } }\n"
    };
    let text = format!(
        "hostname: proxy.test\nlisteners:\n  - {{ address: \"127.0.0.1:{port}\", upstream: main }}\n\
         upstreams:\n  main: {{ hosts: [\"127.0.0.1:{}\"] }}\n\
         limits: {{ sessions: {sessions}, sessions_per_client: {sessions}, exempt: [127.0.0.0/8] }}\n\
         admin: {{ address: \"127.0.0.1:{admin}\" }}\nlog: {{ level: warn }}\n{workers}{rules}",
        sink.smtp_port,
        sessions = place.sessions,
    );
    std::fs::write(&file, text)?;
    let mut command = command(&place.gatepost);
    command.arg("run").arg("--config").arg(file);
    Ok(command)
}

/// `program`, told to end with us even if we are killed, where util-linux can do that.
fn command(program: &Path) -> Command {
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
