//! STARTTLS injection over sockets, in both directions: what is said in plain behind STARTTLS, or behind a hop's 220 to
//! it, is never used.
//!
//! In:    commands behind STARTTLS, replies behind a hop's 220, cut in two at every point.
//! Out:   what the hop heard and what the client heard: nothing of it.
//! Never: trusts that a cut arrives as it was made: the kernel may join the halves, and each joining is a case, too.
//!
//! RFC 3207 4.2, 6; CVE-2011-0411, CVE-2021-33515.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConfig, ServerConnection, Stream};

use super::gate::{Gate, free_address};
use crate::certificates::Authority;
use crate::scratch::{PATIENCE, Scratch};

const STARTTLS: &str = "STARTTLS\r\n";
const COMMANDS: &str = "MAIL FROM:<evil@example.org>\r\nRCPT TO:<evil@example.net>\r\nNOOP evil\r\n";
const GO_AHEAD: &str = "220 2.0.0 Go ahead\r\n";
const REPLIES: &str = "250-evil.example\r\n250-AUTH EVIL\r\n250 SIZE 666\r\n";

/// A hop that hears all and, where it offers STARTTLS, says something behind its 220.
struct Hop {
    address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    /// With what, and where its answer to STARTTLS is cut.
    tls: Option<(Arc<ServerConfig>, Mutex<usize>)>,
    stopping: AtomicBool,
    heard: Mutex<String>,
}

impl Hop {
    fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let address = free_address();
        let listener = TcpListener::bind(address).unwrap();
        let inner = Arc::new(Inner {
            tls: tls.map(|config| (config, Mutex::default())),
            stopping: AtomicBool::new(false),
            heard: Mutex::default(),
        });
        let serving = Arc::clone(&inner);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let serving = Arc::clone(&serving);
                // A dialog that breaks is what is expected here.
                thread::spawn(move || serving.dialog(stream));
            }
        });
        Self { address, inner }
    }

    /// The next answer to STARTTLS is cut there.
    fn cut_at(&self, place: usize) {
        let (_, cut) = self.inner.tls.as_ref().expect("it offers STARTTLS");
        *cut.lock().unwrap() = place;
    }

    /// All it has heard since the last time.
    fn heard(&self) -> String {
        std::mem::take(&mut self.inner.heard.lock().unwrap())
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

impl Inner {
    fn dialog(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        stream.write_all(b"220 hop.example ESMTP\r\n")?;
        if !self.answer(&mut stream, self.tls.is_some())? {
            return Ok(());
        }
        let Some((config, cut)) = &self.tls else { return Ok(()) };
        let said = format!("{GO_AHEAD}{REPLIES}");
        let (before, behind) = said.split_at(*cut.lock().unwrap());
        stream.write_all(before.as_bytes())?;
        let mut tls = ServerConnection::new(Arc::clone(config)).unwrap();
        if before == GO_AHEAD {
            // The 220 alone has been understood when the handshake begins.
            tls.read_tls(&mut stream)?;
        }
        stream.write_all(behind.as_bytes())?;
        // Whoever does not mind gets his handshake, and an answer that holds nothing of what came before.
        self.answer(&mut Stream::new(&mut tls, &mut stream), false)?;
        Ok(())
    }

    /// Answers commands until QUIT, or until STARTTLS, which it leaves unanswered: true.
    fn answer(&self, stream: &mut (impl Read + Write), offers: bool) -> std::io::Result<bool> {
        let mut line = Vec::new();
        let mut octet = [0];
        while stream.read(&mut octet)? > 0 {
            line.push(octet[0]);
            if octet[0] != b'\n' {
                continue;
            }
            let said = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            self.heard.lock().unwrap().push_str(&said);
            match said.split([' ', '\r']).next().unwrap_or_default() {
                "STARTTLS" if offers => return Ok(true),
                "EHLO" if offers => {
                    stream.write_all(b"250-hop.example\r\n250-STARTTLS\r\n250 SIZE 1000\r\n")?
                }
                "EHLO" => stream.write_all(b"250-hop.example\r\n250 SIZE 1000\r\n")?,
                "QUIT" => {
                    stream.write_all(b"221 2.0.0 Bye\r\n")?;
                    return Ok(false);
                }
                _ => stream.write_all(b"250 2.0.0 Ok\r\n")?,
            }
        }
        Ok(false)
    }
}

/// A listener with TLS of that mode, before a hop without.
fn gate(authority: &Authority, mode: &str, hop: &Hop) -> (Gate, Scratch) {
    let scratch = Scratch::new("injection");
    let files = authority.server(&["gate.example"]).write(scratch.path(), "gate");
    let tls = format!(
        "{{ mode: {mode}, certificate: \"{}\", key: \"{}\" }}",
        files.certificate.display(),
        files.key.display()
    );
    (Gate::start_secured(&tls, &format!("{{ hosts: [\"{}\"], health: off }}", hop.address), ""), scratch)
}

fn connect(gate: &Gate) -> TcpStream {
    let stream = TcpStream::connect(gate.listener).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads up to the last line of a reply.
fn reply(stream: &mut impl Read) -> String {
    let mut reply = String::new();
    loop {
        let start = reply.len();
        while !reply.ends_with('\n') || reply.len() == start {
            let mut octet = [0];
            assert_eq!(stream.read(&mut octet).unwrap(), 1, "closed within {reply:?}");
            reply.push(char::from(octet[0]));
        }
        if reply.as_bytes().get(start + 3) != Some(&b'-') {
            return reply;
        }
    }
}

/// What is sent until the end. A reset is an end, too; that nothing comes for long is none.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let mut octets = [0; 512];
    loop {
        match stream.read(&mut octets) {
            Ok(0) => return rest,
            Ok(taken) => rest.extend_from_slice(&octets[..taken]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return rest,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&rest)),
        }
    }
}

