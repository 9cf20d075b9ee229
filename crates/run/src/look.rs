//! Shared by all read-only commands that connect to nodes.

use time::OffsetDateTime;

use crate::run_id;
use crate::session::{Deadlines, Gathered, Gathering, Passwords, gather};
use base::event::{Event, Events, SCHEMA};
use inventory::{Host, Inventory};
use node::SshContext;
use node::facts::FactRequest;
use plan::host::client::context_names;
use plan::leave_out_shared;
use plan::orchestrator;
use plan::playbook::Playbook;

/// The options from the command line.
#[derive(Debug)]
pub struct Look<'a> {
    pub run: String,
    pub inventory: &'a Inventory,
    /// The hosts to check, limited by `--limit`.
    pub playbook: &'a Playbook,
    pub context: &'a SshContext,
    pub passwords: &'a Passwords,
    pub deadlines: Deadlines,
    /// Maximum number of hosts at a time.
    pub forks: usize,
    pub events: &'a Events,
}

impl<'a> Look<'a> {
    /// A name for it, like the name of a run.
    #[must_use]
    pub fn new_name() -> String {
        run_id(OffsetDateTime::now_utc())
    }

    /// Emits the first event; `command` is its name.
    pub fn announce(&self, command: &str) {
        let hosts = self.hosts();
        announce(
            self.events,
            &self.run,
            self.inventory,
            command,
            &hosts,
            false,
        );
    }

    /// The CA, and every host that the limit selects.
    #[must_use]
    pub fn hosts(&self) -> Vec<&'a Host> {
        hosts(self.inventory, self.playbook)
    }

    /// Connects to these hosts and gathers what `request` adds to the playbook's facts; sends
    /// progress to `events`.
    pub async fn gather(
        &self,
        hosts: &[&Host],
        request: impl Fn(&Host, &mut FactRequest),
        events: &Events,
    ) -> Gathered {
        let wanted: Vec<(&Host, FactRequest)> = hosts
            .iter()
            .map(|host| {
                let mut wanted = FactRequest::default();
                orchestrator::request(self.playbook, self.inventory, host, &mut wanted);
                request(host, &mut wanted);
                (*host, wanted)
            })
            .collect();
        let how = Gathering {
            context: self.context,
            passwords: self.passwords,
            run: &self.run,
            forks: self.forks,
            deadlines: self.deadlines,
            events,
        };
        let mut gathered = gather(&wanted, how).await;
        leave_out_shared(&mut gathered.facts);
        gathered
    }
}

/// Emits the first event; `name` is the command.
pub(crate) fn announce(
    events: &Events,
    run: &str,
    inventory: &Inventory,
    name: &str,
    hosts: &[&Host],
    check: bool,
) {
    events.emit(Event::Run {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        run: run.to_owned(),
        inventory: inventory.path.display().to_string(),
        playbook: name.to_owned(),
        hosts: hosts.iter().map(|host| host.name.clone()).collect(),
        contexts: context_names(inventory),
        check,
    });
}

/// The CA, and every host that some play of the playbook runs on.
#[must_use]
pub fn hosts<'a>(inventory: &'a Inventory, playbook: &Playbook) -> Vec<&'a Host> {
    let hosts = inventory.hosts.iter();
    hosts
        .filter(|host| host.is_ca || playbook.plays.iter().any(|play| play.includes(host)))
        .collect()
}
