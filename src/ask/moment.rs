//! The moment that is asked about: options of the command line, held to what the stage can know.
//!
//! **In**: options as they were given; the configuration's listeners.
//! **Out**: [`Known`], from which the question is made and which is written down in front of the answer.
//! **Never**: guesses a fact that the stage would have: what is not given is not known, but for client and listener.

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::message;
use crate::callout::Content;
use crate::config::types::Config;
use crate::config::{self, knows};
use crate::log::text;
use crate::session::client::{Certificate, ClientFacts, ClientName, TlsFacts, XclientFacts};
use crate::session::verdict::{Question, Stage, Supposed};
use crate::smtp::{Command, Params, Path, Reply, SessionId, Verb};

/// A moment of a dialog.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Moment {
    /// When: rcpt, rcpt-reply, mail and so on, as in a rule's `stages`
    #[arg(long, value_name = "STAGE", value_parser = stage)]
    pub(super) stage: Stage,
    /// The listener that took the client, as in the configuration [default: the first]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listener: Option<String>,
    /// The client's address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    client: IpAddr,
    /// The client's name in DNS, as a trusted peer would tell it; for callouts
    #[arg(long, value_name = "NAME")]
    client_name: Option<String>,
    /// The name in EHLO or HELO
    #[arg(long, value_name = "NAME")]
    pub(super) helo: Option<String>,
    /// The client has authenticated through to the hop
    #[arg(long)]
    pub(super) authenticated: bool,
    /// As whom the client has authenticated, as a trusted peer would tell it
    #[arg(long, value_name = "NAME")]
    login: Option<String>,
    #[command(flatten)]
    tls: Tls,
    /// The reverse-path of MAIL; "<>" is the null path
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// SIZE as declared at MAIL, in octets or as in the configuration: 4096, 25MiB
    #[arg(long, value_name = "SIZE", value_parser = config::read_size)]
    size: Option<u64>,
    /// The recipient; at rcpt-reply the one that the hop was told
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// The recipient as the client gave it [default: the same]
    #[arg(long, value_name = "ADDRESS")]
    recipient_given: Option<String>,
    /// The parameters of MAIL or RCPT, such as "BODY=8BITMIME RET=HDRS"
    #[arg(long, value_name = "PARAMETERS")]
    parameters: Option<String>,
    /// The command at other and other-reply, such as "VRFY joe"
    #[arg(long, value_name = "LINE")]
    command: Option<String>,
    /// At message: the file that holds it, with line ends of either kind
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
    /// Ask the callouts, too, for real; else it is said which would be asked
    #[arg(long)]
    pub(super) callouts: bool,
    /// The hop's reply, such as "550 5.1.1 No such user"; once for each of its lines
    #[arg(long, value_name = "LINE")]
    reply: Vec<String>,
}

/// The TLS the client comes through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
struct Tls {
    /// The client comes through TLS, of this version
    #[arg(long = "tls", value_name = "VERSION", num_args = 0..=1, default_missing_value = "TLSv1.3")]
    version: Option<String>,
    /// The cipher suite, by its IANA name
    #[arg(long = "tls-cipher", value_name = "NAME", requires = "version")]
    cipher: Option<String>,
    /// The name the client asked for in its handshake
    #[arg(long = "tls-server-name", value_name = "NAME", requires = "version")]
    server_name: Option<String>,
    /// The subject of the client's certificate
    #[arg(long = "tls-certificate", value_name = "SUBJECT", requires = "version")]
    certificate: Option<String>,
    /// It is vouched for
    #[arg(long = "tls-verified", requires = "certificate")]
    verified: bool,
}

impl Tls {
    fn facts(&self) -> Option<TlsFacts> {
        let boxed = |text: &Option<String>| text.as_deref().map(Box::from);
        let version = boxed(&self.version)?;
        let certificate = boxed(&self.certificate);
        Some(TlsFacts {
            version,
            cipher: boxed(&self.cipher).unwrap_or_default(),
            server_name: boxed(&self.server_name),
            certificate: certificate.map(|subject| Certificate {
                subject,
                verified: self.verified,
                fault: None,
            }),
            resumed: false,
        })
    }
}

/// What is known of the client beside its address, if anything.
fn facts(moment: &Moment) -> Option<ClientFacts> {
    let tls = moment.tls.facts();
    let name = moment.client_name.as_deref().map(Box::from);
    let ptr = name.map(ClientName::Is);
    let login = moment.login.as_deref().map(Box::from);
    let xclient = login.map(|login| XclientFacts { login: Some(login), ..XclientFacts::default() });
    let any = tls.is_some() || ptr.is_some() || xclient.is_some();
    any.then(|| ClientFacts { tls, ptr, xclient, ..ClientFacts::default() })
}

fn stage(name: &str) -> Result<Stage, String> {
    config::stages().find(|stage| stage.as_str() == name).ok_or_else(|| {
        let names: Vec<&str> = config::stages().map(Stage::as_str).collect();
        format!("the stages are {}", names.join(", "))
    })
}

