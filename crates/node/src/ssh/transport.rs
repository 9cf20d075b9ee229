//! TCP (or a jump host's channel) and the SSH handshake.
//!
//! This is the only step that is tried again, because nothing has happened on the other side yet.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use russh::client;
use russh::{Preferred, cipher, kex, mac};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::connection::{Session, SshConnection};
use super::error::{ConnectError, ConnectFault, HangUp, Phase};
use super::handler::{Remarks, Watcher, describe};
use super::host_key;
use super::known_hosts::Records;
use super::settings::Settings;
use super::socket::{Overheard, Prompt};
use crate::{DialError, Stream, visible};

/// The first pause before a second try; the next is twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// Up to three tries within the connect timeout, for transient failures only.
pub(super) async fn open(
    settings: &Arc<Settings>,
    records: Arc<Records>,
    via: Option<(&SshConnection, &str)>,
) -> Result<Session, ConnectError> {
    let end = Instant::now() + settings.connect_timeout;
    let config = Arc::new(russh_config(&records));
    let policy = ExponentialBuilder::default()
        .with_min_delay(PAUSE)
        .with_max_times(2)
        .with_jitter();
    (|| try_once(settings, &records, &config, via, end))
        .retry(policy)
        // The longest pause, jitter included, must leave time for the try.
        .when(|error| error.fault.is_transient() && Instant::now() + 5 * PAUSE < end)
        .await
}

async fn try_once(
    settings: &Arc<Settings>,
    records: &Arc<Records>,
    config: &Arc<client::Config>,
    via: Option<(&SshConnection, &str)>,
    end: Instant,
) -> Result<Session, ConnectError> {
    let timeout = |phase| {
        ConnectFault::Timeout {
            phase,
            after: settings.connect_timeout,
        }
        .at(&settings.endpoint)
    };
    let (stream, address): (Box<dyn Stream>, _) = match via {
        // Who resolves a name is the jump host.
        Some((jump, which)) => (
            through(jump, which, settings, end).await?,
            settings.endpoint.host.parse().ok(),
        ),
        None => tokio::time::timeout_at(end, tcp(settings, end))
            .await
            .map_err(|_| timeout(Phase::Tcp))??,
    };
    let remarks = Arc::new(Remarks::default());
    let greeting = Arc::new(Mutex::new(Vec::new()));
    let (stream, scissors) = Overheard::new(stream, greeting.clone());
    let written = stream.written();
    let watcher = Watcher {
        settings: settings.clone(),
        records: records.clone(),
        remarks: remarks.clone(),
    };
    let handshake = client::connect_stream(config.clone(), stream, watcher);
    let result = tokio::time::timeout_at(end, handshake)
        .await
        .map_err(|_| timeout(Phase::Handshake))?;
    match (result, remarks.verdict()) {
        (_, Some(Err(error))) => Err(error),
        (Ok(handle), Some(Ok(trust))) => {
            scissors.put_away();
            // Nothing is left to explain, and the stream keeps its half of it.
            *greeting.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
            Ok(Session {
                handle,
                remarks,
                trust,
                written,
                address,
            })
        }
        (Ok(_), None) => Err(ConnectFault::Protocol {
            reason: "the server showed no host key".to_owned(),
        }
        .at(&settings.endpoint)),
        (Err(error), _) => {
            let heard = greeting.lock().unwrap_or_else(PoisonError::into_inner);
            Err(failure(settings, &error, &heard))
        }
    }
}

/// A failed handshake, explained with what the server said before it.
fn failure(settings: &Settings, error: &russh::Error, heard: &[u8]) -> ConnectError {
    let heard = String::from_utf8_lossy(heard);
    let before = heard.split("SSH-2.0-").next().unwrap_or_default();
    let said = visible(before);
    let closed = matches!(
        error,
        russh::Error::HUP | russh::Error::Disconnect | russh::Error::IO(_)
    );
    let mut reason = describe(error);
    if !said.is_empty() {
        reason = format!("the server said \"{said}\"");
    }
    if closed {
        ConnectFault::Closed {
            phase: Phase::Handshake,
            why: HangUp::of(before),
            reason,
        }
        .at(&settings.endpoint)
    } else {
        ConnectFault::Protocol { reason }.at(&settings.endpoint)
    }
}

