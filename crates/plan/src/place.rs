//! Which kinds of file may be replaced at a path that an inventory declares: a declared path is a
//! claim, not a permission.
//!
//! A run replaces a certificate with a certificate, and never `/etc/shadow`. Pure.

/// What belongs at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A CA bundle or a certificate.
    Certificates,
    /// A private key.
    Key,
    /// dockerd's settings, a JSON object; an empty file counts as none.
    DaemonJson,
    /// A drop-in of a systemd unit.
    DropIn,
    /// The guard's policy and binary, which are recognised by path: no other program has files
    /// there.
    Policy,
    /// See `Policy`.
    Program,
    /// A login shell's profile, which has one marked block of dtls-deploy.
    Profile,
    /// meta.json of a docker context.
    Context,
    /// The CA's own files, which are recognised by content.
    Authority,
    /// What a generation restores: its manifest says what was there.
    Kept,
}

/// The kind of a file. Its words never quote the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Empty,
    /// PEM certificates and no other PEM.
    Certificates,
    /// A private key for a TLS server or client.
    Key,
    /// Both in one file.
    CertificatesAndKey,
    /// PEM of another kind: a request, parameters, an OpenSSH key.
    OtherPem,
    JsonObject,
    UnitFile,
    /// A unit file with only comments.
    Comments,
    Text,
    Binary,
}

/// Labels of certificates (RFC 7468, section 5.3). A damaged certificate still counts as one.
const CERTIFICATES: [&str; 3] = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"];
/// The text before the label of a PEM block (RFC 7468, section 2).
const BEGIN: &str = "-----BEGIN ";
/// Labels of private keys that dockerd and the docker CLI read (Go's
/// crypto/tls, parsePrivateKey), and of encrypted ones.
const KEYS: [&str; 4] = [
    "PRIVATE KEY",
    "RSA PRIVATE KEY",
    "EC PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
];

impl Kind {
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Self::Binary;
        };
        if text.contains(|found: char| found.is_control() && !found.is_ascii_whitespace()) {
            return Self::Binary;
        }
        if text.trim().is_empty() {
            return Self::Empty;
        }
        // What openssl ecparam writes before a key does not matter.
        let labels = text.lines().filter_map(label);
        let labels: Vec<&str> = labels.filter(|label| *label != "EC PARAMETERS").collect();
        if !labels.is_empty()
            && text
                .lines()
                .take_while(|line| label(line).is_none())
                .all(explains)
        {
            return Self::of_pem(&labels);
        }
        if let Ok(serde_json::Value::Object(_)) = serde_json::from_str(text) {
            return Self::JsonObject;
        }
        is_unit(text).unwrap_or(Self::Text)
    }

    fn of_pem(labels: &[&str]) -> Self {
        let has_key = labels.iter().any(|label| label.ends_with("PRIVATE KEY"));
        let has_certificate = labels.iter().any(|label| CERTIFICATES.contains(label));
        let is_certificates = labels.iter().all(|label| CERTIFICATES.contains(label));
        match labels.first() {
            _ if is_certificates => Self::Certificates,
            _ if has_certificate && has_key => Self::CertificatesAndKey,
            Some(label) if KEYS.contains(label) => Self::Key,
            _ => Self::OtherPem,
        }
    }

    /// In words, after "is".
    #[must_use]
    pub const fn described(self) -> &'static str {
        match self {
            Self::Empty => "an empty file",
            Self::Certificates => "a certificate",
            Self::Key => "a private key",
            Self::CertificatesAndKey => "a certificate and a private key in one file",
            Self::OtherPem => "a PEM file of another kind",
            Self::JsonObject => "a JSON file",
            Self::UnitFile => "a file like a systemd unit",
            Self::Comments => "a file of comments",
            Self::Text => "a text file",
            Self::Binary => "a binary file",
        }
    }
}

impl Place {
    /// Whether a file of this kind may be replaced there.
    #[must_use]
    pub const fn accepts(self, kind: Kind) -> bool {
        match self {
            Self::Certificates => matches!(kind, Kind::Certificates),
            Self::Key => matches!(kind, Kind::Key),
            Self::DaemonJson => matches!(kind, Kind::JsonObject | Kind::Empty),
            Self::DropIn => matches!(kind, Kind::UnitFile | Kind::Comments | Kind::Empty),
            // Lines outside of the block stay, and the prompt may hold escapes.
            Self::Authority | Self::Kept | Self::Policy | Self::Profile | Self::Program => true,
            Self::Context => matches!(kind, Kind::JsonObject),
        }
    }

    /// Whether the content decides about it; for the others a record of this program does.
    #[must_use]
    pub(crate) const fn is_told_by_content(self) -> bool {
        !matches!(
            self,
            Self::Authority | Self::Kept | Self::Policy | Self::Program
        )
    }

    /// Whether the inventory sets its directory; the others have one of Docker's or systemd's own.
    #[must_use]
    pub const fn is_declared(self) -> bool {
        matches!(
            self,
            Self::Certificates | Self::Key | Self::Context | Self::Authority
        )
    }

    /// In words, after "is not".
    #[must_use]
    pub const fn described(self) -> &'static str {
        match self {
            Self::Certificates => "a certificate in PEM",
            Self::Key => "a private key in PEM",
            Self::DaemonJson => "a JSON object",
            Self::DropIn => "a drop-in of a systemd unit",
            Self::Policy => "a policy of the guard",
            Self::Program => "the guard's program",
            Self::Profile => "a shell profile",
            Self::Context => "the description of a docker context",
            Self::Authority => "a file of the CA",
            Self::Kept => "a file of a generation",
        }
    }
}

/// The label of a line that begins a PEM block.
fn label(line: &str) -> Option<&str> {
    let label = line.trim_end().strip_prefix(BEGIN)?.strip_suffix("-----")?;
    (!label.is_empty()).then_some(label)
}

/// Whether a line may precede the first PEM block: a comment, or what `openssl x509 -text` and
/// `openssl pkcs12` write.
fn explains(line: &str) -> bool {
    let words = [
        "#",
        "Certificate:",
        "Bag Attributes",
        "Key Attributes",
        "subject=",
        "issuer=",
    ];
    line.trim().is_empty()
        || line.starts_with(char::is_whitespace)
        || words.iter().any(|word| line.starts_with(word))
}

/// The kind of a file in which every line is valid by systemd.syntax(7): a comment, a section, a
/// setting in a section, or a continuation.
fn is_unit(text: &str) -> Option<Kind> {
    let mut kind = Kind::Comments;
    let mut continued = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if is_heading(line) {
            kind = Kind::UnitFile;
        } else if !continued && (kind == Kind::Comments || !is_setting(line)) {
            return None;
        }
        continued = line.ends_with('\\');
    }
    Some(kind)
}

fn is_heading(line: &str) -> bool {
    let name = line
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    name.is_some_and(is_name)
}

fn is_name(name: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    !name.is_empty() && name.chars().all(fits)
}

fn is_setting(line: &str) -> bool {
    line.split_once('=')
        .is_some_and(|(name, _)| is_name(name.trim_end()))
}

#[cfg(test)]
mod tests;
