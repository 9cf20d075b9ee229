//! What to do about a failed connection.

use std::path::{Path, PathBuf};

use super::error::{ConnectError, HangUp, Phase};
use super::keys::KeyFault;

impl ConnectError {
    /// What to do next, as a sentence or a command to copy.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        hint(self)
    }
}

fn hint(error: &ConnectError) -> Option<String> {
    let to = error.endpoint();
    Some(match error {
        ConnectError::NameNotResolved { .. } => format!(
            "check ansible_host of {}, the controller's DNS and /etc/hosts",
            to.name
        ),
        ConnectError::Refused { .. } => format!(
            "is sshd running on {}, and is {} its port (ansible_port)?",
            to.host, to.port
        ),
        ConnectError::NoMoreFiles { .. } => {
            "raise the hard limit (ulimit -Hn), or take fewer hosts with --limit".to_owned()
        }
        ConnectError::Unreachable { .. }
        | ConnectError::Timeout {
            phase: Phase::Tcp, ..
        } => format!(
            "is {} up, and does a firewall let port {} through?",
            to.host, to.port
        ),
        ConnectError::Timeout { .. } => {
            format!(
                "sshd on {} answers slowly: look at its load and its log",
                to.host
            )
        }
        ConnectError::Closed { why, .. } => closed(*why).to_owned(),
        ConnectError::HostKeyUnknown { files, .. } => format!(
            "compare the fingerprint with the output of `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` \
             on the node's console, then record it: {} >> {}",
            error.keyscan(),
            first(files)
        ),
        ConnectError::HostKeyMismatch { expected, .. } => {
            let file = expected.first().map(|key| key.file.as_path());
            format!(
                "the connection may be intercepted. Only if the node was reinstalled: \
                 ssh-keygen -R '{}' -f {}, then record the new key",
                to.known_as,
                file.unwrap_or(Path::new("~/.ssh/known_hosts")).display()
            )
        }
        ConnectError::HostKeyRevoked { revoked, .. } => format!(
            "the node needs new host keys; the line is {}:{}",
            revoked.file.display(),
            revoked.line
        ),
        ConnectError::HostCertificate { .. } => format!(
            "sign a new one: ssh-keygen -s CA -I {0} -h -n {0} /etc/ssh/ssh_host_ed25519_key.pub",
            to.host
        ),
        ConnectError::KnownHostsFile { path, .. } => {
            format!("check owner and mode: ls -l {}", path.display())
        }
        ConnectError::AuthenticationFailed { .. } => format!(
            "try `ssh -v -p {} {}@{}`; is the public key in ~{}/.ssh/authorized_keys there, \
             and the private one in the agent (ssh-add -l) or named by ansible_ssh_private_key_file?",
            to.port, to.user, to.host, to.user
        ),
        ConnectError::IdentityFile { path, fault, .. } => identity(path, fault),
        ConnectError::JumpHost { source, .. } => return source.hint(),
        ConnectError::JumpRefused { which, .. } => format!(
            "on {which}: does sshd allow it (AllowTcpForwarding, PermitOpen), and does \
             `nc -z {} {}` work there?",
            to.host, to.port
        ),
        ConnectError::Configuration { .. } => {
            format!("see what applies: ssh -G {}", to.host)
        }
        ConnectError::Protocol { .. } => format!("compare with: ssh -v -p {} {}", to.port, to.host),
    })
}

fn closed(why: HangUp) -> &'static str {
    match why {
        HangUp::Penalty => {
            "sshd penalises this source after failed logins (PerSourcePenalties): wait, then fix the cause \
             of those failures before trying again"
        }
        HangUp::TooManyLogins => {
            "its sshd has too many unauthenticated connections (MaxStartups): lower --forks or raise it"
        }
        HangUp::Unexplained => {
            "look at sshd's log there; MaxStartups, PerSourcePenalties, a firewall or fail2ban end \
             connections like this"
        }
    }
}

fn identity(path: &Path, fault: &KeyFault) -> String {
    let path = path.display();
    match fault {
        KeyFault::TraditionalPem => {
            format!("convert it to OpenSSH's format: ssh-keygen -p -f {path}")
        }
        KeyFault::OpenToOthers(_) => format!("chmod 600 {path}"),
        KeyFault::Locked => format!("put it into the agent: ssh-add {path}"),
        KeyFault::Missing | KeyFault::File(_) | KeyFault::Unreadable | KeyFault::NotAKey => {
            format!("look at it: ssh-keygen -yf {path}")
        }
    }
}

fn first(files: &[PathBuf]) -> String {
    files.first().map_or_else(
        || "~/.ssh/known_hosts".to_owned(),
        |file| file.display().to_string(),
    )
}
