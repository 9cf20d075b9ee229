//! The CA's passphrase, stored for a unit.
//!
//! It is a file that only root can read, encrypted with a key of this machine if systemd supports
//! that (systemd 250, systemd-creds(1)). Only the unit's runs see it, in memory, under
//! `$CREDENTIALS_DIRECTORY`.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::error::ScheduleError;
use super::place;
use base::secret::Secret;

/// The file name in `$CREDENTIALS_DIRECTORY`.
const NAME: &str = "ca-passphrase";

/// A passphrase as it is kept.
pub(super) struct SealedPassphrase {
    content: Zeroizing<Vec<u8>>,
    pub(super) encrypted: bool,
}

/// Encrypts it where that works both ways; otherwise file modes protect it.
pub(super) fn seal(passphrase: &Secret) -> SealedPassphrase {
    let name = format!("--name={NAME}");
    let sealed = creds(&["encrypt", &name, "-", "-"], passphrase.expose());
    let opened = sealed
        .as_ref()
        .and_then(|sealed| creds(&["decrypt", &name, "-", "-"], sealed));
    match (sealed, opened) {
        (Some(content), Some(opened)) if opened.as_slice() == passphrase.expose() => {
            SealedPassphrase {
                content,
                encrypted: true,
            }
        }
        _ => SealedPassphrase {
            content: Zeroizing::new(passphrase.expose().to_vec()),
            encrypted: false,
        },
    }
}

impl SealedPassphrase {
    pub(super) fn write(&self, path: &Path) -> Result<(), ScheduleError> {
        place::write(path, &self.content, 0o600)
    }
}

/// The unit setting that passes it.
pub(super) fn setting(path: &Path, encrypted: bool) -> String {
    let setting = if encrypted {
        "LoadCredentialEncrypted"
    } else {
        "LoadCredential"
    };
    format!("{setting}={NAME}:{}", path.display())
}

/// `None`: there is no systemd-creds, or it has no key.
fn creds(arguments: &[&str], input: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut child = Command::new("systemd-creds")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(input));
    let mut output = Zeroizing::new(Vec::new());
    let read = child
        .stdout
        .take()
        .map(|mut stdout| stdout.read_to_end(&mut output));
    let status = child.wait().ok()?;
    let fine = matches!(written, Some(Ok(()))) && matches!(read, Some(Ok(_)));
    (fine && status.success() && !output.is_empty()).then_some(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_the_file() {
        let path = Path::new("/etc/dtls-deploy/schedule/lab/ca-passphrase.cred");
        assert_eq!(
            setting(path, true),
            "LoadCredentialEncrypted=ca-passphrase:/etc/dtls-deploy/schedule/lab/ca-passphrase.cred"
        );
        assert!(setting(path, false).starts_with("LoadCredential=ca-passphrase:/"));
    }
}
