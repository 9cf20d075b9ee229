//! Verification: checks from the clients that the daemons accept the right clients and reject all
//! others.
//!
//! Private keys stay on their nodes: a valid certificate is tried there with an available tool, and
//! without one the check is not made. Rejections need no private key of a node: they are tried from
//! the controller, through the client's SSH connection.

mod as_client;
mod closed;
mod daemon;
mod judge;
mod names;
pub mod pair;
pub mod probe;
mod record;
mod selection;

pub use closed::closed;
pub use daemon::local;
pub(crate) use judge::{asked_for, judge_shown};
pub use judge::{foreign_authorities, other_authorities};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::BoxFuture;

use crate::session::Node;
use base::event::{Check, Event, Events, Phase, Proof, Sample, Verdict};
use daemon::from_daemon;
use docker::tls::DaemonMode;
use inventory::{Host, Inventory};
use node::DialError;
use node::script::Script;
use pki::{Certificate, Role};
use plan::host::address::{DaemonAddress, daemon_address};
use probe::{Answer, Identity, Shown, is_refusal};
use record::{TOOL_DEADLINE, find_record};

/// A daemon that takes longer counts as not answering.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Docker's conventional port without TLS.
const PLAIN_PORT: u16 = 2375;
/// Maximum number of concurrent checks.
const AT_ONCE: usize = 64;

/// What the daemons should present.
#[derive(Debug, Clone, Default)]
pub struct Expectations {
    /// The CAs that clients and daemons trust.
    pub authorities: Vec<Certificate>,
    /// The CAs that a host trusts, if they differ between hosts: during a rollover.
    pub trusted: BTreeMap<(String, Role), Vec<Certificate>>,
    /// Each daemon's certificate, DER.
    pub served: BTreeMap<String, Vec<u8>>,
    /// Holders with a revoked certificate.
    pub revoked: BTreeSet<String>,
    /// Daemons with an installed guard that the inventory does not name.
    pub guards: BTreeSet<String>,
}

/// Makes all selected checks concurrently. Each emits an event and is added to `proofs` at the same
/// time: if an interruption drops this, both are consistent.
pub async fn verify(
    nodes: &BTreeMap<String, Arc<Node>>,
    inventory: &Inventory,
    expectations: &Expectations,
    events: &Events,
    proofs: &mut Vec<Proof>,
) {
    let made_up = Identity::made_up().ok();
    let mut attempts: Vec<BoxFuture<'_, Vec<Proof>>> = Vec::new();
    for tried in pairs(nodes, inventory, events) {
        let attempt = |client| Attempt {
            node: tried.node,
            client,
            daemon: tried.daemon,
            address: daemon_address(tried.daemon),
            expectations,
        };
        for holder in &tried.client.identities {
            if !holder.is_absent() {
                let attempt = attempt(holder);
                attempts.push(Box::pin(async move { attempt.as_client().await }));
            }
        }
        let own = attempt(tried.client);
        attempts.push(Box::pin(async move { own.as_client().await }));
        if tried.refusals {
            let (attempt, made_up) = (attempt(tried.client), made_up.clone());
            attempts.push(Box::pin(async move { attempt.refusals(made_up).await }));
        }
    }
    for daemon in inventory.daemons() {
        attempts.extend(names::of_daemon(nodes, inventory, daemon, expectations));
        if let Some(node) = nodes.get(&daemon.name) {
            let is_guarded = daemon.is_guarded() || expectations.guards.contains(&daemon.name);
            attempts.push(Box::pin(from_daemon(node, daemon, is_guarded)));
        }
    }
    let begun = Instant::now();
    let mut last: BTreeMap<String, Duration> = BTreeMap::new();
    let mut running = futures::stream::iter(attempts).buffer_unordered(AT_ONCE);
    while let Some(done) = running.next().await {
        for proof in done {
            // For an identity NAME@HOST, its host.
            let from = proof.from.rsplit('@').next().unwrap_or_default();
            last.insert(from.to_owned(), begun.elapsed());
            events.emit(Event::Proof(proof.clone()));
            proofs.push(proof);
        }
    }
    for (host, took) in last {
        events.emit(Event::Waited {
            host,
            phase: Phase::Verify,
            milliseconds: took.as_millis(),
        });
    }
    proofs.sort_by(|left, right| {
        // With several names in a certificate, each result begins with its name.
        (&left.to, &left.from, left.check, &left.seen).cmp(&(
            &right.to,
            &right.from,
            right.check,
            &right.seen,
        ))
    });
}

