//! The TLS configuration of a daemon: its mode, its files, and whether they are set in daemon.json
//! or on the command line; and what a client verifies and presents.
//!
//! Both: docs.docker.com/reference/cli/dockerd; what the modes do:
//! docs.docker.com/engine/security/protect-access, "Daemon modes" and "Client modes".

use serde_json::Value;

/// The paths that dockerd is configured to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPaths {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

/// Which clients a daemon accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonMode {
    /// Holders of a certificate of the CA.
    TlsVerify,
    /// Every client that can connect; the certificate only identifies the daemon to clients.
    Tls,
}

/// What a client verifies, and what it presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMode {
    /// It verifies the daemon and presents a certificate.
    TlsVerify,
    /// It verifies the daemon and presents none.
    TlsVerifyCa,
    /// It presents a certificate to any server.
    TlsCert,
    /// Neither: the connection is encrypted, but the peer is unknown.
    Tls,
}

impl ClientMode {
    /// The name in the inventory.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::TlsVerify => "tlsverify",
            Self::TlsVerifyCa => "tlsverify-ca",
            Self::TlsCert => "tls-cert",
            Self::Tls => "tls",
        }
    }

    /// Docker's `--tlsverify`. With only `--tls` the CLI accepts any certificate
    /// (`InsecureSkipVerify`; docker/cli, cli/flags/options.go), although the manual speaks of
    /// public CAs.
    #[must_use]
    pub const fn checks_daemon(self) -> bool {
        matches!(self, Self::TlsVerify | Self::TlsVerifyCa)
    }

    /// It has its own certificate and key.
    #[must_use]
    pub const fn shows_certificate(self) -> bool {
        matches!(self, Self::TlsVerify | Self::TlsCert)
    }

    #[must_use]
    pub const fn is_let_in(self, daemon: DaemonMode) -> bool {
        self.shows_certificate() || matches!(daemon, DaemonMode::Tls)
    }
}

/// Where a daemon's TLS settings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigStyle {
    /// In /etc/docker/daemon.json.
    DaemonJson,
    /// On the command line, in the unit's drop-in.
    Flags,
}

/// The settings of daemon.json; both modes set `tlsverify` explicitly, because dockerd treats `tls`
/// alone as `tlsverify`.
///
/// `tlsverify` never stands without `tlscacert`: Go would check clients against the system's public
/// roots.
#[must_use]
pub fn settings(mode: DaemonMode, paths: &TlsPaths) -> Vec<(&'static str, Value)> {
    let verifies = mode == DaemonMode::TlsVerify;
    let mut settings = vec![
        ("tls", Value::Bool(true)),
        ("tlsverify", Value::Bool(verifies)),
    ];
    if verifies {
        settings.push(("tlscacert", Value::String(paths.ca.clone())));
    }
    settings.push(("tlscert", Value::String(paths.certificate.clone())));
    settings.push(("tlskey", Value::String(paths.key.clone())));
    settings
}

/// The same as flags, as words of a unit file.
#[must_use]
pub fn flags(mode: DaemonMode, paths: &TlsPaths) -> Vec<String> {
    let with_path = |flag: &str, path: &str| unit_word(&format!("{flag}={path}"));
    let mut flags = match mode {
        DaemonMode::TlsVerify => vec![
            "--tlsverify".to_owned(),
            with_path("--tlscacert", &paths.ca),
        ],
        DaemonMode::Tls => vec!["--tls".to_owned(), "--tlsverify=false".to_owned()],
    };
    flags.push(with_path("--tlscert", &paths.certificate));
    flags.push(with_path("--tlskey", &paths.key));
    flags
}

/// The TLS mode of dockerd with only these arguments; none without any of the flags.
#[must_use]
pub fn mode_of(arguments: &[String]) -> Option<DaemonMode> {
    // Go's parsing of booleans; the last value counts.
    let is = |name: &str| {
        arguments.iter().rev().find_map(|argument| {
            let value = argument.strip_prefix(name)?;
            match value.strip_prefix('=') {
                None if value.is_empty() => Some(true),
                None => None,
                Some(value) => Some(["1", "t", "T", "true", "TRUE", "True"].contains(&value)),
            }
        })
    };
    match (is("--tls"), is("--tlsverify")) {
        (_, Some(true)) => Some(DaemonMode::TlsVerify),
        // moby, cmd/dockerd: any value of tlsverify turns TLS on.
        (Some(true), _) | (None, Some(false)) => Some(DaemonMode::Tls),
        _ => None,
    }
}

/// The TLS files in these arguments: CA, certificate, key. The last value counts.
#[must_use]
pub fn named_paths(arguments: &[String]) -> [Option<String>; 3] {
    ["--tlscacert=", "--tlscert=", "--tlskey="].map(|flag| {
        let mut values = arguments.iter().rev();
        values.find_map(|argument| argument.strip_prefix(flag).map(str::to_owned))
    })
}

/// A word as systemd reads it: systemd.syntax(7), "QUOTING", and
/// systemd.service(5), "COMMAND LINES".
fn unit_word(text: &str) -> String {
    let text = text.replace('%', "%%").replace('$', "$$");
    let plain = text
        .chars()
        .all(|character| !character.is_whitespace() && !"\"'\\;".contains(character));
    if plain {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(directory: &str) -> TlsPaths {
        let at = |name: &str| format!("{directory}/{name}");
        TlsPaths {
            ca: at("ca.pem"),
            certificate: at("cert.pem"),
            key: at("key.pem"),
        }
    }

    #[test]
    fn tlsverify_comes_with_its_ca_and_tls_says_that_it_verifies_nobody() {
        let verify = settings(DaemonMode::TlsVerify, &paths("/d"));
        assert!(verify.contains(&("tlsverify", Value::Bool(true))));
        assert!(verify.contains(&("tlscacert", Value::String("/d/ca.pem".to_owned()))));
        let open = settings(DaemonMode::Tls, &paths("/d"));
        assert!(open.contains(&("tlsverify", Value::Bool(false))));
        assert!(open.iter().all(|(name, _)| *name != "tlscacert"));
    }

    #[test]
    fn flags_are_the_guides_and_words_of_a_unit_file() {
        assert_eq!(
            flags(DaemonMode::TlsVerify, &paths("/etc/docker/keys")).join(" "),
            "--tlsverify --tlscacert=/etc/docker/keys/ca.pem --tlscert=/etc/docker/keys/cert.pem --tlskey=/etc/docker/keys/key.pem"
        );
        assert_eq!(
            flags(DaemonMode::Tls, &paths("/50% $ \"x\"")),
            [
                "--tls",
                "--tlsverify=false",
                r#""--tlscert=/50%% $$ \"x\"/cert.pem""#,
                r#""--tlskey=/50%% $$ \"x\"/key.pem""#
            ]
        );
    }

    #[test]
    fn a_flag_that_is_switched_off_asks_for_nothing() {
        let of = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            mode_of(&words)
        };
        assert_eq!(
            of("-H fd:// --tlsverify --tlscacert=/x"),
            Some(DaemonMode::TlsVerify)
        );
        assert_eq!(of("--tls=true --tlsverify=false"), Some(DaemonMode::Tls));
        assert_eq!(of("--tls --tlscert=/x"), Some(DaemonMode::Tls));
        assert_eq!(of("--tls=false -H tcp://0.0.0.0:2375 --tlscert=/x"), None);
    }
}