/// The other side may have closed already.
fn push(stream: &mut TcpStream, octets: &[u8]) {
    let _ = stream.write_all(octets);
}

fn client_of(authority: &Authority) -> ClientConnection {
    let name = ServerName::try_from("gate.example").unwrap();
    ClientConnection::new(Arc::new(authority.client_config()), name).unwrap()
}

#[test]
fn commands_behind_starttls_are_never_used() {
    let authority = Authority::new("Example Root");
    let hop = Hop::start(None);
    let (gate, _files) = gate(&authority, "starttls", &hop);
    // Whoever injected them would pass on the handshake of the true client behind them.
    let mut hello = Vec::new();
    client_of(&authority).write_tls(&mut hello).unwrap();
    let said = [STARTTLS.as_bytes(), COMMANDS.as_bytes(), &hello].concat();
    for cut in 0..=STARTTLS.len() + COMMANDS.len() {
        let mut client = connect(&gate);
        reply(&mut client);
        push(&mut client, b"EHLO client.example\r\n");
        assert!(reply(&mut client).contains("STARTTLS"));
        let (before, behind) = said.split_at(cut);
        push(&mut client, before);
        if cut == STARTTLS.len() {
            assert!(reply(&mut client).starts_with("220 "), "STARTTLS alone is answered");
        }
        push(&mut client, behind);
        let heard = rest(&mut client);
        // 220 may come before the rest is seen. A record of TLS may be an alert (21), never a handshake (22).
        let text = String::from_utf8_lossy(&heard);
        let used = text.lines().any(|line| line.starts_with("250") || line.starts_with("354"));
        assert!(!used && !heard.windows(2).any(|pair| pair == [22, 3]), "cut at {cut}: {text:?}");
        let heard = hop.heard();
        assert!(!heard.contains("evil") && !heard.contains("MAIL"), "cut at {cut}, at the hop: {heard:?}");
        assert!(heard.contains("EHLO client.example"), "cut at {cut}, at the hop: {heard:?}");
    }
}

