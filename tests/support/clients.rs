//! Real clients: curl, swaks, msmtp, Python's smtplib and Nodemailer.
//!
//! In:    the address to speak to, the envelope, a file with the message (lines ending in CRLF), further options.
//! Out:   what the program itself made of it: its exit status and its last words. What it heard, octet for octet, is
//!        the tap's to tell.
//! Never: interprets a dialog on the client's behalf. Debian's Python is taken, not one a developer may have on top.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::peers::{NODEMAILER, find, found};
use super::scratch::{PATIENCE, Scratch, run};
use super::transcript::without_queue_id;

/// Sends one message by curl. It gives up at the first refused recipient unless told otherwise by an option.
pub fn curl(
    scratch: &Scratch,
    door: SocketAddr,
    from: &str,
    to: &[&str],
    file: &Path,
    options: &[&str],
) -> String {
    let mut command = Command::new(found("curl"));
    command.args(["-sS", "--max-time", "15"]).arg(format!("smtp://{door}/client.example"));
    command.args(["--mail-from", from]);
    for recipient in to {
        command.args(["--mail-rcpt", recipient]);
    }
    command.arg("-T").arg(file).args(options);
    outcome(scratch, &mut command)
}

/// Sends one message by swaks. It goes on with the recipients that were accepted.
pub fn swaks(
    scratch: &Scratch,
    door: SocketAddr,
    from: &str,
    to: &[&str],
    file: &Path,
    options: &[&str],
) -> String {
    let mut command = Command::new(found("swaks"));
    command.args(["--server", &door.ip().to_string(), "--port", &door.port().to_string(), "--silent", "2"]);
    command.args(["--helo", "client.example", "--timeout", "15", "--from", from, "--to", &to.join(",")]);
    command.arg("--data").arg(format!("@{}", file.display())).args(options);
    // Its transcript (replies included) is not compared here: it holds queue ids, and the tap has it all.
    let done = run(scratch, &mut command, Stdio::null(), PATIENCE);
    format!("swaks: {}", done.status)
}

/// Runs a few lines of Python with `s` an `smtplib.SMTP` that is connected, `sys` and `smtplib` imported. What they
/// print is the outcome. Arguments stand in `sys.argv[1:]`.
pub fn smtplib(scratch: &Scratch, door: SocketAddr, lines: &str, arguments: &[&Path]) -> String {
    let script = format!(
        "import smtplib, sys\ns = smtplib.SMTP('{}', {}, local_hostname='client.example', timeout=15)\n\
         read = lambda n: open(sys.argv[n], 'rb').read()\n{lines}\ns.quit()\n",
        door.ip(),
        door.port()
    );
    let python = find("/usr/bin/python3").unwrap_or_else(|| found("python3"));
    let mut command = Command::new(python);
    command.arg("-I").arg("-c").arg(script).args(arguments);
    outcome(scratch, &mut command)
}

/// Sends one message by msmtp, which reads local line ends and gives up at the first refused recipient.
pub fn msmtp(
    scratch: &Scratch,
    door: SocketAddr,
    from: &str,
    to: &[&str],
    file: &Path,
    options: &[&str],
) -> String {
    let mut command = Command::new(found("msmtp"));
    command.arg(format!("--host={}", door.ip())).arg(format!("--port={}", door.port()));
    command.args(["--domain=client.example", "--tls=off", "--timeout=15", &format!("--from={from}")]);
    command.args(options).arg("--").args(to);
    let done = run(scratch, &mut command, fs::File::open(file).unwrap().into(), PATIENCE);
    // Its words hold its address.
    let said = done.stderr.replace(&door.port().to_string(), "PORT");
    format!("msmtp: {}\n{said}", done.status)
}

/// Runs a few lines of JavaScript with `send(message)` at hand, which sends what Nodemailer's `sendMail` takes and
/// prints who was accepted, who was refused, and the last reply; `options` are further fields of the transport, and
/// `raw` is the file.
pub fn nodemailer(scratch: &Scratch, door: SocketAddr, options: &str, lines: &str, file: &Path) -> String {
    let script = scratch.write("send.cjs", include_str!("nodemailer.cjs"));
    let mut command = Command::new(found("node"));
    command.arg(script).arg(found(NODEMAILER)).arg(file);
    command.args([&door.ip().to_string(), &door.port().to_string(), options, lines]);
    outcome(scratch, &mut command)
}

fn outcome(scratch: &Scratch, command: &mut Command) -> String {
    let name =
        Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let done = run(scratch, command, Stdio::null(), PATIENCE);
    // Queue ids are of one run only.
    let words = format!("{}{}", done.stdout, done.stderr);
    let words: Vec<String> = words.lines().map(without_queue_id).collect();
    format!("{name}: {}\n{}", done.status, words.join("\n"))
}
