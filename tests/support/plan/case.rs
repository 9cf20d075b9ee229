//! A case as it is written: what is there, what is wanted, what is planned.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::event::Finding;
use dtls_deploy::doctor::examine_facts;
use dtls_deploy::status;
use inventory::{Environment, Host, Inventory, MemoryFiles, load};
use node::facts::{FactRequest, NodeFacts};
use pki::{AuthorityProfile, Event, LeafRequest, Ledger, Revocation, Role, Signer, Subject};
use plan::host::guard::Program;
use plan::module::outdated_policies;
use plan::orchestrator;
use plan::orchestrator::examine;
use plan::orchestrator::plan;
use plan::playbook::{Allowed, LastRun, Renewals};
use plan::playbook::{Filter, Playbook, SHIPPED, parse, select};
use plan::{
    Action, Authority, Plan, before_new_authority, issued_names, leave_out_shared, left_contexts,
    revoked,
};
use serde::Deserialize;
use serde_json::Value;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::lab::Lab;
use super::outcome::{Outcome, describe, without_serials};
use super::reworded::reworded;

/// When every deployment happened.
pub const DEPLOYED: OffsetDateTime = datetime!(2030-01-01 00:00 UTC);

const INVENTORY: &str = "all:
  children:
    ca: {hosts: {authority: {ansible_host: 10.0.0.11}}}
    daemons: {hosts: {daemon: {ansible_host: 10.0.0.12}}}
    clients: {hosts: {client: {ansible_host: 10.0.0.10}}}
";

// What may have happened is independent of each other.
#[allow(clippy::struct_excessive_bools)]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// An inventory of the case's own.
    inventory: Option<String>,
    /// Variables for everyone at the deployment that the case begins with;
    /// `bare: true` leaves that deployment out.
    #[serde(default)]
    deployed_with: BTreeMap<String, Value>,
    #[serde(default)]
    bare: bool,
    /// Variables for everyone when the plan is made.
    #[serde(default)]
    variables: BTreeMap<String, Value>,
    /// Variables for everyone at a second deployment.
    #[serde(default)]
    redeployed_with: BTreeMap<String, Value>,
    /// Passes of `rotate --ca` between the deployment and what has happened since.
    #[serde(default)]
    rolled: usize,
    /// Revoked between the two deployments.
    #[serde(default)]
    revoked_between: Vec<String>,
    /// The guards have got what was revoked.
    #[serde(default)]
    policies: bool,
    /// And with the inventory of later.
    #[serde(default)]
    rolled_later: usize,
    /// The inventory when the plan is made, where it is another one by then.
    later_inventory: Option<String>,
    /// `--abandon`, for clients of the inventory.
    #[serde(default)]
    left_out: Vec<String>,
    /// The shipped playbook of this name is planned.
    shipped: Option<String>,
    /// The playbook that is planned; deploy.yaml unless given.
    playbook: Option<String>,
    /// rotate.yaml, as `rotate` (due) or `rotate --force` (force) plans it.
    rotate: Option<Rotate>,
    /// `--limit`, `--tags`, `--skip-tags`.
    limit: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    skip_tags: Vec<String>,
    /// Days between the deployment and the plan.
    #[serde(default = "one")]
    days: i64,
    /// Another CA was made after the deployment.
    #[serde(default)]
    another_ca: bool,
    /// Hosts whose certificates were renewed after the backup that `restored` puts back.
    #[serde(default)]
    renewed_since: Vec<String>,
    /// `HOST ROLE`, or `NAME@HOST client`, and perhaps ` next` for the next CA: a pair was issued after the deployment (and after
    /// `another_ca`) and lies undelivered on the CA node.
    #[serde(default)]
    waiting: Vec<String>,
    /// The leaves were not issued here but adopted.
    #[serde(default)]
    adopted: bool,
    /// Hosts whose certificates were revoked since.
    #[serde(default)]
    revoked: Vec<String>,
    /// Hosts whose certificates were to be renewed since, and could not be.
    #[serde(default)]
    renewal_asked: Vec<String>,
    /// The CA directory is put back as it was after the deployment.
    #[serde(default)]
    restored: bool,
    /// `--new-ca`.
    #[serde(default)]
    new_ca: bool,
    /// Runs that the controller has journals of, and the hosts that each has changed.
    #[serde(default)]
    own_runs: BTreeMap<String, BTreeSet<String>>,
    /// The last run that changed something, in the controller's journals: its name, and the hosts.
    last_run: Option<(String, BTreeSet<String>)>,
    /// `--readmit-ca`.
    #[serde(default)]
    readmit_ca: Vec<String>,
    /// The playbook is begun by a schedule: restarts keep to maintenance windows.
    #[serde(default)]
    keeps_windows: bool,
    /// By host, what someone did there since.
    #[serde(default)]
    drift: BTreeMap<String, BTreeMap<String, Value>>,
    /// Daemons that were seen to ask for certificates of another CA.
    #[serde(default)]
    foreign_authority: Vec<String>,
    #[serde(default)]
    unreachable: BTreeSet<String>,
    /// Whether the plan ends with verification; not checked unless given.
    proof: Option<bool>,
    /// The names of the certificate that is issued for a daemon; not checked unless given.
    names: Option<Vec<String>>,
    /// Written by `UPDATE_CASES=1`.
    #[serde(default)]
    #[allow(dead_code)]
    expect: Value,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Rotate {
    Due,
    Force,
}

