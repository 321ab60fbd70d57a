//! What rules say of a message: the header fields they look for, those they put in and those they take out.
//!
//! **In**: nodes of a rule's `match` and `do`. **Out**: values that are header fields, or names of such.
//! **Never**: looks into a message; decides at which stage a key may stand (`stage`).
//!
//! RFC 5322 sections 2.1.1 (length of lines) and 2.2 (fields).

use super::rule::HeaderMatch;
use super::rules::glob;
use super::walk::{Node, shown};
use crate::message::Signature;
use crate::smtp::{Path, is_header_field};

/// The names of [`Signature`].
pub(super) const SIGNED: [(&str, Signature); 4] = {
    let [dkim, arc, smime, pgp] = Signature::ALL;
    [(dkim.as_str(), dkim), (arc.as_str(), arc), (smime.as_str(), smime), (pgp.as_str(), pgp)]
};

/// `{ name: X-Spam-Flag, value: "YES*" }`.
pub(super) fn header(node: &Node<'_>) -> Option<HeaderMatch> {
    let mut section = node.section_like("{ name: % }", "X-Spam-Flag", is_name)?;
    let name = section.require("name", ", such as X-Spam-Flag").and_then(|node| removed(&node));
    let value = section.get("value").map(|node| {
        let entries = node.one_or_list();
        if entries.is_empty() {
            node.error("an empty list never holds; leave the key out, or name what is meant");
        }
        entries.iter().filter_map(glob).collect()
    });
    section.end();
    Some(HeaderMatch { name: name?, value: value.unwrap_or_default() })
}

/// `dkim`, `arc`, `smime` or `pgp`.
pub(super) fn signed(node: &Node<'_>) -> Option<Signature> {
    node.choice(&SIGNED)
}

/// The name of a header field.
pub(super) fn removed(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    if let Some((name, _)) = text.split_once(':') {
        node.error(format!("a name alone has no colon; write {}", shown(name.trim_end())));
        return None;
    }
    if !is_name(&text) {
        node.error(format!(
            "expected the name of a header field, such as X-Internal, found {}",
            shown(&text)
        ));
        return None;
    }
    Some(text)
}

/// A whole header field.
pub(super) fn added(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    // Text has no line ends: that was reported.
    let problem = if text.split_once(':').is_some_and(|(name, _)| is_name(name)) {
        "a header field has at most 998 octets".to_owned()
    } else {
        format!("expected a header field, such as \"X-Seen: yes\", found {}", shown(&text))
    };
    if !is_header_field(format!("{text}\r\n").as_bytes()) {
        node.error(problem);
        return None;
    }
    Some(text)
}

/// A recipient, with or without angle brackets.
pub(super) fn recipient(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let bare = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(&text);
    let path = Path::parse(bare.as_bytes()).ok();
    if path.is_none_or(|path| path.domain().is_none()) || bare.len() > Path::LONGEST {
        node.error(format!("expected an address, such as archive@example.com, found {}", shown(&text)));
        return None;
    }
    Some(bare.to_owned())
}

/// Whether it is the name of a header field.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}
