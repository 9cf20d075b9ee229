//! Machines and a CA, made from an inventory and a time, and the facts of all of them. A plan can
//! be carried out on them in memory, so that a case begins with what a deployment really leaves
//! behind.

use std::collections::{BTreeMap, BTreeSet};

use inventory::{Host, Inventory};
use node::facts::{FactRequest, NodeFacts};
use pki::{
    Authority, AuthorityProfile, Entry, Event, IssuedName, LeafProfile, LeafRequest, Ledger, Role,
    SignedLeaf, Signer, sha256_hex,
};
use plan::host::in_use::facts_elsewhere;
use plan::host::read::RECORD;
use plan::orchestrator;
use plan::playbook::Playbook;
use plan::{Action, Batch, Change, Content, FileChange, Forget, LeafPart, Plan, PlannedHost};
use time::{Duration, OffsetDateTime};

use super::machine::{Item, Machine, Stored};

pub struct Lab {
    pub machines: BTreeMap<String, Machine>,
    pub authority: Option<Authority>,
    /// The one that will follow.
    next: Option<Authority>,
    /// Pairs that were issued: host and role.
    pairs: BTreeMap<(String, Role), SignedLeaf>,
}

impl Lab {
    pub fn fresh(inventory: &Inventory, now: OffsetDateTime) -> Self {
        let machines = inventory
            .hosts
            .iter()
            .map(|host| {
                let machine = Machine::fresh(&host.name, host.as_root, host.is_daemon, now);
                (host.name.clone(), machine)
            })
            .collect();
        Self {
            machines,
            authority: None,
            next: None,
            pairs: BTreeMap::new(),
        }
    }

    pub fn facts(
        &self,
        inventory: &Inventory,
        playbook: &Playbook,
        now: OffsetDateTime,
        unreachable: &BTreeSet<String>,
    ) -> BTreeMap<String, NodeFacts> {
        let request = |host: &Host, request: &mut FactRequest| {
            orchestrator::request(playbook, inventory, host, request);
        };
        self.facts_of(inventory, request, now, unreachable)
    }

    /// The facts that another caller asks for.
    pub fn facts_of(
        &self,
        inventory: &Inventory,
        asks: impl Fn(&Host, &mut FactRequest),
        now: OffsetDateTime,
        unreachable: &BTreeSet<String>,
    ) -> BTreeMap<String, NodeFacts> {
        let mut facts = BTreeMap::new();
        for host in &inventory.hosts {
            let mut request = FactRequest::default();
            asks(host, &mut request);
            if unreachable.contains(&host.name) {
                continue;
            }
            let Some(mut machine) = self.machines.get(&host.name).cloned() else {
                continue;
            };
            machine.act_as(host);
            let mut found = machine.facts(&request, now);
            if let Some(request) = facts_elsewhere(host, &found) {
                found.files.extend(machine.facts(&request, now).files);
            }
            facts.insert(host.name.clone(), found);
        }
        facts
    }

    /// What lies in the CA directory.
    pub fn backup(&self, ca: &Host) -> BTreeMap<String, Item> {
        let below = format!("{}/", ca.settings.ca_dir);
        let disk = self.machines[&ca.name].disk.iter();
        disk.filter(|(path, _)| path.starts_with(&below))
            .map(|(path, item)| (path.clone(), item.clone()))
            .collect()
    }

    pub fn restore(&mut self, ca: &Host, backup: BTreeMap<String, Item>) {
        let below = format!("{}/", ca.settings.ca_dir);
        let disk = &mut self.machines.get_mut(&ca.name).unwrap().disk;
        disk.retain(|path, _| !path.starts_with(&below));
        disk.extend(backup);
    }

    /// Does what a plan says, as apply and the agent would.
    pub fn carry_out(&mut self, inventory: &Inventory, plan: &Plan, now: OffsetDateTime) {
        assert_eq!(plan.problems, [], "the deployment that a case begins with");
        self.carry_out_unless(inventory, plan, now, &BTreeSet::new());
    }

