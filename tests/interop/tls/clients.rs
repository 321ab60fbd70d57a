//! Clients that speak TLS: each sends one message, in plaintext, after STARTTLS, or under TLS from the first octet.
//!
//! In:    a client, how it is to begin, the door, who may vouch for it, a message.
//! Out:   its own words, and the version of TLS that it says it had.
//! Never: goes on with a certificate it cannot verify, nor in plaintext where TLS is wanted: every client is told to
//!        insist, so that mail delivered is mail sent as the table says.
//!
//! RFC 3207 (STARTTLS), RFC 8314 3 (implicit TLS).

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Leg, version};
use crate::cases::outcomes;
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, find, found};
use crate::support::postfix::{Postfix, Spec};
use crate::support::scratch::{PATIENCE, Scratch, run, wait_for};

const FROM: &str = "sender@client.example";
const TO: &str = "joe@a.example";

/// The programs in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Curl,
    Swaks,
    Msmtp,
    Smtplib,
    OpenSsl,
    Postfix,
}

pub const CLIENTS: [Client; 6] =
    [Client::Curl, Client::Swaks, Client::Msmtp, Client::Smtplib, Client::OpenSsl, Client::Postfix];

/// Where a client is to go.
pub struct Way<'a> {
    pub leg: Leg,
    pub door: SocketAddr,
    /// Who vouches for the door, PEM.
    pub roots: &'a Path,
    pub scratch: &'a Scratch,
    /// The message, lines ending in CRLF.
    pub message: &'a str,
}

/// What it made of it.
pub struct Told {
    /// Its words and its exit status.
    pub words: String,
    /// The version of TLS, `-` for none.
    pub tls: String,
    /// Whether it says that the mail is sent.
    pub sent: bool,
}

impl Client {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::Swaks => "swaks",
            Self::Msmtp => "msmtp",
            Self::Smtplib => "smtplib",
            Self::OpenSsl => "s_client",
            Self::Postfix => "Postfix",
        }
    }

    pub fn needs(self) -> Peer {
        match self {
            Self::Curl => Peer::Curl,
            Self::Swaks => Peer::Swaks,
            Self::Msmtp => Peer::Msmtp,
            Self::Smtplib => Peer::Python,
            Self::OpenSsl => Peer::OpenSsl,
            Self::Postfix => Peer::Postfix,
        }
    }

    /// Whether there is such a thing as this client on that leg.
    pub fn has(self, leg: Leg) -> bool {
        (self, leg) != (Self::OpenSsl, Leg::Plain)
    }

    /// Sends the message.
    pub fn send(self, way: &Way<'_>) -> Told {
        match self {
            Self::Curl => curl(way),
            Self::Swaks => swaks(way),
            Self::Msmtp => msmtp(way),
            Self::Smtplib => smtplib(way),
            Self::OpenSsl => openssl(way),
            Self::Postfix => postfix(way),
        }
    }
}

fn curl(way: &Way<'_>) -> Told {
    let scheme = if way.leg == Leg::Implicit { "smtps" } else { "smtp" };
    let mut command = Command::new(found("curl"));
    command.args(["-sSv", "--max-time", "15", "--cacert"]).arg(way.roots);
    if way.leg == Leg::StartTls {
        command.arg("--ssl-reqd");
    }
    command.arg(format!("{scheme}://{}/client.example", way.door)).args(["--mail-from", FROM]);
    command.args(["--mail-rcpt", TO, "-T"]).arg(way.scratch.write("message", way.message));
    told(way, &mut command, Stdio::null(), "SSL connection using")
}

fn swaks(way: &Way<'_>) -> Told {
    let mut command = Command::new(found("swaks"));
    command.args(["--server", &way.door.ip().to_string(), "--port", &way.door.port().to_string()]);
    command.args(["--helo", "client.example", "--timeout", "15", "--from", FROM, "--to", TO, "--data"]);
    command.arg(format!("@{}", local(way).display()));
    if way.leg != Leg::Plain {
        command.arg(if way.leg == Leg::StartTls { "--tls" } else { "--tls-on-connect" });
        command.arg("--tls-verify").arg("--tls-ca-path").arg(way.roots);
    }
    told(way, &mut command, Stdio::null(), "TLS started with cipher")
}

fn msmtp(way: &Way<'_>) -> Told {
    let mut command = Command::new(found("msmtp"));
    command.arg(format!("--host={}", way.door.ip())).arg(format!("--port={}", way.door.port()));
    command.args(["--debug", "--domain=client.example", "--timeout=15", "--auth=off"]);
    command.arg(format!("--from={FROM}"));
    if way.leg == Leg::Plain {
        command.arg("--tls=off");
    } else {
        let starttls = if way.leg == Leg::StartTls { "on" } else { "off" };
        command.args(["--tls=on", "--tls-certcheck=on", &format!("--tls-starttls={starttls}")]);
        command.arg(format!("--tls-trust-file={}", way.roots.display()));
    }
    command.args(["--", TO]);
    let message = fs::File::open(local(way)).unwrap();
    told(way, &mut command, message.into(), "TLS session parameters:")
}

