//! What version 2 tells besides addresses: type, length, value.
//!
//! **In**: the octets behind the addresses, and for the checksum the whole header; what is to be told. **Out**:
//! [`Tlvs`]; their octets. **Never**: keeps a type nobody here asks for, or a value that a client made up and that is
//! no plain text: that one is left out, because whoever wrote the header is not to blame for it.
//!
//! HAProxy's specification, section 2.2.1 to 2.2.5; RFC 3720 B.4 (CRC32C).

use super::HeaderFault;

const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_COMMON_NAME: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;

/// Bits of the first octet of [`SSL`].
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERTIFICATE_NOW: u8 = 0x02;
const CLIENT_CERTIFICATE_IN_SESSION: u8 = 0x04;

/// The longest unique id, by the specification.
const UNIQUE_ID_MAX: usize = 128;
/// The longest name, version or cipher that is kept.
const TEXT_MAX: usize = 255;

/// What is told besides addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tlvs {
    /// The name the client asked for (SNI).
    pub authority: Option<Box<str>>,
    /// What the connection is called by whoever wrote the header; at most 128 octets.
    pub unique_id: Option<Box<[u8]>>,
    /// TLS between the client and whoever wrote the header.
    pub ssl: Option<Ssl>,
}

/// TLS with the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssl {
    /// `TLSv1.3` and the like.
    pub version: Box<str>,
    /// The cipher suite; may be empty.
    pub cipher: Box<str>,
    /// The client has shown a certificate, on this connection or when the TLS session began.
    pub has_certificate: bool,
    /// It did not in this connection.
    pub resumed: bool,
    /// It was verified.
    pub verified: bool,
    /// The common name in it.
    pub common_name: Option<Box<str>>,
}

impl Tlvs {
    /// Reads them; `whole` is the header they stand in.
    pub(super) fn read(octets: &[u8], whole: &[u8]) -> Result<Tlvs, HeaderFault> {
        let mut tlvs = Tlvs::default();
        let mut seen = 0_u64;
        let mut behind = octets;
        while let Some((kind, value)) = next(&mut behind)? {
            if matches!(kind, AUTHORITY | CRC32C | UNIQUE_ID | SSL) {
                let bit = 1 << kind;
                if seen & bit != 0 {
                    return Err(HeaderFault::Tlv);
                }
                seen |= bit;
            }
            match kind {
                AUTHORITY => tlvs.authority = text(value),
                CRC32C => verify(value, whole, whole.len() - behind.len() - value.len())?,
                UNIQUE_ID if value.len() > UNIQUE_ID_MAX => return Err(HeaderFault::Tlv),
                UNIQUE_ID => tlvs.unique_id = (!value.is_empty()).then(|| value.into()),
                SSL => tlvs.ssl = Ssl::read(value)?,
                _ => {}
            }
        }
        Ok(tlvs)
    }

    /// Appends them.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if let Some(authority) = &self.authority {
            put(AUTHORITY, authority.as_bytes(), TEXT_MAX, out);
        }
        if let Some(id) = &self.unique_id {
            put(UNIQUE_ID, id, UNIQUE_ID_MAX, out);
        }
        if let Some(ssl) = &self.ssl {
            ssl.write(out);
        }
    }
}

impl Ssl {
    /// `None`: the client did not use TLS.
    fn read(value: &[u8]) -> Result<Option<Ssl>, HeaderFault> {
        let (&[client, v0, v1, v2, v3], behind) = value.split_first_chunk().ok_or(HeaderFault::Tlv)?;
        let mut ssl = Ssl {
            has_certificate: client & (CLIENT_CERTIFICATE_NOW | CLIENT_CERTIFICATE_IN_SESSION) != 0,
            resumed: client & (CLIENT_CERTIFICATE_NOW | CLIENT_CERTIFICATE_IN_SESSION)
                == CLIENT_CERTIFICATE_IN_SESSION,
            ..Ssl::default()
        };
        ssl.verified = ssl.has_certificate && [v0, v1, v2, v3] == [0; 4];
        let mut behind = behind;
        while let Some((kind, value)) = next(&mut behind)? {
            match kind {
                SSL_VERSION => ssl.version = text(value).unwrap_or_default(),
                SSL_COMMON_NAME => ssl.common_name = text(value),
                SSL_CIPHER => ssl.cipher = text(value).unwrap_or_default(),
                _ => {}
            }
        }
        Ok((client & CLIENT_SSL != 0).then_some(ssl))
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut client = CLIENT_SSL;
        if self.has_certificate {
            client |= CLIENT_CERTIFICATE_IN_SESSION;
            if !self.resumed {
                client |= CLIENT_CERTIFICATE_NOW;
            }
        }
        // Zero where a certificate was shown and verified, else anything else.
        let unverified = !(self.has_certificate && self.verified);
        let mut value = vec![client, 0, 0, 0, u8::from(unverified)];
        put(SSL_VERSION, self.version.as_bytes(), TEXT_MAX, &mut value);
        if let Some(name) = &self.common_name {
            put(SSL_COMMON_NAME, name.as_bytes(), TEXT_MAX, &mut value);
        }
        if !self.cipher.is_empty() {
            put(SSL_CIPHER, self.cipher.as_bytes(), TEXT_MAX, &mut value);
        }
        put(SSL, &value, usize::MAX, out);
    }
}

/// The next type and value, if there is one.
fn next<'a>(octets: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, HeaderFault> {
    if octets.is_empty() {
        return Ok(None);
    }
    let (&[kind, high, low], behind) = octets.split_first_chunk().ok_or(HeaderFault::Tlv)?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (value, behind) = behind.split_at_checked(length).ok_or(HeaderFault::Tlv)?;
    *octets = behind;
    Ok(Some((kind, value)))
}

/// One that is too long is left out: a part of it would be another value.
fn put(kind: u8, value: &[u8], most: usize, out: &mut Vec<u8>) {
    if let Ok(length) = u16::try_from(value.len())
        && value.len() <= most
    {
        out.push(kind);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(value);
    }
}

/// A value as text that may stand in a log, if it is that.
fn text(value: &[u8]) -> Option<Box<str>> {
    let text = str::from_utf8(value).ok()?;
    let plain = !text.is_empty() && text.len() <= TEXT_MAX && !text.chars().any(char::is_control);
    plain.then(|| text.into())
}

/// The checksum is that of the whole header with the checksum's own octets zero, which stand at `place`.
fn verify(value: &[u8], whole: &[u8], place: usize) -> Result<(), HeaderFault> {
    let stated: [u8; 4] = value.try_into().map_err(|_| HeaderFault::Tlv)?;
    let (before, behind) = (&whole[..place], &whole[place + stated.len()..]);
    let octets = before.iter().chain(&[0; 4]).chain(behind).copied();
    if crc32c(octets) == u32::from_be_bytes(stated) { Ok(()) } else { Err(HeaderFault::Checksum) }
}

/// RFC 3720 B.4: polynomial 0x1EDC6F41, here reflected. A header is short and comes once: no table.
pub(super) fn crc32c(octets: impl IntoIterator<Item = u8>) -> u32 {
    !octets.into_iter().fold(!0_u32, |crc, octet| {
        (0..8).fold(crc ^ u32::from(octet), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}
