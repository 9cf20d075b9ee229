//! From a playbook and facts to a plan: runs every task of every play on every host through its
//! module.
//!
//! Nothing here does I/O, so every rule is a table of facts and changes.

mod examine;

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

pub use examine::{About, Examined, Refused, examine};

use crate::host::guard;
use crate::host::leaf::location;
use crate::marks::Marks;
use crate::module;
use crate::playbook::{Play, Playbook, Scope, Step, Task, scope};
use crate::preflight;
use crate::unnamed;
use crate::unsettled::unsettled;
use crate::{
    Action, Authority, AuthorityProblem, Batch, Change, Content, NotFollowed, Note, Plan,
    PlanProblem, PlannedHost, PlannedPlay, Planner, Refusal, Rollover, check_issued_names, follow,
    former_role, leaves_of, left_to_deploy, modes, window,
};
use inventory::{Host, Inventory};
use node::facts::{FactRequest, NodeFacts};
use pki::{Bundle, Role};

/// Requests the facts that the tasks of a playbook need about `host`.
pub fn request(playbook: &Playbook, inventory: &Inventory, host: &Host, request: &mut FactRequest) {
    if host.is_ca {
        Authority::request(inventory, request);
    }
    guard::request_policy(host, request);
    former_role::request(host, request);
    if !playbook.only_proves() {
        Rollover::request(inventory, host, request);
    }
    for play in playbook.plays.iter().filter(|play| play.includes(host)) {
        for task in play.tasks(host) {
            let known = task.as_far_as_known(host);
            module::of(task.module.word).facts(inventory, host, &known, request);
        }
    }
    if let Some(whole) = &playbook.whole {
        self::request(whole, inventory, host, request);
    }
}

/// A planner that has planned nothing yet.
fn planner<'a>(
    inventory: &'a Inventory,
    playbook: &'a Playbook,
    facts: &'a BTreeMap<String, NodeFacts>,
    now: OffsetDateTime,
) -> Planner<'a> {
    let mut authority = Authority::read(inventory.ca(), facts.get(&inventory.ca().name));
    let marks = Marks::read(inventory, &authority.ledger, facts, now);
    marks.restore(&mut authority.ledger, now);
    Planner {
        marks,
        inventory,
        facts,
        now,
        rollover: Rollover::read(&authority, inventory, facts, now),
        rolls_over: false,
        authority,
        leaves: BTreeMap::new(),
        earlier: Vec::new(),
        written: BTreeMap::new(),
        gone_back: BTreeSet::new(),
        reloaded: BTreeSet::new(),
        left_contexts: Vec::new(),
        notes: Vec::new(),
        proves: false,
        renewals: playbook.renewals,
        waiting_for_authority: Vec::new(),
        problems: Vec::new(),
        last_of_authority: Vec::new(),
        keeps_windows: playbook.keeps_windows,
        allowed: &playbook.allowed,
        guard: playbook.guard.as_ref(),
        last_run: playbook
            .last_run
            .as_ref()
            .filter(|_| playbook.limit.is_none()),
        own_runs: &playbook.own_runs,
    }
}

