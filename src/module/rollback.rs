//! `rollback`: the files of the newest generation, put back where they were.
//!
//! A generation is what one change on a node replaced. Going back to it is a
//! transaction like any other; once it holds, the generation is not kept any
//! more, so that going back again leads further back.

use super::{Kind, Module, Parameter, client, daemon_json, holders};
use crate::inventory::{Host, Inventory};
use crate::node::facts::{FactRequest, NodeFacts};
use crate::node::generation::Generation;
use crate::pki::{Certificate, Role};
use crate::plan::{
    Action, Change, Content, Desired, FileMode, Forget, Place, Planner, Refusal, leaf_location,
    revoked_reason,
};
use crate::playbook::Task;

#[derive(Debug)]
pub struct Rollback;

const OF_ROLE: Parameter = Parameter {
    name: "role",
    kind: Kind::Choice(&["daemon", "client"]),
    required: false,
    summary: "whose change goes back, on a machine that is daemon and client; both when not set",
};

impl Module for Rollback {
    fn name(&self) -> &'static str {
        "rollback"
    }

    fn summary(&self) -> &'static str {
        "the files that the last change on the node replaced, put back"
    }

    fn is_reversible(&self) -> bool {
        true
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[OF_ROLE]
    }

    fn facts(&self, _: &Inventory, host: &Host, _: &Task, request: &mut FactRequest) {
        request.generations = true;
        // What is in place decides whether clients and daemons still agree.
        for role in [Role::Daemon, Role::Client] {
            for holder in holders(host, role) {
                let (directory, files) = leaf_location(holder, role);
                request.bundles.insert(format!("{directory}/{}", files.ca));
                request
                    .bundles
                    .insert(format!("{directory}/{}", files.cert));
                request.accounts.extend(holder.owner().map(str::to_owned));
            }
        }
        if host.is_daemon {
            request.content.insert(daemon_json::PATH.to_owned());
        }
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        let facts = planner.facts(&host.name)?;
        let Some(last_here) = facts.last_change().map(str::to_owned) else {
            if let Some(hidden) = &facts.hidden_generations {
                return Err(Refusal::new(format!(
                    "whether something is kept there to go back to is not known: {} cannot look at {hidden}",
                    facts.account
                ))
                .hint("set ansible_become: true for this host"));
            }
            planner.note(host, "nothing is kept there to go back to");
            return Ok(Vec::new());
        };
        // What one run has changed goes back together: a client's files are not
        // taken away because a daemon's last change was another one.
        let runs = planner.facts.values().filter_map(NodeFacts::last_change);
        if let Some(last) = runs.max()
            && last != last_here
        {
            let text = format!(
                "stays as it is: its last change is of the run {last_here}, and the last run is {last}; to take it back use --limit {}",
                host.name
            );
            planner.note(host, text);
            return Ok(Vec::new());
        }
        let mut changes = Vec::new();
        for role in [Role::Daemon, Role::Client] {
            if task
                .argument("role")
                .is_none_or(|of| of == role.to_string())
                && let Some(generation) = newest(planner, host, role, &last_here)?
            {
                for text in readmitted(planner, host, &generation)? {
                    planner.danger(host, text);
                }
                changes.extend(go_back(planner, host, task, &generation)?);
                let place = (host.name.clone(), generation.kept.path);
                planner.gone_back.insert(place);
            }
        }
        Ok(changes)
    }
}

/// The newest generation of a role that the last run has left here, and that no earlier task
/// goes back to.
fn newest(
    planner: &Planner<'_>,
    host: &Host,
    role: Role,
    run: &str,
) -> Result<Option<Generation>, Refusal> {
    let facts = planner.facts(&host.name)?;
    for kept in facts.generations.iter().rev() {
        let place = (host.name.clone(), kept.path.clone());
        if kept.run() != Some(run) || planner.gone_back.contains(&place) {
            continue;
        }
        let generation = Generation::read(facts, kept).map_err(|error| {
            Refusal::new(format!("the newest generation is not whole: {error}"))
                .hint("deploy again: what is missing is issued anew")
        })?;
        if role_of(host, facts, &generation) == role {
            return Ok(Some(generation));
        }
    }
    Ok(None)
}

