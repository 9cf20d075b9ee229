//! Which clients reach which daemons: what a daemon accepts and shows, now and once the plan is
//! carried out.
//!
//! What is unknown counts as in use. Pure.

use super::launch::{listens_as_declared, mode_now};
use super::{Action, Change, Content, LeafDecision, LeafPart, Plan, Planner, Served};
use crate::host::daemon_json::PATH;
use crate::host::in_use;
use crate::host::read::runs_with;
use docker::tls::DaemonMode;
use inventory::Host;
use node::facts::NodeFacts;
use pki::{Certificate, Role, Signer};

/// The CAs of a bundle.
#[derive(Debug, Clone)]
pub(super) enum Bundle {
    These(Vec<Certificate>),
    /// Only the CA that this run creates.
    New,
}

/// A certificate that a peer presents.
#[derive(Debug, Clone)]
pub(super) enum Leaf {
    This(Box<Certificate>),
    /// One that this CA will issue.
    From(Box<Certificate>),
    /// One of the CA that this run creates.
    OfNew,
}

impl Bundle {
    pub(super) fn trusts(&self, leaf: &Leaf) -> bool {
        match (self, leaf) {
            (Self::These(bundle), Leaf::This(leaf)) => {
                bundle.iter().any(|authority| leaf.is_signed_by(authority))
            }
            (Self::These(bundle), Leaf::From(signer)) => {
                bundle.iter().any(|known| known.der() == signer.der())
            }
            (Self::New, Leaf::OfNew) => true,
            (Self::New, _) | (_, Leaf::OfNew) => false,
        }
    }
}

/// The state of a daemon before or after its change.
#[derive(Debug, Clone)]
pub(super) struct Serving {
    /// None: no TLS, so no client reaches it with a certificate.
    pub mode: Option<DaemonMode>,
    /// `None` if unknown.
    pub bundle: Option<Bundle>,
    pub leaf: Option<Leaf>,
}

impl Serving {
    /// Whether it accepts a client with this certificate, or without one; `None` if unknown.
    pub(super) fn accepts(&self, leaf: Option<&Leaf>) -> Option<bool> {
        match self.mode {
            None => Some(false),
            Some(DaemonMode::Tls) => Some(true),
            Some(DaemonMode::TlsVerify) => {
                let Some(leaf) = leaf else {
                    return Some(false);
                };
                self.bundle.as_ref().map(|bundle| bundle.trusts(leaf))
            }
        }
    }

    /// Whether a client with this bundle verifies it; `None` if unknown.
    pub(super) fn verified_by(&self, bundle: &Bundle) -> Option<bool> {
        if self.mode.is_none() {
            return Some(false);
        }
        self.leaf.as_ref().map(|leaf| bundle.trusts(leaf))
    }
}

/// A daemon, as far as this run knows it.
#[derive(Debug)]
pub(super) enum Daemon {
    Unreachable,
    NotInRun,
    Known(Box<Known>),
}

#[derive(Debug)]
pub(super) struct Known {
    pub now: Serving,
    /// After the change, if its daemon restarts.
    pub after: Option<Serving>,
    pub refused: bool,
    /// It listens where the inventory says, at the latest after its change.
    pub listens: bool,
    /// Which clients the inventory wants it to accept.
    pub declared: DaemonMode,
}

impl Daemon {
    pub(super) fn read(planner: &Planner<'_>, plan: &Plan, in_run: bool, host: &Host) -> Self {
        let Some(facts) = planner.facts.get(&host.name) else {
            return if in_run {
                Self::Unreachable
            } else {
                Self::NotInRun
            };
        };
        // A daemon that no task of this run asks about is unknown.
        if facts.file(PATH).is_none() || facts.unit.is_none() {
            return Self::NotInRun;
        }
        let now = now(host, facts);
        let own = plan.changes().filter(|change| change.host == host.name);
        let own: Vec<Change> = own.cloned().collect();
        let changes: Vec<&Change> = own.iter().collect();
        let after = changes
            .iter()
            .rev()
            .find_map(|change| match &change.action {
                Action::Restart(restart) => {
                    Some(after(planner, host, facts, &changes, &now, &restart.serves))
                }
                _ => None,
            });
        Self::Known(Box::new(Known {
            now,
            after,
            refused: plan
                .problems
                .iter()
                .any(|problem| problem.host == host.name),
            listens: listens_as_declared(host, facts, &own),
            declared: host.settings.daemon_mode,
        }))
    }
}

