//! Values with variables: `{local}@new.example` into pieces and back.
//!
//! **In**: a node and the variables its stage can know. **Out**: a [`Template`], or `None` after reporting.
//! **Never**: fills a template in, that is the session's business once it knows the command.
//!
//! `{{` and `}}` stand for single braces, which a mailbox may hold (RFC 5321 section 4.1.2, atext).

use std::fmt;

use super::error::suggestion;
use super::rule::{Template, TemplatePiece, Variable};
use super::walk::{Node, shown};

/// Decodes a template in which the variables `known` may stand.
pub(super) fn template(node: &Node<'_>, known: &[Variable]) -> Option<Template> {
    let text = node.text()?;
    let pieces = match parse(&text) {
        Ok(pieces) => pieces,
        Err(TemplateFault::Brace) => {
            node.error("a brace without its partner; write {{ or }} for the character itself");
            return None;
        }
        Err(TemplateFault::Unknown(name)) => {
            let names = Variable::ALL.map(Variable::name);
            let near = suggestion(&name, names);
            node.error(format!("unknown variable {}{near}; there are {}", shown(&name), names.join(", ")));
            return None;
        }
    };
    for piece in &pieces {
        if let TemplatePiece::Variable(variable) = piece
            && !known.contains(variable)
        {
            let known: Vec<String> = known.iter().map(|known| format!("{{{}}}", known.name())).collect();
            let known = known.join(", ");
            node.error(format!("{{{}}} is not known at this stage; known are {known}", variable.name()));
            return None;
        }
    }
    let foreign = ["%u", "%d", "%s", "%n", "%1", "\\1", "$1", "$local", "$domain"];
    if text.contains("${") {
        node.warning("the $ stays in it: a variable is written {local}");
    } else if !pieces.iter().any(|piece| matches!(piece, TemplatePiece::Variable(_)))
        && let Some(foreign) = foreign.iter().find(|foreign| text.contains(**foreign))
    {
        node.warning(format!("{foreign} stays in it as it is: a variable is written {{local}}"));
    }
    Some(Template(pieces))
}

/// Why a template cannot be read.
#[derive(Debug, PartialEq, Eq)]
enum TemplateFault {
    /// A brace without its partner.
    Brace,
    /// A name that stands for nothing.
    Unknown(String),
}

fn parse(text: &str) -> Result<Vec<TemplatePiece>, TemplateFault> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            plain.push_str(brace);
            rest = after;
            continue;
        }
        let (name, after) = match (brace, rest.split_once('}')) {
            ("{", Some(split)) => split,
            _ => return Err(TemplateFault::Brace),
        };
        let variable = Variable::ALL.into_iter().find(|variable| variable.name() == name);
        let variable = variable.ok_or_else(|| TemplateFault::Unknown(name.to_owned()))?;
        if !plain.is_empty() {
            pieces.push(TemplatePiece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(TemplatePiece::Variable(variable));
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(TemplatePiece::Text(plain));
    }
    Ok(pieces)
}

impl Template {
    /// The text, if no variable stands in it.
    pub fn as_text(&self) -> Option<&str> {
        match self.0.as_slice() {
            [TemplatePiece::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            TemplatePiece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            TemplatePiece::Variable(variable) => write!(f, "{{{}}}", variable.name()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints() {
        for text in ["plain", "{local}@new.example", "a{{b}}c{domain}", "{client}{sender}", "{{}}"] {
            assert_eq!(Template(parse(text).unwrap()).to_string(), text);
        }
    }

    #[test]
    fn finds_faults() {
        for text in ["{", "}", "a{local", "local}", "{{local}"] {
            assert_eq!(parse(text), Err(TemplateFault::Brace), "{text}");
        }
        assert_eq!(parse("{lokal}"), Err(TemplateFault::Unknown("lokal".into())));
        assert_eq!(parse("{}"), Err(TemplateFault::Unknown(String::new())));
    }
}
