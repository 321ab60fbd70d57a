//! What an answer means for a message.
//!
//! **In**: an answer whose form is right and that suits the stage; what the configuration grants.
//! **Out**: edits of the message, in a rule's order (what goes, what is changed, what is put in), those of its envelope, and the
//! verdict; or which member is wrong, and what is wrong with it.
//! **Never**: mends a header field or an address that is none.

use std::sync::Arc;

use super::meaning::{Wrong, mailbox, pool, reply_at, wrong};
use super::{Changed, Given, Grants, Object, OneOrMore, Said, True};
use crate::message::Edit;
use crate::session::callout::CalloutAnswer;
use crate::session::verdict::{EnvelopeEdit, MessageAnswer, MessageVerdict, Stage};
use crate::smtp::{Reply, is_header_field};

/// Edits of one answer: applying one of them costs as much as there are fields.
const MOST_EDITS: usize = 2_000;

impl Said {
    /// The first member that edits a message.
    pub(super) fn first_edit(&self) -> Option<&'static str> {
        let given = [
            ("remove_header", self.remove_header.is_some()),
            ("change_header", self.change_header.is_some()),
            ("add_header", self.add_header.is_some()),
            ("body", self.body.is_some()),
            ("remove_recipient", self.remove_recipient.is_some()),
            ("add_recipient", self.add_recipient.is_some()),
        ];
        given.iter().find(|(_, given)| *given).map(|(name, _)| *name)
    }

    /// What it means at `message`; `disconnect`: that it says to close, and the reply before.
    pub(super) fn of_message(
        self,
        disconnect: Option<Option<Arc<Reply>>>,
        grants: &Grants,
    ) -> Result<CalloutAnswer, Wrong> {
        let verdict = if let Some(lines) = self.reply {
            Some(MessageVerdict::Reply(reply_at(Stage::Message, lines.reply("reply")?, grants)?))
        } else if let Some(Object(route)) = self.route {
            Some(MessageVerdict::Route(pool("route.upstream", &route.upstream, grants)?))
        } else if let Some(True) = self.discard {
            if !grants.discard {
                return wrong("discard", "needs effects: [discard]");
            }
            Some(MessageVerdict::Discard)
        } else if let Some(reply) = disconnect {
            Some(MessageVerdict::Disconnect(reply))
        } else {
            self.accept.map(|True| MessageVerdict::Accept)
        };
        let mut edits = Vec::new();
        for (at, name) in entries(self.remove_header).enumerate() {
            edits.push(Edit::DeleteAll(name_of(&format!("remove_header[{at}]"), name)?));
        }
        for (at, Object(changed)) in self.change_header.into_iter().flatten().enumerate() {
            edits.push(changed.edit(&format!("change_header[{at}]"))?);
        }
        for (at, Given(octets)) in (0..).zip(entries(self.add_header)) {
            edits.push(Edit::Insert { at, field: field(&format!("add_header[{at}]"), &octets)? });
        }
        edits.extend(self.body.map(|Given(octets)| Edit::Body(octets.into())));
        let mut envelope = Vec::new();
        for (at, Given(octets)) in entries(self.remove_recipient).enumerate() {
            let path = mailbox(&format!("remove_recipient[{at}]"), octets, grants)?;
            envelope.push(EnvelopeEdit::Remove(path));
        }
        for (at, Given(octets)) in entries(self.add_recipient).enumerate() {
            let path = mailbox(&format!("add_recipient[{at}]"), octets, grants)?;
            envelope.push(EnvelopeEdit::Add { path, parameters: Box::default() });
        }
        let rewrites = self.rewrite.map(|Object(rewrite)| rewrite.at(Stage::Message, grants)).transpose()?;
        let sender = rewrites.and_then(|rewrites| rewrites.sender);
        envelope.extend(sender.map(|path| EnvelopeEdit::Sender { path, parameters: None }));
        if edits.len() + envelope.len() > MOST_EDITS {
            return wrong("edits", format!("more than {MOST_EDITS} of them"));
        }
        Ok(CalloutAnswer::Message(Box::new(MessageAnswer { edits, envelope, verdict })))
    }
}

impl Changed {
    fn edit(self, key: &str) -> Result<Edit, Wrong> {
        let nth = self.nth.unwrap_or(1);
        if nth == 0 {
            return wrong(format!("{key}.nth"), "counted from 1");
        }
        let name = name_of(&format!("{key}.name"), self.name)?;
        Ok(match self.field {
            None => Edit::Delete { name, nth },
            Some(Given(octets)) => {
                let field = field(&format!("{key}.field"), &octets)?;
                Edit::Change { name, nth, field }
            }
        })
    }
}

fn entries<T>(given: Option<OneOrMore<T>>) -> impl Iterator<Item = T> {
    given.into_iter().flat_map(|OneOrMore(entries)| entries)
}

/// A whole field, as it was given without its line end.
fn field(key: &str, octets: &[u8]) -> Result<Box<[u8]>, Wrong> {
    let field = [octets, b"\r\n"].concat();
    match is_header_field(&field) {
        true => Ok(field.into()),
        false => wrong(key, "not a header field, such as \"X-Seen: yes\""),
    }
}

