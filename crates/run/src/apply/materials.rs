//! The CA's part of a plan: keys and certificates of one run, in memory only.

use std::collections::{BTreeMap, BTreeSet};

use super::pair;
use crate::verify::probe::Identity;
use base::event::{Event, Events, Failure, FailureKind};
use base::secret::Secret;
use inventory::{Inventory, host_of};
use pki::{
    AgentClient, AgentError, Certificate, IssuedLeaf, KeyType, LeafName, LeafRequest, Request,
    Response, Role, San, Signer,
};
use plan::{Action, Change, Content, FileChange, LeafPart, NEXT_ONLY, Plan};
use time::{Duration, OffsetDateTime};

pub(super) fn started(events: &Events, host: &str, what: &str) {
    events.emit(Event::Started {
        host: host.to_owned(),
        what: what.to_owned(),
    });
}

/// A client certificate for a probe must be valid for at least this long: clocks differ.
const SLACK: Duration = Duration::minutes(10);

/// Keys and certificates of this run, in memory only.
#[derive(Debug, Default)]
pub struct Materials {
    /// The CA's certificate as it is delivered.
    pub authority_pem: Option<String>,
    /// The certificate of the next CA, during a rollover.
    pub next_pem: Option<String>,
    /// Which CAs each host trusts once the plan is carried out, if they differ between hosts.
    pub bundles: BTreeMap<(String, Role), String>,
    pub(super) leaves: BTreeMap<(String, Role), IssuedLeaf>,
    /// A client certificate that a restarted daemon must accept, if no client is issued one.
    probe: Option<IssuedLeaf>,
    /// Pairs that differ from the request: they reach no node.
    faults: BTreeMap<(String, Role), String>,
}

impl Materials {
    /// The CA in its current state, and nothing issued.
    #[must_use]
    pub fn new(authority_pem: Option<String>) -> Self {
        Self {
            authority_pem,
            ..Self::default()
        }
    }

    /// The certificate that a daemon must serve, if this run replaces it.
    #[must_use]
    pub fn certificate(&self, host: &str, role: Role) -> Option<Certificate> {
        let leaf = self.leaves.get(&(host.to_owned(), role))?;
        Certificate::from_pem(leaf.certificate_pem.as_bytes()).ok()
    }

    /// A client certificate that a daemon with these CAs must accept, and the name of its holder:
    /// one that this run issues to a client, or one issued only for this check. None if the CA's
    /// key was not needed, or if the certificate is about to expire.
    #[must_use]
    pub(crate) fn client_of(
        &self,
        authorities: &[Certificate],
        now: OffsetDateTime,
    ) -> Option<(String, Identity)> {
        let clients = self
            .leaves
            .iter()
            .filter(|((_, role), _)| *role == Role::Client);
        let clients = clients.map(|((holder, _), leaf)| (format!("client {holder}"), leaf));
        let probe = self
            .probe
            .iter()
            .map(|leaf| ("a client of this CA".to_owned(), leaf));
        clients.chain(probe).find_map(|(holder, leaf)| {
            let certificate = Certificate::from_pem(leaf.certificate_pem.as_bytes()).ok()?;
            let is_signed = authorities
                .iter()
                .any(|authority| certificate.is_signed_by(authority));
            if !is_signed || certificate.not_after() < now + SLACK {
                return None;
            }
            let identity = Identity::with_key(&certificate, &leaf.key).ok()?;
            Some((holder, identity))
        })
    }

    /// The trusted CAs: ca.pem may hold several.
    #[must_use]
    pub fn authorities(&self) -> Vec<Certificate> {
        certificates(self.authority_pem.iter())
    }

    /// The CAs that a host trusts once the plan is carried out.
    #[must_use]
    pub fn trusted_by(&self, host: &str, role: Role) -> Vec<Certificate> {
        match self.bundles.get(&(host.to_owned(), role)) {
            Some(bundle) => certificates([bundle]),
            None => self.authorities(),
        }
    }

    /// Every CA that may have signed what is delivered.
    pub(super) fn signers(&self) -> Vec<Certificate> {
        certificates(self.authority_pem.iter().chain(&self.next_pem))
    }

    pub(super) fn bytes(&self, host: &str, role: Role, part: LeafPart) -> Option<Secret> {
        let leaf = self.leaves.get(&(host.to_owned(), role))?;
        Some(match part {
            LeafPart::Certificate => Secret::from(leaf.certificate_pem.clone()),
            LeafPart::Key => leaf.key.clone(),
        })
    }
}

