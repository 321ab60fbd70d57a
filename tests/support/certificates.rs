//! Certificates for tests: an authority of one's own, and whatever it should or should not vouch for.
//!
//! In:    names; what is to be wrong with a certificate.
//! Out:   chains and keys, as PEM files in a directory and as rustls takes them.
//! Never: keeps anything on disk that outlives the test, or makes a key that is used outside of it.
//!
//! Keys are ECDSA P-256, where not RSA of 2048 bits is asked for: those take a moment to make.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Who vouches for the others.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// One of this name.
    pub fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(authority_params(name), ecdsa()).unwrap())
    }

    /// One that this one vouches for, and whose time ends so long from now.
    pub fn subordinate(&self, name: &str, left: Duration) -> Self {
        let params = ending(authority_params(name), left);
        Self(CertifiedIssuer::signed_by(params, ecdsa(), &self.0).unwrap())
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// The same in a file, to be named as roots.
    pub fn write(&self, dir: &Path, name: &str) -> PathBuf {
        let path = dir.join(format!("{name}.pem"));
        fs::write(&path, self.pem()).unwrap();
        path
    }

    /// The same for rustls.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// A client that trusts nobody else.
    pub fn client_config(&self) -> ClientConfig {
        ClientConfig::builder().with_root_certificates(self.roots()).with_no_client_auth()
    }

    /// A server's, for host names, `*.example.net`, and addresses. The first is the common name.
    pub fn server(&self, names: &[&str]) -> Pair {
        self.sign(server_params(names), ecdsa())
    }

    /// The same with an RSA key.
    pub fn server_rsa(&self, names: &[&str]) -> Pair {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        self.sign(server_params(names), key)
    }

    /// A server's whose time was over at the end of 2020.
    pub fn expired(&self, names: &[&str]) -> Pair {
        let mut params = server_params(names);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 12, 31));
        self.sign(params, ecdsa())
    }

    /// A server's whose time ends so long from now.
    pub fn expiring(&self, names: &[&str], left: Duration) -> Pair {
        self.sign(ending(server_params(names), left), ecdsa())
    }

    /// A server's whose time begins in 2090.
    pub fn not_yet_valid(&self, names: &[&str]) -> Pair {
        let mut params = server_params(names);
        (params.not_before, params.not_after) = (date_time_ymd(2090, 1, 1), date_time_ymd(2099, 1, 1));
        self.sign(params, ecdsa())
    }

    /// A client's, with `CN=<name>,O=Example`.
    pub fn client(&self, name: &str) -> Pair {
        let mut params = params(&[], name);
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, ecdsa())
    }

    fn sign(&self, params: CertificateParams, key: KeyPair) -> Pair {
        let leaf = params.signed_by(&key, &self.0).unwrap();
        Pair { chain: vec![leaf.der().clone(), self.0.der().clone()], pem: leaf.pem() + &self.pem(), key }
    }
}

/// A server's that vouches for itself.
pub fn self_signed(names: &[&str]) -> Pair {
    let key = ecdsa();
    let leaf = server_params(names).self_signed(&key).unwrap();
    Pair { chain: vec![leaf.der().clone()], pem: leaf.pem(), key }
}

/// The same, and it says that it is an authority's, as those of `openssl req -x509` do.
pub fn self_signed_authority(names: &[&str]) -> Pair {
    let key = ecdsa();
    let mut params = params(names, names.first().copied().unwrap_or("localhost"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let leaf = params.self_signed(&key).unwrap();
    Pair { chain: vec![leaf.der().clone()], pem: leaf.pem(), key }
}

/// One of its own whose time was over at the end of 2020.
pub fn self_signed_expired(names: &[&str]) -> Pair {
    let key = ecdsa();
    let mut params = server_params(names);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 12, 31));
    let leaf = params.self_signed(&key).unwrap();
    Pair { chain: vec![leaf.der().clone()], pem: leaf.pem(), key }
}

/// What an appliance may show, made by `openssl`: a certificate that it has signed itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// Of X.509 version 1: without extensions, and so without names.
    Version1,
    /// With an RSA key of 1024 bits.
    Rsa1024,
}

/// Writes such a certificate as `<name>.pem`, `<name>.key`.
pub fn old(kind: Old, common_name: &str, dir: &Path, name: &str) -> Files {
    let files = Files { certificate: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
    let bits = if kind == Old::Rsa1024 { "rsa:1024" } else { "rsa:2048" };
    let subject = format!("/CN={common_name}");
    let (key, certificate) = (files.key.to_str().unwrap(), files.certificate.to_str().unwrap());
    let request = dir.join(format!("{name}.csr"));
    let request = request.to_str().unwrap();
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let new = ["req", "-newkey", bits, "-nodes", "-sha256", "-keyout", key, "-subj", &subject];
    if kind == Old::Rsa1024 {
        let names = format!("subjectAltName=DNS:{common_name}");
        openssl(&[&new[..], &["-x509", "-days", "3650", "-addext", &names, "-out", certificate]].concat());
    } else {
        openssl(&[&new[..], &["-new", "-out", request]].concat());
        // Without extensions it is of version 1.
        let sign = ["x509", "-req", "-in", request, "-signkey", key, "-sha256", "-days", "3650"];
        openssl(&[&sign[..], &["-out", certificate]].concat());
    }
    files
}

/// A chain and its key.
pub struct Pair {
    chain: Vec<CertificateDer<'static>>,
    pem: String,
    key: KeyPair,
}

/// Where a pair lies.
#[derive(Clone, Debug)]
pub struct Files {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The key (PKCS #8).
    pub key: PathBuf,
}

impl Pair {
    /// Writes `<name>.pem` and `<name>.key`, over those that are there: each is whole at any moment.
    pub fn write(&self, dir: &Path, name: &str) -> Files {
        let files =
            Files { certificate: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
        for (path, text) in [(&files.key, self.key.serialize_pem()), (&files.certificate, self.pem.clone())] {
            let new = path.with_extension("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, path).unwrap();
        }
        files
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    /// The key.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// A server that shows it and asks for none.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let config = ServerConfig::builder().with_no_client_auth();
        Arc::new(config.with_single_cert(self.chain(), self.key()).unwrap())
    }
}

fn ecdsa() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(&[], name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The same, but its time ends so long from now.
fn ending(mut params: CertificateParams, left: Duration) -> CertificateParams {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    (params.not_before, params.not_after) =
        (date_time_ymd(2020, 1, 1), date_time_ymd(1970, 1, 1) + (now + left));
    params
}

fn server_params(names: &[&str]) -> CertificateParams {
    let mut params = params(names, names.first().copied().unwrap_or("localhost"));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn params(names: &[&str], common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        })
        .collect();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    (params.not_before, params.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(2089, 1, 1));
    params.use_authority_key_identifier_extension = true;
    params
}
