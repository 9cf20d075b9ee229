//! Checks whether a key file matches a certificate, without reading the key.
//!
//! The node's own openssl compares public keys; without openssl, a daemon shows it by serving the
//! certificate, a client by being accepted.

use super::record::{TOOL_DEADLINE, find_record};
use super::{DEADLINE, handshake, tool_record};
use crate::session::Node;
use docker::tls::ClientMode;
use docker::tls::TlsPaths;
use node::script::Script;
use pki::Certificate;
use plan::host::address::DaemonAddress;

/// Tools that accept a daemon's certificate without a SAN come first: the client's certificate is
/// tested here.
const TOOLS: &str = "curl openssl docker";

/// The result for a key file and a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// They match.
    Fits,
    Differs,
    /// It could not be determined, for this reason.
    Unknown(String),
}

/// Compares them with the node's own openssl.
pub(crate) async fn compared(node: &Node, privileged: bool, paths: &TlsPaths) -> Fit {
    let mut script = Script::default();
    script.call("fact_pair", &[&paths.certificate, &paths.key]);
    match tool_record(node, privileged, &script, "pair").await {
        Ok((outcome, ..)) if outcome == "fits" => Fit::Fits,
        Ok((outcome, ..)) if outcome == "differs" => Fit::Differs,
        Ok((_, _, said)) | Err(said) => Fit::Unknown(said),
    }
}

/// Whether the daemon serves the certificate, tried from its own node. A daemon reads its key when
/// it starts: `is_read` means that the file has not changed since.
pub async fn served(
    node: &Node,
    address: &DaemonAddress,
    certificate: &Certificate,
    authorities: &[Certificate],
    is_read: bool,
) -> Fit {
    let at = (address.host.as_str(), address.port);
    match handshake(node, at, authorities, None, DEADLINE).await {
        Err(error) => Fit::Unknown(error.to_string()),
        Ok((_, shown)) if shown.certificate.as_deref() != Some(certificate.der()) => {
            Fit::Unknown("the daemon does not serve it".to_owned())
        }
        Ok(_) if !is_read => {
            Fit::Unknown("the key file has changed since the daemon was started".to_owned())
        }
        Ok(_) => Fit::Fits,
    }
}

/// Whether at least one daemon accepts the client.
pub async fn let_in(
    node: &Node,
    privileged: bool,
    paths: &TlsPaths,
    daemons: &[DaemonAddress],
) -> Fit {
    let mut seen = "there is no daemon to show it to".to_owned();
    for address in daemons {
        let mut script = Script::default();
        script.call(
            "prove_identity",
            &[
                ClientMode::TlsVerify.word(),
                TOOLS,
                &address.url(),
                &address.host,
                &address.port.to_string(),
                &paths.ca,
                &paths.certificate,
                &paths.key,
            ],
        );
        match tool_record(node, privileged, &script, "identity").await {
            Ok((outcome, ..)) if outcome == "accepted" => return Fit::Fits,
            Ok((_, _, said)) | Err(said) => seen = said,
        }
    }
    Fit::Unknown(seen)
}

/// Whether a key file is encrypted, judging by its first lines; `None` if there is no such file.
pub async fn is_encrypted(
    node: &Node,
    privileged: bool,
    path: &str,
) -> Result<Option<bool>, String> {
    let mut script = Script::default();
    script.call("fact_key_file", &[path]);
    let output = node
        .run(privileged, &script, TOOL_DEADLINE)
        .await
        .map_err(|error| error.to_string())?;
    let (kind, ..) = find_record(&output, "keyfile")?;
    Ok(match kind.as_str() {
        "encrypted" => Some(true),
        "plain" => Some(false),
        _ => None,
    })
}