#[test]
fn what_was_said_before_starttls_is_forgotten() {
    let authority = Authority::new("Example Root");
    let hop = Hop::start(None);
    let (gate, _files) = gate(&authority, "starttls", &hop);
    let mut client = connect(&gate);
    reply(&mut client);
    for command in ["EHLO evil.example", "STARTTLS"] {
        push(&mut client, format!("{command}\r\n").as_bytes());
        reply(&mut client);
    }
    let mut tls = client_of(&authority);
    let mut secure = Stream::new(&mut tls, &mut client);
    secure.write_all(b"EHLO client.example\r\n").unwrap();
    let keywords = reply(&mut secure);
    assert!(keywords.starts_with("250-") && !keywords.contains("STARTTLS"), "{keywords}");
    secure.write_all(b"MAIL FROM:<a@example.org>\r\n").unwrap();
    assert!(reply(&mut secure).starts_with("250 "));
    assert!(hop.heard().ends_with("EHLO client.example\r\nMAIL FROM:<a@example.org>\r\n"));
}

#[test]
fn plain_commands_at_a_listener_with_implicit_tls_are_never_used() {
    let authority = Authority::new("Example Root");
    let hop = Hop::start(None);
    let (gate, _files) = gate(&authority, "implicit", &hop);
    let said = format!("EHLO evil.example\r\n{COMMANDS}");
    for cut in 0..=said.len() {
        let mut client = connect(&gate);
        let (before, behind) = said.split_at(cut);
        push(&mut client, before.as_bytes());
        push(&mut client, behind.as_bytes());
        let heard = rest(&mut client);
        assert!(heard.is_empty() || heard[0] == 21, "cut at {cut}: {:?}", String::from_utf8_lossy(&heard));
        let heard = hop.heard();
        assert!(!heard.contains("evil"), "cut at {cut}, at the hop: {heard:?}");
    }
}

/// Every cut, before a pool of that mode: what the client heard, and the hop.
fn injected_replies(mode: &str, each: impl Fn(usize, &str, &str)) {
    let authority = Authority::new("Example Root");
    let roots = Scratch::new("injection");
    let pem = authority.write(roots.path(), "roots");
    let tls = match mode {
        "required" => {
            format!("{{ mode: required, roots: \"{}\", server_name: hop.example }}", pem.display())
        }
        _ => mode.to_owned(),
    };
    let hop = Hop::start(Some(authority.server(&["hop.example"]).server_config()));
    let gate = Gate::start(&format!("{{ hosts: [\"{}\"], health: off, tls: {tls} }}", hop.address), "");
    // At the end of it nothing is left to be injected.
    for cut in 0..(GO_AHEAD.len() + REPLIES.len()) {
        hop.cut_at(cut);
        let mut client = connect(&gate);
        let mut heard = reply(&mut client);
        if heard.starts_with("220") {
            push(&mut client, b"EHLO client.example\r\n");
            heard.push_str(&reply(&mut client));
            push(&mut client, b"QUIT\r\n");
        }
        heard.push_str(&String::from_utf8_lossy(&rest(&mut client)));
        let at_hop = hop.heard();
        assert!(at_hop.contains("EHLO gate.example\r\nSTARTTLS\r\n"), "cut at {cut}: {at_hop:?}");
        for evil in ["evil", "EVIL", "SIZE 666"] {
            assert!(!heard.contains(evil), "cut at {cut}: {heard:?}");
        }
        each(cut, &heard, &at_hop);
    }
}

#[test]
fn replies_behind_the_hops_220_are_never_used() {
    injected_replies("required", |cut, heard, _| {
        assert!(heard.starts_with("421 "), "cut at {cut}: {heard:?}");
    });
}

#[test]
fn replies_behind_the_hops_220_are_not_used_where_plain_is_allowed_either() {
    // A hop on loopback is spoken to in plain after that, over another connection.
    injected_replies("opportunistic", |cut, heard, at_hop| {
        assert!(heard.contains("SIZE 1000"), "cut at {cut}: {heard:?}");
        assert!(at_hop.contains("EHLO client.example\r\n"), "cut at {cut}: {at_hop:?}");
    });
}
