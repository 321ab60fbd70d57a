//! A session between a client and a hop in memory: what the allocation test and the session's bench share.
//!
//! In:    what the client says, and what the hop answers to it.
//! Out:   the session has taken both; its output is dropped.
//! Never: checks a dialog: the scripts in `tests/dialogs` do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use gatepost::dialog::{Limits, Timeouts};
use gatepost::session::Session;
use gatepost::session::callout::NoCallouts;
use gatepost::session::io::{HopId, Input, Out, Output, Peer};
use gatepost::session::limiter::NoLimits;
use gatepost::session::route::{Host, HostNews, NextHops, Pick, Picked, PoolId, TargetId};
use gatepost::session::settings::{Door, Entrance, Keeping, Settings};
use gatepost::session::verdict::NoRules;
use gatepost::smtp::{BareNewline, SessionId};

#[derive(Debug)]
struct OnlyHost(Arc<str>);

impl Host for OnlyHost {
    fn id(&self) -> TargetId {
        TargetId(1)
    }

    fn name(&self) -> &Arc<str> {
        &self.0
    }

    fn news(&self, _: HostNews, _: Instant) {}
}

struct OnlyPool(Arc<dyn Host>);

impl NextHops for OnlyPool {
    fn pick(&self, _: PoolId, tried: &[TargetId], _: Instant) -> Pick {
        if tried.is_empty() {
            Pick::Host(Picked { host: Arc::clone(&self.0), more: false })
        } else {
            Pick::None
        }
    }
}

/// A session and its surroundings.
pub struct Pair {
    session: Session,
    out: Out,
    now: Instant,
    hop: HopId,
}

impl Pair {
    /// A session that was greeted and has said EHLO.
    pub fn greeted() -> Pair {
        let settings = Arc::new(Settings {
            hostname: "mx.example.net".into(),
            own_greeting: false,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            doors: vec![Door::default()],
            bare_newline: BareNewline::Normalize,
            keeping: Keeping { keepalive: std::time::Duration::from_secs(30), ..Keeping::default() },
            forward_verbs: Vec::new(),
            forward_extensions: Vec::new(),
            records: false,
            trace: false,
            rules: Box::new(NoRules),
            callouts: Arc::new(NoCallouts),
            next_hops: Box::new(OnlyPool(Arc::new(OnlyHost("hop.example.net:25".into())))),
            limiter: Arc::new(NoLimits),
            client_hello: gatepost::tls::client_hello::read,
        });
        let now = Instant::now();
        let client = SocketAddr::from(([192, 0, 2, 7], 50000));
        let entrance = Entrance { listener: 0, pool: PoolId(0), client, facts: None };
        let session = Session::new(settings, entrance, SessionId(1), now);
        let mut pair = Pair { session, out: Out::default(), now, hop: HopId::numbered(1).unwrap() };
        pair.session.start(now, &mut pair.out);
        for output in pair.out.outputs.drain(..) {
            if let Output::Open { hop, .. } = output {
                pair.hop = hop;
            }
        }
        pair.session.handle(now, Input::Opened(pair.hop), &mut pair.out);
        pair.hop(b"220 hop.example.net ESMTP\r\n");
        pair.client(b"EHLO client.example.org\r\n");
        pair.hop(
            b"250-hop.example.net\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-CHUNKING\r\n250 8BITMIME\r\n",
        );
        pair
    }

    /// The client says this.
    pub fn client(&mut self, octets: &[u8]) {
        self.say(Peer::Downstream, octets);
    }

    /// The hop says this.
    pub fn hop(&mut self, octets: &[u8]) {
        self.say(Peer::Upstream(self.hop), octets);
    }

    fn say(&mut self, from: Peer, octets: &[u8]) {
        let taken = self.session.receive(self.now, from, octets, &mut self.out);
        assert_eq!(taken, octets.len(), "not taken: {}", octets[taken..].escape_ascii());
        self.out.tx.iter_mut().for_each(gatepost::dialog::Tx::clear);
        self.out.events.clear();
        self.out.outputs.clear();
    }

    /// One message, command by command.
    pub fn message(&mut self, content: &[u8]) {
        self.client(b"MAIL FROM:<smith@example.org> SIZE=4096\r\n");
        self.hop(b"250 2.1.0 Ok\r\n");
        self.client(b"RCPT TO:<jones@example.net>\r\n");
        self.hop(b"250 2.1.5 Ok\r\n");
        self.client(b"DATA\r\n");
        self.hop(b"354 End data with <CR><LF>.<CR><LF>\r\n");
        self.client(content);
        self.hop(b"250 2.0.0 Ok: queued as 4F1B2C3D\r\n");
    }
}
