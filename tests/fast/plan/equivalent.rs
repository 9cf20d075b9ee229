//! Inventories that mean the same: the same hosts, the same plans, whatever is done and in
//! whatever order.
//!
//! `SEED=` repeats a run, `CASES=` makes it longer. `tests/e2e/equivalent.rs` does the same
//! with the commands themselves, on the lab.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use inventory::{Environment, Host, Inventory, MemoryFiles, load};
use pki::Role;
use plan::orchestrator::plan;
use plan::playbook::Renewals;
use plan::playbook::{Filter, Playbook, SHIPPED, parse, select};
use plan::{Action, Plan};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::plan_support::lab::Lab;
use crate::plan_support::outcome::describe;
use crate::random::{Random, seed};
use crate::spelling::{Meant, Spelt, Value, spell};

const BEGUN: OffsetDateTime = datetime!(2030-01-01 00:00 UTC);

fn cases(otherwise: u64) -> u64 {
    std::env::var("CASES").map_or(otherwise, |text| text.parse().expect("CASES is a number"))
}

fn machine(name: &str, address: &str, groups: &[&'static str]) -> Meant {
    let text = |text: &str| Value::Text(text.to_owned());
    Meant {
        name: name.to_owned(),
        groups: groups.to_vec(),
        variables: BTreeMap::from([
            ("ansible_host".to_owned(), text(address)),
            ("ansible_user".to_owned(), text("ubuntu")),
        ]),
    }
}

/// A CA, daemons and clients, and what they have in common.
fn meaning(random: &mut Random) -> Vec<Meant> {
    let mut machines = vec![
        machine("node1", "10.0.0.10", &["clients"]),
        machine("node2", "10.0.0.11", &["ca"]),
        machine("node3", "10.0.0.12", &["daemons"]),
    ];
    if random.one_in(2) {
        machines.push(machine("node4", "10.0.0.13", &["daemons"]));
    }
    if random.one_in(2) {
        machines.push(machine("node5", "10.0.0.14", &["clients"]));
    }
    if random.one_in(3) {
        machines.push(machine("node6", "10.0.0.15", &[]));
    }
    let settings = [
        ("ansible_port", Value::Number(2222)),
        ("dtls_validity_days", Value::Number(90)),
        ("dtls_keep_generations", Value::Number(5)),
        (
            "dtls_extra_sans",
            Value::List(vec![
                "DNS:docker.example.com".to_owned(),
                "IP:10.9.9.9".to_owned(),
                "IP:fd00::9".to_owned(),
            ]),
        ),
        ("dtls_local_socket", Value::Flag(true)),
        ("dtls_keep_issued_keys", Value::Flag(false)),
    ];
    for (name, value) in settings {
        if random.one_in(2) {
            for machine in &mut machines {
                machine.variables.insert(name.to_owned(), value.clone());
            }
        }
    }
    machines
}

/// The same, and root where it makes no difference: on a CA and a daemon it is what they need
/// anyway, on a client only the place changes where its old files are kept.
fn with_root(machines: &[Meant], random: &mut Random, asked: &mut BTreeSet<String>) -> Vec<Meant> {
    let all = random.one_in(3);
    let mut machines = machines.to_vec();
    for machine in &mut machines {
        if all || random.one_in(3) {
            asked.insert(machine.name.clone());
        }
        if asked.contains(&machine.name) {
            let root = Value::Flag(true);
            machine.variables.insert("ansible_become".to_owned(), root);
        }
    }
    machines
}

fn inventory(spelt: &Spelt) -> Inventory {
    let at = |name: &str| PathBuf::from("/case").join(name);
    let files = spelt.files.iter();
    let environment = Environment {
        home: None,
        user: Some("operator".to_owned()),
        directory: PathBuf::from("/case"),
        untrusted: false,
        files: Arc::new(MemoryFiles(
            files
                .map(|(name, text)| (at(name), text.clone().into_bytes()))
                .collect(),
        )),
    };
    load(
        Path::new("/case/inventory.yaml"),
        &spelt.extra,
        &environment,
    )
    .unwrap_or_else(|errors| panic!("{errors}\n{spelt:#?}"))
}

/// What of a host counts, whatever groups it is in and wherever its variables stand.
fn settled(host: &Host) -> String {
    format!(
        "{} ca={} daemon={} client={} {:?} {:?} {:?} {:?}",
        host.name,
        host.is_ca,
        host.is_daemon,
        host.is_client,
        host.connection.address,
        host.connection.port,
        host.connection.user,
        host.settings,
    )
}

fn settled_hosts(inventory: &Inventory) -> BTreeSet<String> {
    let hosts = inventory.hosts.iter().filter(|host| host.name != "win1");
    hosts.map(settled).collect()
}

/// Something that an operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Deploy,
    Rotate(Renewals, Option<&'static str>),
    RotateCa,
    Rollback,
    Remove,
}

const ACTS: [Act; 9] = [
    Act::Deploy,
    Act::Rotate(Renewals::Due, None),
    Act::Rotate(Renewals::Forced, None),
    Act::Rotate(Renewals::Forced, Some("clients")),
    Act::Rotate(Renewals::Forced, Some("daemons")),
    Act::RotateCa,
    Act::Rollback,
    Act::Rollback,
    Act::Remove,
];

fn shipped(name: &str) -> Playbook {
    let found = SHIPPED.iter().find(|(shipped, _)| *shipped == name);
    parse(name, found.unwrap().1).unwrap_or_else(|problems| panic!("{problems:?}"))
}

impl Act {
    fn playbook(self, inventory: &Inventory) -> Playbook {
        let (mut playbook, tags) = match self {
            Self::Deploy => (shipped("deploy"), None),
            Self::Rotate(renewals, tags) => {
                let rotate = shipped("rotate").as_part_of(shipped("deploy"), renewals);
                (rotate, tags)
            }
            Self::RotateCa => (shipped("rotate-ca"), None),
            Self::Rollback => (shipped("rollback"), None),
            Self::Remove => (shipped("remove"), None),
        };
        let filter = Filter {
            limit: None,
            tags: tags.into_iter().map(str::to_owned).collect(),
            skip_tags: Vec::new(),
        };
        select(&mut playbook, inventory, &filter).unwrap();
        playbook
    }
}

/// A lab in memory, and an inventory for each act.
struct World {
    lab: Lab,
    inventory: Inventory,
}

impl World {
    /// Plans an act with an inventory, and carries it out where all hosts can be planned for.
    fn act(&mut self, act: Act, inventory: Inventory, now: OffsetDateTime) -> Plan {
        self.inventory = inventory;
        let playbook = act.playbook(&self.inventory);
        let facts = self
            .lab
            .facts(&self.inventory, &playbook, now, &BTreeSet::new());
        let plan = plan(&self.inventory, &playbook, &facts, now);
        if plan.problems.is_empty() {
            self.lab.carry_out(&self.inventory, &plan, now);
        }
        plan
    }
}

/// What is planned, in alphabetical order, without what only names a place.
fn told(plan: &Plan) -> Vec<String> {
    let text = describe(plan).to_yaml();
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| {
            let words = line.split(' ').map(|word| match word.split_once("-run") {
                Some(_) if word.contains('.') => "GENERATION",
                _ => word,
            });
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    // In which order the file names hosts is not what it means.
    lines.sort_unstable();
    lines
}

/// One program of acts, done with one spelling throughout, and with another spelling for
/// every act.
fn same_plans(number: u64) {
    let mut random = Random::new(number);
    let meant = meaning(&mut random);
    let plain = inventory(&spell(&meant, &mut Random::new(0)));
    let mut one = World {
        lab: Lab::fresh(&plain, BEGUN),
        inventory: plain.clone(),
    };
    let mut other = World {
        lab: Lab::fresh(&plain, BEGUN),
        inventory: plain.clone(),
    };
    let mut now = BEGUN;
    let mut root = BTreeSet::new();
    let mut acts = vec![Act::Deploy];
    acts.extend((0..6).map(|_| *random.pick(&ACTS)));
    for (index, act) in acts.iter().enumerate() {
        now += Duration::days(*random.pick(&[0, 1, 40, 70])) + Duration::minutes(1);
        let spelt = spell(&with_root(&meant, &mut random, &mut root), &mut random);
        let theirs = inventory(&spelt);
        assert_eq!(
            settled_hosts(&theirs),
            settled_hosts(&plain),
            "SEED={number}\n{spelt:#?}"
        );
        let passes = if *act == Act::RotateCa { 8 } else { 1 };
        for _ in 0..passes {
            now += Duration::minutes(1);
            let expected = one.act(*act, plain.clone(), now);
            let found = other.act(*act, theirs.clone(), now);
            let (expected, found) = (told(&expected), told(&found));
            let missing: Vec<&String> = expected.iter().filter(|of| !found.contains(of)).collect();
            let extra: Vec<&String> = found.iter().filter(|of| !expected.contains(of)).collect();
            assert!(
                expected == found,
                "SEED={number}: {act:?} is act {index} of {acts:?}\nmissing {missing:#?}\nextra {extra:#?}\n{spelt:#?}"
            );
        }
    }
}

#[test]
fn inventories_that_mean_the_same_give_the_same_plans() {
    let seed = seed();
    println!("SEED={seed}");
    for number in 0..cases(60) {
        same_plans(seed.wrapping_add(number));
    }
}

/// A machine in several roles is planned as several machines in one each: nothing is refused,
/// every certificate is renewed, and what was there comes back.
fn roles_share(number: u64) {
    let mut random = Random::new(number);
    let mut machines: Vec<Meant> = Vec::new();
    for role in ["ca", "daemons", "clients"] {
        let place = random.below(3).min(machines.len());
        if let Some(machine) = machines.get_mut(place) {
            machine.groups.push(role);
        } else {
            let digit = machines.len() + 1;
            let (name, address) = (format!("node{digit}"), format!("10.0.0.{}", 9 + digit));
            machines.push(machine(&name, &address, &[role]));
        }
    }
    let mut root = BTreeSet::new();
    let mut spelt =
        |random: &mut Random| inventory(&spell(&with_root(&machines, random, &mut root), random));
    let first = spelt(&mut random);
    let mut world = World {
        lab: Lab::fresh(&first, BEGUN),
        inventory: first.clone(),
    };
    let plan = world.act(Act::Deploy, first, BEGUN);
    assert_eq!(plan.problems, [], "SEED={number}");
    let before = world.lab.leaves(&world.inventory);
    let mut now = BEGUN;
    for act in [
        Act::Rotate(Renewals::Forced, None),
        Act::Rollback,
        Act::Deploy,
    ] {
        now += Duration::days(1);
        let plan = world.act(act, spelt(&mut random), now);
        assert_eq!(plan.problems, [], "SEED={number}: {act:?} {machines:#?}");
        let issued: BTreeSet<Role> = plan
            .changes()
            .filter_map(|change| match &change.action {
                Action::Issue(request) => Some(request.role),
                _ => None,
            })
            .collect();
        let leaves = world.lab.leaves(&world.inventory);
        if act == Act::Rotate(Renewals::Forced, None) {
            assert_eq!(issued, [Role::Daemon, Role::Client].into(), "SEED={number}");
            assert!(
                leaves.iter().zip(&before).all(|(new, old)| new != old),
                "SEED={number}"
            );
        } else {
            assert!(issued.is_empty(), "SEED={number}: {act:?}");
            assert_eq!(leaves, before, "SEED={number}: {act:?} {machines:#?}");
        }
    }
    now += Duration::days(1);
    let plan = world.act(Act::Remove, spelt(&mut random), now);
    assert_eq!(plan.problems, [], "SEED={number}: remove {machines:#?}");
    assert_eq!(world.lab.kept(), 0, "SEED={number}: {machines:#?}");
}

#[test]
fn a_machine_in_several_roles_is_served_in_each() {
    let seed = seed();
    println!("SEED={seed}");
    for number in 0..cases(60) {
        roles_share(seed.wrapping_add(number));
    }
}
