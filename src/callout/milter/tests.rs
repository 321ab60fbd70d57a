//! Conversations with a filter that does as it is told, and with one that does everything wrong.

mod filter;
mod messages;

use std::sync::Arc;

use super::frame::{command, put};
use super::*;
use crate::callout::Content;
use crate::callout::kept::DOUBT;
use crate::message::{Message, Scan};
use crate::session::verdict::CommandVerdict;
use crate::spool::Kept;
use filter::{Filter, Says};

/// A script of commands with their data.
fn script(commands: &[(u8, &str)]) -> Box<[u8]> {
    let mut script = Vec::new();
    for (code, data) in commands {
        put(&mut script, *code, &[data.as_bytes()]);
    }
    script.into()
}

const CLIENT: [(u8, &str); 2] =
    [(b'C', "client.example\x004\x01\x02192.0.2.1\0"), (b'H', "client.example\0")];

/// A client, and its transaction.
#[derive(Default)]
struct Client {
    session: Instance,
    transaction: Instance,
}

impl Client {
    fn asked(&self, stage: Stage, commands: &[(u8, &str)]) -> Asked {
        let all: Vec<_> = CLIENT.iter().chain(commands).copied().collect();
        let (session, transaction) = (self.session.clone(), self.transaction.clone());
        Asked { stage, question: script(&all), content: None, session, transaction }
    }

    /// At MAIL, at RCPT of `recipient`, at DATA behind those recipients.
    fn mail(&self) -> Asked {
        self.asked(Stage::Mail, &[(b'M', "<a@b.example>\0")])
    }

    fn rcpt(&self, recipient: &str) -> Asked {
        self.asked(Stage::Rcpt, &[(b'M', "<a@b.example>\0"), (b'R', &format!("<{recipient}>\0"))])
    }

    fn behind(&self, stage: Stage, recipients: &[&str]) -> Asked {
        let recipients: Vec<String> = recipients.iter().map(|to| format!("<{to}>\0")).collect();
        let mut commands = vec![(b'M', "<a@b.example>\0")];
        commands.extend(recipients.iter().map(|to| (b'R', to.as_str())));
        commands.push((b'T', ""));
        self.asked(stage, &commands)
    }

    fn message(&self, recipients: &[&str], octets: &[u8]) -> Asked {
        let mut scan = Scan::default();
        scan.take(octets);
        let message: Arc<Message> = Arc::new(scan.finish());
        let content = Content { draft: message.draft(), kept: Kept::of_memory(octets.to_vec()) };
        Asked { content: Some(content), ..self.behind(Stage::Message, recipients) }
    }
}

fn passes() -> Result<CalloutAnswer, Fault> {
    Ok(CalloutAnswer::pass())
}

/// What the client hears, and whether it is closed then.
fn refusal(answer: Result<CalloutAnswer, Fault>) -> String {
    match answer {
        Ok(CalloutAnswer::Command { verdict: Some(CommandVerdict::Reply(reply)), .. }) => {
            String::from_utf8_lossy(reply.as_bytes()).trim_end().to_owned()
        }
        Ok(CalloutAnswer::Command { verdict: Some(CommandVerdict::Disconnect(reply)), .. }) => {
            let said = reply.map(|reply| String::from_utf8_lossy(reply.as_bytes()).trim_end().to_owned());
            format!("closed: {}", said.unwrap_or_default())
        }
        Ok(answer) => format!("{answer:?}"),
        Err(fault) => fault.to_string(),
    }
}

#[tokio::test]
async fn a_session() {
    let filter = Filter::start([]).await;
    let milter = filter.client("");
    let mut client = Client::default();
    assert_eq!(milter.ask(&client.asked(Stage::Helo, &[])).await, passes());
    for asked in
        [client.mail(), client.rcpt("c@d.example"), client.rcpt("c@d.example"), client.rcpt("e@f.example")]
    {
        assert_eq!(milter.ask(&asked).await, passes());
    }
    let to = ["c@d.example", "c@d.example", "e@f.example"];
    assert_eq!(milter.ask(&client.behind(Stage::Data, &to)).await, passes());
    milter.ask(&client.message(&to, b"A: b\r\n\r\nc\r\n")).await.unwrap();
    // Nothing is open: nobody is told of an end.
    milter.reset(&client.session);
    client.transaction = Instance::default();
    assert_eq!(milter.ask(&client.mail()).await, passes());
    milter.reset(&client.session);
    client.transaction = Instance::default();
    assert_eq!(milter.ask(&client.mail()).await, passes());
    client.transaction = Instance::default();
    assert_eq!(milter.ask(&client.mail()).await, passes());
    milter.leave(&client.session);
    assert_eq!(filter.told().await, "O C H M R R R T L N B E M A M A M Q");
}

