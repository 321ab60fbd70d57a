//! A question as what an MTA tells a filter: all of the dialog so far, of which a conversation says what it has not said yet.
//!
//! **In**: a borrowed [`Question`]; at `rcpt-reply` the hop's reply beside it.
//! **Out**: packets in the order of the protocol, each behind the values of macros that are known since; the last command is
//! the one that is asked about. Recipients of before are there where a filter must know all of them: at `data` and `message`.
//! **Never**: lets a value end early or make a string of its own; shows an AUTH exchange.
//!
//! Sendmail's `mfdef.h`; MILTER_README of Postfix for the macros. Addresses are those that the client gave, `{mail_addr}` and
//! `{rcpt_addr}` what became of them. A client without a name is `[address]`.

use super::frame::{command, put};
use crate::session::client::ClientFacts;
use crate::session::verdict::{Question, Stage};
use crate::smtp::{Params, ReplyRef};

/// The packets.
pub(in crate::callout) fn encode(
    host: &str,
    question: &Question<'_>,
    reply: Option<ReplyRef<'_>>,
) -> Box<[u8]> {
    let mut script = Script(Vec::with_capacity(512));
    script.connect(host, question);
    if let Some(name) = question.helo {
        script.helo(question, name);
    }
    if matches!(question.stage, Stage::Connect | Stage::Helo) {
        return script.0.into();
    }
    script.mail(question);
    match question.stage {
        Stage::Rcpt | Stage::RcptReply => {
            let sent = question.recipient.map(|path| path.as_bytes()).unwrap_or_default();
            let given = question.recipient_given.map_or(sent, |path| path.as_bytes());
            let refused = reply.filter(|reply| reply.code().is_negative());
            script.rcpt(question, given, sent, question.params, refused);
        }
        Stage::Data | Stage::Message => {
            for to in question.envelope.iter().flat_map(|envelope| envelope.recipients()) {
                let parameters = Params::parse(to.parameters).unwrap_or_default();
                script.rcpt(question, to.given, to.sent, parameters, None);
            }
            script.macros(command::DATA, |_| {});
            put(&mut script.0, command::DATA, &[]);
        }
        _ => {}
    }
    script.0.into()
}

struct Script(Vec<u8>);

impl Script {
    fn connect(&mut self, host: &str, question: &Question<'_>) {
        let facts = question.facts;
        let address = question.client.to_canonical().to_string();
        let name = facts.and_then(ClientFacts::name);
        let port = question.port.to_string();
        let here = facts.and_then(|facts| facts.destination);
        self.macros(command::CONNECT, |values| {
            values.put("j", host.as_bytes());
            values.put("{daemon_name}", host.as_bytes());
            values.put("v", concat!("gatepost ", env!("CARGO_PKG_VERSION")).as_bytes());
            values.put("_", format!("{} [{address}]", name.unwrap_or("unknown")).as_bytes());
            values.put("{client_addr}", address.as_bytes());
            values.put("{client_port}", port.as_bytes());
            values.put("{client_name}", name.unwrap_or("unknown").as_bytes());
            values.put("{client_ptr}", name.unwrap_or("unknown").as_bytes());
            if let Some(here) = here {
                let address = here.ip().to_canonical().to_string();
                values.put("{daemon_addr}", address.as_bytes());
                values.put("{if_addr}", address.as_bytes());
                values.put("{daemon_port}", here.port().to_string().as_bytes());
            }
            let login = facts.and_then(ClientFacts::login).unwrap_or_default();
            values.put("{auth_authen}", login.as_bytes());
        });
        let bracketed = format!("[{address}]");
        let family = if address.contains(':') { b'6' } else { b'4' };
        let name = name.unwrap_or(&bracketed);
        let parts =
            [name.as_bytes(), b"\0", &[family], &question.port.to_be_bytes(), address.as_bytes(), b"\0"];
        put(&mut self.0, command::CONNECT, &parts);
    }

