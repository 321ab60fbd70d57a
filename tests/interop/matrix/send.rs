//! What each client does for each feature.
//!
//! In:    a client, a feature.
//! Out:   an errand: the message, and what to do at a door; none where the client cannot say such a thing.
//! Never: has more of a feature than all its clients can say: what an extension's parameters may be is the matter of
//!        `extensions`.
//!
//! RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8), RFC 3461 (DSN), RFC 3030 (BDAT), RFC 4954 (AUTH), RFC 2920 (PIPELINING).

use super::{Client, Feature};
use crate::bench::Door;
use crate::cases::{fifty, send_by_postfix};
use crate::messages;
use crate::support::clients::{curl, msmtp, nodemailer, smtplib, swaks};
use crate::support::raw::Raw;

const FROM: &str = "sender@client.example";
const JOE: &str = "joe@a.example";
const HELD: &str = "held@a.example";
const USER: &str = "joe@a.example";
const PASSWORD: &str = "open sesame";

/// One cell's work.
pub struct Errand {
    /// What is sent, lines ending in CRLF.
    pub message: String,
    pub client: Box<dyn Fn(&Door<'_>) -> String>,
}

pub fn errand(client: Client, feature: Feature) -> Option<Errand> {
    let message = message(feature);
    let to = recipients(feature);
    let client: Box<dyn Fn(&Door<'_>) -> String> = match client {
        Client::Curl => by_curl(feature, &message, to)?,
        Client::Swaks => by_swaks(feature, &message, to)?,
        Client::Msmtp => by_msmtp(feature, &message, to)?,
        Client::Smtplib => by_smtplib(feature, &message, to)?,
        Client::Nodemailer => by_nodemailer(feature, &message, to)?,
        Client::Postfix => by_postfix(feature, &message, to)?,
        Client::ByHand => by_hand(feature, &message)?,
    };
    Some(Errand { message, client })
}

fn message(feature: Feature) -> String {
    match feature {
        Feature::LongLine => messages::long_line(),
        Feature::Dots => messages::dots(),
        Feature::Large => messages::large(20 * 1024 * 1024),
        Feature::EightBit => messages::eight_bit(),
        Feature::Utf8 => messages::utf8_headers(),
        _ => messages::plain(),
    }
}

fn recipients(feature: Feature) -> Vec<String> {
    match feature {
        Feature::Fifty | Feature::Pipelined => fifty(),
        Feature::Utf8 => vec!["jürgen@a.example".to_owned()],
        Feature::Dsn => vec![HELD.to_owned()],
        _ => vec![JOE.to_owned()],
    }
}

type Act = Box<dyn Fn(&Door<'_>) -> String>;

/// curl has no parameters of MAIL and RCPT but SIZE and SMTPUTF8, which it adds itself, and never pipelines.
fn by_curl(feature: Feature, message: &str, to: Vec<String>) -> Option<Act> {
    let mechanism = match feature {
        Feature::AuthPlain => Some("AUTH=PLAIN"),
        Feature::AuthLogin => Some("AUTH=LOGIN"),
        Feature::Pipelined | Feature::Dsn | Feature::Bdat => return None,
        _ => None,
    };
    let message = message.to_owned();
    Some(Box::new(move |door| {
        let file = door.scratch.write("message", &message);
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let user = format!("{USER}:{PASSWORD}");
        let url = format!("smtp://{}/client.example", door.address);
        let path = file.display().to_string();
        let mut options = vec!["--mail-rcpt-allowfails"];
        if let Some(mechanism) = mechanism {
            options.extend(["--user", &user, "--login-options", mechanism]);
        }
        if feature == Feature::Several {
            for next in ["ann@a.example", "nobody@a.example", "bob@a.example"] {
                options.extend(["--next", "-sS", "--max-time", "15", &url, "--mail-from", FROM]);
                options.extend(["--mail-rcpt", next, "-T", &path]);
            }
        }
        curl(door.scratch, door.address, FROM, &to, &file, &options)
    }))
}

/// swaks says no parameters at all and sends one message.
fn by_swaks(feature: Feature, message: &str, to: Vec<String>) -> Option<Act> {
    let options: &[&str] = match feature {
        Feature::Pipelined => &["--pipeline"],
        Feature::AuthPlain => &["--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD],
        Feature::AuthLogin => &["--auth", "LOGIN", "--auth-user", USER, "--auth-password", PASSWORD],
        Feature::Several | Feature::Utf8 | Feature::Dsn | Feature::Bdat => return None,
        _ => &[],
    };
    let message = message.replace("\r\n", "\n");
    Some(Box::new(move |door| {
        let file = door.scratch.write("message", &message);
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        swaks(door.scratch, door.address, FROM, &to, &file, options)
    }))
}

/// msmtp sends one message, and knows NOTIFY and RET of the parameters.
fn by_msmtp(feature: Feature, message: &str, to: Vec<String>) -> Option<Act> {
    const PASSWORD: &str = "--passwordeval=echo open sesame";
    let options: &[&str] = match feature {
        Feature::Dsn => &["--dsn-notify=success,delay", "--dsn-return=headers"],
        Feature::AuthPlain => &["--auth=plain", "--user=joe@a.example", PASSWORD],
        Feature::AuthLogin => &["--auth=login", "--user=joe@a.example", PASSWORD],
        Feature::Pipelined | Feature::Several | Feature::Utf8 | Feature::Bdat => return None,
        _ => &["--auth=off"],
    };
    let message = message.replace("\r\n", "\n");
    Some(Box::new(move |door| {
        let file = door.scratch.write("message", &message);
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let outcome = msmtp(door.scratch, door.address, FROM, &to, &file, options);
        outcome + &held(door, feature)
    }))
}

/// smtplib never pipelines; parameters are the caller's.
fn by_smtplib(feature: Feature, message: &str, to: Vec<String>) -> Option<Act> {
    let send = |to: &str, mail: &str, rcpt: &str| {
        format!(
            "try: print(s.sendmail('{FROM}', {to}, read(1), [{mail}], [{rcpt}]))\nexcept smtplib.SMTPException as e: print(repr(e))\n"
        )
    };
    let list = "read(2).decode().split()";
    let lines = match feature {
        Feature::EightBit => send(list, "'BODY=8BITMIME'", ""),
        Feature::Utf8 => send(list, "'SMTPUTF8', 'BODY=8BITMIME'", ""),
        Feature::Dsn => send(
            list,
            "'RET=HDRS', 'ENVID=ENV+2B1+3D2'",
            "'NOTIFY=SUCCESS,DELAY', 'ORCPT=rfc822;joe+2Btag@old.example'",
        ),
        Feature::Several => ["joe", "ann", "nobody", "bob"]
            .map(|name| send(&format!("['{name}@a.example']"), "", ""))
            .concat(),
        Feature::AuthPlain | Feature::AuthLogin => {
            let mechanism = if feature == Feature::AuthPlain { "PLAIN" } else { "LOGIN" };
            format!(
                "s.ehlo()\ns.user, s.password = '{USER}', '{PASSWORD}'\n\
                 if s.has_extn('auth'): print(s.auth('{mechanism}', s.auth_{}))\n",
                mechanism.to_lowercase()
            ) + &send(list, "", "")
        }
        Feature::Pipelined | Feature::Bdat => return None,
        _ => send(list, "", ""),
    };
    let message = message.to_owned();
    Some(Box::new(move |door| {
        let file = door.scratch.write("message", &message);
        let list = door.scratch.write("recipients", to.join("\n"));
        smtplib(door.scratch, door.address, &lines, &[&file, &list]) + &held(door, feature)
    }))
}

/// Nodemailer knows all parameters but says BODY and SMTPUTF8 of its own accord; it never pipelines.
fn by_nodemailer(feature: Feature, message: &str, to: Vec<String>) -> Option<Act> {
    let auth = format!("auth: {{ user: '{USER}', pass: '{PASSWORD}' }}");
    let options = match feature {
        Feature::Several => "{ pool: true, maxConnections: 1 }".to_owned(),
        Feature::AuthPlain => format!("{{ {auth}, authMethod: 'PLAIN' }}"),
        Feature::AuthLogin => format!("{{ {auth}, authMethod: 'LOGIN' }}"),
        Feature::Pipelined | Feature::Bdat => return None,
        _ => "{}".to_owned(),
    };
    let more = match feature {
        Feature::EightBit => ", use8BitMime: true",
        Feature::Dsn => {
            ", dsn: { id: 'ENV+1=2', return: 'headers', notify: ['success', 'delay'], recipient: 'joe@old.example' }"
        }
        _ => "",
    };
    let mut list: Vec<Vec<String>> = vec![to];
    if feature == Feature::Several {
        list.extend(["ann", "nobody", "bob"].map(|name| vec![format!("{name}@a.example")]));
    }
    let field = if feature == Feature::Dsn { "" } else { more };
    let dsn = if feature == Feature::Dsn { more } else { "" };
    let lines: String = list
        .iter()
        .map(|to| format!("await send({{ envelope: {{ from: '{FROM}', to: {to:?}{field} }}{dsn} }});\n"))
        .collect();
    let message = message.to_owned();
    Some(Box::new(move |door| {
        let file = door.scratch.write("message", &message);
        nodemailer(door.scratch, door.address, &options, &lines, &file) + &held(door, feature)
    }))
}

/// Postfix pipelines wherever that is offered, unless told not to.
fn by_postfix(feature: Feature, message: &str, mut to: Vec<String>) -> Option<Act> {
    let arguments: &[&str] = match feature {
        Feature::EightBit => &["-B", "8BITMIME"],
        Feature::Utf8 => &["-O", "SMTPUTF8"],
        Feature::Dsn => &["-N", "success,failure", "-R", "hdrs", "-V", "ENV+2B1+3D2"],
        Feature::Several | Feature::Bdat => return None,
        _ => &[],
    };
    let main_cf = match feature {
        Feature::Fifty => "smtp_discard_ehlo_keywords = pipelining",
        Feature::AuthPlain => {
            "smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options =\nsmtp_sasl_mechanism_filter = plain\n\
             smtp_sasl_password_maps = static:{joe@a.example:open sesame}"
        }
        Feature::AuthLogin => {
            "smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options =\nsmtp_sasl_mechanism_filter = login\n\
             smtp_sasl_password_maps = static:{joe@a.example:open sesame}"
        }
        _ => "",
    };
    // What is busy stays in a sender's queue, which is to run empty here.
    to.retain(|to| !to.starts_with("busy"));
    let message = message.to_owned();
    Some(Box::new(move |door| {
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let outcome = send_by_postfix(door, main_cf, arguments, &to, &message);
        outcome + &held(door, feature)
    }))
}

/// By hand what no packaged client does: chunks, and groups that go beyond the end of content.
fn by_hand(feature: Feature, message: &str) -> Option<Act> {
    let message = message.to_owned();
    match feature {
        Feature::Several => Some(Box::new(move |door| several_by_hand(door, &message))),
        Feature::Pipelined => Some(Box::new(move |door| groups_by_hand(door, &message))),
        Feature::Bdat => Some(Box::new(move |door| chunks_by_hand(door, &message))),
        _ => None,
    }
}

fn several_by_hand(door: &Door<'_>, message: &str) -> String {
    let mut client = Raw::connect(door.address);
    client.ask("EHLO client.example", 250);
    for name in ["joe", "ann", "bob"] {
        client.ask(&format!("MAIL FROM:<{FROM}>"), 250);
        client.ask(&format!("RCPT TO:<{name}@a.example>"), 250);
        client.ask("RCPT TO:<nobody@a.example>", 550);
        client.ask("DATA", 354);
        client.say(format!("{message}.\r\n"));
        client.hear(250);
        client.ask(&format!("MAIL FROM:<{FROM}>"), 250);
        client.ask("RSET", 250);
    }
    client.quit();
    String::new()
}

/// RFC 2920 3.1: a group ends at DATA, and the next one may stand behind the end of content.
fn groups_by_hand(door: &Door<'_>, message: &str) -> String {
    let mut client = Raw::connect(door.address);
    if !client.ask("EHLO client.example", 250).contains("PIPELINING") {
        client.quit();
        return "not offered".to_owned();
    }
    let envelope = format!(
        "MAIL FROM:<{FROM}>\r\nRCPT TO:<{JOE}>\r\nRCPT TO:<nobody@a.example>\r\nRCPT TO:<ann@a.example>\r\nDATA\r\n"
    );
    client.say(&envelope);
    for code in [250, 250, 550, 250, 354] {
        client.hear(code);
    }
    client.say(format!("{message}.\r\n{envelope}"));
    for code in [250, 250, 250, 550, 250, 354] {
        client.hear(code);
    }
    client.say(format!("{message}.\r\nQUIT\r\n"));
    client.hear(250);
    client.hear(221);
    String::new()
}

fn chunks_by_hand(door: &Door<'_>, message: &str) -> String {
    let mut client = Raw::connect(door.address);
    if !client.ask("EHLO client.example", 250).contains("CHUNKING") {
        client.quit();
        return "not offered".to_owned();
    }
    for size in [10, 1000] {
        client.ask(&format!("MAIL FROM:<{FROM}>"), 250);
        client.ask(&format!("RCPT TO:<{JOE}>"), 250);
        let chunks: Vec<&[u8]> = message.as_bytes().chunks(size).collect();
        for (number, octets) in chunks.iter().enumerate() {
            let last = if number + 1 == chunks.len() { " LAST" } else { "" };
            client.say([format!("BDAT {}{last}\r\n", octets.len()).as_bytes(), octets].concat());
            client.hear(250);
        }
    }
    client.quit();
    String::new()
}

/// RET=HDRS, which all say who say any parameter of DSN, in the words of the three MTAs.
const RET_HDRS: [&str; 3] = ["ret_flags=2\n", "-dsn_ret 2\n", "dsn-ret: HDRS\n"];

/// What the MTA took down of parameters is part of the outcome.
fn held(door: &Door<'_>, feature: Feature) -> String {
    if feature != Feature::Dsn {
        return String::new();
    }
    let envelope = door.mta.take_held();
    assert!(RET_HDRS.iter().any(|words| envelope.contains(words)), "no RET=HDRS in {envelope}");
    envelope
}
