//! A daemon that moves: its address, its port, or the names in its certificate change, or it no
//! longer accepts clients without a certificate, or its CA is replaced. A client that does not
//! follow in the same run would lose it, so the daemon is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::launch::{launched, listened};
use super::reach::{Bundle, Leaf, Serving, after, bundle_after, content_of, leaf_after, now};
use super::{Action, Change, Content, Plan, PlanProblem, Planner, Refusal, Served};
use crate::host::address::{DaemonAddress, daemon_address};
use crate::host::client::{PROFILES, context_paths, has_contexts, keeps_context, own_block};
use crate::host::leaf::location as leaf_location;
use crate::playbook::Playbook;
use docker::context;
use docker::tls::DaemonMode;
use inventory::{ClientEnv, Files, Host};
use node::facts::{FileFact, NodeFacts};
use pki::{Certificate, Role, San};

/// Where clients reach a daemon, before or after its change.
#[derive(Debug)]
struct Place {
    /// Its listeners; one without a host listens on every address.
    listeners: Vec<DaemonAddress>,
    /// The names in its certificate; `None` if unknown.
    names: Option<BTreeSet<San>>,
}

/// A daemon and its move.
#[derive(Debug)]
pub(crate) struct Move<'a> {
    daemon: &'a Host,
    facts: &'a NodeFacts,
    now: Serving,
    before: Place,
    after: Place,
    /// What it serves after the change, if it accepts clients without a certificate only before.
    closes: Option<Serving>,
    /// What it serves after the change.
    later: Serving,
}

/// A client's endpoint, and whether it verifies the daemon there.
type Endpoint = (String, bool);

/// Why a client does not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stays {
    NotInRun,
    Unreachable,
    Refused,
    /// The tasks of this run leave its files as they are.
    Unchanged,
}

/// What a client would lose of a daemon.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Loss {
    url: String,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    /// Docker no longer listens there.
    Address,
    /// Docker still listens there, but its certificate no longer has the name.
    Name,
    /// It has no certificate that docker accepts.
    Mode,
    /// Docker gets another CA than the one of its files.
    Authority,
}

/// The holders that lose a daemon, by reason.
type Losses = BTreeMap<Stays, Vec<(String, Loss)>>;