/// Resolves and connects, one address after the other, each with its share of
/// what is left of the time.
async fn tcp(
    settings: &Settings,
    end: Instant,
) -> Result<(Box<dyn Stream>, Option<IpAddr>), ConnectError> {
    let endpoint = &settings.endpoint;
    let unresolved = |reason: String| ConnectFault::NameNotResolved { reason }.at(endpoint);
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
            .await
            .map_err(|error| {
                let text = error.to_string();
                unresolved(
                    text.trim_start_matches("failed to lookup address information: ")
                        .to_owned(),
                )
            })?
            .collect();
    let mut last = unresolved("no address".to_owned());
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = end.saturating_duration_since(Instant::now()) / left.max(1);
        left -= 1;
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Otherwise Nagle's algorithm and delayed ACKs cost 40 ms a command.
                let _ = stream.set_nodelay(true);
                return Ok((Box::new(Prompt::new(stream)), Some(address.ip())));
            }
            Ok(Err(error)) => last = tcp_failure(settings, &error).at(endpoint),
            Err(_) => {
                last = ConnectFault::Timeout {
                    phase: Phase::Tcp,
                    after: settings.connect_timeout,
                }
                .at(endpoint);
            }
        }
    }
    Err(last)
}

fn tcp_failure(settings: &Settings, error: &io::Error) -> ConnectFault {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ConnectFault::Refused,
        io::ErrorKind::TimedOut => ConnectFault::Timeout {
            phase: Phase::Tcp,
            after: settings.connect_timeout,
        },
        io::ErrorKind::ConnectionReset => ConnectFault::Closed {
            phase: Phase::Tcp,
            why: HangUp::Unexplained,
            reason: "connection reset".to_owned(),
        },
        _ if is_full(error) => ConnectFault::NoMoreFiles,
        _ => ConnectFault::Unreachable {
            reason: error.to_string(),
        },
    }
}

/// EMFILE and ENFILE are about this machine, and no word of the system says so.
fn is_full(error: &io::Error) -> bool {
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
        .iter()
        .any(|full| error.raw_os_error() == Some(full.raw_os_error()))
}

async fn through(
    jump: &SshConnection,
    which: &str,
    settings: &Settings,
    end: Instant,
) -> Result<Box<dyn Stream>, ConnectError> {
    let endpoint = &settings.endpoint;
    let time = end.saturating_duration_since(Instant::now());
    let dialled = jump.forward(&endpoint.host, endpoint.port, time).await;
    dialled.map_err(|error| {
        let which = which.to_owned();
        let reason = match error {
            DialError::Refused { .. } => "connection refused".to_owned(),
            DialError::Timeout { .. } => "no answer in time".to_owned(),
            DialError::NameNotResolved { .. } => "it cannot resolve the name".to_owned(),
            DialError::Forbidden { reason, .. } => format!("its sshd forbids it: {reason}"),
            DialError::Other { reason, .. } => reason,
            DialError::Connection(error) => error.to_string(),
        };
        ConnectFault::JumpRefused { which, reason }.at(&settings.endpoint)
    })
}

/// The algorithms, in order, and the timers.
///
/// Hybrid ML-KEM first, as OpenSSH since 10.0: private keys travel over these
/// connections, and it costs both sides together 0.4 ms more than curve25519
/// alone (0.7 and 0.3 ms). Finite-field groups come last: group 16 makes
/// connecting four times as slow. AES-GCM before `ChaCha20`, which takes 1.7
/// times as long where the processor has AES instructions.
fn russh_config(records: &Records) -> client::Config {
    const KEX: &[kex::Name] = &[
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::ECDH_SHA2_NISTP256,
        kex::ECDH_SHA2_NISTP384,
        kex::ECDH_SHA2_NISTP521,
        kex::DH_G14_SHA256,
        kex::DH_G16_SHA512,
        kex::DH_G18_SHA512,
        kex::DH_GEX_SHA256,
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    ];
    const CIPHERS: &[cipher::Name] = &[
        cipher::AES_256_GCM,
        cipher::AES_128_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
        cipher::AES_192_CTR,
        cipher::AES_128_CTR,
    ];
    const MACS: &[mac::Name] = &[
        mac::HMAC_SHA256_ETM,
        mac::HMAC_SHA512_ETM,
        mac::HMAC_SHA256,
        mac::HMAC_SHA512,
    ];
    let (key, host_key_certificates) = host_key::preferred(records);
    client::Config {
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            key: Cow::Owned(key),
            host_key_certificates: Cow::Owned(host_key_certificates),
            cipher: Cow::Borrowed(CIPHERS),
            mac: Cow::Borrowed(MACS),
            ..Preferred::DEFAULT
        },
        nodelay: true,
        // A silent minute ends the connection; a quiet command does not.
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 3,
        inactivity_timeout: None,
        ..client::Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_of_open_files_is_said_to_be_here() {
        assert!(is_full(&rustix::io::Errno::MFILE.into()));
        assert!(!is_full(&rustix::io::Errno::HOSTUNREACH.into()));
    }
}
