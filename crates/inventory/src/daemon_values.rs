//! Values that say how a daemon speaks TLS, and a client.

use super::convert::{Context, Convert, Found};
use super::names::nearest;
use crate::yaml::source::quoted;
use docker::tls::{ClientMode, ConfigStyle, DaemonMode};

/// One of a few words.
pub(super) fn one_of<T: Copy>(
    value: &Found,
    expected: &str,
    known: &[(&str, T)],
    context: &mut Context,
) -> Option<T> {
    let text = value.line(expected, context)?;
    if let Some((_, found)) = known.iter().find(|(word, _)| *word == text) {
        return Some(*found);
    }
    let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
    let help = match nearest(text, words.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("one of {}", words.join(", ")),
    };
    let message = format!("{} cannot be {}", quoted(value.name), quoted(text));
    value.refuse(message, help, context)
}

/// Whom a daemon lets in.
pub(super) struct DaemonModeName;

impl Convert for DaemonModeName {
    type Output = DaemonMode;
    const EXPECTED: &'static str = "tlsverify or tls";
    const SCHEMA: &'static str = r#"{"enum": ["tlsverify", "tls"]}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<DaemonMode> {
        const KNOWN: [(&str, DaemonMode); 2] = [
            ("tlsverify", DaemonMode::TlsVerify),
            ("tls", DaemonMode::Tls),
        ];
        one_of(value, Self::EXPECTED, &KNOWN, context)
    }
}

/// What a client checks and shows.
pub(super) struct ClientModeName;

impl Convert for ClientModeName {
    type Output = ClientMode;
    const EXPECTED: &'static str = "tlsverify, tlsverify-ca, tls-cert or tls";
    const SCHEMA: &'static str = r#"{"enum": ["tlsverify", "tlsverify-ca", "tls-cert", "tls"]}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<ClientMode> {
        let known = [
            ClientMode::TlsVerify,
            ClientMode::TlsVerifyCa,
            ClientMode::TlsCert,
            ClientMode::Tls,
        ]
        .map(|mode| (mode.word(), mode));
        one_of(value, Self::EXPECTED, &known, context)
    }
}

/// What `dtls_verify` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyScope {
    /// The client with every daemon.
    Full,
    /// Every client with a daemon, every daemon with a client.
    Sample,
    /// The client with its own daemon, and nothing but its own certificate.
    Own,
}

/// With how many daemons a client is tried.
pub(super) struct Scope;

impl Convert for Scope {
    type Output = Option<VerifyScope>;
    const EXPECTED: &'static str = "full, sample or own";
    const SCHEMA: &'static str = r#"{"enum": ["full", "sample", "own"]}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Option<VerifyScope>> {
        const KNOWN: [(&str, VerifyScope); 3] = [
            ("full", VerifyScope::Full),
            ("sample", VerifyScope::Sample),
            ("own", VerifyScope::Own),
        ];
        one_of(value, Self::EXPECTED, &KNOWN, context).map(Some)
    }
}

/// Where TLS settings live.
pub(super) struct ConfigStyleName;

impl Convert for ConfigStyleName {
    type Output = ConfigStyle;
    const EXPECTED: &'static str = "daemon_json or flags";
    const SCHEMA: &'static str = r#"{"enum": ["daemon_json", "flags"]}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<ConfigStyle> {
        const KNOWN: [(&str, ConfigStyle); 2] = [
            ("daemon_json", ConfigStyle::DaemonJson),
            ("flags", ConfigStyle::Flags),
        ];
        one_of(value, Self::EXPECTED, &KNOWN, context)
    }
}
