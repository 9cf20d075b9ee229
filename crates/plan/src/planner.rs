//! The planner: what modules see and record while a plan is made.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use super::{
    Action, Authority, Change, Content, FileChange, LeafDecision, LeftContext, Note, PlanProblem,
    Refusal, Rollover, marks::Marks, readable_by_others,
};
use crate::host::guard::Program;
use crate::playbook::{Allowed, LastRun, Renewals};
use inventory::{Host, Inventory};
use node::facts::NodeFacts;
use pki::Role;

/// What a module sees while it plans for one host.
#[derive(Debug)]
pub struct Planner<'a> {
    pub inventory: &'a Inventory,
    pub facts: &'a BTreeMap<String, NodeFacts>,
    pub now: OffsetDateTime,
    /// The CA once the plan is carried out.
    pub authority: Authority,
    /// During a rollover.
    pub rollover: Option<Rollover>,
    /// This run begins or continues a rollover.
    pub rolls_over: bool,
    /// The decisions about leaves so far.
    pub leaves: BTreeMap<(String, Role), LeafDecision>,
    /// Changes planned for the same host before the present task.
    pub earlier: Vec<Change>,
    /// Files that earlier tasks of any play write, restore or remove: by host and path.
    pub written: BTreeMap<(String, String), FileChange>,
    /// Generations that earlier tasks restore, by host.
    pub gone_back: BTreeSet<(String, String)>,
    /// Contexts for daemons that are not in the inventory any more.
    pub left_contexts: Vec<LeftContext>,
    /// Hosts whose daemon will already have live-restore on.
    pub reloaded: BTreeSet<String>,
    pub notes: Vec<Note>,
    /// Some task that applies to its host is a verification.
    pub proves: bool,
    /// How certificates are renewed by age.
    pub renewals: Renewals,
    /// Leaves that are due but need a new CA first.
    pub waiting_for_authority: Vec<String>,
    /// Problems of hosts other than the one being planned for.
    pub problems: Vec<PlanProblem>,
    /// Leaves that this CA renews for the last time.
    pub last_of_authority: Vec<String>,
    /// Daemons are restarted only within their maintenance windows.
    pub keeps_windows: bool,
    /// Marks that only policies of guards have; the ledger of `authority` has them by now.
    pub marks: Marks,
    /// What the command line allows by name.
    pub allowed: &'a Allowed,
    /// As [`Playbook::guard`](crate::playbook::Playbook::guard).
    pub guard: Option<&'a Program>,
    /// As [`Playbook::last_run`](crate::playbook::Playbook::last_run), for a run on all hosts.
    pub last_run: Option<&'a LastRun>,
    /// As [`Playbook::own_runs`](crate::playbook::Playbook::own_runs).
    pub own_runs: &'a BTreeMap<String, BTreeSet<String>>,
}

impl Planner<'_> {
    /// The facts of a host that is being planned for.
    pub fn facts(&self, host: &str) -> Result<&NodeFacts, Refusal> {
        self.facts
            .get(host)
            .ok_or_else(|| Refusal::new(format!("nothing is known of {host}")))
    }

    /// Whether a rollback undoes the last run on a host.
    pub(crate) fn goes_back(&self, host: &str) -> bool {
        self.gone_back.iter().any(|(of, _)| of == host)
    }

    /// Records changes that precede what is planned next.
    pub(crate) fn comes_before(&mut self, changes: &[Change]) {
        for change in changes {
            match &change.action {
                Action::File(file)
                    if matches!(
                        file.content,
                        Content::Text(_)
                            | Content::Certificates(_)
                            | Content::Kept { .. }
                            | Content::Gone { .. }
                    ) =>
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

    /// Notes that sudo on the node records its input.
    pub(crate) fn note_recorded_input(&mut self, host: &Host) {
        let facts = self.facts.get(&host.name);
        if let Some(Refusal { message, hint, .. }) = facts.and_then(recorded_input) {
            self.notes.push(Note {
                danger: true,
                host: host.name.clone(),
                text: format!("{message}: {}", hint.unwrap_or_default()),
            });
        }
    }

    /// Notes that others may read a directory with keys.
    pub(crate) fn note_readable(&mut self, host: &Host, directory: &str) {
        let facts = self.facts.get(&host.name);
        let open = facts.and_then(|facts| readable_by_others(facts, directory));
        if let Some(Refusal { message, hint, .. }) = open {
            self.note(host, format!("{message}: {}", hint.unwrap_or_default()));
        }
    }

    /// Something must be renewed, and there is no CA: one problem of the CA's host, whatever the
    /// number of certificates.
    pub(crate) fn lacks_authority(&mut self) {
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
                "set dtls_ca_dir to the directory of the CA; if there never was one, run dtls-deploy INVENTORY; if it is lost, run dtls-deploy ca restore INVENTORY --from FILE",
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

    /// Notes a text once, whatever the number of tasks that report it.
    pub fn note(&mut self, host: &Host, text: impl Into<String>) {
        let note = Note {
            danger: false,
            host: host.name.clone(),
            text: text.into(),
        };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// Whether sudo on a node records what the account sends, including the CA's passphrase and keys,
/// and what to do.
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