const fn one() -> i64 {
    1
}

pub struct Case {
    text: String,
    written: Written,
}

impl Case {
    pub fn read(text: &str) -> Result<Self, String> {
        let written = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        Ok(Self {
            text: text.to_owned(),
            written,
        })
    }

    /// The lines below `expect:`; it stands last in a case.
    pub fn expected(&self) -> String {
        match self.text.split_once("\nexpect:") {
            Some((_, expected)) => expected
                .trim_start_matches([' ', '{', '}'])
                .trim_start_matches('\n')
                .to_owned(),
            None => String::from("(nothing yet)\n"),
        }
    }

    pub fn with_expected(&self, found: &str) -> String {
        let before = self.text.split("\nexpect:").next().unwrap().trim_end();
        let found = if found.is_empty() {
            " {}\n".to_owned()
        } else {
            format!("\n{found}")
        };
        format!("{before}\nexpect:{found}")
    }

    pub fn mentions(&self, module: &str) -> bool {
        self.playbook_text().contains(&format!("{module}:"))
    }

    fn playbook_text(&self) -> &str {
        let shipped = self.written.shipped.as_deref().map(shipped);
        let own = self.written.playbook.as_deref();
        own.or(shipped).unwrap_or(SHIPPED[0].1)
    }

    fn inventory(&self, variables: &BTreeMap<String, Value>) -> Inventory {
        let text = self.written.inventory.as_deref().unwrap_or(INVENTORY);
        inventory_of(text, variables)
    }
}

pub fn shipped(name: &str) -> &'static str {
    let found = SHIPPED.iter().find(|(shipped, _)| *shipped == name);
    found.unwrap_or_else(|| panic!("{name} is not shipped")).1
}

pub fn inventory_of(text: &str, variables: &BTreeMap<String, Value>) -> Inventory {
    let path = Path::new("/case/test.yaml");
    let environment = Environment {
        home: None,
        user: Some("operator".to_owned()),
        directory: PathBuf::from("/case"),
        files: Arc::new(MemoryFiles(BTreeMap::from([(
            path.to_owned(),
            text.as_bytes().to_vec(),
        )]))),
        untrusted: false,
    };
    let extra = serde_json::to_string(variables).unwrap();
    load(path, &[extra], &environment).unwrap_or_else(|errors| panic!("{:?}", errors.problems))
}

impl Case {
    /// Deploys in memory, lets happen what the case says, and plans.
    pub fn outcome(&self) -> Outcome {
        let plan = self.plan();
        if let Some(names) = &self.written.names {
            let issued = plan.changes().find_map(|change| match &change.action {
                Action::Issue(request) if request.role == Role::Daemon => Some(&request.sans),
                _ => None,
            });
            let issued = issued.expect("a certificate is issued").iter();
            let issued: Vec<String> = issued.map(ToString::to_string).collect();
            assert_eq!(&issued, names, "the names of the certificate");
        }
        let outcome = describe(&plan);
        if let Some(proof) = self.written.proof {
            assert_eq!(outcome.proof, proof, "whether the plan ends in a proof");
        }
        outcome
    }

    pub fn plan(&self) -> Plan {
        let (inventory, playbook, facts, now) = self.scene();
        plan(&inventory, &playbook, &facts, now)
    }

