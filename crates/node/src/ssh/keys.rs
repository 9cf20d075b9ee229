//! Private key files.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use russh::keys::{Certificate, PrivateKey, PublicKey, decode_secret_key};
use zeroize::Zeroizing;

use base::file::{self, FileFault};

/// The largest file that is taken for a key, in bytes.
const LARGEST: u64 = 1 << 20;

/// A key file as it was found.
#[derive(Debug)]
pub(super) struct KeyFile {
    pub path: PathBuf,
    /// Known without a passphrase for OpenSSH's format and where a `.pub` file
    /// lies beside; absent for other encrypted files.
    pub public: Option<PublicKey>,
    /// `PATH-cert.pub`, where it fits the key.
    pub certificate: Option<Certificate>,
    private: Private,
    decrypted: OnceLock<Arc<PrivateKey>>,
    given_up: AtomicBool,
}

enum Private {
    Plain(Arc<PrivateKey>),
    Encrypted(Zeroizing<String>),
    /// The file is a public key; the agent is to hold the other half.
    Elsewhere,
}

impl std::fmt::Debug for Private {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Plain(_) => "Plain(..)",
            Self::Encrypted(_) => "Encrypted(..)",
            Self::Elsewhere => "Elsewhere",
        })
    }
}

/// Why a file is no usable key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFault {
    /// Not there at all, which is normal for the default names.
    Missing,
    /// It cannot be read, as a sentence part.
    File(String),
    /// Its permission bits, with which others can read it.
    OpenToOthers(u32),
    /// It has `Proc-Type: 4,ENCRYPTED`.
    TraditionalPem,
    /// It is encrypted, and no passphrase was given.
    Locked,
    /// The crate `ssh-key` does not read it.
    Unreadable,
    NotAKey,
}

impl std::fmt::Display for KeyFault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Missing => "no such file",
            Self::File(reason) => reason,
            Self::OpenToOthers(mode) => {
                return write!(
                    formatter,
                    "its mode {mode:04o} makes it readable by others"
                );
            }
            Self::TraditionalPem => {
                "it is encrypted in the traditional PEM format (Proc-Type: 4,ENCRYPTED), which is not supported"
            }
            Self::Locked => "it is encrypted and its passphrase was not given",
            // The crate takes an ECDSA key only if its secret number fills all its bytes.
            Self::Unreadable => {
                "it is damaged, of a kind that is not supported, or one of the few ECDSA keys (1 in 256) whose secret number begins with zeros: make another with ssh-keygen"
            }
            Self::NotAKey => "it is not a key file",
        })
    }
}

impl KeyFile {
    /// Reads the file and, where they exist, `.pub` and `-cert.pub` beside it.
    pub(super) fn read(path: &Path) -> Result<Self, KeyFault> {
        let text = read_secret(path)?;
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            file::read_text(Path::new(&name), LARGEST).ok()
        };
        let (private, mut public) = classify(&text)?;
        if public.is_none() {
            public = beside(".pub").and_then(|text| PublicKey::from_openssh(text.trim()).ok());
        }
        let certificate = beside("-cert.pub")
            .and_then(|text| Certificate::from_openssh(text.trim()).ok())
            .filter(|certificate| {
                let key = public.as_ref().map(PublicKey::key_data);
                key == Some(certificate.public_key())
            });
        Ok(Self {
            path: path.to_owned(),
            public,
            certificate,
            private,
            decrypted: OnceLock::new(),
            given_up: AtomicBool::new(false),
        })
    }

    /// The private half, if no passphrase is missing.
    pub(super) fn private(&self) -> Option<Arc<PrivateKey>> {
        match &self.private {
            Private::Plain(key) => Some(key.clone()),
            _ => self.decrypted.get().cloned(),
        }
    }

    /// A public key whose private half is to be found in the agent.
    pub(super) fn is_public_only(&self) -> bool {
        matches!(self.private, Private::Elsewhere)
    }

    /// Whether a passphrase would help.
    pub(super) fn is_locked(&self) -> bool {
        matches!(self.private, Private::Encrypted(_)) && self.decrypted.get().is_none()
    }

    /// Decrypts and keeps the result for the run. The key derivation takes a
    /// noticeable time on purpose: call it where blocking is allowed.
    pub(super) fn unlock(&self, passphrase: &str) -> bool {
        let Private::Encrypted(text) = &self.private else {
            return true;
        };
        match decode_secret_key(text, Some(passphrase)) {
            Ok(key) => {
                let _ = self.decrypted.set(Arc::new(key));
                true
            }
            Err(_) => false,
        }
    }

    /// No one knows the passphrase: not to be asked for again in this run.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// The public half, from wherever it is known by now.
    pub(super) fn public(&self) -> Option<PublicKey> {
        let derived = || self.private().map(|key| key.public_key().clone());
        self.public.clone().or_else(derived)
    }
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, KeyFault> {
    let unusable = |fault: FileFault| match fault {
        FileFault::Missing => KeyFault::Missing,
        fault => KeyFault::File(fault.to_string()),
    };
    let opened = file::open(path, LARGEST).map_err(unusable)?;
    let metadata = opened
        .metadata()
        .map_err(|error| unusable(FileFault::Io(error)))?;
    let bytes = file::read_all(opened, LARGEST).map_err(unusable)?;
    let Ok(text) = String::from_utf8(bytes).map(Zeroizing::new) else {
        return Err(KeyFault::NotAKey);
    };
    // OpenSSH's own rule (authfile.c, sshkey_perm_ok).
    let mode = metadata.mode() & 0o777;
    let own = metadata.uid() == rustix::process::getuid().as_raw();
    if own && mode & 0o077 != 0 && text.contains("PRIVATE KEY-----") {
        return Err(KeyFault::OpenToOthers(mode));
    }
    Ok(text)
}

fn classify(text: &Zeroizing<String>) -> Result<(Private, Option<PublicKey>), KeyFault> {
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(KeyFault::TraditionalPem);
    }
    if text.contains("-----BEGIN OPENSSH PRIVATE KEY-----") {
        let Ok(key) = PrivateKey::from_openssh(text.trim()) else {
            return Err(KeyFault::Unreadable);
        };
        let public = key.public_key().clone();
        return Ok(if key.is_encrypted() {
            (Private::Encrypted(text.clone()), Some(public))
        } else {
            (Private::Plain(Arc::new(key)), Some(public))
        });
    }
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Ok((Private::Encrypted(text.clone()), None));
    }
    if text.contains("PRIVATE KEY-----") {
        let Ok(key) = decode_secret_key(text, None) else {
            return Err(KeyFault::Unreadable);
        };
        let public = key.public_key().clone();
        return Ok((Private::Plain(Arc::new(key)), Some(public)));
    }
    match PublicKey::from_openssh(text.trim()) {
        Ok(public) => Ok((Private::Elsewhere, Some(public))),
        Err(_) => Err(KeyFault::NotAKey),
    }
}