    fn helo(&mut self, question: &Question<'_>, name: &[u8]) {
        let tls = question.facts.and_then(ClientFacts::tls);
        self.macros(command::HELO, |values| {
            let Some(tls) = tls else { return };
            values.put("{tls_version}", tls.version.as_bytes());
            values.put("{cipher}", tls.cipher.as_bytes());
            values.put("{cipher_bits}", tls.key_bits().to_string().as_bytes());
            values.put("{tls_sni}", tls.server_name.as_deref().unwrap_or_default().as_bytes());
            let subject = tls.certificate.as_ref().map(|shown| &*shown.subject);
            values.put("{cert_subject}", subject.unwrap_or_default().as_bytes());
        });
        put(&mut self.0, command::HELO, &[&plain(name), b"\0"]);
    }

    fn mail(&mut self, question: &Question<'_>) {
        let envelope = question.envelope;
        let sent = question.sender.map(|path| path.as_bytes());
        let sent = sent.or(envelope.map(|envelope| envelope.sender())).unwrap_or_default();
        let given = envelope.map_or(sent, |envelope| envelope.sender_given());
        let parameters = match (question.stage, envelope) {
            (Stage::Mail, _) => question.params,
            (_, Some(envelope)) => Params::parse(envelope.parameters()).unwrap_or_default(),
            (_, None) => Params::default(),
        };
        self.macros(command::MAIL, |values| {
            values.put("i", format!("{}.{:x}", question.session, question.instance).as_bytes());
            values.put("{mail_addr}", sent);
            values.next_hop("{mail_host}", "{mail_mailer}", question.hop);
            if question.authenticated {
                // As whom is known where a trusted peer told it; by which way then, is not.
                values.put("{auth_type}", question.mechanism.unwrap_or(b"unknown"));
            }
            values.put("{auth_author}", parameters.value("AUTH").flatten().unwrap_or_default());
        });
        self.address(command::MAIL, given, parameters);
    }

    fn rcpt(
        &mut self,
        question: &Question<'_>,
        given: &[u8],
        sent: &[u8],
        parameters: Params<'_>,
        refused: Option<ReplyRef<'_>>,
    ) {
        self.macros(command::RCPT, |values| match refused {
            None => {
                values.put("{rcpt_addr}", sent);
                values.next_hop("{rcpt_host}", "{rcpt_mailer}", question.hop);
            }
            Some(reply) => {
                let text = reply.lines().next().unwrap_or_default();
                let enhanced = reply.enhanced().map(|code| code.to_string()).unwrap_or_default();
                values
                    .put("{rcpt_addr}", text.strip_prefix(enhanced.as_bytes()).unwrap_or(text).trim_ascii());
                values.put("{rcpt_host}", enhanced.as_bytes());
                values.put("{rcpt_mailer}", b"error");
            }
        });
        self.address(command::RCPT, given, parameters);
    }

    fn address(&mut self, command: u8, path: &[u8], parameters: Params<'_>) {
        let mut strings = Vec::with_capacity(path.len() + 64);
        strings.push(b'<');
        strings.extend_from_slice(path);
        strings.extend_from_slice(b">\0");
        for parameter in parameters.iter() {
            parameter.write(&mut strings);
            strings.push(0);
        }
        put(&mut self.0, command, &[&strings]);
    }

    /// What is known since.
    fn macros(&mut self, command: u8, values: impl FnOnce(&mut Values)) {
        let mut news = Values(vec![command]);
        values(&mut news);
        put(&mut self.0, command::MACRO, &[&news.0]);
    }
}

/// Macros with their values.
struct Values(Vec<u8>);

impl Values {
    /// What has no value is not told.
    fn put(&mut self, name: &str, value: &[u8]) {
        if !value.is_empty() {
            self.0.extend_from_slice(name.as_bytes());
            self.0.push(0);
            self.0.extend_from_slice(&plain(value));
            self.0.push(0);
        }
    }

    fn next_hop(&mut self, host: &str, mailer: &str, hop: Option<&str>) {
        let name = hop.map(|hop| hop.rsplit_once(':').map_or(hop, |(name, _)| name));
        self.put(host, name.unwrap_or_default().as_bytes());
        self.put(mailer, b"smtp");
    }
}