#[tokio::test]
async fn what_came_before_is_said_first() {
    let filter = Filter::start([]).await;
    let milter = filter.client("");
    let client = Client::default();
    milter.ask(&client.message(&["c@d.example", "e@f.example"], b"\r\n")).await.unwrap();
    milter.leave(&client.session);
    // And of a recipient that was told of before, nothing more.
    let client = Client::default();
    assert_eq!(milter.ask(&client.rcpt("c@d.example")).await, passes());
    assert_eq!(milter.ask(&client.behind(Stage::Data, &["c@d.example", "e@f.example"])).await, passes());
    // DATA was refused by the hop, and there is another recipient.
    assert_eq!(milter.ask(&client.rcpt("g@h.example")).await, passes());
    milter.leave(&client.session);
    assert_eq!(filter.told().await, "O C H M R R T N E Q O C H M R R T A M R Q");
}

#[tokio::test]
async fn no_content_without_a_recipient() {
    // All were refused: libmilter keeps silent to DATA then.
    let filter = Filter::start([]).await;
    let milter = filter.client("");
    let client = Client::default();
    assert_eq!(milter.ask(&client.mail()).await, passes());
    assert_eq!(milter.ask(&client.behind(Stage::Data, &[])).await, passes());
    assert_eq!(milter.ask(&client.rcpt("c@d.example")).await, passes());
    // The hop refused that, too.
    assert_eq!(milter.ask(&client.behind(Stage::Data, &[])).await, passes());
    milter.leave(&client.session);
    assert_eq!(filter.told().await, "O C H M R Q");
    // And as many recipients as it wants to hear of.
    let filter = Filter::start([('R', Says::Packet(b's', b""))]).await;
    let milter = filter.client("");
    let client = Client::default();
    for to in ["c@d.example", "e@f.example"] {
        assert_eq!(milter.ask(&client.rcpt(to)).await, passes());
    }
    assert_eq!(milter.ask(&client.behind(Stage::Data, &["c@d.example", "e@f.example"])).await, passes());
    milter.leave(&client.session);
    assert_eq!(filter.told().await, "O C H M R T Q");
}

#[tokio::test]
async fn decisions() {
    for (at, says, heard) in [
        ('H', Says::Packet(b'r', b""), "550 5.7.1 Command rejected"),
        ('M', Says::Packet(b't', b""), "451 4.7.1 Service unavailable - try again later"),
        ('R', Says::Packet(b'y', b"550 5.7.1 No\0"), "550 5.7.1 No"),
        ('R', Says::Packet(b'y', b"421 4.7.0 Bye\0"), "closed: 421 4.7.0 Bye"),
        ('R', Says::Packet(b'4', b""), "closed: "),
    ] {
        let filter = Filter::start([(at, says)]).await;
        let client = Client::default();
        assert_eq!(refusal(filter.client("").ask(&client.rcpt("c@d.example")).await), heard, "{at}");
    }
    // To a connection.
    for (says, heard) in [
        (b'r', "554 5.7.1 Service not available here"),
        (b't', "closed: 421 4.7.1 Service unavailable - try again later"),
    ] {
        let filter = Filter::start([('C', Says::Packet(says, b""))]).await;
        let asked = Client::default().asked(Stage::Connect, &[]);
        let asked = Asked { question: script(&CLIENT[..1]), ..asked };
        let milter = filter.client("");
        assert_eq!(refusal(milter.ask(&asked).await), heard);
    }
}

#[tokio::test]
async fn decisions_last() {
    // About a client, all of it; about a message, until the next one.
    let filter = Filter::start([('H', Says::Packet(b'r', b""))]).await;
    let milter = filter.client("");
    let client = Client::default();
    assert_eq!(refusal(milter.ask(&client.asked(Stage::Helo, &[])).await), "550 5.7.1 Command rejected");
    assert_eq!(refusal(milter.ask(&client.mail()).await), "550 5.7.1 Command rejected");
    milter.leave(&client.session);
    assert_eq!(filter.told().await, "O C H Q");

    let filter = Filter::start([('R', Says::Packet(b'a', b""))]).await;
    let milter = filter.client("");
    let mut client = Client::default();
    assert_eq!(milter.ask(&client.rcpt("c@d.example")).await, passes());
    assert_eq!(milter.ask(&client.rcpt("e@f.example")).await, passes());
    assert_eq!(milter.ask(&client.behind(Stage::Data, &["c@d.example", "e@f.example"])).await, passes());
    client.transaction = Instance::default();
    assert_eq!(milter.ask(&client.mail()).await, passes());
    milter.leave(&client.session);
    assert_eq!(filter.told().await, "O C H M R A M Q");

    // One recipient alone.
    let filter = Filter::start([('R', Says::Packet(b'r', b""))]).await;
    let milter = filter.client("");
    let client = Client::default();
    assert_eq!(refusal(milter.ask(&client.rcpt("c@d.example")).await), "550 5.7.1 Command rejected");
    assert_eq!(milter.ask(&client.rcpt("e@f.example")).await, passes());
    assert_eq!(milter.ask(&client.behind(Stage::Data, &["e@f.example"])).await, passes());
    milter.leave(&client.session);
    assert_eq!(filter.told().await, "O C H M R R T Q");
}