    /// The same, but the changes of these daemons do not hold. Returns the daemons that are
    /// confirmed.
    pub fn carry_out_unless(
        &mut self,
        inventory: &Inventory,
        plan: &Plan,
        now: OffsetDateTime,
        fail: &BTreeSet<String>,
    ) -> BTreeSet<String> {
        let ca = inventory.ca();
        for change in plan.changes() {
            match &change.action {
                Action::Authority(profile) => self.create_authority(ca, profile, now),
                Action::NextAuthority(profile) => {
                    let present = self.authority.take();
                    let mut profile = profile.clone();
                    let name = &mut profile.subject.common_name;
                    *name = name.take().map(|name| name + " 2");
                    self.create_authority_in(ca, "/next", &profile, now);
                    self.next = std::mem::replace(&mut self.authority, present);
                }
                Action::Promote => self.promote(ca, now),
                Action::EndRollover { destroy_old } => {
                    let disk = &mut self.machines.get_mut(&ca.name).unwrap().disk;
                    let directory = &ca.settings.ca_dir;
                    disk.remove(&format!("{directory}/.rolled-over"));
                    if *destroy_old {
                        disk.remove(&format!("{directory}/retired/1/ca-key.pem"));
                    }
                }
                Action::Issue(request) => {
                    self.issue(ca, request, now);
                }
                _ => {}
            }
        }
        let confirmed = self.carry_out_on_nodes(inventory, plan, now, fail);
        if fail.is_empty() {
            self.deliver(ca, plan, now);
        }
        // Delivered keys leave the CA node.
        if !ca.settings.keep_issued_keys {
            let pairs: Vec<(String, Role)> = self.pairs.keys().cloned().collect();
            for (host, role) in pairs {
                self.forget(inventory, &host, role);
            }
        }
        confirmed
    }

    /// The CA hears what has arrived.
    fn deliver(&mut self, ca: &Host, plan: &Plan, now: OffsetDateTime) {
        let path = format!("{}/.ledger.jsonl", ca.settings.ca_dir);
        let machine = self.machines.get_mut(&ca.name).unwrap();
        let Some(file) = machine.stored(&path) else {
            return;
        };
        let mut text = String::from_utf8(file.bytes.clone()).unwrap();
        let ledger = Ledger::parse(&text).unwrap();
        for change in plan.changes() {
            let arrived = match &change.action {
                Action::Issue(request) => ledger.current(&request.host, request.role),
                Action::Fetch { holder, role, .. } => ledger.current(holder, *role),
                _ => None,
            };
            if let Some(entry) = arrived {
                let event = Event::Delivered {
                    serial: entry.serial.clone(),
                    at: now,
                    kept: ca.settings.keep_issued_keys,
                };
                text += &(serde_json::to_string(&event).unwrap() + "\n");
            }
        }
        machine.write(&path, &text, now.unix_timestamp());
    }

    fn carry_out_on_nodes(
        &mut self,
        inventory: &Inventory,
        plan: &Plan,
        now: OffsetDateTime,
        fail: &BTreeSet<String>,
    ) -> BTreeSet<String> {
        let mut confirmed = BTreeSet::new();
        let at = now.unix_timestamp();
        let run = format!("run{at}");
        for (sequence, (host, batch)) in in_order(plan).into_iter().enumerate() {
            let restarts = |change: &Change| matches!(change.action, Action::Restart(_));
            if batch.changes.iter().any(restarts) {
                if fail.contains(&host.host) {
                    continue;
                }
                confirmed.insert(host.host.clone());
            }
            if !batch.follows.is_subset(&confirmed) {
                continue;
            }
            let files: Vec<&FileChange> = batch
                .changes
                .iter()
                .filter_map(|change| match &change.action {
                    Action::File(file) => Some(file),
                    _ => None,
                })
                .collect();
            let forgets = |change: &Change| matches!(change.action, Action::Forget(_));
            let machine = self.machines.get_mut(&host.host).unwrap();
            machine.act_as(inventory.host(&host.host).unwrap());
            if !files.is_empty() && !batch.changes.iter().any(forgets) {
                machine.keep_generation(&run, sequence, &files, at);
            }
            for change in &batch.changes {
                self.carry_out_change(change, at);
            }
        }
        confirmed
    }

    fn carry_out_change(&mut self, change: &Change, at: i64) {
        if let Action::File(file) = &change.action {
            self.place(&change.host, file, at);
        }
        let machine = self.machines.get_mut(&change.host).unwrap();
        match &change.action {
            Action::Restart(restart) => {
                machine.restart("deployed", at + 5);
                machine.confirm(&restart.reads, RECORD, at + 6);
            }
            Action::Reload(reload) => {
                if let Some(lines) = &reload.has_read {
                    let text = format!("{}\n{lines}", machine.unit["InvocationID"]);
                    machine.write(RECORD, &text, at);
                }
            }
            Action::Forget(Forget::Generation(kept)) => machine.forget_generation(kept),
            Action::Forget(Forget::Everything) => machine.forget_everything(),
            _ => {}
        }
    }