/// Whose change a generation belongs to. On a machine that is daemon and client, the client's
/// are those of its certificates, its contexts and the profile alone.
fn role_of(host: &Host, facts: &NodeFacts, generation: &Generation) -> Role {
    if !host.is_daemon {
        return Role::Client;
    }
    let mut files: Vec<String> = client::PROFILES
        .iter()
        .map(|profile| format!("{}/{profile}", facts.home))
        .collect();
    let mut below = Vec::new();
    for holder in host
        .is_client
        .then_some(host)
        .into_iter()
        .chain(&host.identities)
    {
        let (directory, names) = leaf_location(holder, Role::Client);
        for name in [&names.ca, &names.cert, &names.key] {
            files.push(facts.expand(&format!("{directory}/{name}")));
        }
        below.push(facts.expand(&format!("{}/contexts/", holder.cli_directory())));
    }
    let is_client = |path: &str| {
        files.iter().any(|file| file == path) || below.iter().any(|above| path.starts_with(above))
    };
    if generation.paths().all(is_client) {
        Role::Client
    } else {
        Role::Daemon
    }
}

/// The changes that put back what a generation holds.
fn go_back(
    planner: &Planner<'_>,
    host: &Host,
    task: &Task,
    generation: &Generation,
) -> Result<Vec<Change>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let keeper = &generation.kept.account;
    for path in generation.paths() {
        // What an account keeps says nothing of what is not its own.
        if keeper != "root" && facts.account_for(&parts(path)?.0)? != *keeper {
            return Err(Refusal::new(format!(
                "{} names {path}, which is not {keeper}'s",
                generation.kept.path
            )));
        }
    }
    check_certificates(planner, host, facts, generation)?;
    check_trust(planner, host, facts, generation)?;
    let mut changes = Vec::new();
    for file in &generation.files {
        let (directory, name) = parts(&file.path)?;
        if facts.regular(&file.copy).is_none() {
            return Err(Refusal::new(format!(
                "what was kept of {} is not there any more",
                file.path
            ))
            .hint("deploy again: what is missing is issued anew"));
        }
        changes.extend(planner.compare(
            host,
            task,
            Desired {
                directory,
                directory_mode: 0o700,
                place: Place::Kept,
                name,
                mode: FileMode::Exact(file.mode),
                content: Content::Kept {
                    copy: file.copy.clone(),
                    keeper: generation.kept.account.clone(),
                    sha256: file.sha256.clone(),
                },
                reasons: Vec::new(),
            },
        )?);
    }
    for path in &generation.absent {
        let (directory, name) = parts(path)?;
        let levels_of = directory.clone();
        changes.extend(planner.compare(
            host,
            task,
            Desired {
                directory,
                directory_mode: 0o700,
                place: Place::Kept,
                name,
                mode: FileMode::IfMissing(0o600),
                content: Content::Gone {
                    prune: generation.levels(&levels_of),
                },
                reasons: vec!["was not there".to_owned()],
            },
        )?);
    }
    for change in &mut changes {
        change.reasons = vec![format!("as before {}", generation.run)];
    }
    changes.push(Change {
        host: host.name.clone(),
        task: task.name.clone(),
        subject: format!("generation {}", generation.kept.name()),
        reasons: vec!["going back again leads further back".to_owned()],
        diff: None,
        action: Action::Forget(Forget::Generation(generation.kept.clone())),
    });
    Ok(changes)
}

fn parts(path: &str) -> Result<(String, String), Refusal> {
    match path.rsplit_once('/') {
        Some((directory, name)) if !directory.is_empty() && !name.is_empty() => {
            Ok((directory.to_owned(), name.to_owned()))
        }
        _ => Err(Refusal::new(format!("{path} is not a path to go back to"))),
    }
}

/// The CAs that going back makes the node trust again, where the command line names them.
///
/// # Errors
/// When it does not.
fn readmitted(
    planner: &Planner<'_>,
    host: &Host,
    generation: &Generation,
) -> Result<Vec<String>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let mut notes = Vec::new();
    for file in &generation.files {
        let Some(copy) = facts.regular(&file.copy) else {
            continue;
        };
        let in_place = facts.regular(&file.path);
        if in_place.is_some_and(|present| present.sha256 == copy.sha256) {
            continue;
        }
        let kept = copy.content.as_deref().unwrap_or_default();
        let in_place = in_place.and_then(|present| present.content.as_deref());
        notes.extend(planner.check_readmitted(&file.path, kept, in_place)?);
    }
    Ok(notes)
}