fn name_of(key: &str, name: String) -> Result<Box<str>, Wrong> {
    match is_header_field(format!("{name}:\r\n").as_bytes()) && !name.contains(':') {
        true => Ok(name.into()),
        false => wrong(key, "not the name of a header field"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callout::answer::decode;
    use crate::session::route::PoolId;

    fn said(json: &str) -> Result<MessageAnswer, String> {
        let pools = [("legacy".into(), PoolId(1))];
        let grants = Grants { pools: pools.into(), attempts: 2, line: 512, discard: false };
        match decode(json.as_bytes(), Stage::Message, &grants) {
            Ok(CalloutAnswer::Message(answer)) => Ok(*answer),
            Ok(other) => panic!("{json}: {other:?}"),
            Err(fault) => Err(fault.to_string()),
        }
    }

    fn octets(text: &str) -> Box<[u8]> {
        text.as_bytes().into()
    }

    #[test]
    fn edits_come_in_a_rules_order() {
        let answer = said(
            r#"{"add_header": ["A: 1", "B: 2\r\n 3"], "body": {"base64": "/w=="}, "remove_header": "X-Spam",
                "change_header": [{"name": "Subject", "nth": 2, "field": "Subject: x"}, {"name": "To"}],
                "add_recipient": "b@c.example", "remove_recipient": ["a@c.example"], "rewrite": {"sender": "<>"}}"#,
        );
        let answer = answer.unwrap();
        assert_eq!(
            answer.edits,
            [
                Edit::DeleteAll("X-Spam".into()),
                Edit::Change { name: "Subject".into(), nth: 2, field: octets("Subject: x\r\n") },
                Edit::Delete { name: "To".into(), nth: 1 },
                Edit::Insert { at: 0, field: octets("A: 1\r\n") },
                Edit::Insert { at: 1, field: octets("B: 2\r\n 3\r\n") },
                Edit::Body(b"\xff"[..].into()),
            ]
        );
        assert_eq!(
            answer.envelope,
            [
                EnvelopeEdit::Remove(octets("a@c.example")),
                EnvelopeEdit::Add { path: octets("b@c.example"), parameters: Box::default() },
                EnvelopeEdit::Sender { path: Box::default(), parameters: None },
            ]
        );
        assert_eq!(answer.verdict, None);
    }

    #[test]
    fn verdicts() {
        let verdict = |json: &str| said(json).unwrap().verdict;
        let reply = |line: &str| Arc::new(Reply::parse_written(&[line]).unwrap());
        assert_eq!(verdict("{}"), None);
        assert_eq!(
            verdict(r#"{"reply": "550 5.7.1 No"}"#),
            Some(MessageVerdict::Reply(reply("550 5.7.1 No")))
        );
        assert_eq!(verdict(r#"{"route": {"upstream": "legacy"}}"#), Some(MessageVerdict::Route(PoolId(1))));
        assert_eq!(verdict(r#"{"accept": true}"#), Some(MessageVerdict::Accept));
        assert_eq!(verdict(r#"{"disconnect": true}"#), Some(MessageVerdict::Disconnect(None)));
        let leave = Grants { discard: true, ..Grants::default() };
        let discarded = decode(br#"{"discard": true}"#, Stage::Message, &leave).unwrap();
        let verdict = Some(MessageVerdict::Discard);
        assert_eq!(
            discarded,
            CalloutAnswer::Message(Box::new(MessageAnswer { verdict, ..Default::default() }))
        );
    }

    #[test]
    fn what_is_wrong() {
        let many = vec!["\"A: 1\""; MOST_EDITS + 1].join(",");
        for (json, expected) in [
            (r#"{"add_header": "A"}"#, "add_header[0]: not a header field, such as \"X-Seen: yes\""),
            (
                r#"{"add_header": ["A: 1", "B: 2\r\n\r\nC: 3"]}"#,
                "add_header[1]: not a header field, such as \"X-Seen: yes\"",
            ),
            (r#"{"add_header": "A: 1\nB: 2"}"#, "add_header[0]: not a header field, such as \"X-Seen: yes\""),
            (r#"{"remove_header": ["A", "B: 2"]}"#, "remove_header[1]: not the name of a header field"),
            (r#"{"remove_header": ""}"#, "remove_header[0]: not the name of a header field"),
            (r#"{"change_header": [{"name": "A", "nth": 0}]}"#, "change_header[0].nth: counted from 1"),
            (
                r#"{"change_header": [{"name": "A B"}]}"#,
                "change_header[0].name: not the name of a header field",
            ),
            (
                r#"{"change_header": [{"name": "A", "field": "x"}]}"#,
                "change_header[0].field: not a header field, such as \"X-Seen: yes\"",
            ),
            (r#"{"add_recipient": "a b@c"}"#, "add_recipient[0]: not an address"),
            (r#"{"remove_recipient": "<a@b.example>"}"#, "remove_recipient[0]: not an address"),
            (r#"{"rewrite": {"recipient": "a@b.example"}}"#, "rewrite.recipient: not allowed at message"),
            (r#"{"rewrite": {"sender": "a b"}}"#, "rewrite.sender: not an address"),
            (r#"{"reply": "250 Ok"}"#, "reply: a reply at message is 4xx or 5xx"),
            (r#"{"discard": true}"#, "discard: needs effects: [discard]"),
            (r#"{"discard": true, "reply": "550 a"}"#, "discard: contradicts reply"),
            (r#"{"substitute": "550 a"}"#, "substitute: not allowed at message"),
            (&format!("{{\"add_header\": [{many}]}}"), "edits: more than 2000 of them"),
        ] {
            assert_eq!(said(json), Err(format!("not_allowed: {expected}")), "{json}");
        }
        for key in
            ["remove_header", "change_header", "add_header", "body", "remove_recipient", "add_recipient"]
        {
            let value = if key == "change_header" { "[]" } else { "\"A: b\"" };
            let json = format!("{{\"{key}\": {value}}}");
            let fault = decode(json.as_bytes(), Stage::Data, &Grants::default()).unwrap_err();
            assert_eq!(fault.to_string(), format!("not_allowed: {key}: not allowed at data"));
        }
        let fault = decode(br#"{"discard": true}"#, Stage::Rcpt, &Grants::default()).unwrap_err();
        assert_eq!(fault.to_string(), "not_allowed: discard: not allowed at rcpt");
    }
}
