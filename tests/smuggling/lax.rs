//! Models of hops: how octets under DATA, BDAT and between them are read by servers of every laxness.
//!
//! **In**: all octets a hop received. **Out**: the reverse-paths of the messages it would have taken.
//! **Never**: answers; every command is thought to have been answered with success.

/// A hop that may be laxer than it should.
#[derive(Clone, Copy, Debug)]
pub struct Lax {
    /// A bare LF ends a line.
    pub lf: bool,
    /// A bare CR ends a line.
    pub cr: bool,
    /// NULs are dropped.
    pub nul: bool,
    /// Several CRs before an LF are one.
    pub crs: bool,
}

impl Lax {
    /// RFC 5321 2.3.8: CRLF and nothing else.
    pub const STRICT: Lax = Lax { lf: false, cr: false, nul: false, crs: false };

    /// All of them, the strict one first.
    pub fn all() -> impl Iterator<Item = Lax> {
        (0..16).map(|bits| Lax { lf: bits & 1 > 0, cr: bits & 2 > 0, nul: bits & 4 > 0, crs: bits & 8 > 0 })
    }

    /// The next line, without its end, and the octets behind it.
    pub fn line<'a>(&self, octets: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let mut at = 0;
        while at < octets.len() {
            match octets[at] {
                b'\n' if self.lf => return Some((&octets[..at], &octets[at + 1..])),
                b'\r' => {
                    let crs = octets[at..].iter().take_while(|&&octet| octet == b'\r').count();
                    if octets.get(at + crs) == Some(&b'\n') && (crs == 1 || self.crs) {
                        return Some((&octets[..at], &octets[at + crs + 1..]));
                    }
                    if self.cr {
                        return Some((&octets[..at], &octets[at + 1..]));
                    }
                }
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// The reverse-paths of the messages this hop would have taken, every command being answered with success.
    pub fn messages(&self, octets: &[u8]) -> Vec<Vec<u8>> {
        let stripped: Vec<u8> = octets.iter().copied().filter(|&octet| octet != 0 || !self.nul).collect();
        let mut rest = &stripped[..];
        let (mut sender, mut content, mut messages) = (Vec::new(), false, Vec::new());
        while let Some((line, after)) = self.line(rest) {
            rest = after;
            let upper = line.to_ascii_uppercase();
            if content {
                if line == b"." {
                    messages.push(std::mem::take(&mut sender));
                    content = false;
                }
            } else if upper.starts_with(b"MAIL FROM:") {
                sender = line[10..].to_vec();
            } else if upper == b"DATA" {
                content = !sender.is_empty();
            } else if let Some(words) = upper.strip_prefix(b"BDAT ") {
                let words = String::from_utf8_lossy(words).into_owned();
                let size: usize = words.split(' ').next().and_then(|size| size.parse().ok()).unwrap_or(0);
                rest = rest.get(size..).unwrap_or_default();
                if words.ends_with(" LAST") {
                    messages.push(std::mem::take(&mut sender));
                }
            }
        }
        messages
    }
}