/// Nobody goes back to a certificate that locks people out.
fn check_certificates(
    planner: &Planner<'_>,
    host: &Host,
    facts: &NodeFacts,
    generation: &Generation,
) -> Result<(), Refusal> {
    for file in &generation.files {
        let Some(bytes) = facts
            .regular(&file.copy)
            .and_then(|copy| copy.content.as_deref())
        else {
            continue;
        };
        let Ok(certificate) = Certificate::from_pem(bytes) else {
            continue;
        };
        let node_now =
            time::OffsetDateTime::from_unix_timestamp(facts.clock).unwrap_or(planner.now);
        if certificate.not_after() <= node_now.max(planner.now) {
            return Err(Refusal::new(format!(
                "what is kept of {} has expired on {}",
                file.path,
                certificate.not_after().date()
            ))
            .hint("deploy again instead: a new certificate is issued"));
        }
        if certificate.is_ca() {
            continue;
        }
        if let Some(reason) = revoked_reason(&planner.authority, &certificate) {
            return Err(
                Refusal::new(format!("what is kept of {} was {reason}", file.path))
                    .hint("deploy again instead: a new certificate is issued"),
            );
        }
        let is_of_next = planner
            .authority
            .next
            .as_ref()
            .is_some_and(|next| certificate.is_signed_by(next));
        if let Some(authority) = &planner.authority.certificate
            && !certificate.is_signed_by(authority)
            && !is_of_next
        {
            return Err(Refusal::new(format!(
                "what is kept of {} was issued by {}, and the CA is {} now: nobody would accept it",
                file.path,
                certificate.issuer(),
                authority.subject()
            ))
            .hint(format!("deploy again instead, with --limit {}", host.name)));
        }
    }
    Ok(())
}

/// Nor to a set that those at the other end do not accept now, or that would
/// not accept them: while the CA is rolled over, they may have moved on.
fn check_trust(
    planner: &Planner<'_>,
    host: &Host,
    facts: &NodeFacts,
    generation: &Generation,
) -> Result<(), Refusal> {
    let own = [Role::Daemon, Role::Client]
        .into_iter()
        .flat_map(|role| holders(host, role).into_iter().map(move |of| (role, of)));
    for (role, host) in own {
        let kept = |path: &str| {
            let file = generation.files.iter().find(|file| file.path == path)?;
            facts.regular(&file.copy)?.content.clone()
        };
        let (ca, certificate) = paths(host, role, facts);
        if kept(&ca).is_none() && kept(&certificate).is_none() {
            continue;
        }
        let now = |path: &str| facts.regular(path)?.content.clone();
        let ours = Set::of(
            kept(&ca).or_else(|| now(&ca)),
            kept(&certificate).or_else(|| now(&certificate)),
        );
        let other_role = match role {
            Role::Daemon => Role::Client,
            Role::Client => Role::Daemon,
        };
        let others = planner.inventory.hosts.iter();
        for other in others.flat_map(|other| holders(other, other_role)) {
            let Some(known) = planner.facts.get(&other.name) else {
                if planner.rollover.is_none() {
                    continue;
                }
                return Err(Refusal::new(format!(
                    "whether {} would accept what is kept here is not known while the CA is rolled over",
                    other.holder()
                ))
                .hint("go back without --limit, when it answers"));
            };
            let (ca, certificate) = paths(other, other_role, known);
            let of = |path: &str| known.regular(path)?.content.clone();
            let theirs = Set::of(of(&ca), of(&certificate));
            let hint = "go back on the hosts at the other end first, or deploy again";
            if !theirs.trusts(&ours) {
                return Err(Refusal::new(format!(
                    "what is kept of {} is not trusted by {} now",
                    host.certificate_of(role),
                    other.holder()
                ))
                .hint(hint));
            }
            if !ours.trusts(&theirs) {
                return Err(Refusal::new(format!(
                    "what is kept of its {role} files does not trust the certificate that {} has now",
                    other.name
                ))
                .hint(hint));
            }
        }
    }
    Ok(())
}

fn paths(host: &Host, role: Role, facts: &NodeFacts) -> (String, String) {
    let (directory, files) = leaf_location(host, role);
    let path = |name: &str| facts.expand(&format!("{directory}/{name}"));
    (path(&files.ca), path(&files.cert))
}

/// The bundle and the leaf of one end.
struct Set {
    bundle: Vec<Certificate>,
    leaf: Option<Certificate>,
}

impl Set {
    fn of(bundle: Option<Vec<u8>>, leaf: Option<Vec<u8>>) -> Self {
        Self {
            bundle: bundle
                .and_then(|bytes| Certificate::bundle_from_pem(&bytes).ok())
                .unwrap_or_default(),
            leaf: leaf.and_then(|bytes| Certificate::from_pem(&bytes).ok()),
        }
    }

    /// Whether it accepts the other end, as far as both are there.
    fn trusts(&self, other: &Self) -> bool {
        let Some(leaf) = &other.leaf else {
            return true;
        };
        self.bundle.is_empty()
            || self
                .bundle
                .iter()
                .any(|authority| leaf.is_signed_by(authority))
    }
}
