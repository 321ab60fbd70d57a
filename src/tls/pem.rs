//! Certificates, keys and roots from files.
//!
//! In:    the path of a PEM file (RFC 7468), or of two.
//! Out:   a chain with its key, which fit; or roots. Else one line that names the file and what is wrong with it.
//! Never: reads a file of more than `MOST` octets, says anything of a key's content, or asks for a passphrase.
//!
//! The only place that knows `rustls-pemfile`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls_pemfile::Item;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::provider;
use super::verify::Named;
use crate::config::types::KeyPair;

/// The system's whole bundle of roots is a quarter of this.
const MOST: u64 = 1 << 20;

/// What is wrong with a file.
#[derive(Debug)]
pub struct PemError {
    path: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Unreadable(io::Error),
    TooLarge,
    NotAFile,
    NotPem,
    Der,
    NoCertificate,
    CertificateMissingBesideKey,
    NotCertificate(usize),
    NotUsable,
    NoKey,
    KeyMissingBesideCertificate,
    Encrypted,
    UnknownKey,
    Mismatch(PathBuf),
    NoSystemRoots,
}

impl PemError {
    /// Nobody on this system is trusted, and the configuration names nobody.
    pub(super) fn no_system_roots() -> Self {
        Self { path: PathBuf::new(), what: What::NoSystemRoots }
    }
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.what {
            What::Unreadable(error) => write!(f, "{path}: cannot be read: {error}"),
            What::TooLarge => write!(f, "{path}: is larger than {MOST} octets"),
            What::NotAFile => write!(f, "{path}: cannot be read: not a regular file"),
            What::Der => {
                write!(f, "{path}: is in DER, and PEM is wanted: openssl x509 (or pkey) -inform der makes it")
            }
            What::NotPem => write!(f, "{path}: is no PEM file, or a broken one"),
            What::NoCertificate => write!(f, "{path}: holds no certificate (-----BEGIN CERTIFICATE-----)"),
            What::CertificateMissingBesideKey => {
                write!(
                    f,
                    "{path}: holds a private key and no certificate: are \"certificate\" and \"key\" swapped?"
                )
            }
            What::NotCertificate(place) => write!(f, "{path}: certificate {place} in it cannot be read"),
            What::NotUsable => write!(f, "{path}: its first certificate is not of X.509 version 3"),
            What::NoKey => {
                write!(f, "{path}: holds no private key (-----BEGIN PRIVATE KEY-----)")
            }
            What::KeyMissingBesideCertificate => {
                write!(
                    f,
                    "{path}: holds a certificate and no private key: are \"certificate\" and \"key\" swapped?"
                )
            }
            What::Encrypted => {
                write!(
                    f,
                    "{path}: is encrypted, and nobody is asked for a passphrase: openssl pkey takes it off"
                )
            }
            What::UnknownKey => write!(f, "{path}: holds a private key of a kind that is not supported"),
            What::Mismatch(certificate) => {
                write!(f, "{path}: is not the key of the certificate in {}", certificate.display())
            }
            What::NoSystemRoots => {
                f.write_str("this system has no root certificates: name some in \"roots\"")
            }
        }
    }
}

impl std::error::Error for PemError {}

/// Whom an administrator trusts.
#[derive(Clone, Debug)]
pub struct Roots {
    /// To vouch for others.
    pub store: Arc<RootCertStore>,
    /// As they are.
    pub named: Named,
}

/// A chain with its key.
///
/// # Errors
///
/// What is wrong with either file, or that they do not fit.
pub fn pair(files: &KeyPair) -> Result<CertifiedKey, PemError> {
    fit(certificates(&files.certificate)?, key(&files.key)?, files)
}

/// What is wrong with the certificate's file, and with the key's.
pub fn faults(files: &KeyPair) -> (Option<PemError>, Option<PemError>) {
    match (certificates(&files.certificate), key(&files.key)) {
        (Ok(chain), Ok(key)) => (None, fit(chain, key, files).err()),
        (chain, key) => (chain.err(), key.err()),
    }
}

/// The chain with its key, if they belong together.
fn fit(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    files: &KeyPair,
) -> Result<CertifiedKey, PemError> {
    CertifiedKey::from_der(chain, key, provider()).map_err(|error| {
        let what = match error {
            rustls::Error::InconsistentKeys(_) => What::Mismatch(files.certificate.clone()),
            rustls::Error::InvalidCertificate(_) => {
                return PemError { path: files.certificate.clone(), what: What::NotUsable };
            }
            _ => What::UnknownKey,
        };
        PemError { path: files.key.clone(), what }
    })
}

