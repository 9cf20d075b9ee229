//! `rollback`: the files that the last run replaced, put back where they were.
//!
//! A generation is what one change on a node replaced. Going back to before all changes of the
//! last run is a transaction like any other; once it holds, its generations are not kept any
//! more, so that going back again leads further back.

mod checks;

use super::shared::{Module, holders};
use crate::host::client::PROFILES;
use crate::host::daemon_json;
use crate::host::leaf::location as leaf_location;
use crate::playbook::Task;
use crate::{Action, Change, Content, Desired, FileMode, Forget, Place, Planner, Refusal};
use inventory::{Host, Inventory};
use node::facts::{FactRequest, NodeFacts};
use node::generation::{BeforeRun, Generation};
use pki::Role;

#[derive(Debug)]
pub struct Rollback;

impl Module for Rollback {
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
                && let Some(before) = before(planner, host, role, &last_here)?
            {
                for text in checks::readmitted(planner, host, &before)? {
                    planner.danger(host, text);
                }
                changes.extend(go_back(planner, host, task, &before)?);
                for kept in before.generations {
                    let place = (host.name.clone(), kept.path);
                    planner.gone_back.insert(place);
                }
            }
        }
        Ok(changes)
    }
}

/// What was there before the changes of a role that the last run has made here, and that no
/// earlier task goes back to. A run may have made several: live-restore is one of its own.
fn before(
    planner: &Planner<'_>,
    host: &Host,
    role: Role,
    run: &str,
) -> Result<Option<BeforeRun>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let mut generations = Vec::new();
    for kept in &facts.generations {
        let place = (host.name.clone(), kept.path.clone());
        if kept.run() != Some(run) || planner.gone_back.contains(&place) {
            continue;
        }
        let generation = Generation::read(facts, kept).map_err(|error| {
            Refusal::new(format!("the newest generation is not whole: {error}"))
                .hint("deploy again: what is missing is issued anew")
        })?;
        if role_of(host, facts, &generation) == role {
            check_places(facts, &generation)?;
            generations.push(generation);
        }
    }
    // Of the accounts that keep something, each in the order of its own.
    generations.sort_by(|one, other| one.kept.name().cmp(other.kept.name()));
    Ok(BeforeRun::of(generations))
}

/// Whose change a generation belongs to. On a machine that is daemon and client, the client's
/// are those of its certificates, its contexts and the profile alone.
fn role_of(host: &Host, facts: &NodeFacts, generation: &Generation) -> Role {
    if !host.is_daemon {
        return Role::Client;
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

/// The changes that put back what was there before a run.
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
                    keeper: keeper.clone(),
                    sha256: file.sha256.clone(),
                },
                reasons: Vec::new(),
            },
        )?);
    }
    for path in &before.absent {
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
                    prune: before.levels(&levels_of),
                },
                reasons: vec!["was not there".to_owned()],
            },
        )?);
    }
    checks::check_trust(planner, host, facts, before, &changes)?;
    for change in &mut changes {
        change.reasons = vec![format!("as before {}", before.run)];
    }
    changes.extend(before.generations.iter().map(|kept| Change {
        host: host.name.clone(),
        task: task.name.clone(),
        subject: format!("generation {}", kept.name()),
        reasons: vec!["going back again leads further back".to_owned()],
        diff: None,
        action: Action::Forget(Forget::Generation(kept.clone())),
    }));
    Ok(changes)
}

/// What an account keeps says nothing of what is not its own.
fn check_places(facts: &NodeFacts, generation: &Generation) -> Result<(), Refusal> {
    let keeper = &generation.kept.account;
    for path in generation.paths() {
        if keeper != "root" && facts.account_for(&parts(path)?.0)? != *keeper {
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