/// A client and a daemon to try together.
struct Tried<'a> {
    node: &'a Node,
    client: &'a Host,
    daemon: &'a Host,
    refusals: bool,
}

/// The pairs of connected clients and daemons that `dtls_verify` selects. Reports it if that is not
/// all of them.
fn pairs<'a>(
    nodes: &'a BTreeMap<String, Arc<Node>>,
    inventory: &'a Inventory,
    events: &Events,
) -> Vec<Tried<'a>> {
    let daemons: Vec<&Host> = inventory.daemons().collect();
    let clients: Vec<(&Host, &Node)> = inventory
        .clients()
        .filter_map(|client| Some((client, &**nodes.get(&client.name)?)))
        .collect();
    let from: Vec<selection::From> = clients
        .iter()
        .map(|(client, _)| {
            let own = client.settings.default_daemon.as_ref();
            let own = own.and_then(|own| daemons.iter().position(|daemon| daemon.name == *own));
            selection::From {
                scope: client.settings.verify,
                own: own.unwrap_or_default(),
            }
        })
        .collect();
    let selected = selection::select(&from, daemons.len());
    let all = clients.len() * daemons.len();
    let refused = selection::refusing(&selected);
    let without_refusals: Vec<String> = daemons
        .iter()
        .enumerate()
        .filter(|(daemon, _)| !refused.contains(daemon))
        .map(|(_, daemon)| daemon.name.clone())
        .collect();
    // Without a client, nothing can be tried.
    if !clients.is_empty() && (selected.len() < all || !without_refusals.is_empty()) {
        events.emit(Event::Sampled(Sample {
            tried: selected.len(),
            all,
            without_refusals,
        }));
    }
    let tried = selected.into_iter().filter_map(|pair| {
        let (client, node) = clients.get(pair.client)?;
        Some(Tried {
            node,
            client,
            daemon: daemons.get(pair.daemon)?,
            refusals: pair.refusals,
        })
    });
    tried.collect()
}

/// Whether a daemon accepts the client with its own certificate, and enforces its role.
pub async fn own_certificate(
    node: &Node,
    client: &Host,
    daemon: &Host,
    expectations: &Expectations,
) -> Vec<Proof> {
    let attempt = Attempt {
        node,
        client,
        daemon,
        address: daemon_address(daemon),
        expectations,
    };
    attempt.as_client().await
}

struct Attempt<'a> {
    node: &'a Node,
    client: &'a Host,
    daemon: &'a Host,
    address: DaemonAddress,
    expectations: &'a Expectations,
}

