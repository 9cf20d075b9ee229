//! Verification after a run that leaves hosts different from the inventory: `rollback` and
//! `remove`.
//!
//! A daemon with TLS is checked against its own files; one without must have a closed port and a
//! working local socket.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::{Run, World};
use crate::agent::Program;
use crate::apply::{InPlace, PROBE_CLIENTS};
use crate::session::Node;
use crate::verify::{Expectations, closed, verify};
use base::event::{Check, Event, Proof, Verdict};
use inventory::{Host, Inventory, Listen};
use node::facts::{FactRequest, NodeFacts};
use pki::{Certificate, Role};
use plan::host::address::DaemonAddress;
use plan::host::guard::is_installed;
use plan::host::leaf::location as leaf_location;
use plan::launch::launched;
use plan::launch::listens_as_declared;
use plan::playbook::After;
use plan::{Action, Authority, NotFollowed, Plan, Why, former_roles};
use time::OffsetDateTime;

impl Run<'_> {
    pub(super) async fn prove_found(
        &self,
        world: &World,
        program: &Program,
        in_place: &InPlace,
        after: After,
        proofs: &mut Vec<Proof>,
    ) {
        let mut facts = if world.plan.is_empty() {
            world.facts.clone()
        } else {
            self.read_again(program, &world.nodes).await.0
        };
        self.look_at_certificates(world, &mut facts).await;
        let mut about = self.playbook.limited(self.inventory).into_owned();
        // The reason that nothing was done there has been reported.
        let is_refused = |host: &str| world.plan.problems.iter().any(|found| found.host == host);
        about.hosts.retain(|host| !is_refused(&host.name));
        let materials = self.materials(world);
        let mut expectations = Expectations {
            authorities: materials.authorities(),
            revoked: self.revoked(&facts, &materials),
            ..Expectations::default()
        };
        let mut without_tls = Vec::new();
        for host in &mut about.hosts {
            let Some(facts) = facts.get(&host.name) else {
                (host.is_daemon, host.is_client) = (false, false);
                continue;
            };
            let is_daemon = host.is_daemon;
            host.is_daemon = is_daemon && as_found(host, facts, &mut expectations);
            if is_daemon && !host.is_daemon {
                without_tls.push(host.clone());
            }
            if let Some(bundle) = bundle(host, Role::Client, facts) {
                let key = (host.name.clone(), Role::Client);
                expectations.trusted.insert(key, bundle);
            }
            host.identities.retain(|holder| has_files(holder, facts));
            host.is_client &= has_files(host, facts);
        }
        verify(&world.nodes, &about, &expectations, self.events, proofs).await;
        let mut others = self.closed(world, &facts, &without_tls).await;
        if after == After::Remove {
            others.extend(self.removed(world, &about, &facts, in_place));
        }
        for proof in &others {
            self.events.emit(Event::Proof(proof.clone()));
        }
        proofs.append(&mut others);
    }

    /// Daemons may read other certificates than the inventory names.
    pub(super) async fn look_at_certificates(
        &self,
        world: &World,
        facts: &mut BTreeMap<String, NodeFacts>,
    ) {
        for daemon in self.inventory.daemons() {
            let (Some(facts), Some(node)) =
                (facts.get_mut(&daemon.name), world.nodes.get(&daemon.name))
            else {
                continue;
            };
            let found = launched(daemon, facts, &[]);
            let paths = match found.mode {
                Some(_) => found.paths,
                None => continue,
            };
            let is_known = |path: &String| {
                let file = facts.regular(path);
                file.is_some_and(|file| file.content.is_some())
            };
            let mut request = FactRequest::default();
            let unknown = [paths.ca, paths.certificate];
            let unknown = unknown.into_iter().filter(|path| !is_known(path));
            request.bundles.extend(unknown);
            if request.bundles.is_empty() {
                continue;
            }
            // What is unknown is not verified.
            if let Ok(more) = node.facts(daemon.as_root, &request).await {
                facts.files.extend(more.files);
            }
        }
    }

    /// Daemons without TLS, tried from clients, or from their own node if there is none.
    async fn closed(
        &self,
        world: &World,
        facts: &BTreeMap<String, NodeFacts>,
        daemons: &[Host],
    ) -> Vec<Proof> {
        let attempts = daemons.iter().filter_map(|daemon| {
            let own: &Node = world.nodes.get(&daemon.name)?;
            let facts = facts.get(&daemon.name)?;
            if facts.unit.as_ref()?.active_state() != "active" {
                return None;
            }
            let clients = self.inventory.clients();
            let mut from: Vec<&Node> = clients
                .filter(|client| client.name != daemon.name)
                .filter_map(|client| Some(&**world.nodes.get(&client.name)?))
                .take(PROBE_CLIENTS)
                .collect();
            if from.is_empty() {
                from.push(own);
            }
            // Another user's setting, which the plan warned of.
            let is_open = listens_as_declared(daemon, facts, &[]);
            let listen = daemon.settings.listen.iter().filter(|_| !is_open);
            let reached = &daemon.connection.address;
            let addresses = listen.filter_map(|at| DaemonAddress::listened(&at.text, reached));
            let addresses: Vec<DaemonAddress> = addresses.collect();
            Some(async move { closed(daemon, own, &from, &addresses).await })
        });
        join_all(attempts).await.concat()
    }

    /// Whether everything to remove is gone: a new plan finds nothing.
    fn removed(
        &self,
        world: &World,
        about: &Inventory,
        facts: &BTreeMap<String, NodeFacts>,
        in_place: &InPlace,
    ) -> Vec<Proof> {
        let again = self.plan(facts);
        let hosts = about.hosts.iter().filter(|host| {
            let was_done = world.plan.count(&host.name) == 0 || in_place.has_changed(&host.name);
            let plays = &self.playbook.plays;
            let has_role = self.inventory.host(&host.name);
            let has_role = has_role.is_some_and(|host| host.is_daemon || host.is_client);
            let is_planned = plays.iter().any(|play| play.includes(host));
            facts.contains_key(&host.name) && has_role && is_planned && was_done
        });
        let authority = Authority::read(self.inventory.ca(), facts.get(&self.inventory.ca().name));
        let now = OffsetDateTime::now_utc();
        let former = former_roles(self.inventory, &authority, facts, now);
        let proofs = hosts.map(|host| {
            let (verdict, seen) = match former.iter().find(|one| one.host == host.name) {
                Some(former) => {
                    let seen = format!("{}: {}", former.described(), former.removal());
                    (Verdict::Failed, seen)
                }
                None => left_on(&host.name, &again),
            };
            Proof {
                from: host.name.clone(),
                to: host.name.clone(),
                check: Check::Removed,
                verdict,
                seen,
            }
        });
        proofs.collect()
    }
}

