//! Everything that a plan would refuse, not only the first problem of each host.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::{plan, plan_task, planner};
use crate::playbook::{Playbook, Word, scope};
use crate::preflight::{self, Look};
use crate::unsettled::unsettled;
use crate::{Change, Note, Plan, Refusal};
use inventory::{Host, Inventory};
use node::facts::NodeFacts;

/// The subject of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A task of this module.
    Module(Word),
    /// The last change there is not confirmed.
    Unsettled,
    Clock,
    /// Another inventory has set the daemon up.
    Owner,
    /// dockerd would not start with them.
    Settings,
    Listening,
    Space,
}

/// One reason to leave a host unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub host: String,
    pub about: About,
    pub refusal: Refusal,
}

/// A plan, and all refusals.
#[derive(Debug)]
pub struct Examined {
    /// What a run would do.
    pub plan: Plan,
    /// Without duplicates.
    pub refusals: Vec<Refused>,
    /// What a run would do if it refused no host.
    pub changes: Vec<Change>,
    pub notes: Vec<Note>,
}

/// Checks everything.
#[must_use]
pub fn examine(
    inventory: &Inventory,
    playbook: &Playbook,
    facts: &BTreeMap<String, NodeFacts>,
    now: OffsetDateTime,
) -> Examined {
    let mut examined = Examined {
        plan: plan(inventory, playbook, facts, now),
        refusals: Vec::new(),
        changes: Vec::new(),
        notes: Vec::new(),
    };
    let mut planner = planner(inventory, playbook, facts, now);
    for play in &playbook.plays {
        for host in play.hosts(inventory) {
            let Some(known) = facts.get(&host.name) else {
                continue;
            };
            planner.earlier.clear();
            if let Err(problem) = unsettled(&planner, play, host) {
                examined.refuse(host, About::Unsettled, problem.refusal);
            }
            let known = scope(host, Some(known));
            let mut is_refused = false;
            for task in play.tasks(host) {
                let module = task.module.word;
                // It would check files that were not written.
                if is_refused && module == Word::Restart {
                    continue;
                }
                match plan_task(&mut planner, host, task, &known) {
                    Ok(changes) => {
                        planner.comes_before(&changes);
                        examined.changes.extend(changes);
                    }
                    Err(problem) => {
                        is_refused = true;
                        examined.refuse(host, About::Module(module), problem.refusal);
                    }
                }
            }
        }
    }
    let listed = inventory.hosts.iter().filter(|host| {
        let mut plays = playbook.plays.iter();
        plays.any(|play| play.includes(host))
    });
    for host in listed {
        let Some(known) = facts.get(&host.name) else {
            continue;
        };
        let (refusals, notes) = preflight::everything(&planner, host, known);
        for (look, refusal) in refusals {
            let about = match look {
                Look::Clock => About::Clock,
                Look::Owner => About::Owner,
                Look::Settings => About::Settings,
                Look::Listening => About::Listening,
                Look::Space => About::Space,
            };
            examined.refuse(host, about, refusal);
        }
        examined.notes.extend(notes.into_iter().map(|text| Note {
            danger: false,
            host: host.name.clone(),
            text,
        }));
    }
    examined
}

impl Examined {
    fn refuse(&mut self, host: &Host, about: About, refusal: Refusal) {
        let mut refusals = self.refusals.iter();
        // Several tasks may be refused for the same reason.
        if !refusals
            .any(|known| known.host == host.name && known.refusal.message == refusal.message)
        {
            self.refusals.push(Refused {
                host: host.name.clone(),
                about,
                refusal,
            });
        }
    }
}
