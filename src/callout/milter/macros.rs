//! Macros: what a filter is told beside commands.
//!
//! **In**: values as they are known since a command; the names that are to be told. **Out**: names with their values.
//! **Never**: tells of one recipient what was said of another, or of one message what was said of the one before.
//!
//! Those of libmilter's `smfi_getsymval`: what has no value is not told.

use super::frame::{command, strings};

/// Names with their values.
#[derive(Default)]
pub(super) struct Macros(Vec<(Name, Value)>);

type Name = Box<[u8]>;
type Value = Box<[u8]>;

/// What does not outlive what it was said of: each with the command that begins anew.
const PASSING: [(u8, &[&str]); 3] = [
    (command::HELO, &["{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{tls_sni}"]),
    (command::MAIL, &["{mail_addr}", "{auth_author}", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"]),
    (command::RCPT, &["{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"]),
];

impl Macros {
    /// Takes up what is known since a command; its code, then names and values.
    pub(super) fn learn(&mut self, data: &[u8]) {
        let Some((&code, values)) = data.split_first() else { return };
        if let Some((_, passing)) = PASSING.iter().find(|(command, _)| *command == code) {
            self.0.retain(|(known, _)| !passing.iter().any(|name| name.as_bytes() == &**known));
        }
        let strings = strings(values).unwrap_or_default();
        for pair in strings.as_chunks::<2>().0 {
            let [name, value] = pair.map(Box::<[u8]>::from);
            match self.0.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => self.0.push((name, value)),
            }
        }
    }

    /// Those of these names that have a value, as they are sent; `fixed`: values whatever is known.
    pub(super) fn values(&self, names: &[Box<str>], fixed: &[(Box<str>, String)]) -> Vec<u8> {
        let mut data = Vec::new();
        for name in names {
            let fixed = fixed.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_bytes());
            if let Some(value) = fixed.or_else(|| self.get(name)) {
                data.extend_from_slice(name.as_bytes());
                data.push(0);
                data.extend_from_slice(value);
                data.push(0);
            }
        }
        data
    }

    /// Whether the recipient that is spoken of was refused.
    pub(super) fn are_of_refused(&self) -> bool {
        self.get("{rcpt_mailer}") == Some(b"error")
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| **known == *name.as_bytes()).map(|(_, value)| &**value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(macros: &Macros, names: &[&str]) -> String {
        let names: Vec<Box<str>> = names.iter().map(|name| Box::from(*name)).collect();
        String::from_utf8(macros.values(&names, &[("{fixed}".into(), "x".to_owned())])).unwrap()
    }

    #[test]
    fn known_until_something_begins_anew() {
        let mut macros = Macros::default();
        macros.learn(b"Cj\0mx.example\0");
        macros.learn(b"Mi\0a.1\0{mail_addr}\0a@b.example\0");
        macros.learn(b"R{rcpt_addr}\0c@d.example\0{rcpt_mailer}\0error\0");
        assert!(macros.are_of_refused());
        let all = ["j", "i", "{mail_addr}", "{rcpt_addr}", "{fixed}", "{none}"];
        let known = "j\0mx.example\0i\0a.1\0{mail_addr}\0a@b.example\0{rcpt_addr}\0c@d.example\0{fixed}\0x\0";
        assert_eq!(told(&macros, &all), known);
        macros.learn(b"R");
        assert!(!macros.are_of_refused());
        assert_eq!(told(&macros, &["{rcpt_addr}", "{mail_addr}"]), "{mail_addr}\0a@b.example\0");
        macros.learn(b"Mi\0a.2\0");
        assert_eq!(told(&macros, &["i", "{mail_addr}"]), "i\0a.2\0");
    }
}
