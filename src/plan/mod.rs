//! The plan: from what is wanted and what is there to what has to be done.
//!
//! Comes in: the inventory, the playbook, the facts of every node that could
//! be reached, and the time. Goes out: a [`Plan`]. Nothing here does I/O, so
//! that every rule is a table of facts and changes; everything a run does is
//! in the plan before it starts.

mod address;
mod adopted;
mod anchor;
mod arrived;
mod authority;
mod authority_profile;
mod change;
mod engine;
mod examine;
mod expiry;
mod files;
mod follow;
mod foreign;
mod in_use;
mod issued;
mod kept;
mod leaf;
mod lost;
mod modes;
mod others;
mod outside;
mod owner;
mod place;
mod planned;
mod preflight;
mod reach;
mod readmission;
mod refusal;
mod renewal;
pub mod revoked;
mod rollover;
mod shown;
mod undeployed;
mod under_way;
mod unsettled;
mod unused;
mod window;

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

pub use address::{DaemonAddress, daemon_address};
pub use arrived::{LeftKey, left_keys};
pub use authority::{Authority, AuthorityProblem};
pub use change::{
    Action, AttributeFault, Awaited, Change, Content, FileChange, Forget, LeafPart, Reload,
    Restart, Served, ServiceVerb, TextDiff,
};
pub use engine::{Containers, is_swarm_manager};
pub use examine::{About, Examined, Refused, examine};
pub use files::{Desired, FileMode, readable_by_others};
pub(crate) use in_use::{arguments, values};
pub use in_use::{more_facts, paths as paths_in_use};
pub use issued::{check_issued_names, issued_names, leaves_of};
pub use kept::{Kept, Why};
pub use leaf::{
    LeafDecision, LookedAt, PairFault, location as leaf_location, look_at as look_at_leaf,
    request as request_leaf, wanted_sans,
};
pub use others::leave_out_shared;
pub use outside::{Outside, declared, outside_of};
pub use owner::{OWNER, record as owner_record};
pub use place::{Kind, Place};
pub use planned::{Batch, Note, Plan, PlanProblem, PlannedHost, PlannedPlay};
pub use readmission::{Allowed, InForce, is_older, judge_older};
pub use refusal::{Refusal, RefusalKind};
pub use renewal::{
    Renewal, Renewals, authority_warning, clocks, renewal, revoked as revoked_reason,
};
pub use rollover::{Behind, Rollover, STEPS, Trust};
pub use shown::ForeignValues;
pub use under_way::UnderWay;
pub use unsettled::by_hand;
use unsettled::unsettled;

use crate::inventory::{Host, Inventory};
use crate::node::facts::NodeFacts;
use crate::pki::{Bundle, Role};
use crate::playbook::{Play, Playbook, Scope, Step, Task, scope};

/// What a module sees while it plans for one host.
#[derive(Debug)]
pub struct Planner<'a> {
    pub inventory: &'a Inventory,
    pub facts: &'a BTreeMap<String, NodeFacts>,
    pub now: OffsetDateTime,
    /// The CA as it will be when the plan is done.
    pub authority: Authority,
    /// While the CA is rolled over.
    pub rollover: Option<Rollover>,
    /// This run begins a rollover or goes on with one.
    pub rolls_over: bool,
    /// What was decided about each leaf so far.
    pub leaves: BTreeMap<(String, Role), LeafDecision>,
    /// Changes planned before the present task, for the same host.
    pub earlier: Vec<Change>,
    /// Texts that earlier tasks of any play write: by host and path.
    pub written: BTreeMap<(String, String), FileChange>,
    /// Generations that earlier tasks go back to, by host.
    pub gone_back: BTreeSet<(String, String)>,
    /// Hosts whose daemon has live-restore on by then.
    pub reloaded: BTreeSet<String>,
    pub notes: Vec<Note>,
    /// Some task that applies to its host is a proof.
    pub proves: bool,
    /// What is done about the age of certificates.
    pub renewals: Renewals,
    /// Leaves that are due, and that a new CA has to come first for.
    pub waiting_for_authority: Vec<String>,
    /// What keeps another host than the one that is planned for from its state.
    pub problems: Vec<PlanProblem>,
    /// Leaves that this CA renews for the last time.
    pub last_of_authority: Vec<String>,
    /// Daemons are restarted inside of their maintenance windows alone.
    pub keeps_windows: bool,
    /// What the command line allows by name.
    pub allowed: &'a Allowed,
}

impl<'a> Planner<'a> {
    /// One that has planned nothing yet.
    fn new(
        inventory: &'a Inventory,
        playbook: &'a Playbook,
        facts: &'a BTreeMap<String, NodeFacts>,
        now: OffsetDateTime,
    ) -> Self {
        let authority = Authority::read(inventory.ca(), facts.get(&inventory.ca().name));
        Self {
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
            notes: Vec::new(),
            proves: false,
            renewals: playbook.renewals,
            waiting_for_authority: Vec::new(),
            problems: Vec::new(),
            last_of_authority: Vec::new(),
            keeps_windows: playbook.keeps_windows,
            allowed: &playbook.allowed,
        }
    }
}

