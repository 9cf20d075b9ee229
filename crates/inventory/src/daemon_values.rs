//! Values for the TLS modes of daemons and clients.

use super::generic::one_of;
use docker::tls::{ClientMode, ConfigStyle, DaemonMode};

one_of! {
    /// Which clients a daemon accepts.
    DaemonModeName: DaemonMode, "tlsverify or tls",
    "tlsverify" => DaemonMode::TlsVerify, "tls" => DaemonMode::Tls
}

one_of! {
    /// What a client checks and shows.
    ClientModeName: ClientMode, "tlsverify, tlsverify-ca, tls-cert or tls",
    "tlsverify" => ClientMode::TlsVerify, "tlsverify-ca" => ClientMode::TlsVerifyCa,
    "tls-cert" => ClientMode::TlsCert, "tls" => ClientMode::Tls
}

/// The value of `dtls_verify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyScope {
    /// The client with every daemon.
    Full,
    /// Every client with a daemon, every daemon with a client.
    Sample,
    /// The client with its own daemon, and nothing but its own certificate.
    Own,
}

one_of! {
    /// With how many daemons a client is tried.
    Scope: VerifyScope, "full, sample or own",
    "full" => VerifyScope::Full, "sample" => VerifyScope::Sample, "own" => VerifyScope::Own
}

one_of! {
    /// Where TLS settings live.
    ConfigStyleName: ConfigStyle, "daemon_json or flags",
    "daemon_json" => ConfigStyle::DaemonJson, "flags" => ConfigStyle::Flags
}