/// What a new plan would still remove from a host. What a client keeps because of a daemon was kept
/// on purpose and does not count.
fn left_on(host: &str, again: &Plan) -> (Verdict, String) {
    if let Some(refused) = again.problems.iter().find(|found| found.host == host) {
        return (Verdict::NotProved, refused.refusal.message.clone());
    }
    let mut kept: Vec<NotFollowed> = again.kept.clone();
    kept.retain(|kept| kept.client == host);
    let plays = again.plays.iter().flat_map(|play| &play.hosts);
    let batches = plays.filter(|planned| planned.host == host);
    let (mut left, mut generations) = (Vec::new(), Vec::new());
    for batch in batches.flat_map(|planned| &planned.batches) {
        if let Some(daemon) = batch.follows.first() {
            let (what, daemon) = (batch.called.clone(), daemon.clone());
            kept.push(NotFollowed::new(host, what, daemon, Why::NotRemoved));
            continue;
        }
        for change in &batch.changes {
            match change.action {
                Action::Forget(_) => generations.push(change.subject.as_str()),
                _ => left.push(change.subject.as_str()),
            }
        }
    }
    // They are removed with the last of the files, and this run's own are among them.
    if kept.is_empty() {
        left.append(&mut generations);
    }
    if !left.is_empty() {
        return (Verdict::Failed, left.join(", "));
    }
    if kept.is_empty() {
        return (Verdict::Proved, "nothing to remove".to_owned());
    }
    let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
    (Verdict::NotProved, kept.join("; "))
}

