//! `rollback`: restores the files that the last run replaced.
//!
//! A generation is the set of files that one change on a node replaced. Going back to before all
//! changes of the last run is an ordinary transaction; once it is confirmed, these generations are
//! deleted, so that another rollback goes further back.

mod checks;
mod removed;

use std::collections::BTreeSet;

use super::daemon_json::{not_put_back, refuse};
use super::guard::policy_of;
use super::shared::{Module, holders};
use crate::host::client::PROFILES;
use crate::host::leaf::location as leaf_location;
use crate::host::{daemon_json, guard};
use crate::launch::{listens_by_flag, text_of};
use crate::playbook::{LastRun, Task};
use crate::{Action, Change, Content, Desired, Forget, Place, Planner, Refusal};
use docker::daemon_json::{hosts, without_hosts};
use inventory::{Host, Inventory};
use node::facts::{FactRequest, KeptGeneration, NodeFacts};
use node::generation::{BeforeRun, Generation};
use pki::Role;

#[derive(Debug)]
pub struct Rollback;

impl Module for Rollback {
    fn facts(&self, _: &Inventory, host: &Host, _: &Task, request: &mut FactRequest) {
        request.generations = true;
        // The files in place decide whether clients and daemons still match.
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
            request.content.insert(guard::policy_path());
            request.content.insert(guard::drop_in_path(host));
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
        if facts.generations.is_empty() {
            if let Some(hidden) = &facts.hidden_generations {
                return Err(Refusal::new(format!(
                    "whether something is kept there to go back to is not known: {} cannot look at {hidden}",
                    facts.account
                ))
                .hint("set ansible_become: true for this host"));
            }
            planner.note(
                host,
                "no earlier files are kept there: nothing to roll back",
            );
            return Ok(Vec::new());
        }
        // All changes of one run go back together: a client's files stay if a daemon's last change
        // is from another run.
        let Some(last) = last_run(planner)? else {
            return Ok(Vec::new());
        };
        let keepers = facts.generations.iter();
        let keepers: BTreeSet<String> = keepers
            .filter(|kept| kept.run() == Some(&last))
            .map(|kept| kept.account.clone())
            .collect();
        let has_root = keepers.contains("root");
        if let Some(text) = left(host, facts, &keepers, &last) {
            planner.note(host, text);
        }
        let mut changes = Vec::new();
        for role in [Role::Daemon, Role::Client] {
            let argument = task.argument("role");
            if argument.is_some_and(|of| of != role.to_string()) {
                continue;
            }
            for keeper in &keepers {
                match of_keeper(planner, host, task, (role, keeper), &last) {
                    Ok(found) => changes.extend(found),
                    // Faults in an account's own generations do not block root's rollback on any
                    // host.
                    Err(refusal) if has_root && keeper != "root" => planner.danger(
                        host,
                        format!(
                            "the files of {keeper} stay as they are: {}",
                            refusal.message
                        ),
                    ),
                    Err(refusal) => return Err(refusal),
                }
            }
        }
        Ok(changes)
    }
}

/// The run that is undone. Nodes and accounts may claim anything about runs, so the newest run that
/// this controller has a journal of, and that changed the host, comes first. Without one it is the
/// newest run of root's generations on any host, then of any account's.
fn last_run(planner: &Planner<'_>) -> Result<Option<String>, Refusal> {
    let newest = |counts: &dyn Fn(&str, &NodeFacts, &KeptGeneration) -> bool| {
        let of_host = planner.facts.iter().flat_map(|(host, facts)| {
            let kept = facts.generations.iter();
            let kept = kept.filter(|kept| counts(host, facts, kept));
            kept.filter_map(move |kept| Some((kept.run()?, host.as_str())))
        });
        of_host.max()
    };
    let is_roots = |kept: &KeptGeneration| kept.account == "root";
    let own_runs = planner.own_runs;
    let own = newest(&|host, _, kept| {
        let hosts = kept.run().and_then(|run| own_runs.get(run));
        hosts.is_some_and(|hosts| hosts.contains(host))
    });
    if let (Some((own, _)), Some((later, host))) = (own, newest(&|_, _, kept| is_roots(kept)))
        && later > own
    {
        return Err(Refusal::new(format!(
            "{host} names a later run, {later}, that is in none of your journals; the last one in them is {own}"
        ))
        .hint(format!(
            "undo {later} with --limit {host}, or {own} on the others with --limit 'all:!{host}'"
        )));
    }
    let said =
        || newest(&|_, facts, kept| is_roots(kept) || !facts.generations.iter().any(is_roots));
    let found = own.or_else(said).map(|(run, _)| run.to_owned());
    match (&found, planner.last_run) {
        (Some(run), Some(last)) if *run < last.run => Err(keeps_nothing(last, run)),
        _ => Ok(found),
    }
}