#[must_use]
pub fn plan(
    inventory: &Inventory,
    playbook: &Playbook,
    facts: &BTreeMap<String, NodeFacts>,
    now: OffsetDateTime,
) -> Plan {
    let mut planner = planner(inventory, playbook, facts, now);
    if planner.authority.problem.is_none()
        && let Err(Refusal { message, hint, .. }) = check_issued_names(inventory)
    {
        planner.authority.problem = Some(AuthorityProblem::Names { message, hint });
    }
    let mut plan = Plan::default();
    let mut given_up: Vec<String> = Vec::new();
    for play in &playbook.plays {
        let mut result = PlannedPlay {
            name: play.name.clone(),
            hosts: Vec::new(),
        };
        for host in play.hosts(inventory) {
            // Verification runs even if its own host is not reached.
            planner.proves |= play
                .tasks(host)
                .any(|task| task.module.is_proof && task.when.is_empty());
            if !facts.contains_key(&host.name) || given_up.contains(&host.name) {
                continue;
            }
            planner.earlier.clear();
            match plan_host(&mut planner, play, host) {
                Ok(batches) if batches.is_empty() => {}
                Ok(batches) => result.hosts.push(PlannedHost {
                    host: host.name.clone(),
                    batches,
                }),
                Err(problem) => {
                    plan.unsettled |= unsettled(&planner, play, host).is_err();
                    given_up.push(host.name.clone());
                    plan.problems.push(problem);
                }
            }
        }
        plan.plays.push(result);
    }
    for host in &inventory.hosts {
        planner.note_recorded_input(host);
    }
    if planner.keeps_windows {
        window::keep(&mut planner, &mut plan);
    }
    plan.problems.append(&mut planner.problems);
    let (notes, problems) = look_before(&planner, &plan);
    planner.notes.extend(notes);
    let notes = planner.early_warnings(playbook);
    planner.notes.extend(notes);
    planner.notes.extend(planner.note_marks(playbook));
    if playbook.issues() {
        plan.marks = planner.marks.lost.keys().cloned().collect();
    }
    plan.unnamed = planner.unnamed(playbook);
    planner.notes.extend(unnamed::notes(&plan.unnamed));
    give_up(&mut plan, &mut given_up, problems);
    let problems = planner.readmit(playbook, &plan);
    give_up(&mut plan, &mut given_up, problems);
    if playbook.issues() {
        planner.drop_unused_authority(playbook, &mut plan, &given_up);
    }
    split(&planner, playbook, &mut plan, &mut given_up);
    planner
        .notes
        .extend(plan.kept.iter().map(NotFollowed::note));
    if let Some(rollover) = &planner.rollover {
        plan.bundles = leaves_of(inventory)
            .into_iter()
            .map(|(host, role)| {
                let bundle = after(&plan, facts.get(&host.name), host, role)
                    .unwrap_or_else(|| rollover.bundle(&host.holder(), role).to_owned());
                ((host.holder(), role), bundle)
            })
            .collect();
    }
    planner.note_left_keys(&mut plan, playbook);
    planner.remember_unrenewed(&mut plan, playbook);
    plan.left_contexts = std::mem::take(&mut planner.left_contexts);
    let left = plan.left_contexts.iter().map(|left| Note {
        danger: false,
        host: left.host.clone(),
        text: format!("{}: {}", left.described(), left.removal()),
    });
    planner.notes.extend(left);
    plan.verify = planner.proves;
    if playbook.leaves_modes() {
        plan.modes = planner.modes();
        planner.notes.extend(modes::not_deployed(&plan.modes));
    }
    plan.rollover_due = planner.rollover_due();
    // The end comes after the last step.
    let ends = plan
        .changes()
        .any(|change| matches!(change.action, Action::EndRollover { .. }));
    plan.rollover_step = planner.rollover_step().filter(|_| !ends);
    plan.authority_expired = planner.rolls_over && planner.authority_expired();
    plan.notes = planner.notes;
    if let Some(whole) = &playbook.whole {
        let others = self::plan(inventory, whole, facts, now);
        let notes = left_to_deploy(&plan, &others, inventory);
        plan.notes.extend(notes);
    }
    plan
}

/// Splits the changes of clients, and refuses daemons that would leave a client behind.
fn split(planner: &Planner<'_>, playbook: &Playbook, plan: &mut Plan, given_up: &mut Vec<String>) {
    loop {
        let moves = planner.moves(plan);
        let mut split = plan.clone();
        split.kept = follow::split(planner, playbook, &mut split);
        let mut problems = planner.left_behind(&moves, playbook, &split);
        problems.extend(
            split
                .kept
                .iter()
                .filter_map(|kept| not_undone(planner, kept)),
        );
        if problems.is_empty() {
            *plan = split;
            return;
        }
        // Repeats, because clients stay with a refused daemon that may itself be a client of
        // another one.
        give_up(plan, given_up, problems);
    }
}

/// A rollback undoes all of a run on a host, or refuses the host.
fn not_undone(planner: &Planner<'_>, kept: &NotFollowed) -> Option<PlanProblem> {
    planner.goes_back(&kept.client).then(|| PlanProblem {
        host: kept.client.clone(),
        task: "go back".to_owned(),
        refusal: Refusal::new(format!(
            "what the last run changed there stays as it is, because {}",
            kept.because()
        ))
        .hint(kept.hint()),
    })
}