/// The CA's part of a plan: create, issue, fetch.
///
/// # Errors If the agent refuses; no other node has been changed then.
pub async fn issue(
    plan: &Plan,
    agent: &mut AgentClient,
    passphrase: Option<&Secret>,
    mut materials: Materials,
    events: &Events,
    inventory: &Inventory,
) -> Result<Materials, AgentError> {
    let ca = inventory.ca();
    materials.bundles.clone_from(&plan.bundles);
    let mut wanted: Vec<LeafRequest> = Vec::new();
    let mut waiting: BTreeMap<(String, Role), BTreeSet<San>> = BTreeMap::new();
    generate_ahead(plan, agent).await?;
    if let Some(passphrase) = passphrase
        && materials.authority_pem.is_some()
    {
        reencrypt(agent, passphrase, events, &ca.name).await?;
    }
    let secret = || {
        passphrase
            .cloned()
            .unwrap_or_else(|| Secret::new(Vec::new()))
    };
    for change in plan.changes() {
        match &change.action {
            Action::Issue(request) => wanted.push(request.clone()),
            Action::Fetch { holder, role, sans } => {
                waiting.insert((holder.clone(), *role), sans.clone());
            }
            action @ (Action::Authority(_)
            | Action::NextAuthority(_)
            | Action::Promote
            | Action::EndRollover { .. }) => {
                on_authority(action, agent, &secret(), &mut materials, events, &ca.name).await?;
            }
            // Carried out on the nodes.
            _ => {}
        }
    }
    if !wanted.is_empty() {
        let certificates = match wanted.len() {
            1 => "a certificate".to_owned(),
            count => format!("{count} certificates"),
        };
        started(events, &ca.name, &format!("issuing {certificates}"));
        let asked: BTreeMap<(String, Role), (u32, BTreeSet<San>)> = wanted
            .iter()
            .map(|leaf| {
                let what = (leaf.validity_days, leaf.sans.clone());
                ((leaf.host.clone(), leaf.role), what)
            })
            .collect();
        let response = agent
            .call(Request::Issue {
                leaves: wanted,
                passphrase: secret(),
            })
            .await?;
        let Response::Issued { leaves } = response else {
            return Err(unexpected());
        };
        for leaf in leaves {
            let (days, sans) = asked
                .get(&(leaf.host.clone(), leaf.role))
                .cloned()
                .ok_or_else(unexpected)?;
            if leaf.clipped_by_ca && is_cut_short(&leaf, days) {
                let holder = inventory.holder(&leaf.host).ok_or_else(unexpected)?;
                let said = holder.certificate_of(leaf.role);
                events.emit(Event::Warning {
                    host: Some(host_of(&leaf.host).to_owned()),
                    text: format!("{} ends with the CA, on {}", said, leaf.not_after.date()),
                });
            }
            materials.add(leaf, &sans);
        }
    }
    if !waiting.is_empty() {
        fetch(waiting, agent, &mut materials).await?;
    }
    let restarts = plan
        .changes()
        .any(|change| matches!(change.action, Action::Restart(_)));
    let has_client = materials
        .leaves
        .keys()
        .any(|(_, role)| *role == Role::Client);
    if let Some(passphrase) = passphrase
        && restarts
        && !has_client
    {
        let passphrase = passphrase.clone();
        // From then on daemons trust only the next CA.
        let trusts_next_only = plan.rollover_step.is_some_and(|step| step >= NEXT_ONLY);
        let signer = if trusts_next_only {
            Signer::Next
        } else {
            Signer::Current
        };
        // A CA may have name constraints that exclude this one: then none is presented.
        let probe = Request::Probe { signer, passphrase };
        if let Ok(Response::Probe { leaf }) = agent.call(probe).await {
            materials.probe = Some(leaf);
        }
    }
    Ok(materials)
}

/// Encrypts the key again if an earlier version used a weaker key derivation.
async fn reencrypt(
    agent: &mut AgentClient,
    passphrase: &Secret,
    events: &Events,
    ca: &str,
) -> Result<(), AgentError> {
    let passphrase = passphrase.clone();
    let answer = agent.call(Request::Reencrypt { passphrase }).await?;
    let Response::Reencrypted { said } = answer else {
        return Err(unexpected());
    };
    for what in said {
        let host = ca.to_owned();
        events.emit(Event::Changed { host, what });
    }
    Ok(())
}

/// An RSA key takes long: generation of the leaves' keys begins before the CA's own.
async fn generate_ahead(plan: &Plan, agent: &mut AgentClient) -> Result<(), AgentError> {
    let types: Vec<KeyType> = plan
        .changes()
        .filter_map(|change| match &change.action {
            Action::Issue(request) => Some(request.key_type),
            _ => None,
        })
        .filter(|key_type| key_type.is_rsa())
        .collect();
    if !types.is_empty() {
        agent.call(Request::GenerateKeys { types }).await?;
    }
    Ok(())
}