impl Planner<'_> {
    /// The facts of a host that is being planned for.
    ///
    /// # Errors
    /// When the host was not reached.
    pub fn facts(&self, host: &str) -> Result<&NodeFacts, Refusal> {
        self.facts
            .get(host)
            .ok_or_else(|| Refusal::new(format!("nothing is known of {host}")))
    }

    /// From now on these changes are made before what is planned.
    fn comes_before(&mut self, changes: &[Change]) {
        for change in changes {
            match &change.action {
                Action::File(file)
                    if matches!(file.content, Content::Text(_) | Content::Certificates(_)) =>
                {
                    let place = (change.host.clone(), file.path());
                    self.written.insert(place, file.clone());
                }
                Action::Reload(_) => {
                    self.reloaded.insert(change.host.clone());
                }
                _ => {}
            }
        }
        self.earlier.extend(changes.iter().cloned());
    }

    /// Says that sudo on the node records what is sent to it.
    fn note_recorded_input(&mut self, host: &Host) {
        let facts = self.facts.get(&host.name);
        if let Some(Refusal { message, hint, .. }) = facts.and_then(recorded_input) {
            self.notes.push(Note {
                danger: true,
                host: host.name.clone(),
                text: format!("{message}: {}", hint.unwrap_or_default()),
            });
        }
    }

    /// Says of a directory with keys that others may read it.
    pub fn note_readable(&mut self, host: &Host, directory: &str) {
        let facts = self.facts.get(&host.name);
        let open = facts.and_then(|facts| files::readable_by_others(facts, directory));
        if let Some(Refusal { message, hint, .. }) = open {
            self.note(host, format!("{message}: {}", hint.unwrap_or_default()));
        }
    }

    /// Something is to be renewed, and there is no CA: a problem of the CA's host, whatever
    /// the number of certificates.
    fn lacks_authority(&mut self) {
        let ca = self.inventory.ca();
        let directory = &ca.settings.ca_dir;
        let known = self.facts.get(&ca.name);
        let problem = PlanProblem {
            host: ca.name.clone(),
            task: "look at the CA".to_owned(),
            refusal: Refusal::new(format!(
                "there is no CA in {}: no certificate can be renewed",
                known.map_or_else(|| directory.clone(), |facts| facts.expand(directory))
            ))
            .hint(
                "set dtls_ca_dir to the directory of the CA; if there never was one, run dtls-deploy INVENTORY; if it is lost, run dtls-deploy ca restore",
            ),
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// A note that stands out.
    pub fn danger(&mut self, host: &Host, text: impl Into<String>) {
        self.notes.push(Note {
            danger: true,
            host: host.name.clone(),
            text: text.into(),
        });
    }

    pub fn note(&mut self, host: &Host, text: impl Into<String>) {
        self.notes.push(Note {
            danger: false,
            host: host.name.clone(),
            text: text.into(),
        });
    }
}

/// Whether sudo on a node writes down what the account sends, the CA's passphrase
/// and keys among it, and what to do.
#[must_use]
pub fn recorded_input(facts: &NodeFacts) -> Option<Refusal> {
    let word = facts.claims.sudo_records.as_ref()?;
    Some(
        Refusal::new(format!(
            "sudo records what is sent to it ({word}), passphrases and keys included, below /var/log/sudo-io where iolog_dir does not say otherwise"
        ))
        .hint("turn it off for the account that logs in (Defaults:ACCOUNT !log_input, !log_stdin in sudoers), and remove what is recorded"),
    )
}

/// Makes the plan.
#[must_use]
pub fn plan(
    inventory: &Inventory,
    playbook: &Playbook,
    facts: &BTreeMap<String, NodeFacts>,
    now: OffsetDateTime,
) -> Plan {
    let mut planner = Planner::new(inventory, playbook, facts, now);
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
            // A proof is made also where its own host is not reached.
            planner.proves |= play
                .tasks(host)
                .any(|task| task.module.is_proof() && task.when.is_empty());
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
    let notes = planner.early_warnings();
    planner.notes.extend(notes);
    given_up.extend(problems.iter().map(|problem| problem.host.clone()));
    plan.problems.extend(problems);
    // A host that cannot be brought to its state is not half changed either.
    for play in &mut plan.plays {
        play.hosts.retain(|host| !given_up.contains(&host.host));
    }
    if playbook.issues() {
        planner.drop_unused_authority(&mut plan, &given_up);
    }
    let kept = follow::split(&planner, playbook, &mut plan);
    planner.notes.extend(kept.iter().map(Kept::note));
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
    plan.verify = planner.proves;
    plan.rollover_due = planner.rollover_due();
    plan.rollover_step = planner.rollover_step();
    plan.authority_expired = planner.rolls_over && planner.authority_expired();
    plan.notes = planner.notes;
    if let Some(whole) = &playbook.whole {
        let others = self::plan(inventory, whole, facts, now);
        let notes = renewal::left_to_deploy(&plan, &others, inventory);
        plan.notes.extend(notes);
    }
    plan
}

/// The bundle on a node once a plan is carried out, if one is there then.
fn after(plan: &Plan, facts: Option<&NodeFacts>, host: &Host, role: Role) -> Option<String> {
    let (directory, files) = leaf_location(host, role);
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

/// Looks at every host that is to be changed itself.
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
        task.module.plan(planner, host, task)
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
    planner.proves |= task.module.is_proof();
    let rendered = task.rendered(known)?;
    task.module.plan(planner, host, &rendered)
}