/// Drops these hosts: a host that cannot reach its wanted state is not changed in part.
fn give_up(plan: &mut Plan, given_up: &mut Vec<String>, problems: Vec<PlanProblem>) {
    given_up.extend(problems.iter().map(|problem| problem.host.clone()));
    plan.problems.extend(problems);
    for play in &mut plan.plays {
        play.hosts.retain(|host| !given_up.contains(&host.host));
    }
}

/// The bundle on a node once a plan is carried out, if there is one.
fn after(plan: &Plan, facts: Option<&NodeFacts>, host: &Host, role: Role) -> Option<String> {
    let (directory, files) = location(host, role);
    let path = facts?.expand(&format!("{directory}/{}", files.ca));
    let written = plan.changes().find_map(|change| match &change.action {
        Action::File(file) if change.host == host.name && file.path() == path => {
            Some(&file.content)
        }
        _ => None,
    });
    if let Some(Content::Text(text) | Content::Certificates(text)) = written {
        return Some(text.clone());
    }
    let file = facts?.regular(&path)?;
    let found = Bundle::read(file.content.as_deref()?).ok()?;
    Some(found.to_pem())
}

/// Runs the pre-flight checks for every host that changes.
fn look_before(planner: &Planner<'_>, plan: &Plan) -> (Vec<Note>, Vec<PlanProblem>) {
    let (mut notes, mut problems) = (Vec::new(), Vec::new());
    let given_up = |host: &Host| plan.problems.iter().any(|known| known.host == host.name);
    for host in &planner.inventory.hosts {
        let changes: Vec<&Change> = plan
            .changes()
            .filter(|change| change.host == host.name && change.is_on_node())
            .collect();
        if changes.is_empty() || given_up(host) {
            continue;
        }
        match preflight::check(planner, host, &changes) {
            Ok(texts) => notes.extend(texts.into_iter().map(|text| Note {
                danger: false,
                host: host.name.clone(),
                text,
            })),
            Err(refusal) => problems.push(PlanProblem {
                host: host.name.clone(),
                task: "look before anything is changed".to_owned(),
                refusal,
            }),
        }
    }
    (notes, problems)
}

fn plan_host(
    planner: &mut Planner<'_>,
    play: &Play,
    host: &Host,
) -> Result<Vec<Batch>, PlanProblem> {
    let mut batches: Vec<Batch> = Vec::new();
    unsettled(planner, play, host)?;
    let known = scope(host, planner.facts.get(&host.name));
    for step in &play.steps {
        let transaction = matches!(step, Step::Transaction { .. });
        let mut changes = Vec::new();
        for task in step.tasks().iter().filter(|task| play.runs(task, host)) {
            let mut wanted = plan_task(planner, host, task, &known)?;
            planner.comes_before(&wanted);
            changes.append(&mut wanted);
        }
        if changes.is_empty() {
            continue;
        }
        let alone = |changes: &[Change]| changes.iter().any(|change| change.action.is_alone());
        match batches.last_mut() {
            Some(last)
                if !transaction
                    && !last.transaction
                    && !alone(&changes)
                    && !alone(&last.changes) =>
            {
                last.changes.append(&mut changes);
            }
            _ => batches.push(Batch {
                transaction,
                changes,
                follows: BTreeSet::new(),
                called: Vec::new(),
            }),
        }
    }
    Ok(batches)
}

fn plan_task(
    planner: &mut Planner<'_>,
    host: &Host,
    task: &Task,
    known: &Scope,
) -> Result<Vec<Change>, PlanProblem> {
    let changes = if task.is_fixed() {
        module::of(task.module.word).plan(planner, host, task)
    } else {
        plan_rendered(planner, host, task, known)
    };
    changes.map_err(|refusal| PlanProblem {
        host: host.name.clone(),
        task: task.name.clone(),
        refusal,
    })
}

/// Plans a task whose conditions or parameters depend on the host.
fn plan_rendered(
    planner: &mut Planner<'_>,
    host: &Host,
    task: &Task,
    known: &Scope,
) -> Result<Vec<Change>, Refusal> {
    if !task.applies(known)? {
        return Ok(Vec::new());
    }
    planner.proves |= task.module.is_proof;
    let rendered = task.rendered(known)?;
    module::of(task.module.word).plan(planner, host, &rendered)
}
