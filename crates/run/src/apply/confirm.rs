//! Checks what a restarted daemon serves, and keeps or undoes its change.

use std::time::Duration;

use super::{Apply, Materials, Stopped, failure};
use crate::session::Node;
use crate::verify::probe::{Answer, Identity, is_refusal};
use crate::verify::{DEADLINE, asked_for, handshake, judge_shown};
use base::event::{FailureKind, Verdict};
use docker::tls::DaemonMode;
use inventory::Host;
use node::script::Script;
use node::transaction::{Report, Transaction, Undo};
use node::visible;
use pki::{Certificate, Role};
use plan::Served;
use plan::host::address::daemon_address;
use time::OffsetDateTime;

/// How often a daemon that was just started is tried.
const PROBE_TRIES: usize = 24;
/// Number of clients to try from.
pub(crate) const PROBE_CLIENTS: usize = 3;
const PROBE_PAUSE: Duration = Duration::from_millis(250);
/// No new attempt begins after this time.
const PROBE_DEADLINE: Duration = Duration::from_secs(20);

/// Whether a daemon of this mode may answer so to a client without a certificate.
fn is_expected(mode: DaemonMode, answer: &Answer) -> bool {
    match mode {
        DaemonMode::TlsVerify => is_refusal(answer),
        DaemonMode::Tls => matches!(answer, Answer::Served(200..=299)),
    }
}

impl Apply<'_> {
    /// Keeps the change of a restarted daemon that was `seen` to answer as it should, or undoes it.
    pub(super) async fn confirm(
        &self,
        host: &Host,
        node: &Node,
        transaction: &Transaction,
        seen: Result<(), String>,
    ) -> Result<(), Box<Stopped>> {
        let script = match &seen {
            Ok(()) => transaction.confirm(),
            Err(_) => transaction.undo(),
        };
        let step = match &seen {
            Ok(()) => "confirming the restart",
            Err(_) => "undoing the restart",
        };
        // A full disk on the controller is no reason to leave the change undecided.
        let _act = self
            .journal
            .act(self.events, &host.name, step, Vec::new())
            .await;
        let output = node
            .run(host.as_root, &script, node.deadlines.step)
            .await
            .map_err(|error| {
                Box::new(Stopped::in_change(
                    &error,
                    &host.name,
                    "confirm the restart",
                ))
            })?;
        let report = Report::parse(&output);
        match seen {
            Ok(()) if report.done && report.failed.is_none() => Ok(()),
            Ok(()) => Err(Box::new(
                failure(host, self.facts.get(&host.name), &report).into(),
            )),
            Err(seen) => {
                let mut failure = failure(host, self.facts.get(&host.name), &report);
                if report.undo != Undo::Done {
                    failure.kind = FailureKind::UndoFailed;
                }
                "check the restarted daemon".clone_into(&mut failure.step);
                if !report.is_expired() {
                    failure.message = seen;
                }
                Err(Box::new(failure.into()))
            }
        }
    }

    /// Checks what the restarted daemon serves, in a fresh handshake.
    ///
    /// Any client may answer first: a daemon that only its own node reaches is cut off. If no
    /// client is connected, its own node is used.
    pub(super) async fn serves(
        &self,
        host: &Host,
        node: &Node,
        serves: &Served,
        materials: &Materials,
    ) -> Result<(), String> {
        let mode = match serves {
            Served::Socket => return answers_locally(node, host).await,
            Served::Issued(mode) | Served::Kept { mode, .. } => *mode,
        };
        let address = match serves {
            Served::Kept { address, .. } => address.clone(),
            Served::Issued(_) | Served::Socket => daemon_address(host),
        };
        let mut from: Vec<&Node> = self
            .inventory
            .clients()
            .filter(|client| client.name != host.name)
            .filter_map(|client| Some(self.nodes.get(&client.name)?.as_ref()))
            .take(PROBE_CLIENTS)
            .collect();
        if from.is_empty() {
            from.push(node);
        }
        let kept = match serves {
            Served::Kept { certificate, .. } => Certificate::from_pem(certificate).ok(),
            Served::Issued(_) | Served::Socket => None,
        };
        let expected = kept
            .or_else(|| materials.certificate(&host.name, Role::Daemon))
            .or_else(|| {
                let (directory, files) = plan::host::leaf::location(host, Role::Daemon);
                let facts = self.facts.get(&host.name)?;
                let file = facts.regular(&format!("{directory}/{}", files.cert))?;
                Certificate::from_pem(file.content.as_deref()?).ok()
            });
        let authorities = match serves {
            Served::Kept { authorities, .. } => {
                Certificate::bundle_from_pem(authorities).unwrap_or_default()
            }
            Served::Issued(_) | Served::Socket => materials.trusted_by(&host.name, Role::Daemon),
        };
        let expected = Expected {
            mode,
            served: expected.as_ref().map(Certificate::der),
            authorities: &authorities,
            client: match mode {
                DaemonMode::TlsVerify => {
                    materials.client_of(&authorities, OffsetDateTime::now_utc())
                }
                DaemonMode::Tls => None,
            },
        };
        let mut last = String::new();
        let begun = std::time::Instant::now();
        for attempt in 0..PROBE_TRIES {
            if begun.elapsed() > PROBE_DEADLINE {
                break;
            }
            let Some(node) = from.get(attempt % from.len()) else {
                break;
            };
            // What this client will trust decides whether it can use the daemon.
            let roots = match serves {
                Served::Issued(_) if node.name != host.name => {
                    materials.trusted_by(&node.name, Role::Client)
                }
                _ => authorities.clone(),
            };
            let at = (address.host.as_str(), address.port);
            match expected.is_met(node, at, &roots).await {
                Ok(()) => {
                    if mode == DaemonMode::TlsVerify && expected.client.is_none() {
                        self.in_place.not_shown(&host.name);
                    }
                    return Ok(());
                }
                Err(seen) => last = seen,
            }
            if (attempt + 1) % from.len() == 0 {
                tokio::time::sleep(PROBE_PAUSE).await;
            }
        }
        Err(last)
    }
}

