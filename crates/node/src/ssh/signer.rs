//! Signatures for an authentication, from the agent or from a key file.

use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::ssh_key::{self, Signature};
use russh::keys::{HashAlg, PrivateKey};
use tokio::net::UnixStream;

use super::keys::KeyFile;

/// Where the private half is.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// The agent holds it under this identity.
    Agent(Box<AgentIdentity>),
    File(Arc<KeyFile>),
}

/// Why there is no signature.
#[derive(Debug)]
pub(super) enum SignFault {
    /// The file needs a passphrase first.
    Locked(Arc<KeyFile>),
    Failed(String),
    ConnectionLost,
}

impl From<russh::SendError> for SignFault {
    fn from(_: russh::SendError) -> Self {
        Self::ConnectionLost
    }
}

/// Signs with the source selected last.
pub(super) struct Signing {
    agent: Option<AgentClient<UnixStream>>,
    source: Option<Source>,
}

impl Signing {
    pub(super) fn new(agent: Option<AgentClient<UnixStream>>) -> Self {
        Self {
            agent,
            source: None,
        }
    }

    pub(super) fn select(&mut self, source: &Source) {
        self.source = Some(source.clone());
    }
}

impl russh::Signer for Signing {
    type Error = SignFault;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Self::Error> {
        match (&self.source, &mut self.agent) {
            (Some(Source::Agent(identity)), Some(agent)) => agent
                .sign_request(identity, hash, to_sign)
                .await
                .map_err(|error| SignFault::Failed(format!("the agent said: {error}"))),
            (Some(Source::File(file)), _) => {
                let Some(key) = file.private() else {
                    return Err(SignFault::Locked(file.clone()));
                };
                sign(&key, hash, to_sign).map_err(|error| SignFault::Failed(error.to_string()))
            }
            _ => Err(SignFault::Failed("there is no agent".to_owned())),
        }
    }
}

/// Appends the signature of `data` to it, as `SSH_MSG_USERAUTH_REQUEST` wants
/// it (RFC 4252, section 7).
fn sign(key: &PrivateKey, hash: Option<HashAlg>, mut data: Vec<u8>) -> ssh_key::Result<Vec<u8>> {
    let signature: Signature = match key.key_data() {
        KeypairData::Rsa(pair) => (pair, hash).try_sign(&data)?,
        other => other.try_sign(&data)?,
    };
    let mut blob = Vec::new();
    signature.encode(&mut blob)?;
    blob.encode(&mut data)?;
    Ok(data)
}