/// Changes to the CA itself.
async fn on_authority(
    action: &Action,
    agent: &mut AgentClient,
    passphrase: &Secret,
    materials: &mut Materials,
    events: &Events,
    ca: &str,
) -> Result<(), AgentError> {
    match action {
        Action::Authority(profile) => {
            started(events, ca, "creating the CA");
            let request = Request::EnsureAuthority {
                profile: profile.clone(),
                passphrase: passphrase.clone(),
            };
            materials.authority_pem = Some(created(request, agent, events, ca).await?);
        }
        Action::NextAuthority(profile) => {
            started(events, ca, "creating the next CA");
            let request = Request::BeginRollover {
                profile: profile.clone(),
                passphrase: passphrase.clone(),
            };
            materials.next_pem = Some(created(request, agent, events, ca).await?);
        }
        Action::Promote => {
            started(events, ca, "retiring the old CA");
            agent.call(Request::Promote {}).await?;
            materials.authority_pem = materials.next_pem.take();
        }
        Action::EndRollover { destroy_old } => {
            let destroy_old = *destroy_old;
            agent.call(Request::EndRollover { destroy_old }).await?;
        }
        // Leaves, and changes carried out on the nodes.
        _ => {}
    }
    Ok(())
}

/// Requests a CA; returns its certificate, PEM.
async fn created(
    request: Request,
    agent: &mut AgentClient,
    events: &Events,
    ca: &str,
) -> Result<String, AgentError> {
    let Response::Authority {
        certificate_pem,
        warnings,
        ..
    } = agent.call(request).await?
    else {
        return Err(unexpected());
    };
    for text in warnings {
        events.emit(Event::Warning {
            host: Some(ca.to_owned()),
            text,
        });
    }
    Ok(certificate_pem)
}

fn certificates<'a>(bundles: impl IntoIterator<Item = &'a String>) -> Vec<Certificate> {
    bundles
        .into_iter()
        .filter_map(|pem| Certificate::bundle_from_pem(pem.as_bytes()).ok())
        .flatten()
        .collect()
}

/// Fetches pairs that were issued earlier and are still on the CA node.
async fn fetch(
    waiting: BTreeMap<(String, Role), BTreeSet<San>>,
    agent: &mut AgentClient,
    materials: &mut Materials,
) -> Result<(), AgentError> {
    let names = waiting.keys().map(|(host, role)| LeafName {
        host: host.clone(),
        role: *role,
    });
    let leaves = names.collect();
    let response = agent.call(Request::Fetch { leaves }).await?;
    let Response::Fetched { leaves, missing } = response else {
        return Err(unexpected());
    };
    if let Some(name) = missing.first() {
        return Err(AgentError::Answer(format!(
            "the {} pair of {} has vanished from the CA node since the plan was made",
            name.role, name.host
        )));
    }
    for leaf in leaves {
        let name = (leaf.host.clone(), leaf.role);
        let sans = waiting.get(&name).ok_or_else(unexpected)?;
        materials.add(leaf, sans);
    }
    Ok(())
}

/// A CA and a leaf with the same validity period differ by moments.
fn is_cut_short(leaf: &IssuedLeaf, days: u32) -> bool {
    Certificate::from_pem(leaf.certificate_pem.as_bytes()).is_ok_and(|certificate| {
        let life = certificate.not_after() - certificate.not_before();
        life < time::Duration::days(i64::from(days) - 1)
    })
}

impl Materials {
    /// Accepts a pair whose parts match and are as requested.
    fn add(&mut self, leaf: IssuedLeaf, sans: &BTreeSet<San>) {
        let name = (leaf.host.clone(), leaf.role);
        match pair::fault(&leaf, sans, &self.signers()) {
            Some(fault) => {
                self.faults.insert(name, fault);
            }
            None => {
                self.leaves.insert(name, leaf);
            }
        }
    }

    /// Why there is no content for a file.
    pub(super) fn missing(&self, host: &str, change: &Change, file: &FileChange) -> Failure {
        let fault = match &file.content {
            Content::Leaf { holder, role, .. } => self.faults.get(&(holder.clone(), *role)),
            _ => None,
        };
        let message = match fault {
            Some(fault) => format!("what the CA node handed out is not delivered: {fault}"),
            None => format!("there is nothing to write to {}", change.subject),
        };
        Failure {
            host: host.to_owned(),
            kind: FailureKind::Failed,
            step: change.task.clone(),
            message,
            causes: Vec::new(),
            detail: Vec::new(),
            hint: fault.map(|_| {
                "nothing was changed on this host; look at the CA directory: a file there may have been replaced".to_owned()
            }),
        }
    }
}

fn unexpected() -> AgentError {
    AgentError::Answer("it is not an answer to what was asked".to_owned())
}