/// A value that ends where it ends.
fn plain(value: &[u8]) -> Vec<u8> {
    value.iter().map(|&octet| if octet == 0 { b'?' } else { octet }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::frame::all;
    use super::*;
    use crate::session::client::{ClientName, TlsFacts};
    use crate::smtp::{Path, Reply, SessionId, Verb};

    fn question(stage: Stage) -> Question<'static> {
        Question {
            stage,
            session: SessionId(0x1234),
            listener: 0,
            client: [192, 0, 2, 1].into(),
            port: 40_000,
            facts: None,
            hop: Some("mx.example:25"),
            helo: Some(b"client.example"),
            extended: true,
            instance: 26,
            authenticated: false,
            mechanism: None,
            sender: Some(Path::parse(b"smith@example.org").unwrap()),
            recipient: None,
            recipient_given: None,
            recipients: 0,
            envelope: None,
            params: Params::default(),
            size: None,
            verb: Verb::Rcpt,
            argument: b"",
            message: None,
        }
    }

    /// A line for each packet; NUL is a space.
    fn told(question: &Question<'_>, reply: Option<ReplyRef<'_>>) -> String {
        let octets = encode("gate.example", question, reply);
        let line = |code: u8, data: &[u8]| {
            let text = data.escape_ascii().to_string().replace("\\x00", " ");
            let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
            format!("{} {}\n", char::from(code), text.trim_end())
        };
        all(&octets).map(|frame| line(frame.code, frame.data)).collect()
    }

    const CLIENT: &str = "D Cj gate.example {daemon_name} gate.example v gatepost VERSION _ unknown [192.0.2.1] \
                          {client_addr} 192.0.2.1 {client_port} 40000 {client_name} unknown {client_ptr} unknown\n\
                          C [192.0.2.1] 4\\x9c@192.0.2.1\n";

    #[test]
    fn a_recipient() {
        let mut asked = question(Stage::Rcpt);
        asked.recipient = Some(Path::parse(b"jones@new.example").unwrap());
        asked.recipient_given = Some(Path::parse(b"jones@example.com").unwrap());
        asked.params = Params::parse(b"NOTIFY=NEVER ORCPT=rfc822;a").unwrap();
        let id = asked.session;
        let before = format!(
            "{CLIENT}D H\nH client.example\nD Mi {id}.1a {{mail_addr}} smith@example.org {{mail_host}} mx.example \
             {{mail_mailer}} smtp\nM <smith@example.org>\n"
        );
        let recipient = "R <jones@example.com> NOTIFY=NEVER ORCPT=rfc822;a\n";
        assert_eq!(
            told(&asked, None),
            format!(
                "{before}D R{{rcpt_addr}} jones@new.example {{rcpt_host}} mx.example {{rcpt_mailer}} smtp\n{recipient}"
            )
        );
        let refused = Reply::parse_written(&["550 5.1.1 Unknown"]).unwrap();
        assert_eq!(
            told(&Question { stage: Stage::RcptReply, ..asked }, Some(refused.as_ref())),
            format!(
                "{before}D R{{rcpt_addr}} Unknown {{rcpt_host}} 5.1.1 {{rcpt_mailer}} error\n{recipient}"
            )
        );
    }

    #[test]
    fn a_client() {
        let connection = Question { helo: None, ..question(Stage::Connect) };
        assert_eq!(told(&connection, None), CLIENT);
        let facts = ClientFacts {
            ptr: Some(ClientName::Is("client.example".into())),
            tls: Some(TlsFacts {
                version: "TLSv1.3".into(),
                cipher: "TLS_AES_128_GCM_SHA256".into(),
                ..TlsFacts::default()
            }),
            destination: Some("[2001:db8::1]:25".parse().unwrap()),
            ..ClientFacts::default()
        };
        let client = "2001:db8::2".parse().unwrap();
        let asked = Question { facts: Some(&facts), client, helo: Some(b"a\0b"), ..question(Stage::Helo) };
        assert_eq!(
            told(&asked, None),
            "D Cj gate.example {daemon_name} gate.example v gatepost VERSION _ client.example [2001:db8::2] \
             {client_addr} 2001:db8::2 {client_port} 40000 {client_name} client.example {client_ptr} client.example \
             {daemon_addr} 2001:db8::1 {if_addr} 2001:db8::1 {daemon_port} 25\n\
             C client.example 6\\x9c@2001:db8::2\n\
             D H{tls_version} TLSv1.3 {cipher} TLS_AES_128_GCM_SHA256 {cipher_bits} 128\nH a?b\n"
        );
        let login = Question { authenticated: true, mechanism: Some(b"PLAIN"), ..question(Stage::Mail) };
        assert!(told(&login, None).contains(" {auth_type} PLAIN"));
    }
}