impl Place {
    fn new(addresses: &[String], names: Option<BTreeSet<San>>) -> Self {
        let listeners = addresses.iter();
        let listeners = listeners.filter_map(|address| DaemonAddress::listened(address, ""));
        Self {
            listeners: listeners.collect(),
            names,
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        let listens = self
            .listeners
            .iter()
            .all(|one| other.listeners.contains(one));
        let named = match (&self.names, &other.names) {
            (Some(own), Some(others)) => own.is_subset(others),
            _ => true,
        };
        listens && named
    }

    /// Whether a client that uses this address reaches it. Names are not resolved.
    fn answers(&self, called: &DaemonAddress, checks: bool) -> bool {
        let named = |names: &BTreeSet<San>| names.iter().any(|san| names_host(san, &called.host));
        self.listens(called) && (!checks || self.names.as_ref().is_none_or(named))
    }

    fn listens(&self, called: &DaemonAddress) -> bool {
        let is_name = |host: &str| host.parse::<IpAddr>().is_err();
        self.listeners.iter().any(|one| {
            let is_host = one.host == called.host || is_name(&one.host) || is_name(&called.host);
            one.port == called.port && is_host
        })
    }
}

/// Refuses a certificate that is not valid for the address which the clients of a daemon are given.
pub(super) fn check_called(daemon: &Host, sans: &BTreeSet<San>) -> Result<(), Refusal> {
    let called = daemon_address(daemon).host.to_ascii_lowercase();
    if sans.iter().any(|san| names_host(san, &called)) {
        return Ok(());
    }
    let refusal = Refusal::new(format!(
        "its certificate would not be valid for {called}, the address that clients use"
    ));
    Err(if daemon.settings.sans.is_some() {
        refusal.hint(format!(
            "add {called} to dtls_sans, or set ansible_host or dtls_listen to an address in dtls_sans"
        ))
    } else {
        refusal
    })
}

/// Whether a name in a certificate matches a host, by the rules of Go's crypto/x509.
fn names_host(san: &San, host: &str) -> bool {
    match (san, host.parse()) {
        (_, Ok(called)) if *san == called => true,
        (San::Dns(pattern), Ok(San::Dns(called))) => {
            pattern.strip_prefix("*.").is_some_and(|parent| {
                called
                    .split_once('.')
                    .is_some_and(|(_, rest)| rest == parent)
            })
        }
        _ => false,
    }
}

impl Planner<'_> {
    /// The daemons that move.
    pub(crate) fn moves<'a>(&'a self, plan: &Plan) -> Vec<Move<'a>> {
        let daemons = self.inventory.daemons();
        daemons
            .filter_map(|daemon| self.moving(daemon, plan))
            .collect()
    }

    /// Refuses those that would leave a client behind, given the changes that each client makes
    /// with its daemons.
    pub(crate) fn left_behind(
        &self,
        moves: &[Move<'_>],
        playbook: &Playbook,
        plan: &Plan,
    ) -> Vec<PlanProblem> {
        let problems = moves.iter().filter_map(|moving| {
            let losses = self.losses(moving, playbook, plan);
            (!losses.is_empty()).then(|| PlanProblem {
                host: moving.daemon.name.clone(),
                task: "look before anything is changed".to_owned(),
                refusal: self.refusal(&losses),
            })
        });
        problems.collect()
    }

    /// The move of a daemon that serves clients with TLS now and will do so at another address.
    fn moving<'a>(&'a self, daemon: &'a Host, plan: &Plan) -> Option<Move<'a>> {
        let facts = self.facts.get(&daemon.name)?;
        let own = plan.changes().filter(|change| change.host == daemon.name);
        let changes: Vec<Change> = own.cloned().collect();
        let serves = changes.iter().find_map(|change| match &change.action {
            Action::Restart(restart) if matches!(restart.serves, Served::Issued(_)) => {
                Some(&restart.serves)
            }
            _ => None,
        })?;
        let now = now(daemon, facts);
        let mode = now.mode?;
        let later = after(
            self,
            daemon,
            facts,
            &changes.iter().collect::<Vec<_>>(),
            &now,
            serves,
        );
        let is_closed = mode == DaemonMode::Tls && later.mode == Some(DaemonMode::TlsVerify);
        let closes = is_closed.then(|| later.clone());
        let drops = drops_authority(&now, &later);
        let names_now = match &now.leaf {
            Some(Leaf::This(leaf)) => Some(leaf.sans().clone()),
            _ => None,
        };
        let decided = self.leaves.get(&(daemon.name.clone(), Role::Daemon));
        let names_after = decided.map(|decision| decision.sans().clone());
        let before = Place::new(&listened(daemon, facts, &[]), names_now);
        let after = Place::new(&listened(daemon, facts, &changes), names_after);
        // Removed: it listens to no client.
        let is_within = before.is_within(&after) && closes.is_none();
        let moves = !after.listeners.is_empty() && (!is_within || drops);
        moves.then_some(Move {
            daemon,
            facts,
            now,
            before,
            after,
            closes,
            later,
        })
    }

    /// The holders that reach a daemon now and would not any more.
    fn losses(&self, moving: &Move<'_>, playbook: &Playbook, plan: &Plan) -> Losses {
        let mut losses = Losses::new();
        for client in &self.inventory.hosts {
            let known = self.facts.get(&client.name);
            let is_in_run = playbook.plays.iter().any(|play| play.includes(client));
            let is_refused = plan
                .problems
                .iter()
                .any(|problem| problem.host == client.name);
            let stays = match known {
                _ if !is_in_run => Stays::NotInRun,
                None => Stays::Unreachable,
                Some(_) if is_refused => Stays::Refused,
                Some(_) => Stays::Unchanged,
            };
            let changes = plan
                .changes()
                .filter(|change| change.host == client.name && !is_refused);
            let changes: Vec<&Change> = changes.collect();
            for holder in client.client_holders() {
                let loss = match known {
                    None => self.may_lose(moving, holder),
                    Some(facts) if hides(holder, facts) => self.may_lose(moving, holder),
                    Some(facts) => {
                        let loss = moving.loses(self, holder, facts, &changes);
                        loss.or_else(|| moving.locks_out(self, holder, facts, stays))
                    }
                };
                // A client that follows the inventory and is cut off anyway is not left behind.
                let declared = daemon_address(moving.daemon).url();
                let loss = loss.filter(|loss| {
                    stays != Stays::Unchanged || loss.url != declared || loss.how == How::Mode
                });
                if let Some(loss) = loss {
                    losses
                        .entry(stays)
                        .or_default()
                        .push((holder.holder(), loss));
                }
            }
        }
        losses
    }

    /// What a holder with unread files may lose: the address that an earlier deployment wrote
    /// there.
    fn may_lose(&self, moving: &Move<'_>, holder: &Host) -> Option<Loss> {
        let asks = |what| holder.settings.client_env.contains(&what);
        let default = match &holder.settings.default_daemon {
            Some(name) => Some(name),
            None => self.inventory.daemons().next().map(|daemon| &daemon.name),
        };
        let has_profile = asks(ClientEnv::Profile) && holder.identity.is_none();
        let leads_here = has_profile && default == Some(&moving.daemon.name);
        if !leads_here && !has_contexts(holder) {
            return None;
        }
        let issued = self
            .authority
            .ledger
            .current(&holder.holder(), Role::Client);
        let is_deployed = issued.is_some_and(|entry| entry.not_after > self.now);
        let url = launched(moving.daemon, moving.facts, &[]).address.url();
        // It may have been deployed without a certificate, even if it had one before.
        if holder.shows_certificate() && moving.closes.is_some() {
            let how = How::Mode;
            return Some(Loss { url, how });
        }
        if holder.shows_certificate() && !is_deployed {
            return None;
        }
        let endpoint = (url, holder.settings.client_mode.checks_daemon());
        moving.takes_away(&endpoint, &endpoint)
    }

    fn refusal(&self, losses: &Losses) -> Refusal {
        let path = self.inventory.path.display();
        let (mut who, mut hints) = (Vec::new(), Vec::new());
        for (stays, clients) in losses {
            let clients: Vec<&str> = clients.iter().map(|(name, _)| &**name).collect();
            let clients = clients.join(", ");
            let (because, hint) = match stays {
                Stays::NotInRun => (
                    "not part of this run",
                    format!("run it for all hosts: dtls-deploy {path}"),
                ),
                Stays::Unreachable => (
                    "no answer",
                    format!("start {clients} first, or take it out of the inventory"),
                ),
                Stays::Refused => (
                    "refused",
                    format!("fix what {clients} is refused for, or take it out of the inventory"),
                ),
                Stays::Unchanged => (
                    "not changed in this run",
                    format!("deploy first: dtls-deploy {path}"),
                ),
            };
            who.push(format!("{clients} ({because})"));
            hints.push(hint);
        }
        let places: BTreeSet<&Loss> = losses.values().flatten().map(|(_, loss)| loss).collect();
        let places = places.into_iter().map(|Loss { url, how }| match how {
            How::Name => format!("the certificate would not be valid for {url} any more"),
            How::Address => format!("docker would not listen on {url} any more"),
            How::Mode => {
                format!("docker on {url} would no longer accept clients without a certificate")
            }
            How::Authority => format!("docker on {url} would get another CA"),
        });
        Refusal::new(format!(
            "the change would cut off {}: {}",
            who.join(", "),
            places.collect::<Vec<String>>().join(", ")
        ))
        .hint(hints.join("; "))
    }
}