/// The roots in a file.
///
/// # Errors
///
/// What is wrong with it.
pub fn roots(path: &Path) -> Result<Roots, PemError> {
    let mut store = RootCertStore::empty();
    let certificates = certificates(path)?;
    for (place, root) in certificates.iter().enumerate() {
        store
            .add(root.clone())
            .map_err(|_| PemError { path: path.into(), what: What::NotCertificate(place + 1) })?;
    }
    Ok(Roots { store: Arc::new(store), named: Named::new(certificates) })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let error = |what| PemError { path: path.into(), what };
    let mut chain = Vec::new();
    let (items, _) = items(path)?;
    let keys =
        items.iter().any(|item| matches!(item, Item::Pkcs8Key(_) | Item::Pkcs1Key(_) | Item::Sec1Key(_)));
    for item in items {
        if let Item::X509Certificate(certificate) = item {
            if X509Certificate::from_der(&certificate).is_err() {
                return Err(error(What::NotCertificate(chain.len() + 1)));
            }
            chain.push(certificate);
        }
    }
    match (chain.is_empty(), keys) {
        (true, true) => Err(error(What::CertificateMissingBesideKey)),
        (true, false) => Err(error(What::NoCertificate)),
        (false, _) => Ok(chain),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let (items, encrypted) = items(path)?;
    let certificates = items.iter().any(|item| matches!(item, Item::X509Certificate(_)));
    let key = items.into_iter().find_map(|item| match item {
        Item::Pkcs8Key(key) => Some(key.into()),
        Item::Pkcs1Key(key) => Some(key.into()),
        Item::Sec1Key(key) => Some(key.into()),
        _ => None,
    });
    let what = match (encrypted, certificates) {
        (true, _) => What::Encrypted,
        (false, true) => What::KeyMissingBesideCertificate,
        (false, false) => What::NoKey,
    };
    match key {
        // Of a traditional one the octets behind its head are encrypted.
        Some(key) if !encrypted => Ok(key),
        _ => Err(PemError { path: path.into(), what }),
    }
}

/// Everything in a file, and whether a key in it is encrypted.
fn items(path: &Path) -> Result<(Vec<Item>, bool), PemError> {
    let error = |what| PemError { path: path.into(), what };
    let mut octets = Vec::new();
    // To open a pipe would wait for whoever writes it. A directory says itself what it is when it is read.
    if std::fs::metadata(path).is_ok_and(|seen| !seen.is_file() && !seen.is_dir()) {
        return Err(error(What::NotAFile));
    }
    let file = File::open(path).map_err(|reason| error(What::Unreadable(reason)))?;
    file.take(MOST + 1).read_to_end(&mut octets).map_err(|reason| error(What::Unreadable(reason)))?;
    if octets.len() as u64 > MOST {
        return Err(error(What::TooLarge));
    }
    // A sequence whose length takes two octets (X.690 8.1.3), which no text begins with.
    if octets.starts_with(&[0x30, 0x82]) {
        return Err(error(What::Der));
    }
    let holds = |text: &[u8]| octets.windows(text.len()).any(|part| part == text);
    // RFC 7468 11; RFC 1421 4.6.1.1.
    let encrypted = holds(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds(b"Proc-Type: 4,ENCRYPTED");
    match rustls_pemfile::read_all(&mut octets.as_slice()).collect::<io::Result<_>>() {
        Ok(items) => Ok((items, encrypted)),
        Err(_) if encrypted => Err(error(What::Encrypted)),
        Err(_) => Err(error(What::NotPem)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::certificates::Authority;
    use super::*;

    #[test]
    fn each_error_names_the_file_it_is_about() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new("Example Root");
        let [one, other] =
            ["one", "other"].map(|name| authority.server(&["mx.example.net"]).write(dir.path(), name));
        let rsa = authority.server_rsa(&["mx.example.net"]).write(dir.path(), "rsa");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let said = |certificate: &Path, key: &Path| {
            let files = KeyPair { certificate: certificate.into(), key: key.into() };
            let said = pair(&files).map_or_else(|error| error.to_string(), |_| "ok".into());
            said.replace(&format!("{}/", dir.path().display()), "")
        };
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let (empty, torn) = (file("empty", ""), file("torn", "-----BEGIN CERTIFICATE-----\n!\n"));
        for (certificate, key, expected) in [
            (&*one.certificate, &*one.key, "ok"),
            (&rsa.certificate, &rsa.key, "ok"),
            (
                &dir.path().join("none"),
                &one.key,
                "none: cannot be read: No such file or directory (os error 2)",
            ),
            (&one.certificate, &empty, "empty: holds no private key (-----BEGIN PRIVATE KEY-----)"),
            (&empty, &one.key, "empty: holds no certificate (-----BEGIN CERTIFICATE-----)"),
            (&torn, &one.key, "torn: is no PEM file, or a broken one"),
            (&file("junk", junk), &one.key, "junk: certificate 1 in it cannot be read"),
            (
                &one.certificate,
                &file(
                    "encrypted",
                    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                ),
                "encrypted: is encrypted, and nobody is asked for a passphrase: openssl pkey takes it off",
            ),
            (
                &one.certificate,
                &one.certificate,
                "one.pem: holds a certificate and no private key: are \"certificate\" and \"key\" swapped?",
            ),
            (Path::new("/dev/null"), &one.key, "/dev/null: cannot be read: not a regular file"),
            (&one.certificate, &other.key, "other.key: is not the key of the certificate in one.pem"),
            (&one.certificate, &rsa.key, "rsa.key: is not the key of the certificate in one.pem"),
        ] {
            assert_eq!(said(certificate, key), expected);
        }
        assert_eq!(roots(&authority.write(dir.path(), "root")).unwrap().store.len(), 1);
        let large = file("large", &"\n".repeat(1 + MOST as usize));
        assert!(roots(&large).unwrap_err().to_string().ends_with("large: is larger than 1048576 octets"));
    }
}