impl Attempt<'_> {
    fn proof(&self, check: Check, verdict: Verdict, seen: impl Into<String>) -> Proof {
        Proof {
            from: self.client.holder(),
            to: self.daemon.name.clone(),
            check,
            verdict,
            seen: seen.into(),
        }
    }

    /// What must be rejected, tried from the controller through the client's connection.
    async fn refusals(&self, made_up: Option<Identity>) -> Vec<Proof> {
        let is_open = self.daemon.settings.daemon_mode == DaemonMode::Tls;
        // It asks for no certificate: any would be accepted.
        let stranger = async {
            if is_open {
                return None;
            }
            Some(self.handshake(made_up).await)
        };
        let (nobody, stranger, plain, closed) = tokio::join!(
            self.handshake(None),
            stranger,
            self.plain(),
            self.plain_port()
        );
        let mut proofs = Vec::new();
        match nobody {
            Ok((answer, shown)) => {
                proofs.push(self.judge_served(&answer, &shown));
                proofs.push(if is_open {
                    self.open(&answer)
                } else {
                    self.refusal(Check::NoCertificate, &answer)
                });
            }
            Err(error) => {
                let check = if is_open {
                    Check::Open
                } else {
                    Check::NoCertificate
                };
                proofs.push(self.unreached(Check::Served, &error));
                proofs.push(self.unreached(check, &error));
            }
        }
        proofs.extend(stranger.map(|stranger| match stranger {
            Ok((answer, _)) => self.refusal(Check::MadeUp, &answer),
            Err(error) => self.unreached(Check::MadeUp, &error),
        }));
        proofs.push(match plain {
            Ok(answer) => self.refusal(Check::PlainHttp, &answer),
            Err(error) => self.unreached(Check::PlainHttp, &error),
        });
        proofs.push(closed);
        proofs
    }

    fn unreached(&self, check: Check, error: &Unreached) -> Proof {
        self.proof(check, unreached(check, error), error.to_string())
    }

    fn refusal(&self, check: Check, answer: &Answer) -> Proof {
        let verdict = if is_refusal(answer) {
            Verdict::Proved
        } else {
            Verdict::Failed
        };
        self.proof(check, verdict, answer.to_string())
    }

    /// What the inventory declares is checked like anything else.
    fn open(&self, answer: &Answer) -> Proof {
        let verdict = match answer {
            Answer::Served(200..=299) => Verdict::Proved,
            _ => Verdict::Failed,
        };
        self.proof(Check::Open, verdict, answer.to_string())
    }

    async fn handshake(&self, identity: Option<Identity>) -> Result<(Answer, Shown), Unreached> {
        handshake(
            self.node,
            (&self.address.host, self.address.port),
            self.expectations
                .trusted_by(&self.client.name, Role::Client),
            identity,
            DEADLINE,
        )
        .await
    }

    async fn plain(&self) -> Result<Answer, Unreached> {
        let stream = self
            .node
            .connection
            .dial(&self.address.host, self.address.port, DEADLINE)
            .await?;
        Ok(probe::plain(stream, &self.address.host, DEADLINE).await)
    }

    async fn plain_port(&self) -> Proof {
        let dialled = self
            .node
            .connection
            .dial(&self.address.host, PLAIN_PORT, DEADLINE)
            .await;
        let (verdict, seen) = match dialled {
            Ok(_) => (Verdict::Failed, "something listens there".to_owned()),
            Err(DialError::Refused { .. }) => (Verdict::Proved, "connection refused".to_owned()),
            // A firewall or a dead host: the state of the port is unknown.
            Err(error) => (Verdict::NotProved, error.to_string()),
        };
        self.proof(Check::Port2375, verdict, seen)
    }

    /// Whether it is the issued certificate, and exactly the right CAs are asked for. A restart
    /// that changes only the bundle keeps the serial number.
    fn judge_served(&self, answer: &Answer, shown: &Shown) -> Proof {
        if let Answer::ServerCertificate(fault) = answer {
            return self.proof(Check::Served, Verdict::Failed, fault.to_string());
        }
        let trusted = self
            .expectations
            .trusted_by(&self.daemon.name, Role::Daemon);
        let wanted = asked_for(self.daemon.settings.daemon_mode, trusted);
        let served = self.expectations.served.get(&self.daemon.name);
        let (verdict, seen) = judge_shown(shown, served.map(Vec::as_slice), wanted);
        let check = if foreign_authorities(shown, wanted).is_some() {
            Check::Authorities
        } else {
            Check::Served
        };
        self.proof(check, verdict, seen)
    }
}

impl Expectations {
    fn trusted_by(&self, host: &str, role: Role) -> &[Certificate] {
        self.trusted
            .get(&(host.to_owned(), role))
            .unwrap_or(&self.authorities)
    }
}

