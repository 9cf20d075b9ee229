//! What to do about a failed connection.

use std::path::{Path, PathBuf};

use super::error::{ConnectError, ConnectFault, HangUp, Phase};
use super::keys::KeyFault;

impl ConnectError {
    /// What to do next, as a sentence or a command to copy.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        hint(self)
    }
}

fn hint(error: &ConnectError) -> Option<String> {
    let to = &error.endpoint;
    Some(match &error.fault {
        ConnectFault::NameNotResolved { .. } => format!(
            "check ansible_host of {}, the controller's DNS and /etc/hosts",
            to.name
        ),
        ConnectFault::Refused => format!(
            "is sshd running on {}, and is {} its port (ansible_port)?",
            to.host, to.port
        ),
        ConnectFault::NoMoreFiles => {
            "raise the hard limit (ulimit -Hn), or take fewer hosts with --limit".to_owned()
        }
        ConnectFault::Unreachable { .. }
        | ConnectFault::Timeout {
            phase: Phase::Tcp, ..
        } => format!(
            "is {} up, and does a firewall let port {} through?",
            to.host, to.port
        ),
        ConnectFault::Timeout { .. } => {
            format!(
                "sshd on {} answers slowly: look at its load and its log",
                to.host
            )
        }
        ConnectFault::Closed { why, .. } => closed(*why).to_owned(),
        ConnectFault::HostKeyUnknown { files, .. } => format!(
            "compare the fingerprint with the output of `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` \
             on the node's console, then record it: {} >> {}",
            to.keyscan(),
            first(files)
        ),
        ConnectFault::HostKeyMismatch { expected, .. } => {
            let file = expected.first().map(|key| key.file.as_path());
            format!(
                "the connection may be intercepted. Only if the node was reinstalled: \
                 ssh-keygen -R '{}' -f {}, then record the new key",
                to.known_as,
                file.unwrap_or(Path::new("~/.ssh/known_hosts")).display()
            )
        }
        ConnectFault::HostKeyRevoked { revoked, .. } => format!(
            "the node needs new host keys; the line is {}:{}",
            revoked.file.display(),
            revoked.line
        ),
        ConnectFault::HostCertificate { .. } => format!(
            "sign a new one: ssh-keygen -s CA -I {0} -h -n {0} /etc/ssh/ssh_host_ed25519_key.pub",
            to.host
        ),
        ConnectFault::KnownHostsFile { path, .. } => {
            format!("check owner and mode: ls -l {}", path.display())
        }
        ConnectFault::AuthenticationFailed { .. } => format!(
            "try `ssh -v -p {} {}@{}`; is the public key in ~{}/.ssh/authorized_keys there, \
             and the private one in the agent (ssh-add -l) or named by ansible_ssh_private_key_file?",
            to.port, to.user, to.host, to.user
        ),
        ConnectFault::IdentityFile { path, fault, .. } => identity(path, fault),
        ConnectFault::JumpHost { source, .. } => return source.hint(),
        ConnectFault::JumpRefused { which, .. } => format!(
            "on {which}: does sshd allow it (AllowTcpForwarding, PermitOpen), and does \
             `nc -z {} {}` work there?",
            to.host, to.port
        ),
        ConnectFault::Configuration { .. } => {
            format!("see what applies: ssh -G {}", to.host)
        }
        ConnectFault::Protocol { .. } => format!("compare with: ssh -v -p {} {}", to.port, to.host),
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