    /// Takes an issued pair away from the CA node.
    fn forget(&mut self, inventory: &Inventory, host: &str, role: Role) {
        let ca = inventory.ca();
        // It may have left the inventory since.
        let Some(host) = inventory.holder(host) else {
            return;
        };
        let names = plan::issued_names(&ca.settings.issued_name, host, role).unwrap();
        let machine = self.machines.get_mut(&ca.name).unwrap();
        for name in [names.0, names.1] {
            machine
                .disk
                .remove(&format!("{}/{name}", ca.settings.ca_dir));
        }
    }

    fn promote(&mut self, ca: &Host, now: OffsetDateTime) {
        let next = self.next.take().expect("there is a next CA");
        let directory = &ca.settings.ca_dir;
        let machine = self.machines.get_mut(&ca.name).unwrap();
        let owner = machine.account.clone();
        for (name, mode) in [("ca-key.pem", 0o400), ("ca.pem", 0o444)] {
            let old = machine
                .stored(&format!("{directory}/{name}"))
                .unwrap()
                .bytes
                .clone();
            let retired = format!("{directory}/retired/1/{name}");
            put(machine, &retired, &old, mode, &owner, now);
            machine.disk.remove(&format!("{directory}/next/{name}"));
        }
        let pem = next.certificate().to_pem();
        let path = format!("{directory}/ca.pem");
        put(machine, &path, pem.as_bytes(), 0o444, &owner, now);
        let path = format!("{directory}/.rolled-over");
        put(machine, &path, b"retired/1", 0o444, &owner, now);
        self.authority = Some(next);
    }

    pub fn create_authority(&mut self, ca: &Host, profile: &AuthorityProfile, now: OffsetDateTime) {
        self.create_authority_in(ca, "", profile, now);
    }

    fn create_authority_in(
        &mut self,
        ca: &Host,
        below: &str,
        profile: &AuthorityProfile,
        now: OffsetDateTime,
    ) {
        let authority = Authority::create(profile, now).unwrap();
        let directory = format!("{}{below}", ca.settings.ca_dir);
        let pem = authority.certificate().to_pem();
        let machine = self.machines.get_mut(&ca.name).unwrap();
        let owner = machine.account.clone();
        machine.make(&directory, &owner, 0o700);
        machine.mkdir(&directory, &owner, 0o700);
        for (name, text, mode) in [
            ("ca-key.pem", "an encrypted key\n", 0o400),
            ("ca.pem", &pem, 0o444),
        ] {
            put(
                machine,
                &format!("{directory}/{name}"),
                text.as_bytes(),
                mode,
                &owner,
                now,
            );
        }
        self.authority = Some(authority);
    }

