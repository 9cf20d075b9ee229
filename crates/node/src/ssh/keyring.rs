//! Which keys to offer, in which order.

use std::sync::Arc;
use std::time::Duration;

use russh::client::Handle;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Certificate, HashAlg, PublicKey};
use tokio::net::UnixStream;

use super::context::SshContext;
use super::error::{ConnectError, ConnectFault, TriedMethod};
use super::handler::Watcher;
use super::keys::{KeyFault, KeyFile};
use super::settings::Settings;
use super::signer::{Signing, Source};
use base::file;

/// In bytes.
const LARGEST_CERTIFICATE: u64 = 1 << 20;

/// For the agent to answer, signing (which may ask the user) excepted.
const AGENT_DEADLINE: Duration = Duration::from_secs(5);

/// A key, perhaps with a certificate, and who signs with it.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    /// Path or agent comment, and fingerprint.
    pub label: String,
    pub key: PublicKey,
    pub certificate: Option<Certificate>,
    pub source: Source,
}

/// The key material of one destination, read before it is connected to.
#[derive(Debug, Default)]
pub(super) struct Keyring {
    files: Vec<Arc<KeyFile>>,
    certificates: Vec<Certificate>,
    /// Files that were passed over, and why.
    pub remarks: Vec<TriedMethod>,
}

/// The agent's connection and what it holds, or why there is none.
pub(super) type Agent = Result<(AgentClient<UnixStream>, Vec<AgentIdentity>), Option<TriedMethod>>;

impl Keyring {
    /// Reads the files. One that the inventory names has to be usable; one
    /// that the configuration or a default names is passed over.
    pub(super) async fn load(
        settings: &Settings,
        context: &SshContext,
    ) -> Result<Self, ConnectError> {
        let mut ring = Self::default();
        if !settings.methods.public_key {
            return Ok(ring);
        }
        for identity in &settings.identities {
            let fault = match context.key_file(&identity.path).await {
                Ok(file) => {
                    // Without its public half the server cannot be asked whether
                    // it wants the key, so the passphrase comes first.
                    if file.public().is_none() && file.is_locked() {
                        context.unlock(&file).await;
                    }
                    if file.public().is_some() {
                        ring.files.push(file);
                        continue;
                    }
                    KeyFault::Locked
                }
                Err(fault) => fault,
            };
            if identity.explicit {
                return Err(ConnectFault::IdentityFile {
                    path: identity.path.clone(),
                    fault,
                }
                .at(&settings.endpoint));
            }
            if fault != KeyFault::Missing {
                ring.remarks.push(TriedMethod {
                    method: "publickey",
                    what: identity.path.display().to_string(),
                    outcome: format!("not tried: {fault}"),
                });
            }
        }
        for path in &settings.certificate_files {
            let text = file::read_text(path, LARGEST_CERTIFICATE).unwrap_or_default();
            ring.certificates
                .extend(Certificate::from_openssh(text.trim()).ok());
        }
        Ok(ring)
    }

    /// Connects to the agent and asks what it holds.
    pub(super) async fn agent(&self, settings: &Settings, handle: &Handle<Watcher>) -> Agent {
        let Some(socket) = &settings.agent else {
            return Err(None);
        };
        let remark = |outcome: String| {
            Some(TriedMethod {
                method: "agent",
                what: socket.display().to_string(),
                outcome,
            })
        };
        let work = async {
            let mut client = AgentClient::connect_uds(socket).await?;
            // For keys that are constrained to destinations; agents older than
            // OpenSSH 8.9 do not know it and need not.
            if let Some(binding) = handle.agent_session_binding() {
                let _ = client.bind_session(binding, false).await;
            }
            let identities = client.request_identities().await?;
            Ok::<_, russh::keys::Error>((client, identities))
        };
        match tokio::time::timeout(AGENT_DEADLINE, work).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(remark(crate::visible(&error.to_string()))),
            Err(_) => Err(remark(format!("no answer within {AGENT_DEADLINE:?}"))),
        }
    }

    /// Puts everything in order.
    pub(super) fn offers(
        &self,
        settings: &Settings,
        agent: Agent,
    ) -> (Vec<Offer>, Signing, Vec<TriedMethod>) {
        let mut remarks = Vec::new();
        let (client, held) = match agent {
            Ok((client, held)) => (Some(client), held),
            Err(remark) => {
                remarks.extend(remark);
                (None, Vec::new())
            }
        };
        let mut offers = Vec::new();
        let mut from_files = Vec::new();
        for file in &self.files {
            let Some(key) = file.public() else { continue };
            let path = file.path.display().to_string();
            let of_agent = held.iter().filter(|one| same(one, &key));
            let mut sources: Vec<_> = of_agent.cloned().collect();
            // Certificates before bare keys.
            sources.sort_by_key(|one| matches!(one, AgentIdentity::PublicKey { .. }));
            let certificates = file.certificate.iter().chain(
                self.certificates
                    .iter()
                    .filter(|certificate| certificate.public_key() == key.key_data()),
            );
            let bare = sources
                .iter()
                .find(|one| matches!(one, AgentIdentity::PublicKey { .. }));
            let source = match bare {
                Some(identity) => Source::Agent(Box::new(identity.clone())),
                None => Source::File(file.clone()),
            };
            let list = if bare.is_some() {
                &mut offers
            } else {
                &mut from_files
            };
            list.extend(
                certificates.map(|certificate| {
                    offer(&path, &key, Some(certificate.clone()), source.clone())
                }),
            );
            offers.extend(sources.iter().map(|one| from_agent(&path, one)));
            if bare.is_none() {
                if file.is_public_only() {
                    remarks.push(TriedMethod {
                        method: "publickey",
                        what: label(&path, &key),
                        outcome: "not tried: the agent does not hold its private half".to_owned(),
                    });
                } else {
                    from_files.push(offer(&path, &key, None, source));
                }
            }
        }
        if !settings.identities_only {
            let others = held.iter().filter(|one| {
                let named = |file: &Arc<KeyFile>| file.public().is_some_and(|key| same(one, &key));
                !self.files.iter().any(named)
            });
            offers.extend(
                others.map(|one| {
                    from_agent(&format!("agent: {}", crate::visible(one.comment())), one)
                }),
            );
        }
        offers.extend(from_files);
        // A certificate may lie beside its key and in the agent.
        let mut seen = Vec::new();
        offers.retain(|offer| {
            let what = (offer.key.key_data().clone(), offer.certificate.clone());
            let new = !seen.contains(&what);
            if new {
                seen.push(what);
            }
            new
        });
        (offers, Signing::new(client), remarks)
    }
}

fn same(identity: &AgentIdentity, key: &PublicKey) -> bool {
    identity.public_key().key_data() == key.key_data()
}

fn label(name: &str, key: &PublicKey) -> String {
    format!("{name} ({})", key.fingerprint(HashAlg::Sha256))
}

fn offer(name: &str, key: &PublicKey, certificate: Option<Certificate>, source: Source) -> Offer {
    let mut label = label(name, key);
    if certificate.is_some() {
        label.push_str(" with certificate");
    }
    Offer {
        label,
        key: key.clone(),
        certificate,
        source,
    }
}

fn from_agent(name: &str, identity: &AgentIdentity) -> Offer {
    let certificate = match identity {
        AgentIdentity::Certificate { certificate, .. } => Some(certificate.clone()),
        AgentIdentity::PublicKey { .. } => None,
    };
    let source = Source::Agent(Box::new(identity.clone()));
    offer(name, &identity.public_key(), certificate, source)
}
