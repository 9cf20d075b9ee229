//! One TLS handshake and one HTTP request to a daemon, and the verdict.
//!
//! With TLS 1.3, a rejected client certificate shows only at the first read, so every probe reads
//! the reply.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use base::secret::Secret;
use pki::Certificate;

/// What a daemon presented during the handshake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// The served leaf certificate, DER.
    pub certificate: Option<Vec<u8>>,
    /// Names of the CAs whose clients it accepts, DER, from its `CertificateRequest`.
    pub accepted_authorities: Option<Vec<Vec<u8>>>,
}

/// The daemon's reaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP response: the client was accepted. Holds the status code.
    Served(u16),
    /// The daemon ended the handshake with this TLS alert.
    Alert(String),
    /// It speaks TLS and rejects plain HTTP.
    PlainRefused,
    /// Its certificate is not acceptable.
    ServerCertificate(ServerFault),
    /// The connection ended without an alert.
    Closed(String),
    Timeout,
}

/// What is wrong with the daemon's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFault {
    Expired,
    NotYetValid,
    UnknownAuthority,
    WrongName,
    WrongUsage,
    Other(String),
}

impl std::fmt::Display for ServerFault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Expired => "its certificate has expired",
            Self::NotYetValid => "its certificate is not valid yet",
            Self::UnknownAuthority => "its certificate is of another CA",
            Self::WrongName => "its certificate is for another name",
            Self::WrongUsage => "its certificate is not for servers",
            Self::Other(text) => text,
        })
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Served(status) => write!(formatter, "answered with HTTP {status}"),
            Self::Alert(alert) => write!(formatter, "refused (TLS alert {alert})"),
            Self::PlainRefused => formatter.write_str("refused (HTTP sent to an HTTPS server)"),
            Self::ServerCertificate(fault) => fault.fmt(formatter),
            Self::Closed(how) => write!(formatter, "connection closed ({how})"),
            Self::Timeout => formatter.write_str("no answer in time"),
        }
    }
}

/// A certificate chain and its key, for a probe with a client certificate.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Identity(..)")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("\"{0}\" is not a name or an address")]
    Name(String),
    #[error("the certificate of the CA cannot be used: {0}")]
    Authority(String),
    #[error("there is no private key in its PEM text")]
    Key,
    #[error("a throw-away certificate cannot be made: {0}")]
    MadeUp(#[from] rcgen::Error),
}

impl Identity {
    pub fn new(certificate: Vec<u8>, key_pkcs8: Vec<u8>) -> Result<Self, ProbeError> {
        Self::of(certificate, &PrivateKeyDer::Pkcs8(key_pkcs8.into()))
    }

    fn of(certificate: Vec<u8>, key: &PrivateKeyDer<'_>) -> Result<Self, ProbeError> {
        let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(key)?;
        Ok(Self(Arc::new(CertifiedKey::new(
            vec![CertificateDer::from(certificate)],
            signer,
        ))))
    }

    /// A certificate and the PEM text of its key.
    pub(crate) fn with_key(certificate: &Certificate, key: &Secret) -> Result<Self, ProbeError> {
        let key = PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| ProbeError::Key)?;
        Self::of(certificate.der().to_vec(), &key)
    }

    /// A client identity of a CA that no daemon trusts.
    pub fn made_up() -> Result<Self, ProbeError> {
        let authority_key = rcgen::KeyPair::generate()?;
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(rcgen::DnType::CommonName, "made-up CA of a probe");
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate()?;
        let mut leaf = rcgen::CertificateParams::default();
        leaf.distinguished_name
            .push(rcgen::DnType::CommonName, "made-up client of a probe");
        leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = leaf.signed_by(&key, &issuer)?;
        Self::new(certificate.der().to_vec(), key.serialize_der())
    }
}

/// Records what the server asks for, and always presents the same identity, even to a server that
/// would not accept its CA: the rejection must be the server's own.
#[derive(Debug)]
struct Shower {
    identity: Option<Identity>,
    shown: Arc<Mutex<Shown>>,
}