/// The last run left nothing on the nodes that could be restored: undoing the one before must be
/// asked for.
fn keeps_nothing(last: &LastRun, before: &str) -> Refusal {
    let hosts: Vec<&str> = last.hosts.iter().map(String::as_str).collect();
    let (run, command) = (&last.run, &last.command);
    let marks = if command == "revoke" {
        "to undo a revocation, run dtls-deploy revoke INVENTORY NAME --undo; "
    } else {
        ""
    };
    Refusal::new(format!(
        "the last run, {run} ({command}), changed {}, and no host that answers keeps files of it: nothing of it can be undone",
        hosts.join(", ")
    ))
    .hint(format!(
        "{marks}to undo the run before it all the same, {before}, run dtls-deploy rollback INVENTORY --limit all"
    ))
}

/// What stays on a host because another run changed it last.
fn left(host: &Host, facts: &NodeFacts, keepers: &BTreeSet<String>, last: &str) -> Option<String> {
    let others = facts.generations.iter();
    let others = others.filter(|kept| !keepers.contains(&kept.account));
    let (here, of) = others
        .filter_map(|kept| Some((kept.run()?, kept.account.as_str())))
        .max()?;
    let what = match keepers.is_empty() {
        true => "stays as it is: its".to_owned(),
        // An earlier run is the state before the last one.
        false if of != "root" && here < last => return None,
        false => format!("the files of {of} stay as they are: their"),
    };
    Some(format!(
        "{what} last change is of the run {here}, and the run that is undone is {last}; to undo it use --limit {}",
        host.name
    ))
}

/// The changes that undo the last run for a role's files here, from one account's generations.
fn of_keeper(
    planner: &mut Planner<'_>,
    host: &Host,
    task: &Task,
    (role, keeper): (Role, &str),
    run: &str,
) -> Result<Vec<Change>, Refusal> {
    let Some(before) = before(planner, host, (role, keeper), run)? else {
        return Ok(Vec::new());
    };
    checks::check_readmitted(planner, host, &before)?;
    let mut changes = go_back(planner, host, task, &before)?;
    let left_out = removed::leave_out(planner, host, &before, &mut changes)?;
    let hosts = keep_out_hosts(planner, host, task, &mut changes)?;
    let policy = not_restored(planner, host, &before)?;
    for text in left_out.into_iter().chain(hosts).chain(policy) {
        planner.note(host, text);
    }
    for kept in before.generations {
        planner.gone_back.insert((host.name.clone(), kept.path));
    }
    Ok(changes)
}

/// A note about a policy that differs from the one that was kept.
fn not_restored(
    planner: &Planner<'_>,
    host: &Host,
    before: &BeforeRun,
) -> Result<Option<String>, Refusal> {
    let path = guard::policy_path();
    let in_place = planner.facts(&host.name)?.regular(&path);
    let mut kept = before.files.iter();
    let differs = kept.any(|(file, _)| {
        file.path == path && in_place.is_some_and(|present| present.sha256 != file.sha256)
    });
    Ok(differs.then(|| {
        "the policy of its guard follows the ledger and the inventory, and is not restored: to undo a revocation, run dtls-deploy revoke INVENTORY NAME --undo".to_owned()
    }))
}

/// The state before the last run's changes for a role, from one account's generations, unless an
/// earlier task restores it. A run may have made several changes: live-restore is a separate one.
fn before(
    planner: &Planner<'_>,
    host: &Host,
    (role, keeper): (Role, &str),
    run: &str,
) -> Result<Option<BeforeRun>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let mut generations = Vec::new();
    for kept in &facts.generations {
        let place = (host.name.clone(), kept.path.clone());
        let is_asked = kept.run() == Some(run) && kept.account == keeper;
        if !is_asked || planner.gone_back.contains(&place) {
            continue;
        }
        let generation = Generation::read(facts, kept).map_err(|error| {
            Refusal::new(format!("the newest generation is not whole: {error}")).hint(without(host))
        })?;
        if role_of(host, facts, &generation) == role {
            check_places(facts, &generation)?;
            generations.push(generation);
        }
    }
    generations.sort_by(|one, other| one.kept.name().cmp(other.kept.name()));
    Ok(BeforeRun::of(generations))
}