    /// The same, and lets the doctor look; in the words of `expect:`.
    pub fn findings(&self) -> String {
        let (inventory, playbook, facts, now) = self.scene();
        let examined = || examine(&inventory, &playbook, &facts, now);
        let look = |examined| examine_facts(&inventory, &playbook, &facts, examined, now);
        let found = look(examined());
        let decided = |found: &[Finding]| -> Vec<_> {
            let decided = found.iter().map(|one| Finding {
                seen: String::new(),
                advice: String::new(),
                ..one.clone()
            });
            decided.collect()
        };
        assert_eq!(
            decided(&look(reworded(examined()))),
            decided(&found),
            "what is found depends on the words of the plan"
        );
        found.iter().fold(String::new(), |mut text, finding| {
            let deploy = match (finding.mended_by_deploy, finding.refused_by_deploy) {
                (true, _) => "mended",
                (_, true) => "refused",
                _ => "left",
            };
            let line = format!(
                "{} | {} | {} | {} | {} | {deploy}",
                finding.severity.word(),
                finding.host,
                finding.topic.word(),
                without_serials(&finding.seen.replace('\n', " / ")),
                finding.advice
            );
            writeln!(text, "  - '{}'", line.replace('\'', "''")).unwrap();
            text
        })
    }

    /// Who trusts what was revoked, all the same.
    pub fn trusting(&self) -> Vec<String> {
        let (inventory, _, facts, now) = self.scene();
        let ca = inventory.ca();
        let authority = Authority::read(ca, facts.get(&ca.name));
        revoked::revoked(&authority, now)
            .flat_map(|(entry, _)| revoked::trusted_by(entry, &inventory, &facts))
            .collect()
    }

    /// What status lists without a handshake; in the words of `expect:`.
    pub fn certificates(&self) -> String {
        let (lab, inventory, playbook, now) = self.lab();
        let asks = |host: &Host, request: &mut FactRequest| {
            orchestrator::request(&playbook, &inventory, host, request);
            status::request(&inventory, host, request);
        };
        let facts = lab.facts_of(&inventory, asks, now, &self.written.unreachable);
        let found = status::examine_facts(&inventory, &facts, now);
        let lines = found.iter().map(|one| {
            let text = one.certificate.as_ref();
            let of = |word: &str, text: Option<String>| text.map(|text| format!("{word}{text}"));
            let said = one.drift.iter().cloned().chain(one.due.clone());
            let said = said
                .chain(of("", text.map(|text| text.sans.join(" "))))
                .chain(of("issued by ", text.map(|text| text.issuer.clone())));
            let said: Vec<String> = said.filter(|text| !text.is_empty()).collect();
            format!(
                "{} | {} | {} {} | {}",
                one.state.word(),
                one.identity
                    .as_ref()
                    .map_or_else(|| one.host.clone(), |of| format!("{of}@{}", one.host)),
                one.role.word(),
                one.source.word(),
                without_serials(&said.join("; "))
            )
        });
        lines.fold(String::new(), |mut text, line| {
            writeln!(text, "  - '{}'", line.replace('\'', "''")).unwrap();
            text
        })
    }

    /// What is there in the end, and what is wanted.
    fn scene(
        &self,
    ) -> (
        Inventory,
        Playbook,
        BTreeMap<String, NodeFacts>,
        OffsetDateTime,
    ) {
        let (lab, inventory, playbook, now) = self.lab();
        let mut facts = lab.facts(&inventory, &playbook, now, &self.written.unreachable);
        // A run with a limit sees no other host, except before it makes a CA.
        let in_run = |host: &Host| {
            playbook.limit.is_none() || playbook.plays.iter().any(|play| play.includes(host))
        };
        facts.retain(|name, _| {
            let host = inventory.host(name).unwrap();
            host.is_ca || in_run(host)
        });
        let others = before_new_authority(&playbook, &inventory, &facts);
        for (host, request) in others {
            let asks = |one: &Host, asked: &mut FactRequest| {
                if one.name == host.name {
                    asked.clone_from(&request);
                }
            };
            let mut seen = lab.facts_of(&inventory, asks, now, &self.written.unreachable);
            facts.extend(seen.remove_entry(&host.name));
        }
        for (host, request) in left_contexts(&playbook, &inventory, &facts, now) {
            let more = lab.machines[&host.name].facts(&request, now);
            facts.get_mut(&host.name).unwrap().add_files(more);
        }
        leave_out_shared(&mut facts);
        for host in &self.written.foreign_authority {
            facts.get_mut(host).unwrap().claims.foreign_authority = true;
        }
        (inventory, playbook, facts, now)
    }