/// Adjusts the settings of a daemon to those it runs with, and the expectations to what it has;
/// returns whether it speaks TLS.
pub(super) fn as_found(
    daemon: &mut Host,
    facts: &NodeFacts,
    expectations: &mut Expectations,
) -> bool {
    let found = launched(daemon, facts, &[]);
    let Some(mode) = found.mode else {
        return false;
    };
    let is_guarded = is_installed(daemon, facts);
    let settings = &mut daemon.settings;
    settings.daemon_mode = mode;
    if is_guarded {
        expectations.guards.insert(daemon.name.clone());
    } else {
        settings.guard = None;
        expectations.guards.remove(&daemon.name);
    }
    settings.listen = vec![Listen {
        text: found.address.url(),
        host: found.address.host,
        port: found.address.port,
    }];
    let paths = [&found.paths.ca, &found.paths.certificate, &found.paths.key];
    if let [
        Some((ca_in, ca)),
        Some((cert_in, cert)),
        Some((key_in, key)),
    ] = paths.map(|path| path.rsplit_once('/'))
        && ca_in == cert_in
        && cert_in == key_in
    {
        cert_in.clone_into(&mut settings.daemon_dir);
        ca.clone_into(&mut settings.daemon_files.ca);
        cert.clone_into(&mut settings.daemon_files.cert);
        key.clone_into(&mut settings.daemon_files.key);
    }
    let key = (daemon.name.clone(), Role::Daemon);
    if let Some(bundle) = bundle(daemon, Role::Daemon, facts) {
        expectations.trusted.insert(key, bundle);
    }
    let certificate = facts.regular(&found.paths.certificate);
    let certificate = certificate.and_then(|file| file.content.as_deref());
    if let Some(certificate) = certificate.and_then(|bytes| Certificate::from_pem(bytes).ok()) {
        let der = certificate.der().to_vec();
        expectations.served.insert(daemon.name.clone(), der);
    }
    true
}

fn bundle(host: &Host, role: Role, facts: &NodeFacts) -> Option<Vec<Certificate>> {
    let (directory, files) = leaf_location(host, role);
    let file = facts.regular(&format!("{directory}/{}", files.ca))?;
    Certificate::bundle_from_pem(file.content.as_deref()?).ok()
}

/// Whether a client has the files that its mode needs.
fn has_files(holder: &Host, facts: &NodeFacts) -> bool {
    let (directory, files) = leaf_location(holder, Role::Client);
    let is_there = |name: &str| facts.regular(&format!("{directory}/{name}")).is_some();
    let shows = holder.settings.client_mode.shows_certificate();
    is_there(&files.ca) && (!shows || is_there(&files.cert))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use plan::{Batch, Change, Forget, PlannedHost, PlannedPlay};

    fn change(subject: &str, action: Action) -> Change {
        Change {
            host: "desk".to_owned(),
            task: "Clients".to_owned(),
            subject: subject.to_owned(),
            reasons: Vec::new(),
            diff: None,
            action,
        }
    }

    fn file() -> Change {
        let directory = "/home/a/.docker".to_owned();
        change(
            "key.pem",
            Action::Sweep {
                directory,
                account: "a".to_owned(),
            },
        )
    }

    fn generations() -> Change {
        let action = Action::Forget(Forget::Everything);
        change("generations of replaced files", action)
    }

    /// A plan with these changes of one client, and the daemon that each batch waits for.
    fn again(batches: Vec<(Option<&str>, Change)>) -> Plan {
        let batches = batches.into_iter().map(|(daemon, change)| Batch {
            transaction: false,
            called: vec![change.subject.clone()],
            changes: vec![change],
            follows: daemon
                .into_iter()
                .map(str::to_owned)
                .collect::<BTreeSet<_>>(),
        });
        Plan {
            plays: vec![PlannedPlay {
                name: "Clients".to_owned(),
                hosts: vec![PlannedHost {
                    host: "desk".to_owned(),
                    batches: batches.collect(),
                }],
            }],
            ..Plan::default()
        }
    }

    #[test]
    fn nothing_left_is_proved_by_a_plan_without_changes_alone() {
        let proved = left_on("desk", &again(Vec::new()));
        assert_eq!(proved, (Verdict::Proved, "nothing to remove".to_owned()));
        let files = again(vec![(None, file()), (None, generations())]);
        let left = "key.pem, generations of replaced files";
        assert_eq!(left_on("desk", &files), (Verdict::Failed, left.to_owned()));
    }

    #[test]
    fn what_a_client_keeps_for_a_daemon_is_named_with_it() {
        // Its own generation, which holds what was removed so far, is removed with the rest.
        let mut plan = again(vec![(None, generations())]);
        let refused = ["key.pem".to_owned()];
        let kept = NotFollowed::new("desk", refused.into(), "node".to_owned(), Why::Refused);
        plan.kept = vec![kept];
        let (verdict, seen) = left_on("desk", &plan);
        assert_eq!(verdict, Verdict::NotProved);
        assert_eq!(seen, "kept as it is: key.pem, because node was refused");
        assert_eq!(left_on("another", &plan).0, Verdict::Proved);

        // Its change was undone, and is planned again.
        let plan = again(vec![(None, generations()), (Some("node"), file())]);
        let (verdict, seen) = left_on("desk", &plan);
        assert_eq!(verdict, Verdict::NotProved);
        assert_eq!(
            seen,
            "kept as it is: key.pem, because the deployment on node was not removed"
        );
    }
}