impl Move<'_> {
    /// What a client loses that has one address before this change and the same or another one
    /// later.
    fn takes_away(&self, old: &Endpoint, new: &Endpoint) -> Option<Loss> {
        let called = DaemonAddress::listened(&old.0, "")?;
        let later = DaemonAddress::listened(&new.0, "");
        let is_lost = self.leads_here(&called)
            && self.before.answers(&called, old.1)
            && !later.is_some_and(|later| self.after.answers(&later, new.1));
        is_lost.then(|| Loss {
            url: old.0.clone(),
            how: if self.after.listens(&called) {
                How::Name
            } else {
                How::Address
            },
        })
    }

    /// Whether an address can be this host's. One that the node does not have and the inventory
    /// does not name is its former address.
    fn leads_here(&self, called: &DaemonAddress) -> bool {
        let (Ok(address), Some(network)) = (called.host.parse(), &self.facts.network) else {
            return true;
        };
        network.has(address) || called.host == self.daemon.connection.address
    }

    /// What a holder with known files loses by these changes.
    fn loses(
        &self,
        planner: &Planner<'_>,
        holder: &Host,
        facts: &NodeFacts,
        changes: &[&Change],
    ) -> Option<Loss> {
        let mut files = Vec::new();
        if keeps_context(holder, self.daemon, planner.inventory, facts) {
            let paths = context_paths(holder, self.daemon);
            files.push((format!("{}/meta.json", paths.metadata), paths.tls));
        }
        if holder.identity.is_none() {
            files.extend(PROFILES.map(|name| (format!("~/{name}"), String::new())));
        }
        files.into_iter().find_map(|(path, tls)| {
            let path = facts.expand(&path);
            let read = |text: &[u8]| endpoint_in(text, &path, planner, holder, facts);
            let read_file = |path: &str| read(facts.regular(path)?.content.as_deref()?);
            let (old, directory) = read_file(&path)?;
            let tls = facts.expand(&directory.unwrap_or(tls));
            if self.rejects(facts, &tls, old.1) {
                return None;
            }
            let new = match content_of(changes, &path) {
                Some(Content::Text(text)) => read(text.as_bytes())?.0,
                Some(Content::Kept { copy, .. }) => read_file(copy)?.0,
                Some(Content::Gone { .. }) => return None,
                _ => old.clone(),
            };
            // One that is declared to show no certificate is meant to be rejected.
            let closes = self.closes.as_ref().filter(|_| holder.shows_certificate());
            let is_rejected = closes.is_some_and(|closes| {
                let leaf = leaf_after(planner, facts, changes, &format!("{tls}/cert.pem"));
                closes.accepts(leaf.as_ref()) == Some(false)
            });
            let called = DaemonAddress::listened(&old.0, "")?;
            if is_rejected && self.leads_here(&called) && self.before.answers(&called, old.1) {
                let (url, how) = (old.0, How::Mode);
                return Some(Loss { url, how });
            }
            self.takes_away(&old, &new)
        })
    }

    /// What a holder loses that is refused, so that its files stay, while the daemon's CA is
    /// replaced. Others follow the daemon, or the operator has been told about them.
    fn locks_out(
        &self,
        planner: &Planner<'_>,
        holder: &Host,
        facts: &NodeFacts,
        stays: Stays,
    ) -> Option<Loss> {
        let (directory, files) = leaf_location(holder, Role::Client);
        let [ca, certificate] =
            [&files.ca, &files.cert].map(|name| facts.expand(&format!("{directory}/{name}")));
        let bundle = bundle_after(facts, &[], &ca);
        let leaf = leaf_after(planner, facts, &[], &certificate);
        let checks = holder.settings.client_mode.checks_daemon();
        let reaches = |serving: &Serving| {
            let is_verified = match &bundle {
                Some(bundle) if checks => serving.verified_by(bundle)?,
                _ => !checks,
            };
            Some(serving.accepts(leaf.as_ref())? && is_verified)
        };
        let is_lost = stays == Stays::Refused
            && reaches(&self.now) == Some(true)
            && reaches(&self.later) == Some(false);
        is_lost.then(|| Loss {
            url: launched(self.daemon, self.facts, &[]).address.url(),
            how: How::Authority,
        })
    }

    /// Whether this daemon and a client with these files are known to reject each other.
    fn rejects(&self, facts: &NodeFacts, directory: &str, checks: bool) -> bool {
        let names = Files::default();
        let bytes = |name: &str| {
            let file = facts.regular(&format!("{directory}/{name}"))?;
            file.content.as_deref()
        };
        let bundle = bytes(&names.ca).and_then(|text| Certificate::bundle_from_pem(text).ok());
        let leaf = bytes(&names.cert).and_then(|text| Certificate::from_pem(text).ok());
        let untrusted = checks
            && bundle.is_some_and(|of| self.now.verified_by(&Bundle::These(of)) == Some(false));
        // A file that could not be read may be accepted.
        let rejected = leaf
            .is_some_and(|leaf| self.now.accepts(Some(&Leaf::This(Box::new(leaf)))) == Some(false));
        untrusted || rejected
    }
}