/// A moment whose options have been looked at.
pub(super) struct Known<'m> {
    pub(super) stage: Stage,
    listener: u16,
    listener_name: String,
    pub(super) upstream: &'m str,
    pub(super) moment: &'m Moment,
    pub(super) sender: Option<Path<'m>>,
    pub(super) recipient: Option<Path<'m>>,
    recipient_given: Option<Path<'m>>,
    pub(super) params: Params<'m>,
    pub(super) command: Option<Command<'m>>,
    pub(super) reply: Option<Reply>,
    /// What is known of the client beside its address.
    facts: Option<ClientFacts>,
    /// What callouts are shown of a transaction that has begun.
    supposed: Option<Supposed>,
    /// The message, at `message`.
    pub(super) content: Option<Content>,
}

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: Option<Path<'_>>| path.map(|path| format!("<{}>", text(path.as_bytes())));
        let moment = self.moment;
        writeln!(f, "asked at {}", self.stage.as_str())?;
        let facts = [
            ("listener", Some(format!("{}, upstream {}", self.listener_name, self.upstream))),
            ("client", Some(moment.client.to_string())),
            ("name", moment.client_name.clone()),
            ("helo", moment.helo.clone()),
            ("tls", moment.tls.version.clone()),
            ("certificate", moment.tls.certificate.clone()),
            ("authenticated", moment.authenticated.then(|| "yes".to_owned())),
            ("login", moment.login.clone()),
            ("sender", path(self.sender)),
            ("size", moment.size.map(|size| size.to_string())),
            ("recipient", path(self.recipient)),
            ("given as", path(self.recipient_given)),
            ("parameters", moment.parameters.clone()),
            ("command", moment.command.clone()),
            ("message", moment.message.as_ref().map(|file| file.display().to_string())),
        ];
        for (name, fact) in facts {
            if let Some(fact) = fact {
                writeln!(f, "  {name:<14}{fact}")?;
            }
        }
        moment.reply.iter().try_for_each(|line| writeln!(f, "  {:<14}{line}", "reply"))
    }
}

impl<'m> Known<'m> {
    pub(super) fn new(moment: &'m Moment, config: &'m Config) -> Result<Self, String> {
        let mut wrong = Wrong::default();
        let at = moment.stage;
        let command = matches!(at, Stage::Other | Stage::OtherReply);
        let options = [
            ("helo", moment.helo.is_some(), knows(at, "helo")),
            ("authenticated", moment.authenticated, knows(at, "authenticated")),
            ("sender", moment.sender.is_some(), knows(at, "sender")),
            ("size", moment.size.is_some(), knows(at, "size")),
            ("recipient", moment.recipient.is_some(), knows(at, "recipient")),
            ("recipient-given", moment.recipient_given.is_some(), knows(at, "recipient_given")),
            (
                "parameters",
                moment.parameters.is_some(),
                matches!(at, Stage::Mail | Stage::Rcpt | Stage::MailReply | Stage::RcptReply),
            ),
            ("command", moment.command.is_some(), command),
            ("reply", !moment.reply.is_empty(), at.is_reply()),
            ("message", moment.message.is_some(), at == Stage::Message),
        ];
        for (option, given, known) in options {
            if given && !known {
                wrong.add(option, format_args!("is not known at {}", at.as_str()));
            }
        }
        let needed = [
            ("helo", moment.helo.is_none() && matches!(at, Stage::Helo | Stage::HeloReply)),
            ("message", moment.message.is_none() && at == Stage::Message),
            (
                "sender",
                moment.sender.is_none() && matches!(at, Stage::Mail | Stage::MailReply | Stage::Message),
            ),
            ("recipient", moment.recipient.is_none() && matches!(at, Stage::Rcpt | Stage::RcptReply)),
            ("command", moment.command.is_none() && command),
            ("reply", moment.reply.is_empty() && at.is_reply()),
        ];
        for (option, missing) in needed {
            if missing {
                wrong.add(option, format_args!("is needed at {}", at.as_str()));
            }
        }
        let (listener, listener_name, upstream) = wrong.listener(moment, config);
        let sender = wrong.path("sender", moment.sender.as_deref(), true);
        let begun = sender.filter(|_| at != Stage::Mail);
        let recipient = wrong.path("recipient", moment.recipient.as_deref(), false);
        let recipient_given = wrong.path("recipient-given", moment.recipient_given.as_deref(), false);
        let supposed = begun.map(|sender| Supposed::new(sender, moment.size, Instant::now()));
        let known = Self {
            stage: at,
            listener,
            listener_name,
            upstream,
            moment,
            sender,
            facts: facts(moment),
            supposed: match recipient.filter(|_| at == Stage::Message) {
                Some(to) => supposed.map(|supposed| supposed.with_recipient(to, recipient_given)),
                None => supposed,
            },
            content: wrong.message(moment.message.as_deref()),
            recipient,
            recipient_given,
            params: wrong.parameters(moment.parameters.as_deref()),
            command: wrong.command(moment.command.as_deref()),
            reply: wrong.reply(&moment.reply),
        };
        if wrong.0.is_empty() { Ok(known) } else { Err(wrong.0) }
    }