#[tokio::test]
async fn a_discard_waits_for_the_message() {
    let filter = Filter::start([('R', Says::Packet(b'd', b""))]).await;
    let client = Client::default();
    let fault = filter.client("").ask(&client.rcpt("c@d.example")).await.unwrap_err();
    assert_eq!(fault.to_string(), "not_allowed: a discard, which needs effects: [discard]");

    let filter = Filter::start([('R', Says::Packet(b'd', b""))]).await;
    let milter = filter.client(", effects: [discard], stages: rcpt");
    let fault = milter.ask(&client.rcpt("c@d.example")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotAllowed);

    let filter = Filter::start([('R', Says::Packet(b'd', b""))]).await;
    let milter = filter.client(", effects: [discard]");
    assert_eq!(milter.ask(&client.rcpt("c@d.example")).await, passes());
    let asked = client.message(&["c@d.example"], b"A: b\r\n\r\n");
    let answer = format!("{:?}", milter.ask(&asked).await);
    assert!(answer.contains("verdict: Some(Discard)"), "{answer}");
}

#[tokio::test]
async fn what_is_not_wanted_is_not_said_and_what_is_not_answered_not_waited_for() {
    // No HELO, no DATA, no header; nothing said to MAIL and RCPT.
    let filter = Filter::with_options(*b"\0\0\0\x06\0\0\0\0\0\0\xc2\x22", []).await;
    let milter = filter.client("");
    let client = Client::default();
    milter.ask(&client.message(&["c@d.example"], b"A: b\r\n\r\nc\r\n")).await.unwrap();
    milter.leave(&client.session);
    assert_eq!(filter.told().await, "O C M R N B E Q");
}

#[tokio::test]
async fn faults() {
    for (says, fault) in [
        (Says::Octets(b"\0\0\0\0"), "malformed: a packet without a code"),
        (
            Says::Octets(b"\xff\0\0\0"),
            "malformed: a packet of 4278190080 octets, where 33554434 are the most",
        ),
        (Says::Packet(b'Z', b""), "malformed: 'Z', which is no answer"),
        (Says::Packet(b'f', b""), "refused: says that its connection failed"),
        (Says::Packet(b'h', b"A\0b\0"), "malformed: a change before the end of the message"),
        (Says::Octets(b"\0\0\0\x01c\0\0\0\x01c"), "malformed: more was said than was asked for"),
        (Says::End(b"\0\0\0\x01"), "lost: closed in the midst of an answer"),
        (Says::End(b""), "lost: closed without an answer"),
    ] {
        let filter = Filter::start([('R', says)]).await;
        let answer = filter.client("").ask(&Client::default().rcpt("c@d.example")).await;
        assert_eq!(answer.unwrap_err().to_string(), fault);
    }
    for (options, fault) in [
        (*b"\0\0\0\x07\0\0\0\0\0\0\0\0", "malformed: version 7 of the protocol, where 2 to 6 are spoken"),
        (*b"\0\0\0\x06\0\0\x02\0\0\0\0\0", "malformed: wants leave for what was not offered: 0x200"),
    ] {
        let filter = Filter::with_options(options, []).await;
        assert_eq!(filter.client("").ask(&Client::default().mail()).await.unwrap_err().to_string(), fault);
    }
}

#[tokio::test]
async fn what_was_said_unasked_answers_nothing() {
    // Behind an answer that was taken.
    let filter = Filter::start([('M', Says::Later(b"\0\0\0\x01a"))]).await;
    let milter = filter.client("");
    let client = Client::default();
    assert_eq!(milter.ask(&client.mail()).await, passes());
    filter.has_said_more().await;
    let fault = milter.ask(&client.rcpt("c@d.example")).await.unwrap_err();
    assert_eq!(fault.to_string(), "malformed: something was said unasked");
}

#[tokio::test]
async fn an_answer_too_many_is_not_the_next_ones() {
    // To MAIL twice: the second is not what is said to RCPT.
    let filter =
        Filter::start([('M', Says::Octets(b"\0\0\0\x01c\0\0\0\x01c")), ('R', Says::Packet(b'r', b""))]).await;
    let fault = filter.client("").ask(&Client::default().rcpt("c@d.example")).await.unwrap_err();
    assert_eq!(fault.to_string(), "malformed: something was said unasked");
    // Nor behind the options.
    let filter = Filter::start([('C', Says::Octets(b"\0\0\0\x01c\0\0\0\x01a"))]).await;
    let fault = filter.client("").ask(&Client::default().mail()).await.unwrap_err();
    assert_eq!(fault.to_string(), "malformed: something was said unasked");
}