/// Whether a daemon trusts a CA before a change and not after it.
fn drops_authority(now: &Serving, later: &Serving) -> bool {
    match (&now.bundle, &later.bundle) {
        (Some(Bundle::These(before)), Some(Bundle::These(after))) => before
            .iter()
            .any(|known| after.iter().all(|other| other.der() != known.der())),
        (Some(Bundle::These(_)), Some(Bundle::New)) => true,
        _ => false,
    }
}

/// Whether the files of a holder cannot be read.
fn hides(holder: &Host, facts: &NodeFacts) -> bool {
    let (directory, files) = leaf_location(holder, Role::Client);
    let mut files = [files.ca, files.cert, files.key].into_iter();
    files.any(|name| {
        let file = facts.file(&format!("{directory}/{name}"));
        !matches!(file, None | Some(FileFact::Absent | FileFact::File(_)))
    })
}

/// The endpoint of a context or profile, and the certificate directory that a profile names.
fn endpoint_in(
    text: &[u8],
    path: &str,
    planner: &Planner<'_>,
    holder: &Host,
    facts: &NodeFacts,
) -> Option<(Endpoint, Option<String>)> {
    if path.ends_with("/meta.json") {
        return Some((context::endpoint(text)?, None));
    }
    let text = std::str::from_utf8(text).ok()?;
    let found = own_block(text, planner.inventory, holder, facts)?;
    let directory = found
        .certificate_path
        .unwrap_or_else(|| "~/.docker".to_owned());
    Some(((found.host, found.checks_daemon), Some(directory)))
}