/// The role of a generation. On a machine that is both daemon and client, the client's generations
/// are those with only its certificates, contexts and profile.
fn role_of(host: &Host, facts: &NodeFacts, generation: &Generation) -> Role {
    if !host.is_daemon {
        return Role::Client;
    }
    // An account's generation counts as the daemon's only if the account owns the daemon's files:
    // otherwise it could undo the daemon's part, or prevent that.
    if generation.kept.account != "root" {
        let directory = facts.expand(&leaf_location(host, Role::Daemon).0);
        let is_daemons = |path: &str| parts(path).is_ok_and(|(above, _)| above == directory);
        return if generation.paths().all(is_daemons) {
            Role::Daemon
        } else {
            Role::Client
        };
    }
    let mut files: Vec<String> = PROFILES
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

/// The changes that restore the state before a run.
fn go_back(
    planner: &Planner<'_>,
    host: &Host,
    task: &Task,
    before: &BeforeRun,
) -> Result<Vec<Change>, Refusal> {
    let facts = planner.facts(&host.name)?;
    checks::check_certificates(planner, host, facts, before)?;
    let mut changes = Vec::new();
    for (file, keeper) in &before.files {
        let (directory, name) = parts(&file.path)?;
        let fault = match facts.regular(&file.copy) {
            None => "is not there any more",
            Some(copy) if copy.sha256 != file.sha256 => "is not what was kept",
            Some(_) => "",
        };
        if !fault.is_empty() {
            return Err(
                Refusal::new(format!("what was kept of {} {fault}", file.path)).hint(without(host)),
            );
        }
        // A rollback undoes no revocation: the policy follows the ledger.
        let (place, content) = if file.path == guard::policy_path() {
            let in_place = guard::policy_in_place(host, facts);
            let state = (in_place.as_ref(), &planner.marks, planner.now);
            let ledger = &planner.authority.ledger;
            let text = policy_of(host, planner.inventory, ledger, state).text();
            (Place::Policy, Content::Text(text))
        } else {
            let kept = Content::Kept {
                copy: file.copy.clone(),
                keeper: keeper.clone(),
                sha256: file.sha256.clone(),
            };
            (Place::Kept, kept)
        };
        let desired = Desired::new(place, directory, name, content).exactly(file.mode);
        changes.extend(planner.compare(host, task, desired)?);
    }
    if before.absent.contains(&guard::drop_in_path(host)) {
        planner.check_guard_needed(host)?;
    }
    for path in &before.absent {
        let (directory, name) = parts(path)?;
        let levels_of = directory.clone();
        let desired = Desired::new(
            Place::Kept,
            directory,
            name,
            Content::Gone {
                prune: before.levels(&levels_of),
            },
        )
        .because(vec!["was not there".to_owned()]);
        changes.extend(planner.compare(host, task, desired)?);
    }
    checks::check_trust(planner, host, facts, before, &changes)?;
    for change in &mut changes {
        change.reasons = vec![format!("as before {}", before.run)];
    }
    changes.extend(before.generations.iter().map(|kept| Change {
        host: host.name.clone(),
        task: task.name.clone(),
        subject: format!("generation {}", kept.name()),
        reasons: vec!["used up: the next rollback undoes the run before".to_owned()],
        diff: None,
        action: Action::Forget(Forget::Generation(kept.clone())),
    }));
    Ok(changes)
}

/// Removes `hosts` from the restored daemon.json if the unit of that time has `-H`: dockerd could
/// not start with both. Returns the note about it.
fn keep_out_hosts(
    planner: &Planner<'_>,
    host: &Host,
    task: &Task,
    changes: &mut Vec<Change>,
) -> Result<Option<String>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let found = changes.iter().enumerate().find_map(|(at, change)| {
        let Action::File(file) = &change.action else {
            return None;
        };
        let is_put_back = matches!(file.content, Content::Kept { .. });
        let is_its = host.is_daemon && is_put_back && file.path() == daemon_json::PATH;
        is_its.then(|| (at, file.mode, change.reasons.clone()))
    });
    let Some((at, mode, reasons)) = found else {
        return Ok(None);
    };
    let text = text_of(daemon_json::PATH, facts, changes).unwrap_or_default();
    let named = hosts(text);
    if named.is_empty() {
        return Ok(None);
    }
    let Some(place) = listens_by_flag(host, facts, changes) else {
        return Ok(None);
    };
    let left = without_hosts(text.as_bytes()).map_err(|error| refuse(&error))?;
    let desired = Desired::new(
        Place::Kept,
        daemon_json::DIRECTORY,
        daemon_json::NAME,
        left.map_or(Content::Gone { prune: 0 }, Content::Text),
    )
    .exactly(mode);
    let mut change = planner.compare(host, task, desired)?;
    if let Some(change) = &mut change {
        change.reasons = reasons;
    }
    changes.splice(at..=at, change);
    Ok(Some(not_put_back(&named, &place)))
}

/// What to do about a host that cannot go back.
fn without(host: &Host) -> String {
    format!(
        "leave the host as it is: --limit 'all:!{}'; dtls-deploy INVENTORY makes it what the inventory declares",
        host.name
    )
}

/// An account's generations do not decide about files of others.
fn check_places(facts: &NodeFacts, generation: &Generation) -> Result<(), Refusal> {
    let keeper = &generation.kept.account;
    for path in generation.paths() {
        let directory = parts(path)?.0;
        let is_keepers = facts
            .account_for(&directory)
            .is_ok_and(|account| account == *keeper);
        if keeper != "root" && !is_keepers {
            return Err(Refusal::new(format!(
                "{} names {path}, which is not {keeper}'s",
                generation.kept.path
            )));
        }
    }
    Ok(())
}

fn parts(path: &str) -> Result<(String, String), Refusal> {
    match path.rsplit_once('/') {
        Some((directory, name)) if !directory.is_empty() && !name.is_empty() => {
            Ok((directory.to_owned(), name.to_owned()))
        }
        _ => Err(Refusal::new(format!("{path} is not a path to go back to"))),
    }
}
