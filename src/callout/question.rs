//! A question as JSON: the stage, the connection, the dialog so far, the command or the hop's reply.
//!
//! **In**: a borrowed [`Question`]; for reply stages the hop's reply beside it.
//! **Out**: one JSON object, the same members at every stage; what the stage cannot know is null.
//! **Never**: shows an AUTH exchange (of AUTH the mechanism only), or a message's body; changes or drops an octet.
//!
//! `docs/callout.md` says what each member means, `docs/callout.schema.json` is made from these types. Names are those of
//! MTA Hooks (draft-degennaro-mta-hooks-01 section 5) where it has one.

mod message;

use std::net::SocketAddr;

use serde::{Serialize, Serializer};

use self::message::MessageSeen;
use super::octets::Shown;
use crate::session::client::{ClientFacts, TlsFacts};
use crate::session::verdict::{Question, Stage};
use crate::smtp::{EnhancedCode, Params, Path, ReplyRef};

/// What is the same in every question of a configuration.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// The name gatepost goes by.
    pub(super) hostname: Box<str>,
    /// The first address of each listener, by its place in the file.
    pub(super) listeners: Vec<Box<str>>,
}

/// The question in octets.
pub(super) fn encode(server: &Server, question: &Question<'_>, reply: Option<ReplyRef<'_>>) -> Box<[u8]> {
    let asked = Asked::new(server, question, reply);
    let mut json = Vec::with_capacity(1024);
    // Writing into a vector does not fail, and every key is text.
    if serde_json::to_writer(&mut json, &asked).is_err() {
        json.clear();
    }
    json.into()
}

/// The whole question.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Question"))]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked<'a> {
    /// The version of this format.
    protocol: Protocol,
    /// The stage, as in the configuration.
    #[cfg_attr(test, schemars(extend("enum" = crate::callout::documents::stages())))]
    stage: &'static str,
    /// The session, as logs and gatepost's own negative replies name it.
    session: String,
    /// Who asks.
    server: ServerSeen<'a>,
    /// Who the client is.
    client: ClientSeen<'a>,
    /// TLS between the client and gatepost, or the balancer in front of it.
    tls: Option<Tls<'a>>,
    /// Whether the client has authenticated: through to the hop, or as a trusted peer told by XCLIENT.
    authenticated: bool,
    /// The hop that is spoken to, host:port.
    hop: Option<&'a str>,
    /// MAIL and the recipients that were accepted.
    envelope: Option<EnvelopeSeen<'a>>,
    /// At rcpt and rcpt-reply: the recipient in question.
    recipient: Option<Address<'a>>,
    /// The command that is asked about, or that the hop has answered.
    command: Option<Command<'a>>,
    /// At the stages of replies: what the hop said.
    response: Option<Response<'a>>,
    /// At message: the message.
    message: Option<MessageSeen<'a>>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Protocol {
    /// "1.0".
    version: &'static str,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Server"))]
struct ServerSeen<'a> {
    /// The name gatepost goes by.
    name: &'a str,
    /// The first address of the listener, as configured.
    listener: &'a str,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Client"))]
struct ClientSeen<'a> {
    /// The address.
    ip: String,
    /// The port.
    port: u16,
    /// The name given in EHLO or HELO.
    ehlo: Option<Shown<'a>>,
    /// Its name in DNS, where a trusted peer told it by XCLIENT, or a host that is to be told it was dialled before.
    ptr: Option<&'a str>,
    /// As whom it has authenticated, where a trusted peer told it by XCLIENT.
    login: Option<&'a str>,
    /// Who connected in its place: a load balancer or MTA that told who the client is.
    via: Option<String>,
    /// Where the client itself connected to, address:port, where that is known.
    destination: Option<String>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct Tls<'a> {
    /// The version, such as "TLSv1.3".
    version: &'a str,
    /// The cipher suite by its IANA name.
    cipher: &'a str,
    /// The name the client asked for (SNI).
    server_name: Option<&'a str>,
    /// The subject of the certificate the client has shown.
    cert_subject: Option<&'a str>,
    /// Whether it has shown one that is vouched for.
    cert_verified: bool,
}

impl<'a> ClientSeen<'a> {
    fn new(question: &Question<'a>) -> Self {
        let facts = question.facts;
        let written = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        Self {
            ip: question.client.to_string(),
            port: question.port,
            ehlo: question.helo.map(Shown),
            ptr: facts.and_then(ClientFacts::name),
            login: facts.and_then(ClientFacts::login),
            via: written(facts.and_then(|facts| facts.via)),
            destination: written(facts.and_then(|facts| facts.destination)),
        }
    }
}

impl<'a> Tls<'a> {
    fn new(facts: &'a TlsFacts) -> Self {
        let certificate = facts.certificate.as_ref();
        Self {
            version: &facts.version,
            cipher: &facts.cipher,
            server_name: facts.server_name.as_deref(),
            cert_subject: certificate.map(|shown| &*shown.subject),
            cert_verified: certificate.is_some_and(|shown| shown.verified),
        }
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Envelope"))]
struct EnvelopeSeen<'a> {
    /// The sender.
    from: Address<'a>,
    /// The recipients that a hop has accepted, in the client's order: all of them at `data` and `message`, else the last 20.
    to: Vec<Address<'a>>,
    /// How many recipients a hop has accepted.
    accepted: usize,
    /// How many recipients were swallowed on purpose.
    discarded: usize,
}

/// A sender or recipient.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Address<'a> {
    /// As it goes, or went, upstream, without brackets; null is the null path.
    address: Option<Shown<'a>>,
    /// As the client gave it.
    given: Option<Shown<'a>>,
    /// The ESMTP parameters: values by keyword in upper case, "" for those without.
    parameters: Parameters<'a>,
}