    /// The machines in the end, and what is wanted of them.
    fn lab(&self) -> (Lab, Inventory, Playbook, OffsetDateTime) {
        let written = &self.written;
        let deployed = self.inventory(&written.deployed_with);
        let deploy = playbook(SHIPPED[0].1);
        let mut lab = Lab::fresh(&deployed, DEPLOYED);
        if !written.bare {
            let facts = lab.facts(&deployed, &deploy, DEPLOYED, &BTreeSet::new());
            lab.carry_out(
                &deployed,
                &plan(&deployed, &deploy, &facts, DEPLOYED),
                DEPLOYED,
            );
        }
        let mut variables = written.deployed_with.clone();
        if !written.revoked_between.is_empty() {
            let at = DEPLOYED + Duration::minutes(20);
            revoke(&mut lab, deployed.ca(), &written.revoked_between, at);
        }
        if !written.redeployed_with.is_empty() {
            variables.extend(written.redeployed_with.clone());
            let again = self.inventory(&variables);
            let at = DEPLOYED + Duration::minutes(30);
            let facts = lab.facts(&again, &deploy, at, &BTreeSet::new());
            lab.carry_out(&again, &plan(&again, &deploy, &facts, at), at);
        }
        let backup = lab.backup(deployed.ca());
        for host in &written.renewed_since {
            let at = DEPLOYED + Duration::minutes(40);
            let mut again = rotation();
            let filter = Filter {
                limit: Some(host.clone()),
                ..Filter::default()
            };
            select(&mut again, &deployed, &filter).unwrap();
            let facts = lab.facts(&deployed, &again, at, &BTreeSet::new());
            lab.carry_out(&deployed, &plan(&deployed, &again, &facts, at), at);
        }
        let now = DEPLOYED + Duration::days(written.days);
        variables.extend(written.variables.clone());
        let mut inventory = self.inventory(&variables);
        for pass in 0..written.rolled + written.rolled_later {
            if pass == written.rolled
                && let Some(text) = &written.later_inventory
            {
                inventory = inventory_of(text, &variables);
            }
            let at = DEPLOYED + Duration::hours(1) + Duration::minutes(pass.try_into().unwrap());
            let rotate = playbook(shipped("rotate-ca"));
            let facts = lab.facts(&inventory, &rotate, at, &BTreeSet::new());
            lab.carry_out(&inventory, &plan(&inventory, &rotate, &facts, at), at);
        }
        if let Some(text) = &written.later_inventory {
            inventory = inventory_of(text, &variables);
        }
        for name in &written.left_out {
            inventory.leave_out(name);
        }
        self.happen(&mut lab, &inventory, now);
        if written.restored {
            lab.restore(inventory.ca(), backup);
        }
        let mut playbook = self.playbook();
        playbook.keeps_windows = written.keeps_windows;
        playbook.allowed = Allowed {
            new_authority: written.new_ca,
            readmitted: written.readmit_ca.clone(),
        };
        playbook.own_runs.clone_from(&written.own_runs);
        playbook.last_run = written.last_run.clone().map(|(run, hosts)| LastRun {
            run,
            command: "revoke".to_owned(),
            hosts,
        });
        let filter = Filter {
            limit: written.limit.clone(),
            tags: written.tags.clone(),
            skip_tags: written.skip_tags.clone(),
        };
        select(&mut playbook, &inventory, &filter).unwrap_or_else(|error| panic!("{error}"));
        (lab, inventory, playbook, now)
    }

    fn playbook(&self) -> Playbook {
        let renewals = match self.written.rotate {
            None => return playbook(self.playbook_text()),
            Some(Rotate::Due) => Renewals::Due,
            Some(Rotate::Force) => Renewals::Forced,
        };
        let (_, rotate) = SHIPPED.iter().find(|(name, _)| *name == "rotate").unwrap();
        playbook(rotate).as_part_of(playbook(SHIPPED[0].1), renewals)
    }

