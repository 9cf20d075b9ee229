//! The drop-in that closes the TCP ports of docker.socket.
//!
//! The drop-in keeps the local sockets. systemd hands what it listens on to dockerd (`-H fd://`),
//! so a `ListenStream=2375` is a plain TCP port that does not show in docker's own files. At the
//! next daemon-reload systemd closes ports that the unit no longer names. Format:
//! systemd.socket(5).

use super::UnitFile;
use super::syntax::{file_name, settings};

/// The last name: its reset must follow every file that adds a port.
pub const NAME: &str = "zz-dtls-deploy.conf";
/// The default of Debian's and Docker's own units.
const DEFAULT: &str = "/run/docker.sock";

/// For operators who add a socket with `systemctl edit docker.socket` and miss it.
const HEAD: &str = "\
# Made by dtls-deploy. The empty ListenStream= takes back what other files add,
# local sockets, too: what is added there later counts after the next deploy.
";

/// The drop-in, and what it closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    pub text: String,
    /// As they stand in the unit's files, `2375` for instance.
    pub closed: Vec<String>,
}

/// A TCP port of the unit, and the file that adds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub stream: String,
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    #[error("{path} sorts after our drop-in and makes docker.socket listen on {stream}")]
    Overridden { path: String, stream: String },
}

/// The name of the socket unit that belongs to a service.
#[must_use]
pub fn unit_of(service: &str) -> String {
    format!(
        "{}.socket",
        service.strip_suffix(".service").unwrap_or(service)
    )
}

/// The TCP ports that the unit listens on once systemd has read these files,
/// which are in its order.
#[must_use]
pub fn ports(files: &[UnitFile]) -> Vec<Port> {
    streams(files)
        .into_iter()
        .filter(|port| is_tcp(&port.stream))
        .collect()
}

/// Derives the drop-in; `None` if it would close nothing and does not exist. Its own lines do not
/// count as the operator's.
pub fn derive(files: &[UnitFile], own_path: &str) -> Result<Option<Closing>, SocketError> {
    let others: Vec<UnitFile> = files
        .iter()
        .filter(|file| file.path != own_path)
        .cloned()
        .collect();
    let found = streams(&others);
    let (tcp, local): (Vec<Port>, Vec<Port>) =
        found.into_iter().partition(|port| is_tcp(&port.stream));
    let later = |path: &str| path.contains(".socket.d/") && file_name(path) > file_name(own_path);
    if let Some(Port { stream, path }) = tcp.iter().find(|port| later(&port.path)) {
        return Err(SocketError::Overridden {
            path: path.clone(),
            stream: stream.clone(),
        });
    }
    // The drop-in stays if the others no longer have the port: removing it would cost a restart and
    // gain nothing.
    if tcp.is_empty() && others.len() == files.len() {
        return Ok(None);
    }
    let mut text = format!("{HEAD}[Socket]\nListenStream=\n");
    let mut kept: Vec<&str> = local.iter().map(|port| port.stream.as_str()).collect();
    if kept.is_empty() {
        // A socket unit without a listener is invalid, and docker.service needs it.
        kept.push(DEFAULT);
    }
    for stream in kept {
        text.push_str("ListenStream=");
        text.push_str(stream);
        text.push('\n');
    }
    Ok(Some(Closing {
        text,
        closed: tcp.into_iter().map(|port| port.stream).collect(),
    }))
}

/// The effective listeners: an empty value resets earlier ones.
fn streams(files: &[UnitFile]) -> Vec<Port> {
    let mut found: Vec<Port> = Vec::new();
    for file in files {
        for stream in settings(&file.text, "[Socket]", "ListenStream") {
            if stream.is_empty() {
                found.clear();
            } else {
                found.push(Port {
                    stream,
                    path: file.path.clone(),
                });
            }
        }
    }
    found
}

/// A path and an abstract name are local, and so is a virtual machine's socket.
fn is_tcp(stream: &str) -> bool {
    !stream.starts_with(['/', '@', '%']) && !stream.starts_with("vsock:")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "/etc/systemd/system/docker.socket.d/zz-dtls-deploy.conf";

    fn files(drop_ins: &[(&str, &str)]) -> Vec<UnitFile> {
        let mut files = vec![UnitFile {
            path: "/lib/systemd/system/docker.socket".to_owned(),
            text: "[Socket]\n# ListenStream=9\nListenStream=/run/docker.sock\nSocketMode=0660\n"
                .to_owned(),
        }];
        files.extend(drop_ins.iter().map(|(name, text)| UnitFile {
            path: format!("/etc/systemd/system/docker.socket.d/{name}"),
            text: format!("[Socket]\n{text}\n"),
        }));
        files
    }

    #[test]
    fn tcp_ports_are_closed_and_local_sockets_kept() {
        assert_eq!(derive(&files(&[]), OWN), Ok(None));
        let added = files(&[("tcp.conf", "ListenStream=2375\nListenStream=@docker")]);
        let closing = derive(&added, OWN).unwrap().unwrap();
        assert_eq!(closing.closed, ["2375"]);
        assert_eq!(
            closing.text,
            format!(
                "{HEAD}[Socket]\nListenStream=\nListenStream=/run/docker.sock\nListenStream=@docker\n"
            )
        );
        assert!(HEAD.lines().all(|line| line.starts_with("# ")));
        // Existing text stays byte for byte.
        let mut with_own = added;
        with_own.push(UnitFile {
            path: OWN.to_owned(),
            text: closing.text.clone(),
        });
        assert_eq!(ports(&with_own), []);
        with_own.remove(1);
        let stays = derive(&with_own, OWN).unwrap().unwrap();
        assert_eq!((stays.closed.len(), ports(&with_own).len()), (0, 0));
        with_own.insert(
            1,
            files(&[("tcp.conf", "ListenStream=2375\nListenStream=@docker")]).remove(1),
        );
        assert_eq!(derive(&with_own, OWN).unwrap().unwrap(), closing);
    }

    #[test]
    fn a_reset_counts_and_a_unit_without_a_socket_gets_one() {
        let reset = files(&[
            ("a.conf", "ListenStream=\nListenStream=0.0.0.0:2375"),
            ("b.conf", "ListenStream=[::1]:2376"),
        ]);
        let closing = derive(&reset, OWN).unwrap().unwrap();
        assert_eq!(closing.closed, ["0.0.0.0:2375", "[::1]:2376"]);
        assert!(
            closing
                .text
                .ends_with("ListenStream=\nListenStream=/run/docker.sock\n")
        );
        let gone = files(&[("a.conf", "ListenStream=2375"), ("b.conf", "ListenStream=")]);
        assert_eq!(ports(&gone), []);
    }

    #[test]
    fn one_that_comes_later_would_open_it_again() {
        let later = files(&[("zzz.conf", "ListenStream=2375")]);
        assert!(matches!(
            derive(&later, OWN),
            Err(SocketError::Overridden { .. })
        ));
    }

    #[test]
    fn a_service_has_a_socket_of_its_name() {
        assert_eq!(unit_of("docker.service"), "docker.socket");
    }
}