impl<'a> Address<'a> {
    fn new(address: &'a [u8], given: &'a [u8], parameters: Params<'a>) -> Self {
        let shown = |path: &'a [u8]| (!path.is_empty()).then_some(Shown(path));
        Self { address: shown(address), given: shown(given), parameters: Parameters(parameters) }
    }
}

#[derive(Debug)]
struct Parameters<'a>(Params<'a>);

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|param| {
            let keyword = String::from_utf8_lossy(param.keyword).to_ascii_uppercase();
            (keyword, Shown(param.value.unwrap_or_default()))
        }))
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Command<'a> {
    /// The verb, in upper case.
    verb: &'static str,
    /// What stands behind the verb of EHLO, HELO and at other; of AUTH the mechanism; else null.
    argument: Option<Shown<'a>>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    /// The reply code.
    code: u16,
    /// The enhanced code the first line begins with.
    enhanced_code: Option<String>,
    /// The text of the first line, without the codes.
    message: Shown<'a>,
    /// All lines as the hop said them, without line ends.
    lines: Vec<Shown<'a>>,
}

impl<'a> Response<'a> {
    fn new(reply: ReplyRef<'a>) -> Self {
        let enhanced = reply.enhanced();
        let first = reply.lines().next().unwrap_or_default();
        let message = match enhanced.and(EnhancedCode::parse(first)) {
            Some(_) => memchr::memchr(b' ', first).map_or(&[][..], |space| &first[space + 1..]),
            None => first,
        };
        let octets = reply.as_bytes();
        let lines = octets.split(|&octet| octet == b'\n').filter(|line| !line.is_empty());
        Self {
            code: reply.code().get(),
            enhanced_code: enhanced.map(|code| code.to_string()),
            message: Shown(message),
            lines: lines.map(|line| Shown(line.strip_suffix(b"\r").unwrap_or(line))).collect(),
        }
    }
}

impl<'a> Asked<'a> {
    fn new(server: &'a Server, question: &Question<'a>, reply: Option<ReplyRef<'a>>) -> Self {
        let listener = server.listeners.get(usize::from(question.listener));
        let stage = question.stage;
        Self {
            protocol: Protocol { version: "1.0" },
            stage: stage.as_str(),
            session: question.session.to_string(),
            server: ServerSeen {
                name: &server.hostname,
                listener: listener.map(|name| &**name).unwrap_or_default(),
            },
            client: ClientSeen::new(question),
            tls: question.facts.and_then(ClientFacts::tls).map(Tls::new),
            authenticated: question.authenticated,
            hop: question.hop,
            envelope: envelope(question),
            recipient: question.recipient.map(|path| {
                let given = question.recipient_given.map_or(path.as_bytes(), |given| given.as_bytes());
                Address::new(path.as_bytes(), given, question.params)
            }),
            command: command(question),
            response: reply.map(Response::new),
            message: question.message.map(MessageSeen::new),
        }
    }
}

/// So many recipients are shown where more may come.
pub(super) const LATEST: usize = 20;

/// The transaction so far; at `mail` there is only the sender that is asked about.
fn envelope<'a>(question: &Question<'a>) -> Option<EnvelopeSeen<'a>> {
    if question.stage == Stage::Mail {
        let sender = question.sender.map_or(&b""[..], |path: Path<'a>| path.as_bytes());
        let given = question.envelope.map_or(sender, |envelope| envelope.sender_given());
        let from = Address::new(sender, given, question.params);
        return Some(EnvelopeSeen { from, to: Vec::new(), accepted: 0, discarded: 0 });
    }
    let envelope = question.envelope?;
    // What was kept was parsed before it was kept.
    let parameters = |octets| Params::parse(octets).unwrap_or_default();
    let recipients = envelope.recipients();
    let accepted = recipients.len();
    // What all the questions of a transaction cost grows with its recipients, not with their square.
    let most = if matches!(question.stage, Stage::Data | Stage::Message) { accepted } else { LATEST };
    Some(EnvelopeSeen {
        from: Address::new(envelope.sender(), envelope.sender_given(), parameters(envelope.parameters())),
        to: recipients
            .skip(accepted.saturating_sub(most))
            .map(|to| Address::new(to.sent, to.given, parameters(to.parameters)))
            .collect(),
        accepted,
        discarded: envelope.swallowed(),
    })
}

/// The command; a connection and a message have none.
fn command<'a>(question: &Question<'a>) -> Option<Command<'a>> {
    if matches!(question.stage, Stage::Connect | Stage::ConnectReply | Stage::Message | Stage::MessageReply) {
        return None;
    }
    let argument = (!question.argument.is_empty()).then_some(Shown(question.argument));
    Some(Command { verb: question.verb.as_str(), argument })
}

#[cfg(test)]
mod schema {
    use std::borrow::Cow;
    use std::collections::BTreeMap;

    use schemars::{JsonSchema, Schema, SchemaGenerator};

    use super::{Parameters, Shown};

    impl JsonSchema for Parameters<'_> {
        fn schema_name() -> Cow<'static, str> {
            "Parameters".into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            BTreeMap::<String, Shown<'_>>::json_schema(generator)
        }
    }
}