    pub(super) fn question(&self) -> Question<'_> {
        let verb = match self.stage {
            Stage::Connect | Stage::ConnectReply => Verb::Other,
            Stage::Helo | Stage::HeloReply => Verb::Ehlo,
            Stage::Auth | Stage::AuthReply => Verb::Auth,
            Stage::Mail | Stage::MailReply => Verb::Mail,
            Stage::Rcpt | Stage::RcptReply => Verb::Rcpt,
            Stage::Data | Stage::DataReply | Stage::Message | Stage::MessageReply => Verb::Data,
            Stage::Other | Stage::OtherReply => self.command.as_ref().map_or(Verb::Other, Command::verb),
        };
        Question {
            stage: self.stage,
            session: SessionId(0),
            listener: self.listener,
            client: self.moment.client.to_canonical(),
            port: 0,
            facts: self.facts.as_ref(),
            hop: None,
            helo: self.moment.helo.as_deref().map(str::as_bytes),
            extended: true,
            instance: 0,
            authenticated: self.moment.authenticated || self.moment.login.is_some(),
            mechanism: None,
            sender: self.sender,
            // All recipients of a message are in its envelope.
            recipient: self.recipient.filter(|_| self.stage != Stage::Message),
            recipient_given: self.recipient_given.or(self.recipient).filter(|_| self.stage != Stage::Message),
            recipients: usize::from(self.stage == Stage::Message && self.recipient.is_some()),
            envelope: self.supposed.as_ref().map(Supposed::envelope),
            params: self.params,
            size: self.moment.size.or(self.params.size()),
            verb,
            argument: b"",
            message: self.content.as_ref().map(|content| &content.draft),
        }
    }
}

/// What is wrong with the options, a line for each.
#[derive(Default)]
struct Wrong(String);

impl Wrong {
    fn add(&mut self, option: &str, problem: impl std::fmt::Display) {
        let _ = writeln!(self.0, "--{option} {problem}");
    }

    fn path<'m>(&mut self, option: &str, given: Option<&'m str>, null: bool) -> Option<Path<'m>> {
        let given = given?;
        let inner = given.strip_prefix('<').and_then(|inner| inner.strip_suffix('>')).unwrap_or(given);
        match Path::parse(inner.as_bytes()) {
            Ok(path) if !given.is_empty() && (null || !path.is_null()) => Some(path),
            _ => {
                self.add(option, format_args!("{given:?} is no address"));
                None
            }
        }
    }

    fn parameters<'m>(&mut self, given: Option<&'m str>) -> Params<'m> {
        Params::parse(given.unwrap_or_default().as_bytes()).unwrap_or_else(|_| {
            self.add("parameters", "are KEYWORD or KEYWORD=value, with spaces between");
            Params::default()
        })
    }

    fn command<'m>(&mut self, given: Option<&'m str>) -> Option<Command<'m>> {
        match Command::parse(given?.as_bytes()) {
            Ok(
                command @ (Command::Noop(_)
                | Command::Vrfy(_)
                | Command::Expn(_)
                | Command::Help(_)
                | Command::Etrn(_)
                | Command::Other { .. }),
            ) => Some(command),
            _ => {
                self.add(
                    "command",
                    "is VRFY, EXPN, HELP, NOOP, ETRN or one of forward_verbs, with its argument",
                );
                None
            }
        }
    }

    fn message(&mut self, file: Option<&std::path::Path>) -> Option<Content> {
        let file = file?;
        let read = message::read(file);
        read.map_err(|error| self.add("message", format_args!("{}: {error}", file.display()))).ok()
    }

    fn reply(&mut self, given: &[String]) -> Option<Reply> {
        if given.is_empty() {
            return None;
        }
        let lines: Vec<&str> = given.iter().map(String::as_str).collect();
        Reply::parse_written(&lines).map_err(|error| self.add("reply", format_args!("is none: {error}"))).ok()
    }

    fn listener<'m>(&mut self, moment: &Moment, config: &'m Config) -> (u16, String, &'m str) {
        let mut all = config.listeners.iter().zip(0..).flat_map(|(listener, number)| {
            listener
                .addresses
                .iter()
                .map(move |address| (number, address.to_string(), listener.upstream.as_str()))
        });
        let found = match &moment.listener {
            Some(wanted) => all.clone().find(|(_, address, _)| address == wanted),
            None => all.next(),
        };
        found.unwrap_or_else(|| {
            let known: Vec<String> = all.map(|(_, address, _)| address).collect();
            self.add("listener", format_args!("is none of {}", known.join(", ")));
            (0, String::new(), "")
        })
    }
}