#[tokio::test]
async fn a_filter_that_is_silent_or_dead_is_not_first_any_more() {
    let (silent, dead) =
        (Filter::start([('C', Says::Octets(b""))]).await, Filter::start([('C', Says::End(b""))]).await);
    let filter = Filter::start([]).await;
    let milter = dead.client_of(&[&silent, &filter]);
    let client = Client::default();
    // The first closes, the second keeps still until nobody waits any more, the third is asked then.
    assert!(tokio::time::timeout(DOUBT + DOUBT / 2, milter.ask(&client.mail())).await.is_err());
    assert_eq!(milter.ask(&client.mail()).await, passes());
    milter.leave(&client.session);
    assert_eq!(filter.told().await, "O C H M Q");
}

#[tokio::test]
async fn a_dead_connection_is_replaced() {
    // Closed behind its answer; then a new one hears all of it.
    let filter = Filter::start([('M', Says::End(b"\0\0\0\x01c"))]).await;
    let milter = filter.client("");
    let client = Client::default();
    assert_eq!(milter.ask(&client.mail()).await, passes());
    filter.has_said_more().await;
    assert_eq!(milter.ask(&client.rcpt("c@d.example")).await, passes());
    milter.leave(&client.session);
    assert_eq!(filter.told().await, "O C H M O C H M R Q");
}

#[tokio::test]
async fn a_client_that_says_nothing_keeps_nobody_from_being_served() {
    let filter = Filter::start([]).await;
    let milter = filter.client(", concurrency: 1");
    let (one, other) = (Client::default(), Client::default());
    assert_eq!(milter.ask(&one.mail()).await, passes());
    assert_eq!(milter.ask(&other.mail()).await, passes());
    assert_eq!(milter.ask(&one.rcpt("c@d.example")).await, passes());
    milter.leave(&one.session);
    assert_eq!(filter.told().await, "O C H M Q O C H M Q O C H M R Q");
}

#[tokio::test]
async fn no_connection_is_kept_for_who_has_left() {
    let filter = Filter::start([]).await;
    let milter = filter.client("");
    let client = Client::default();
    let asked = client.mail();
    milter.leave(&client.session);
    drop(client);
    assert_eq!(milter.ask(&asked).await, passes());
    assert_eq!(filter.told().await, "O C H M Q");
}

#[tokio::test]
async fn another_client_has_another_conversation() {
    let filter = Filter::start([]).await;
    let milter = filter.client("");
    let client = Client::default();
    assert_eq!(milter.ask(&client.asked(Stage::Helo, &[])).await, passes());
    // Its name was found: that is the same one.
    let named = [(b'C', "name.example\x004\x01\x02192.0.2.1\0"), CLIENT[1]];
    let asked = Asked { question: script(&named), ..client.asked(Stage::Helo, &[]) };
    assert_eq!(milter.ask(&asked).await, passes());
    let told = [(b'C', "[192.0.2.9]\x004\x01\x02192.0.2.9\0"), CLIENT[1]];
    let asked = Asked { question: script(&told), ..client.asked(Stage::Helo, &[]) };
    assert_eq!(milter.ask(&asked).await, passes());
    milter.leave(&client.session);
    assert_eq!(filter.told().await, "O C H H Q O C H Q");
}

#[tokio::test]
async fn macros_are_told_with_what_they_belong_to() {
    let filter = Filter::start([]).await;
    let milter =
        filter.client(", macros: { helo: \"tls_version x\", mail: \"i {x}\" }, macro_values: { x: y }");
    let client = Client::default();
    let commands = [
        (command::MACRO, "Cj\0mx.example\0{daemon_name}\0mx.example\0{client_addr}\x00192.0.2.1\0"),
        CLIENT[0],
        (command::MACRO, "H{tls_version}\0TLSv1.3\0"),
        CLIENT[1],
        (command::MACRO, "Mi\x001.2\0{mail_addr}\0a@b.example\0"),
        (b'M', "<a@b.example>\0"),
    ];
    let asked = Asked { question: script(&commands), ..client.mail() };
    assert_eq!(milter.ask(&asked).await, passes());
    milter.leave(&client.session);
    filter.told().await;
    assert_eq!(
        filter.macros(),
        ["Cj=mx.example {daemon_name}=mx.example", "H{tls_version}=TLSv1.3 x=y", "Mi=1.2 x=y"]
    );
}