/// Why the daemon could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Probe(#[from] probe::ProbeError),
    #[error("the CA's certificate is not known")]
    NoAuthority,
}

/// One TLS handshake from a node with the daemon at a name or address, which its certificate must
/// contain.
pub async fn handshake(
    node: &Node,
    (host, port): (&str, u16),
    authorities: &[Certificate],
    identity: Option<Identity>,
    deadline: Duration,
) -> Result<(Answer, Shown), Unreached> {
    let stream = node.connection.dial(host, port, deadline).await?;
    if authorities.is_empty() {
        return Err(Unreached::NoAuthority);
    }
    let authorities: Vec<Vec<u8>> = authorities
        .iter()
        .map(|authority| authority.der().to_vec())
        .collect();
    Ok(probe::https(stream, host, &authorities, identity, deadline).await?)
}

/// The verdict if the daemon could not be reached. A closed port is an answer, and a failed check
/// if the daemon must serve; otherwise the check was not made. If sshd does not forward, nothing is
/// known of the daemon.
fn unreached(check: Check, error: &Unreached) -> Verdict {
    let must_serve = matches!(
        check,
        Check::Accepted | Check::LetInWithout | Check::Served | Check::Open
    );
    match error {
        Unreached::Dial(DialError::Refused { .. }) if must_serve => Verdict::Failed,
        Unreached::Dial(DialError::Forbidden { .. })
        | Unreached::Probe(_)
        | Unreached::NoAuthority => Verdict::NotProved,
        Unreached::Dial(_) => Verdict::Unreachable,
    }
}

/// Runs a check script; returns outcome, tool and output.
async fn tool_record(
    node: &Node,
    privileged: bool,
    script: &Script,
    word: &str,
) -> Result<(String, String, String), String> {
    let output = output_of(node, privileged, script).await?;
    find_record(&output, word)
}

async fn output_of(node: &Node, privileged: bool, script: &Script) -> Result<Vec<u8>, String> {
    let output = node.run(privileged, script, TOOL_DEADLINE).await;
    output.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{DialError, Unreached, unreached};
    use base::event::{Check, Verdict};

    #[test]
    fn only_an_answer_fails_a_check() {
        let (node, host) = ("node1".to_owned(), "node3".to_owned());
        let (port, reason) = (2376, "No route to host".to_owned());
        let timeout = DialError::Timeout {
            node: node.clone(),
            host: host.clone(),
            port,
        };
        let unknown = DialError::NameNotResolved {
            node: node.clone(),
            host: host.clone(),
        };
        let no_route = DialError::Other {
            node: node.clone(),
            host: host.clone(),
            port,
            reason: reason.clone(),
        };
        let forbidden = DialError::Forbidden {
            node: node.clone(),
            host: host.clone(),
            port,
            reason: reason.clone(),
        };
        for (error, verdict) in [
            (timeout, Verdict::Unreachable),
            (unknown, Verdict::Unreachable),
            (no_route, Verdict::Unreachable),
            (forbidden, Verdict::NotProved),
        ] {
            let error = Unreached::from(error);
            for check in [Check::Accepted, Check::Served, Check::NoCertificate] {
                assert_eq!(unreached(check, &error), verdict, "{error}");
            }
        }
        let closed = Unreached::from(DialError::Refused { node, host, port });
        for (check, verdict) in [
            (Check::Accepted, Verdict::Failed),
            (Check::LetInWithout, Verdict::Failed),
            (Check::Served, Verdict::Failed),
            (Check::Open, Verdict::Failed),
            (Check::KeptOut, Verdict::Unreachable),
            (Check::NoCertificate, Verdict::Unreachable),
            (Check::MadeUp, Verdict::Unreachable),
            (Check::PlainHttp, Verdict::Unreachable),
        ] {
            assert_eq!(unreached(check, &closed), verdict, "{check:?}");
        }
    }
}
