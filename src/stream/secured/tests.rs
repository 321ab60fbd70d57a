//! Streams under TLS, between each other and before hand-made records.

mod trusted;

use std::future::poll_fn;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::*;
use crate::config::types::{KeyPair, ListenerTls, UpstreamTls};
use crate::session::client::{TlsFacts, TlsFaultKind};
use crate::session::route::HopTls;
use crate::session::settings::DoorTls;
use crate::stream::{Handshake, Outcome};
use crate::tls::certificates::{Authority, Files, Pair, self_signed};
use crate::tls::{ClientTls, ServerTls};

/// Both sides, from files.
struct Sides {
    authority: Authority,
    dir: tempfile::TempDir,
}

impl Sides {
    fn new() -> Self {
        Self { authority: Authority::new("Example Root"), dir: tempfile::tempdir().unwrap() }
    }

    fn server(&self, pairs: &[Pair]) -> ServerTls {
        let write =
            |(place, pair): (usize, &Pair)| key_pair(&pair.write(self.dir.path(), &format!("s{place}")));
        ServerTls::load(&ListenerTls {
            mode: DoorTls::StartTls,
            certificates: pairs.iter().enumerate().map(write).collect(),
            client_roots: Some(self.authority.write(self.dir.path(), "clients")),
            ..ListenerTls::default()
        })
        .unwrap()
    }

    fn client(&self, mode: HopTls, certificate: Option<&Pair>) -> ClientTls {
        ClientTls::load(&UpstreamTls {
            mode,
            roots: (mode != HopTls::Opportunistic).then(|| self.authority.write(self.dir.path(), "roots")),
            certificate: certificate.map(|pair| key_pair(&pair.write(self.dir.path(), "client"))),
            ..UpstreamTls::default()
        })
        .unwrap()
    }
}

fn key_pair(files: &Files) -> KeyPair {
    KeyPair { certificate: files.certificate.clone(), key: files.key.clone() }
}

fn name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

async fn pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let theirs = listener.accept().await.unwrap().0;
    for stream in [&ours, &theirs] {
        stream.set_nodelay(true).unwrap();
    }
    (Stream::Tcp(theirs), Stream::Tcp(ours))
}

/// A handshake between the two, over TCP.
async fn shake(server: &ServerTls, client: &ClientTls, host: &str) -> (Outcome, Outcome) {
    let (theirs, ours) = pair().await;
    tokio::join!(
        Handshake::with_client(theirs, server.now()),
        Handshake::with_hop(ours, client.now(), name(host))
    )
}

async fn streams(server: &ServerTls, client: &ClientTls) -> (Stream, Stream) {
    let (server, client) = shake(server, client, "mx.example.net").await;
    (server.unwrap().0, client.unwrap().0)
}

async fn read(stream: &mut Stream, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.try_read(|| &mut *room) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
        poll_fn(|cx| stream.watch(cx)).await?;
    }
}

