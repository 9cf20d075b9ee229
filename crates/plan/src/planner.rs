//! The planner: what a module sees and what it leaves behind while a plan is made.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use super::{
    Action, Authority, Change, Content, FileChange, LeafDecision, Note, PlanProblem, Refusal,
    Rollover, readable_by_others,
};
use crate::host::guard::Program;
use crate::playbook::{Allowed, Renewals};
use inventory::{Host, Inventory};
use node::facts::NodeFacts;
use pki::Role;

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
    /// Files that earlier tasks of any play write, put back or remove: by host and path.
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
    /// As [`Playbook::guard`](crate::playbook::Playbook::guard).
    pub guard: Option<&'a Program>,
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

    /// From now on these changes are made before what is planned.
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

    /// Says that sudo on the node records what is sent to it.
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

    /// Says of a directory with keys that others may read it.
    pub(crate) fn note_readable(&mut self, host: &Host, directory: &str) {
        let facts = self.facts.get(&host.name);
        let open = facts.and_then(|facts| readable_by_others(facts, directory));
        if let Some(Refusal { message, hint, .. }) = open {
            self.note(host, format!("{message}: {}", hint.unwrap_or_default()));
        }
    }

    /// Something is to be renewed, and there is no CA: a problem of the CA's host, whatever
    /// the number of certificates.
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

    /// Said once, whatever the number of tasks that have it to say.
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
