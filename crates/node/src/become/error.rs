//! Why nothing could be started as root, and what to do about it.

use std::time::Duration;

use crate::text::last_words;
use crate::{ConnectionError, ExitStatus, visible};
use base::secret::Secret;

/// Why nothing could be started as root.
#[derive(Debug, thiserror::Error)]
pub enum BecomeError {
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// sudo asks for a password, and none is known.
    #[error("sudo wants a password for this account, and none was given")]
    NoPassword,
    /// sudo asks for a password, and the host's key is not verified.
    #[error(
        "sudo wants a password, which is not sent: no known_hosts file of yours vouches for the host key"
    )]
    Unverified,
    /// sudo rejected the password, which was sent once.
    #[error("sudo refused the password")]
    WrongPassword,
    /// Other hosts rejected the same password, and none has accepted it.
    #[error("sudo wants a password, and the one there is was refused by {hosts}")]
    RefusedElsewhere { hosts: String },
    /// The password holds a line break or a NUL: no prompt can take it.
    #[error("the password for sudo holds a line break or a NUL character")]
    UnusablePassword,
    /// sudo printed its reason.
    #[error("sudo did not start a shell as root: {said}")]
    Refused {
        /// Its last output.
        said: String,
    },
    /// Neither sudo nor a shell: the account's login shell ended before.
    #[error("no shell was started ({status})")]
    NotBegun {
        status: ExitStatus,
        /// Its output.
        stderr: Vec<u8>,
    },
    /// Neither a prompt nor a shell within the deadline.
    #[error("sudo neither asked for a password nor started a shell within {after:?}: {said}")]
    NoAnswer {
        after: Duration,
        /// Its last output.
        said: String,
    },
}

impl BecomeError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Connection(_) | Self::NotBegun { .. } => return None,
            Self::NoPassword => {
                "set ansible_become_password for this host, or let --ask-become-pass (-K) ask for it, or allow sudo without a password (NOPASSWD)"
            }
            Self::Unverified => {
                "compare the host key and add it to ~/.ssh/known_hosts; a key that was accepted as new is on record from the next run on"
            }
            Self::WrongPassword => {
                "it was sent once and not again, so that the account is not locked: correct ansible_become_password, or what was typed for --ask-become-pass"
            }
            Self::RefusedElsewhere { .. } => {
                "it was not sent here, so that an account which the hosts share is not locked"
            }
            Self::UnusablePassword => "passwords are one line of text",
            Self::Refused { said } if said.contains("tty") => {
                "sudoers has requiretty for this account: take it out (Defaults:ACCOUNT !requiretty), or log in as root"
            }
            Self::Refused { said } if said.contains("not found") => {
                "install sudo on the node, or log in as root"
            }
            Self::Refused { .. } => {
                "sudoers must allow this account to run /bin/sh as root; or log in as root"
            }
            Self::NoAnswer { .. } => {
                "only a password can be answered here, no second factor: allow sudo without it for this account, or log in as root"
            }
        };
        Some(text.to_owned())
    }

    /// Removes the password from the quoted output.
    pub(super) fn without(mut self, password: &Secret) -> Self {
        if let (Self::Refused { said } | Self::NoAnswer { said, .. }, Ok(secret)) =
            (&mut self, password.expose_str())
            && !secret.is_empty()
        {
            for form in [secret, &visible(secret)] {
                *said = said.replace(form, "(the password)");
            }
        }
        self
    }

    pub(super) fn refused(stderr: &[u8], status: &ExitStatus) -> Self {
        Self::Refused {
            said: last_words(stderr).unwrap_or_else(|| status.to_string()),
        }
    }
}