fn smtplib(way: &Way<'_>) -> Told {
    let connect = match way.leg {
        Leg::Implicit => "smtplib.SMTP_SSL(**door, context=context)",
        _ => "smtplib.SMTP(**door)",
    };
    let starttls = if way.leg == Leg::StartTls { "s.starttls(context=context)\n" } else { "" };
    let tls = if way.leg == Leg::Plain { "" } else { "print('under', s.sock.version())\n" };
    let script = format!(
        "import smtplib, ssl, sys\ncontext = ssl.create_default_context(cafile=sys.argv[1])\n\
         door = dict(host='{}', port={}, local_hostname='client.example', timeout=15)\ns = {connect}\n{starttls}{tls}\
         print(s.sendmail('{FROM}', ['{TO}'], open(sys.argv[2], 'rb').read()))\ns.quit()\n",
        way.door.ip(),
        way.door.port()
    );
    let mut command = Command::new(find("/usr/bin/python3").unwrap_or_else(|| found("python3")));
    command.arg("-I").arg("-c").arg(script).arg(way.roots);
    command.arg(way.scratch.write("message", way.message));
    told(way, &mut command, Stdio::null(), "under")
}

/// A hand behind `openssl s_client`, which does STARTTLS itself and passes on what follows.
fn openssl(way: &Way<'_>) -> Told {
    // timeout(1) ends it where we would wait for a reply for ever.
    let mut command = Command::new("timeout");
    command.arg("15").arg(found("openssl")).args(["s_client", "-brief", "-nocommands", "-ign_eof"]);
    command.args(["-connect", &way.door.to_string(), "-verify_return_error", "-verify_hostname"]);
    command.arg("gate.example").arg("-CAfile").arg(way.roots);
    if way.leg == Leg::StartTls {
        command.args(["-starttls", "smtp", "-name", "client.example"]);
    }
    let errors = fs::File::create(way.scratch.path().join("s_client")).unwrap();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
    let mut child = command.spawn().unwrap();
    let (mut to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut from = BufReader::new(from);
    let mut words = String::new();
    // What comes before STARTTLS it hears itself.
    let mut sent = way.leg == Leg::StartTls || ask(&mut from, &mut words, "2");
    let commands = [
        ("EHLO client.example\r\n".to_owned(), "2"),
        (format!("MAIL FROM:<{FROM}>\r\n"), "2"),
        (format!("RCPT TO:<{TO}>\r\n"), "2"),
        ("DATA\r\n".to_owned(), "3"),
        (format!("{}.\r\n", way.message), "2"),
        ("QUIT\r\n".to_owned(), "2"),
    ];
    for (octets, class) in commands {
        // It may be gone already, which its output tells.
        sent = sent && to.write_all(octets.as_bytes()).is_ok() && ask(&mut from, &mut words, class);
    }
    drop(to);
    let status = child.wait().unwrap();
    let errors = fs::read(way.scratch.path().join("s_client")).unwrap();
    words += &format!("{}{status}", String::from_utf8_lossy(&errors));
    Told { tls: said(&words, "Protocol version:"), words, sent }
}

/// One reply; whether its code begins so.
fn ask(from: &mut impl BufRead, words: &mut String, class: &str) -> bool {
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
        words.push_str(&line);
        if line.as_bytes().get(3) != Some(&b'-') {
            return line.starts_with(class);
        }
    }
}

/// A Postfix that sends through the door. What it keeps to try again is gone with it.
fn postfix(way: &Way<'_>) -> Told {
    let security = match way.leg {
        Leg::Plain => "smtp_tls_security_level = none".to_owned(),
        leg => format!(
            "smtp_tls_security_level = secure\nsmtp_tls_secure_cert_match = gate.example\nsmtp_tls_CAfile = {}\n\
             smtp_tls_loglevel = 1\nsmtp_tls_wrappermode = {}",
            way.roots.display(),
            if leg == Leg::Implicit { "yes" } else { "no" }
        ),
    };
    // The room for it is in a literal elsewhere: a few octets for the life of the test.
    let spec = Spec { main_cf: security.leak(), ..Spec::sending(way.door) };
    let sending = Postfix::start(&spec);
    sending.submit(&["-i", "-f", FROM, "--", TO], &local(way));
    let fate = wait_for("the fate of the mail", PATIENCE, || {
        Some(outcomes(&sending.log())).filter(|fate| !fate.is_empty())
    });
    let log = sending.log();
    if fate.contains("status=sent") {
        sending.settle(0);
    }
    Told { tls: said(&log, "TLS connection established to"), sent: fate.contains("status=sent"), words: fate }
}

/// Local line ends, as programs take them that read mail from a file.
fn local(way: &Way<'_>) -> std::path::PathBuf {
    way.scratch.write("message", way.message.replace("\r\n", "\n"))
}

fn told(way: &Way<'_>, command: &mut Command, stdin: Stdio, marker: &str) -> Told {
    let done = run(way.scratch, command, stdin, PATIENCE);
    let words = format!("{}{}{}", done.stdout, done.stderr, done.status);
    Told { tls: said(&words, marker), words, sent: done.status.success() }
}

/// The version behind these words; the port of the door may look like one.
fn said(words: &str, marker: &str) -> String {
    let found = words.split_once(marker).and_then(|(_, rest)| version(rest));
    found.unwrap_or("-").to_owned()
}