/// What a restarted daemon must do before its change is kept.
struct Expected<'a> {
    mode: DaemonMode,
    /// The certificate it serves, DER.
    served: Option<&'a [u8]>,
    /// The CAs whose clients it accepts.
    authorities: &'a [Certificate],
    /// A client that it accepts. Its certificate is presented from the controller: what an account
    /// on a client's node claims undoes no daemon's change.
    client: Option<(String, Identity)>,
}

impl Expected<'_> {
    /// Tries it from a node that trusts `roots`; returns what differs.
    async fn is_met(
        &self,
        node: &Node,
        at: (&str, u16),
        roots: &[Certificate],
    ) -> Result<(), String> {
        let unreached = |error| format!("{} does not reach the daemon: {error}", node.name);
        let anonymous = handshake(node, at, roots, None, DEADLINE).await;
        let (answer, shown) = anonymous.map_err(unreached)?;
        // A client without a certificate is accepted only if that is declared. A certificate that
        // clients do not accept locks them out.
        if !is_expected(self.mode, &answer) {
            return Err(format!("the daemon came up, but: {answer}"));
        }
        let asked = asked_for(self.mode, self.authorities);
        let (verdict, seen) = judge_shown(&shown, self.served, asked);
        if verdict != Verdict::Proved {
            return Err(format!("the daemon came up, but: {seen}"));
        }
        let Some((client, identity)) = &self.client else {
            return Ok(());
        };
        let shown = handshake(node, at, roots, Some(identity.clone()), DEADLINE).await;
        match shown.map_err(unreached)? {
            // Whatever it answers to the request, it accepted the certificate.
            (Answer::Served(_), _) => Ok(()),
            (answer, _) => Err(format!(
                "the daemon came up, but does not accept the certificate of {client}: {answer}"
            )),
        }
    }
}

/// A daemon without TLS answers on its local socket, if the node has a tool to try it; its unit
/// must be active in any case.
async fn answers_locally(node: &Node, host: &Host) -> Result<(), String> {
    let mut script = Script::default();
    script.call("prove_socket", &[&host.settings.unit]);
    let output = node
        .run(host.as_root, &script, node.deadlines.step)
        .await
        .map_err(|error| error.to_string())?;
    let records = Report::parse(&output).records;
    let answer = records.iter().find_map(|record| match record.as_slice() {
        [word, outcome, tool, said] if word == "socket" => Some((outcome, tool, said)),
        _ => None,
    });
    match answer {
        Some((outcome, tool, said)) if outcome == "refused" || outcome == "timeout" => {
            Err(visible(&format!(
                "the daemon came up, but {tool} says on its local socket: {said}"
            )))
        }
        Some(_) => Ok(()),
        None => Err("the daemon came up, but its local socket was not asked".to_owned()),
    }
}