async fn write(stream: &mut Stream, mut octets: &[u8]) {
    while !octets.is_empty() || stream.holds_records() {
        let wrote = if octets.is_empty() {
            stream.flush().map(|()| 0)
        } else {
            // In two slices, as a stuffed dot would come.
            let (one, other) = octets.split_at(octets.len() / 3);
            stream.try_write_vectored(&[IoSlice::new(one), IoSlice::new(other)])
        };
        match wrote {
            Ok(wrote) => octets = &octets[wrote..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| stream.watch_room(cx)).await.unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn much_goes_both_ways_at_once_through_rooms_of_any_size() {
    let sides = Sides::new();
    let server = sides.server(&[sides.authority.server(&["mx.example.net"])]);
    let client = sides.client(HopTls::Required, None);
    let content: Arc<Vec<u8>> = Arc::new((0..3_000_000u32).map(|at| (at % 251) as u8).collect());
    for size in [1, 100, 5000, 32 << 10, 100 << 10] {
        let (mut theirs, mut ours) = streams(&server, &client).await;
        let content = if size == 1 { Arc::new(content[..20_000].to_vec()) } else { Arc::clone(&content) };
        let sent = Arc::clone(&content);
        let reading = tokio::spawn(async move {
            let (mut heard, mut room) = (Vec::new(), vec![0; size]);
            loop {
                match read(&mut theirs, &mut room).await.unwrap() {
                    0 => return heard,
                    read => heard.extend_from_slice(&room[..read]),
                }
                if heard.len() % 7 == 0 && heard.len() < 1000 {
                    // What is said meanwhile is read at the end.
                    write(&mut theirs, b"250 Ok\r\n").await;
                }
            }
        });
        write(&mut ours, &sent).await;
        ours.shutdown_write().unwrap();
        assert!(reading.await.unwrap() == *content, "with room for {size}");
    }
}

#[tokio::test]
async fn what_lies_here_is_read_without_asking_the_socket() {
    let sides = Sides::new();
    let server = sides.server(&[sides.authority.server(&["mx.example.net"])]);
    let (mut theirs, mut ours) = streams(&server, &sides.client(HopTls::Required, None)).await;
    write(&mut ours, &[b'x'; 10_000]).await;
    let mut room = [0; 100];
    for _ in 0..100 {
        if read(&mut theirs, &mut room).await.unwrap() == 0 {
            panic!("it has not ended");
        }
    }
    assert_eq!(theirs.try_read(|| &mut room).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn both_kinds_of_an_end_are_an_end() {
    let sides = Sides::new();
    let server = sides.server(&[sides.authority.server(&["mx.example.net"])]);
    let client = sides.client(HopTls::Required, None);
    for polite in [true, false] {
        let (mut theirs, mut ours) = streams(&server, &client).await;
        write(&mut ours, b"QUIT\r\n").await;
        if polite {
            ours.take_leave();
        } else {
            let Stream::Tls(secured) = &mut ours else { panic!("no TLS") };
            secured.socket.shutdown_write().unwrap();
        }
        let mut room = [0; 100];
        assert_eq!(read(&mut theirs, &mut room).await.unwrap(), 6);
        assert_eq!(read(&mut theirs, &mut room).await.unwrap(), 0, "polite: {polite}");
        // The other direction goes on.
        write(&mut theirs, b"221 Bye\r\n").await;
        assert_eq!(read(&mut ours, &mut room).await.unwrap(), 9);
    }
}

#[tokio::test]
async fn a_record_that_is_not_genuine_ends_it_and_what_came_before_is_read() {
    let sides = Sides::new();
    let server = sides.server(&[sides.authority.server(&["mx.example.net"])]);
    let (mut theirs, mut ours) = streams(&server, &sides.client(HopTls::Required, None)).await;
    write(&mut ours, b"NOOP\r\n").await;
    let Stream::Tls(secured) = &mut ours else { panic!("no TLS") };
    secured.socket.try_write(b"\x17\x03\x03\x00\x20 thirty-two octets that are none ").unwrap();
    let mut room = [0; 100];
    assert_eq!(read(&mut theirs, &mut room).await.unwrap(), 6);
    for _ in 0..2 {
        assert_eq!(read(&mut theirs, &mut room).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
    assert!(read(&mut ours, &mut room).await.is_err(), "it hears an alert");
}

#[tokio::test]
async fn facts_are_told_of_each_side() {
    let sides = Sides::new();
    let pair = sides.authority.client("relay.example.org");
    let server = sides
        .server(&[sides.authority.server(&["mx.example.net"]), sides.authority.server(&["*.example.org"])]);
    let client = sides.client(HopTls::Required, Some(&pair));
    let facts = |outcome: Outcome| -> TlsFacts { *outcome.unwrap().1 };
    let (theirs, ours) = shake(&server, &client, "a.example.org").await;
    let (theirs, ours) = (facts(theirs), facts(ours));
    assert_eq!((&*theirs.version, &*theirs.cipher), ("TLSv1.3", "TLS_AES_256_GCM_SHA384"));
    assert_eq!(theirs.server_name.as_deref(), Some("a.example.org"));
    let shown = theirs.certificate.unwrap();
    assert_eq!((&*shown.subject, shown.verified), ("O=Example,CN=relay.example.org", true));
    let shown = ours.certificate.unwrap();
    assert_eq!((&*shown.subject, shown.verified), ("CN=*.example.org", true), "chosen by name");
    let stranger = Authority::new("Another Root").client("relay.example.org");
    let client = sides.client(HopTls::Required, Some(&stranger));
    let shown = facts(shake(&server, &client, "mx.example.net").await.0).certificate.unwrap();
    assert_eq!((shown.verified, shown.fault.as_deref()), (false, Some("unknown issuer")));
}

#[tokio::test]
async fn a_certificate_that_is_not_in_order_fails_a_handshake_only_where_it_is_verified() {
    let sides = Sides::new();
    let names = ["mx.example.net"];
    let untrusted = Authority::new("Another Root");
    for (pair, fault) in [
        (sides.authority.expired(&names), "certificate expired on 2020-12-31"),
        (sides.authority.not_yet_valid(&names), "certificate is not valid before 2090-01-01"),
        (sides.authority.server(&["other.example.net"]), "certificate is not valid for mx.example.net"),
        (self_signed(&names), "self-signed certificate"),
        (untrusted.server(&names), "unknown issuer"),
    ] {
        let server = sides.server(&[pair]);
        let (theirs, ours) = shake(&server, &sides.client(HopTls::Required, None), names[0]).await;
        let ours = ours.unwrap_err();
        assert_eq!((ours.kind, &*ours.what), (TlsFaultKind::Certificate, fault));
        // TLS 1.3: the server has finished when the client looks at its certificate, or hears what came of it.
        if let Err(theirs) = theirs {
            assert_eq!(theirs.kind, TlsFaultKind::Certificate, "{}", theirs.what);
        }
        let lenient = UpstreamTls {
            mode: HopTls::Required,
            verify: false,
            roots: Some(sides.authority.write(sides.dir.path(), "roots")),
            ..UpstreamTls::default()
        };
        let (_, ours) = shake(&server, &ClientTls::load(&lenient).unwrap(), names[0]).await;
        let shown = ours.unwrap().1.certificate.unwrap();
        assert_eq!((shown.verified, shown.fault.as_deref()), (false, Some(fault)));
    }
}

#[tokio::test]
async fn sessions_are_resumed() {
    let sides = Sides::new();
    let server = sides.server(&[sides.authority.server(&["mx.example.net"])]);
    let client = sides.client(HopTls::Required, Some(&sides.authority.client("relay")));
    let mut resumed = Vec::new();
    for _ in 0..2 {
        let (theirs, ours) = shake(&server, &client, "mx.example.net").await;
        let ((mut theirs, facts), (mut ours, _)) = (theirs.unwrap(), ours.unwrap());
        // Its ticket comes with what it is told first.
        write(&mut theirs, b"220 Hello\r\n").await;
        assert_eq!(read(&mut ours, &mut [0; 100]).await.unwrap(), 11);
        assert!(facts.certificate.unwrap().verified);
        resumed.push(facts.resumed);
    }
    assert_eq!(resumed, [false, true]);
}

#[tokio::test]
async fn over_a_unix_socket_too() {
    let sides = Sides::new();
    let server = sides.server(&[sides.authority.server(&["127.0.0.1"])]);
    let client = sides.client(HopTls::Implicit, None);
    let (theirs, ours) = UnixStream::pair().unwrap();
    let name = client.name(None, Some("127.0.0.1"));
    let (theirs, ours) = tokio::join!(
        Handshake::with_client(Stream::Unix(theirs), server.now()),
        Handshake::with_hop(Stream::Unix(ours), client.now(), name)
    );
    let facts = theirs.unwrap().1;
    assert_eq!(facts.server_name, None, "an address is not asked for by name");
    assert!(ours.unwrap().1.certificate.unwrap().verified);
}

#[tokio::test]
async fn octets_that_are_no_tls_are_told_as_such() {
    let sides = Sides::new();
    let server = sides.server(&[sides.authority.server(&["mx.example.net"])]);
    for (said, kind, what) in [
        (&b"EHLO client.example.org\r\n"[..], TlsFaultKind::Protocol, "octets that are no TLS"),
        (b"", TlsFaultKind::Lost, "closed in the handshake"),
        (b"\x16\x03\x01\x02\x00\x01\x00", TlsFaultKind::Lost, "closed in the handshake"),
    ] {
        let (theirs, mut ours) = UnixStream::pair().unwrap();
        ours.write_all(said).await.unwrap();
        ours.shutdown().await.unwrap();
        let fault = Handshake::with_client(Stream::Unix(theirs), server.now()).await.unwrap_err();
        assert_eq!((fault.kind, &*fault.what), (kind, what));
        let mut alert = Vec::new();
        ours.read_to_end(&mut alert).await.unwrap();
        assert_eq!(alert.first(), (kind == TlsFaultKind::Protocol).then_some(&0x15), "{alert:?}");
    }
}

#[tokio::test]
async fn a_short_record_behind_a_long_one_fits_through_a_narrow_room() {
    let sides = Sides::new();
    let server = sides.server(&[sides.authority.server(&["mx.example.net"])]);
    let client = sides.client(HopTls::Required, None);
    let (mut theirs, ours) = streams(&server, &client).await;
    let Stream::Tls(mut ours) = ours else { panic!("not under TLS") };
    let content: Vec<u8> = (0..16_384 + 500 + 3000).map(|at| (at % 251) as u8).collect();
    let mut records = Vec::new();
    for record in [&content[..16_384], &content[16_384..16_884], &content[16_884..]] {
        ours.session.writer().write_all(record).unwrap();
        while ours.session.wants_write() {
            ours.session.write_tls(&mut records).unwrap();
        }
    }
    // The beginning of the first alone: it waits in there, and takes up nearly all the space.
    let (begun, rest) = records.split_at(15_000);
    write(&mut ours.socket, begun).await;
    let none = theirs.try_read(|| &mut []).map_err(|error| error.kind());
    assert_eq!(none, Err(io::ErrorKind::WouldBlock));
    write(&mut ours.socket, rest).await;
    let (mut heard, mut room) = (Vec::new(), [0; 100]);
    while heard.len() < content.len() {
        let read = read(&mut theirs, &mut room).await.unwrap();
        heard.extend_from_slice(&room[..read]);
    }
    assert_eq!(heard, content);
}