/// What is in service. A file counts only if dockerd has read its current version.
pub(super) fn now(host: &Host, facts: &NodeFacts) -> Serving {
    let paths = in_use::paths(host, Role::Daemon, facts);
    let content = |path: &str| {
        let is_read = runs_with(path, facts);
        facts
            .regular(path)
            .filter(|_| is_read)
            .and_then(|file| file.content.as_deref())
    };
    let bundle = content(&paths.ca).and_then(|bytes| Certificate::bundle_from_pem(bytes).ok());
    let leaf = content(&paths.certificate).and_then(|bytes| Certificate::from_pem(bytes).ok());
    Serving {
        mode: mode_now(host, facts),
        bundle: bundle.map(Bundle::These),
        leaf: leaf.map(|leaf| Leaf::This(Box::new(leaf))),
    }
}

pub(super) fn after(
    planner: &Planner<'_>,
    host: &Host,
    facts: &NodeFacts,
    changes: &[&Change],
    now: &Serving,
    serves: &Served,
) -> Serving {
    match serves {
        Served::Socket => Serving {
            mode: None,
            bundle: None,
            leaf: None,
        },
        Served::Kept {
            mode,
            certificate,
            authorities,
            ..
        } => Serving {
            mode: Some(*mode),
            bundle: Certificate::bundle_from_pem(authorities)
                .ok()
                .map(Bundle::These),
            leaf: Certificate::from_pem(certificate)
                .ok()
                .map(|leaf| Leaf::This(Box::new(leaf))),
        },
        Served::Issued(mode) => {
            let (directory, files) = crate::host::leaf::location(host, Role::Daemon);
            let of = |name: &str| facts.expand(&format!("{directory}/{name}"));
            let (ca, certificate) = (of(&files.ca), of(&files.cert));
            Serving {
                mode: Some(*mode),
                bundle: bundle_after(facts, changes, &ca).or_else(|| now.bundle.clone()),
                leaf: leaf_after(planner, facts, changes, &certificate)
                    .or_else(|| now.leaf.clone()),
            }
        }
    }
}

/// What is written to a path, if anything.
pub(super) fn content_of<'a>(changes: &[&'a Change], path: &str) -> Option<&'a Content> {
    changes
        .iter()
        .rev()
        .find_map(|change| match &change.action {
            Action::File(file) if file.path() == path => Some(&file.content),
            _ => None,
        })
}

/// The bundle at a path once these changes are made; `None` if there is none.
pub(super) fn bundle_after(facts: &NodeFacts, changes: &[&Change], path: &str) -> Option<Bundle> {
    let read = |path: &str| {
        let bytes = facts.regular(path)?.content.as_deref()?;
        Certificate::bundle_from_pem(bytes).ok().map(Bundle::These)
    };
    match content_of(changes, path) {
        None | Some(Content::Same | Content::Leaf { .. }) => read(path),
        Some(Content::Text(text) | Content::Certificates(text)) => {
            let bundle = Certificate::bundle_from_pem(text.as_bytes()).ok();
            bundle.map(Bundle::These)
        }
        Some(Content::Authority) => Some(Bundle::New),
        Some(Content::Copy { from }) => read(from),
        Some(Content::Kept { copy, .. }) => read(copy),
        Some(Content::Gone { .. } | Content::Program(_)) => None,
    }
}

/// The leaf at a path once these changes are made; `None` if there is none.
pub(super) fn leaf_after(
    planner: &Planner<'_>,
    facts: &NodeFacts,
    changes: &[&Change],
    path: &str,
) -> Option<Leaf> {
    let read = |path: &str| {
        let bytes = facts.regular(path)?.content.as_deref()?;
        let leaf = Certificate::from_pem(bytes).ok()?;
        Some(Leaf::This(Box::new(leaf)))
    };
    match content_of(changes, path) {
        Some(Content::Leaf {
            holder,
            role,
            part: LeafPart::Certificate,
        }) => decided(planner, holder, *role),
        Some(Content::Copy { from }) => read(from),
        Some(Content::Kept { copy, .. }) => read(copy),
        Some(Content::Gone { .. }) => None,
        _ => read(path),
    }
}

/// The leaf that this run issues or fetches.
fn decided(planner: &Planner<'_>, holder: &str, role: Role) -> Option<Leaf> {
    let authority = &planner.authority;
    match planner.leaves.get(&(holder.to_owned(), role))? {
        LeafDecision::Keep { certificate } | LeafDecision::Fetch { certificate, .. } => {
            Some(Leaf::This(certificate.clone()))
        }
        LeafDecision::Issue { request, .. } => {
            let signer = match request.signer {
                Signer::Current if authority.planned => return Some(Leaf::OfNew),
                Signer::Current => authority.certificate.clone(),
                Signer::Next => authority.next.clone(),
            };
            signer.map(|signer| Leaf::From(Box::new(signer)))
        }
    }
}