    fn happen(&self, lab: &mut Lab, inventory: &Inventory, now: OffsetDateTime) {
        let ca = inventory.ca();
        if self.written.another_ca {
            let subject = Subject::named("Another CA");
            let profile = AuthorityProfile::new(subject, ca.settings.key_type, 3650);
            lab.create_authority(ca, &profile, now);
        }
        if self.written.adopted {
            let path = format!("{}/.ledger.jsonl", ca.settings.ca_dir);
            let machine = lab.machines.get_mut(&ca.name).unwrap();
            let ledger = machine.stored(&path).unwrap().bytes.clone();
            let ledger = String::from_utf8(ledger).unwrap();
            let adopted = ledger.replace(r#""event":"issued""#, r#""event":"adopted""#);
            assert_ne!(ledger, adopted, "nothing was issued");
            machine.write(&path, &adopted, now.unix_timestamp() - 100);
        }
        let asked = self.written.renewal_asked.iter();
        let asked = asked.flat_map(|host| {
            [Role::Daemon, Role::Client].map(|role| Event::RenewalAsked {
                host: host.clone(),
                role,
                at: now,
            })
        });
        record(lab, ca, &asked.collect::<Vec<_>>(), now);
        if !self.written.revoked.is_empty() {
            revoke(lab, ca, &self.written.revoked, now);
        }
        if self.written.policies {
            let with_guard = self.inventory(&self.written.deployed_with);
            let facts = lab.facts(&with_guard, &playbook(SHIPPED[0].1), now, &BTreeSet::new());
            let authority = Authority::read(ca, facts.get(&ca.name));
            let plan = outdated_policies(&with_guard, &authority, &facts, now);
            lab.carry_out(&with_guard, &plan, now);
        }
        for waiting in &self.written.waiting {
            let (name, role) = waiting.split_once(' ').unwrap();
            let (role, signer) = match role.strip_suffix(" next") {
                Some(role) => (role, Signer::Next),
                None => (role, Signer::Current),
            };
            let role = if role == "daemon" {
                Role::Daemon
            } else {
                Role::Client
            };
            // It may have left the inventory since.
            let deployed = self.inventory(&self.written.deployed_with);
            let host = inventory.holder(name).or_else(|| deployed.holder(name));
            let host = host.unwrap();
            let (key_name, certificate_name) =
                issued_names(&ca.settings.issued_name, host, role).unwrap();
            let request = LeafRequest {
                host: name.to_owned(),
                role,
                signer,
                common_name: name.to_owned(),
                sans: plan::wanted_sans(host, role, None),
                key_type: host.settings.key_type,
                validity_days: host.settings.validity_days,
                key_name,
                certificate_name,
            };
            lab.issue(ca, &request, now);
        }
        for (host, drifts) in &self.written.drift {
            let machine = lab
                .machines
                .get_mut(host)
                .unwrap_or_else(|| panic!("no host {host}"));
            // In the order of the words below, files before the restart.
            for (what, value) in drifts.iter().filter(|(what, _)| *what != "started") {
                machine.drift(what, value, now.unix_timestamp() - 100);
            }
            if let Some(value) = drifts.get("started") {
                let at = if value == "before" { -200 } else { -50 };
                machine.drift("started", value, now.unix_timestamp() + at);
            }
        }
    }
}

/// Marks every leaf of these hosts in the ledger.
pub fn revoke(lab: &mut Lab, ca: &Host, hosts: &[String], now: OffsetDateTime) {
    let ledger = Ledger::parse(&ledger_of(lab, ca)).unwrap();
    let entries = ledger.entries().iter();
    let named = entries.filter(|entry| hosts.contains(&entry.host));
    let marks = named.map(|entry| Event::Revoked {
        serial: entry.serial.clone(),
        revocation: Revocation {
            at: now,
            reason: None,
        },
    });
    let marks: Vec<Event> = marks.collect();
    assert!(!marks.is_empty(), "nothing was issued for {hosts:?}");
    record(lab, ca, &marks, now);
}

fn ledger_path(ca: &Host) -> String {
    format!("{}/.ledger.jsonl", ca.settings.ca_dir)
}

fn ledger_of(lab: &Lab, ca: &Host) -> String {
    let file = lab.machines[&ca.name].stored(&ledger_path(ca)).unwrap();
    String::from_utf8(file.bytes.clone()).unwrap()
}

/// Adds events to the ledger.
fn record(lab: &mut Lab, ca: &Host, events: &[Event], now: OffsetDateTime) {
    if events.is_empty() {
        return;
    }
    let mut text = ledger_of(lab, ca);
    for event in events {
        writeln!(text, "{}", serde_json::to_string(event).unwrap()).unwrap();
    }
    let machine = lab.machines.get_mut(&ca.name).unwrap();
    machine.write(&ledger_path(ca), &text, now.unix_timestamp() - 100);
}

pub fn playbook(text: &str) -> Playbook {
    let playbook = parse("case", text).unwrap_or_else(|problems| panic!("{problems:?}"));
    Playbook {
        guard: Some(Program::new(b"a guard".to_vec())),
        ..playbook
    }
}

/// `rotate --force`.
pub fn rotation() -> Playbook {
    playbook(shipped("rotate")).as_part_of(playbook(shipped("deploy")), Renewals::Forced)
}