impl ResolvesClientCert for Shower {
    fn resolve(
        &self,
        authorities: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.accepted_authorities = Some(authorities.iter().map(|name| name.to_vec()).collect());
        self.identity
            .as_ref()
            .map(|identity| Arc::clone(&identity.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Records the server's certificate before verifying it.
#[derive(Debug)]
struct Judge {
    inner: Arc<WebPkiServerVerifier>,
    shown: Arc<Mutex<Shown>>,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .certificate = Some(end_entity.to_vec());
        self.inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Handshake, `GET /_ping`, and the verdict.
///
/// # Errors If the probe cannot be set up; every reaction of the daemon is an [`Answer`].
pub async fn https<S>(
    stream: S,
    name: &str,
    authorities: &[Vec<u8>],
    identity: Option<Identity>,
    deadline: Duration,
) -> Result<(Answer, Shown), ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let shown = Arc::new(Mutex::new(Shown::default()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(CertificateDer::from(authority.clone()))
            .map_err(|error| ProbeError::Authority(error.to_string()))?;
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| ProbeError::Authority(error.to_string()))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Judge {
            inner,
            shown: Arc::clone(&shown),
        }))
        .with_client_cert_resolver(Arc::new(Shower {
            identity,
            shown: Arc::clone(&shown),
        }));
    // A resumed session shows neither the certificate nor the CAs.
    config.resumption = rustls::client::Resumption::disabled();
    let server_name =
        ServerName::try_from(name.to_owned()).map_err(|_| ProbeError::Name(name.to_owned()))?;
    let connector = TlsConnector::from(Arc::new(config));
    let exchange = async {
        let mut stream = match connector.connect(server_name, stream).await {
            Ok(stream) => stream,
            Err(error) => return classify(&error),
        };
        let request = format!("GET /_ping HTTP/1.0\r\nHost: {name}\r\n\r\n");
        if let Err(error) = stream.write_all(request.as_bytes()).await {
            return classify(&error);
        }
        read_status(&mut stream).await
    };
    let answer = tokio::time::timeout(deadline, exchange)
        .await
        .unwrap_or(Answer::Timeout);
    let shown = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((answer, shown))
}

/// Plain HTTP to the TLS port, as with `DOCKER_HOST` without TLS.
pub async fn plain<S>(mut stream: S, name: &str, deadline: Duration) -> Answer
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        let request = format!("GET /_ping HTTP/1.0\r\nHost: {name}\r\n\r\n");
        if let Err(error) = stream.write_all(request.as_bytes()).await {
            return classify(&error);
        }
        match read_reply(&mut stream).await {
            // Go's server sends this as plain text on a TLS port.
            Ok(text) if text.contains("HTTP request to an HTTPS server") => Answer::PlainRefused,
            Ok(text) => status_of(&text),
            Err(answer) => answer,
        }
    };
    tokio::time::timeout(deadline, exchange)
        .await
        .unwrap_or(Answer::Timeout)
}

async fn read_status<S: AsyncRead + Unpin>(stream: &mut S) -> Answer {
    match read_reply(stream).await {
        Ok(text) => status_of(&text),
        Err(answer) => answer,
    }
}

/// The beginning of the reply, up to its end or 1 KiB.
async fn read_reply<S: AsyncRead + Unpin>(stream: &mut S) -> Result<String, Answer> {
    let mut reply = Vec::new();
    let mut buffer = [0u8; 512];
    while reply.len() < 1024 {
        match stream.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => reply.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if reply.is_empty() => return Err(classify(&error)),
            Err(_) => break,
        }
    }
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

fn status_of(text: &str) -> Answer {
    let status = text
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.get(..3)?.parse().ok());
    match status {
        Some(status) => Answer::Served(status),
        None if text.is_empty() => Answer::Closed("before any answer".to_owned()),
        None => Answer::Closed("with an answer that is not HTTP".to_owned()),
    }
}

/// rustls and webpki describe errors by type names, such as `CaUsedAsEndEntity`.
fn described(fault: &CertificateError) -> String {
    let name = match fault {
        CertificateError::Other(error) => error.0.to_string(),
        other => other.to_string(),
    };
    if name.contains(' ') {
        return name;
    }
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

fn classify(error: &std::io::Error) -> Answer {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(alert)) => Answer::Alert(alert_name(*alert)),
        Some(rustls::Error::InvalidCertificate(fault)) => {
            Answer::ServerCertificate(match fault {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    ServerFault::Expired
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    ServerFault::NotYetValid
                }
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    ServerFault::UnknownAuthority
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => ServerFault::WrongName,
                CertificateError::InvalidPurpose
                | CertificateError::InvalidPurposeContext { .. } => ServerFault::WrongUsage,
                other => ServerFault::Other(described(other)),
            })
        }
        Some(other) => Answer::Closed(other.to_string()),
        None => Answer::Closed(error.kind().to_string()),
    }
}

/// The names in RFC 8446, section 6.2.
fn alert_name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::BadCertificate => "bad_certificate".to_owned(),
        AlertDescription::CertificateRequired => "certificate_required".to_owned(),
        AlertDescription::UnknownCA => "unknown_ca".to_owned(),
        AlertDescription::UnsupportedCertificate => "unsupported_certificate".to_owned(),
        AlertDescription::CertificateExpired => "certificate_expired".to_owned(),
        AlertDescription::CertificateUnknown => "certificate_unknown".to_owned(),
        AlertDescription::AccessDenied => "access_denied".to_owned(),
        AlertDescription::HandshakeFailure => "handshake_failure".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Whether the daemon has rejected this client. A broken connection alone shows nothing.
#[must_use]
pub(crate) fn is_refusal(answer: &Answer) -> bool {
    match answer {
        Answer::PlainRefused => true,
        Answer::Alert(alert) => [
            "bad_certificate",
            "certificate_required",
            "unknown_ca",
            "unsupported_certificate",
            "certificate_unknown",
            "access_denied",
        ]
        .contains(&alert.as_str()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_a_certificate_is_in_words() {
        let of_webpki = rustls::OtherError(Arc::new(std::io::Error::other("CaUsedAsEndEntity")));
        assert_eq!(
            described(&CertificateError::Other(of_webpki)),
            "ca used as end entity"
        );
        assert_eq!(described(&CertificateError::Revoked), "revoked");
    }
}