    /// Issues a pair and leaves it on the CA node, undelivered.
    pub fn issue(&mut self, ca: &Host, request: &LeafRequest, now: OffsetDateTime) {
        let authority = match request.signer {
            Signer::Current => self.authority.as_ref(),
            Signer::Next => self.next.as_ref(),
        };
        let authority = authority.expect("there is a CA");
        let profile = LeafProfile {
            common_name: request.common_name.clone(),
            role: request.role,
            sans: request.sans.clone(),
            key_type: request.key_type,
            validity: Duration::days(request.validity_days.into()),
        };
        let leaf = authority.issue(&profile, now).unwrap();
        let certificate = &leaf.certificate;
        let entry = Entry {
            serial: certificate.serial().to_owned(),
            role: request.role,
            host: request.host.clone(),
            subject: certificate.subject().to_owned(),
            sans: certificate.sans().clone(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            certificate_sha256: certificate.sha256(),
            key_sha256: sha256_hex(leaf.key_pem.expose()),
            public_key_sha256: certificate.public_key_sha256(),
            key_type: request.key_type,
            issuer_sha256: authority.certificate().sha256(),
            issued_at: now,
            issued_name: IssuedName {
                key: request.key_name.clone(),
                certificate: request.certificate_name.clone(),
            },
            superseded: false,
            delivered: false,
            kept: false,
            adopted: false,
        };
        let line = serde_json::to_string(&Event::Issued(Box::new(entry))).unwrap() + "\n";
        let directory = &ca.settings.ca_dir;
        let machine = self.machines.get_mut(&ca.name).unwrap();
        let owner = machine.account.clone();
        let path = format!("{directory}/.ledger.jsonl");
        let mut ledger = machine
            .stored(&path)
            .map(|file| file.bytes.clone())
            .unwrap_or_default();
        ledger.extend(line.as_bytes());
        put(machine, &path, &ledger, 0o600, &owner, now);
        let key = leaf.key_pem.expose();
        put(
            machine,
            &format!("{directory}/{}", request.key_name),
            key,
            0o400,
            &owner,
            now,
        );
        let pem = certificate.to_pem();
        let path = format!("{directory}/{}", request.certificate_name);
        put(machine, &path, pem.as_bytes(), 0o444, &owner, now);
        self.pairs
            .insert((request.host.clone(), request.role), leaf);
    }

    /// The certificates that lie on the nodes, daemons' first.
    pub fn leaves(&self, inventory: &Inventory) -> Vec<Vec<u8>> {
        let of = |host: &Host, role: Role| {
            let (directory, files) = plan::host::leaf::location(host, role);
            let directory = directory.replace("~/", "/home/ubuntu/");
            let stored = self.machines[&host.name].stored(&format!("{directory}/{}", files.cert));
            stored.unwrap().bytes.clone()
        };
        let daemons = inventory.daemons().map(|host| of(host, Role::Daemon));
        daemons
            .chain(inventory.clients().map(|host| of(host, Role::Client)))
            .collect()
    }

    /// Files of generations on all machines.
    pub fn kept(&self) -> usize {
        let disks = self
            .machines
            .values()
            .flat_map(|machine| machine.disk.keys());
        disks.filter(|path| path.contains("/generations/")).count()
    }

    fn place(&mut self, host: &str, file: &FileChange, at: i64) {
        let bytes = match &file.content {
            Content::Gone { .. } => {
                let machine = self.machines.get_mut(host).unwrap();
                machine.disk.remove(&file.path());
                return;
            }
            Content::Kept { copy, .. } => self.machines[host].stored(copy).unwrap().bytes.clone(),
            Content::Text(text) | Content::Certificates(text) => text.as_bytes().to_vec(),
            Content::Program(program) => program.bytes.to_vec(),
            Content::Authority => self
                .authority
                .as_ref()
                .unwrap()
                .certificate()
                .to_pem()
                .into_bytes(),
            Content::Leaf { holder, role, part } => {
                let leaf = &self.pairs[&(holder.clone(), *role)];
                match part {
                    LeafPart::Certificate => leaf.certificate.to_pem().into_bytes(),
                    LeafPart::Key => leaf.key_pem.expose().to_vec(),
                }
            }
            Content::Copy { from } => self.machines[host].stored(from).unwrap().bytes.clone(),
            Content::Same => self.machines[host]
                .stored(&file.path())
                .unwrap()
                .bytes
                .clone(),
        };
        let machine = self.machines.get_mut(host).unwrap();
        machine.make(&file.directory, &file.account, file.directory_mode);
        let stored = Stored {
            bytes,
            mode: file.mode,
            owner: file.account.clone(),
            changed: at,
            link: false,
        };
        machine.disk.insert(file.path(), Item::File(stored));
    }
}

/// The batches of a plan whose every daemon is confirmed, followers after all of them.
fn in_order(plan: &Plan) -> Vec<(&PlannedHost, &Batch)> {
    let hosts = plan.plays.iter().flat_map(|play| &play.hosts);
    let batches = hosts.flat_map(|host| host.batches.iter().map(move |batch| (host, batch)));
    let (follows, first): (Vec<_>, Vec<_>) =
        batches.partition(|(_, batch)| !batch.follows.is_empty());
    first.into_iter().chain(follows).collect()
}

fn put(
    machine: &mut Machine,
    path: &str,
    bytes: &[u8],
    mode: u32,
    owner: &str,
    now: OffsetDateTime,
) {
    let stored = Stored {
        bytes: bytes.to_vec(),
        mode,
        owner: owner.to_owned(),
        changed: now.unix_timestamp(),
        link: false,
    };
    machine.disk.insert(path.to_owned(), Item::File(stored));
}
