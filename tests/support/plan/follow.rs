//! Clients follow their daemons, over generated cases: in whatever way a daemon is refused,
//! unreachable, failed, undone, skipped or another's, each client reaches afterwards every
//! daemon that it reached before.
//!
//! What a daemon runs with is what was there when it was last restarted; what a client
//! reaches follows from the files that it has, as the docker CLI reads them.

use std::collections::{BTreeMap, BTreeSet};

use docker::context;
use docker::tls::DaemonMode;
use inventory::{Host, Inventory};
use pki::{Certificate, Role};
use plan::OWNER;
use plan::host::address::daemon_address;
use plan::host::leaf::location as leaf_location;
use plan::launch::mode_now;
use plan::orchestrator::plan;
use plan::playbook::Playbook;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::case::{DEPLOYED, inventory_of, playbook, revoke, rotation, shipped};
use super::lab::Lab;

const INVENTORY: &str = "all:
  children:
    ca: {hosts: {authority: {ansible_host: 10.0.0.11}}}
    daemons:
      hosts:
        one: {ansible_host: 10.0.0.12}
        two: {ansible_host: 10.0.0.13}
    clients:
      hosts:
        client:
          ansible_host: 10.0.0.10
          ansible_user: ubuntu
          dtls_client_env: [profile, context]
          dtls_default_daemon: one
          dtls_identities:
            ci: {dir: /srv/ci/docker, owner: ci}
";

/// The outcome of a daemon in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Well,
    /// Undone, failed or skipped: its old state stays.
    Stays,
    Unreachable,
    /// Refused: a change of another run is not settled.
    Unsettled,
    /// Refused: another inventory has set it up since.
    Anothers,
}

/// What a daemon was started with.
#[derive(Debug, Clone)]
struct Running {
    mode: Option<DaemonMode>,
    bundle: Vec<Certificate>,
    leaf: Option<Certificate>,
    url: String,
}

struct World {
    lab: Lab,
    running: BTreeMap<String, Running>,
    now: OffsetDateTime,
    /// Clients that do not answer.
    silent: BTreeSet<String>,
}

impl World {
    fn deployed(variables: &BTreeMap<String, Value>) -> Self {
        let inventory = inventory_of(INVENTORY, variables);
        let mut world = Self {
            lab: Lab::fresh(&inventory, DEPLOYED),
            running: BTreeMap::new(),
            now: DEPLOYED,
            silent: BTreeSet::new(),
        };
        world.run(&inventory, &playbook(shipped("deploy")), [End::Well; 2]);
        world
    }

    /// Plans and carries out; whether there was something to do and it went well.
    fn run(&mut self, inventory: &Inventory, playbook: &Playbook, ends: [End; 2]) -> bool {
        self.now += Duration::minutes(1);
        let is = |end: &[End]| {
            let named = ["one", "two"].into_iter().zip(ends);
            let named = named.filter(|(_, found)| end.contains(found));
            named
                .map(|(name, _)| name.to_owned())
                .collect::<BTreeSet<_>>()
        };
        for name in is(&[End::Unsettled]) {
            self.lab.machines.get_mut(&name).unwrap().unsettled = Some("armed".to_owned());
        }
        for name in is(&[End::Anothers]) {
            let record = "inventory other.yaml\nca elsewhere:/ca\nauthority 00\n";
            let machine = self.lab.machines.get_mut(&name).unwrap();
            machine.write(OWNER, record, self.now.unix_timestamp() - 50);
        }
        let mut unreachable = is(&[End::Unreachable]);
        unreachable.extend(self.silent.iter().cloned());
        let facts = self.lab.facts(inventory, playbook, self.now, &unreachable);
        let plan = plan(inventory, playbook, &facts, self.now);
        let fails = is(&[End::Stays]);
        let confirmed = self
            .lab
            .carry_out_unless(inventory, &plan, self.now, &fails);
        for name in &confirmed {
            let daemon = inventory.host(name).unwrap();
            let running = self.as_on_disk(daemon, inventory);
            self.running.insert(name.clone(), running);
        }
        for machine in self.lab.machines.values_mut() {
            machine.unsettled = None;
        }
        !plan.is_empty() && plan.problems.is_empty() && fails.is_empty()
    }

    /// The CA's part of a command. The others follow with the next plans.
    fn change_ledger(&mut self, inventory: &Inventory, command: &str, ends: [End; 2]) {
        let ca = inventory.ca();
        if let Some((_, name)) = command.split_once(' ') {
            revoke(&mut self.lab, ca, &[name.to_owned()], self.now);
            return;
        }
        // As it is without us, and then with what is found on the hosts that answer.
        let path = format!("{}/.ledger.jsonl", ca.settings.ca_dir);
        let machine = self.lab.machines.get_mut(&ca.name).unwrap();
        let ledger = String::from_utf8(machine.stored(&path).unwrap().bytes.clone()).unwrap();
        let is_silent = |line: &str| {
            let named = ["one", "two"].into_iter().zip(ends);
            let mut silent = named.filter(|(_, end)| *end == End::Unreachable);
            silent.any(|(name, _)| line.contains(&format!("\"host\":\"{name}\"")))
        };
        let found = ledger
            .lines()
            .filter(|line| line.contains(r#""event":"issued""#) && !is_silent(line));
        let found: String = found
            .map(|line| line.replace(r#""event":"issued""#, r#""event":"adopted""#) + "\n")
            .collect();
        assert_ne!(found, "");
        machine.write(&path, &found, self.now.unix_timestamp());
    }

    fn file(&self, host: &str, path: &str) -> Option<Vec<u8>> {
        let path = path
            .replace("~ci/", "/home/ci/")
            .replace("~/", "/home/ubuntu/");
        let machine = &self.lab.machines[host];
        machine.stored(&path).map(|stored| stored.bytes.clone())
    }

    fn bundle(&self, host: &str, path: &str) -> Vec<Certificate> {
        let bytes = self.file(host, path).unwrap_or_default();
        Certificate::bundle_from_pem(&bytes).unwrap_or_default()
    }

    fn leaf(&self, host: &str, path: &str) -> Option<Certificate> {
        Certificate::from_pem(&self.file(host, path)?).ok()
    }

    fn as_on_disk(&self, daemon: &Host, inventory: &Inventory) -> Running {
        let deploy = playbook(shipped("deploy"));
        let facts = self
            .lab
            .facts(inventory, &deploy, self.now, &BTreeSet::new());
        let (directory, files) = leaf_location(daemon, Role::Daemon);
        let at = |name: &str| format!("{directory}/{name}");
        Running {
            mode: mode_now(daemon, &facts[&daemon.name]),
            bundle: self.bundle(&daemon.name, &at(&files.ca)),
            leaf: self.leaf(&daemon.name, &at(&files.cert)),
            url: self.url(daemon).unwrap_or_default(),
        }
    }

    /// Where it listens, as the drop-in has it.
    fn url(&self, daemon: &Host) -> Option<String> {
        let path = "/etc/systemd/system/docker.service.d/50-dtls-deploy.conf";
        let text = String::from_utf8(self.file(&daemon.name, path)?).unwrap();
        let (_, rest) = text.split_once("tcp://")?;
        let port = rest.split_whitespace().next()?.rsplit_once(':')?.1;
        Some(format!("tcp://{}:{port}", daemon_address(daemon).host))
    }

    /// Whether the docker CLI reaches this daemon with these three files.
    fn connects(&self, daemon: &str, url: &str, checks: bool, directory: &str) -> bool {
        let Some(running) = self.running.get(daemon) else {
            return false;
        };
        let at = |name: &str| format!("{directory}/{name}");
        let bundle = self.bundle("client", &at("ca.pem"));
        let leaf = self.leaf("client", &at("cert.pem"));
        let has_key = self.file("client", &at("key.pem")).is_some();
        let signed = |leaf: &Certificate, by: &[Certificate]| {
            by.iter().any(|authority| leaf.is_signed_by(authority))
        };
        let verified = running
            .leaf
            .as_ref()
            .is_some_and(|leaf| signed(leaf, &bundle));
        let accepted = match running.mode {
            None => false,
            Some(DaemonMode::Tls) => true,
            Some(DaemonMode::TlsVerify) => {
                has_key && leaf.is_some_and(|leaf| signed(&leaf, &running.bundle))
            }
        };
        running.url == url && !bundle.is_empty() && (verified || !checks) && accepted
    }

    /// Each way in which someone on the client reaches a daemon.
    fn reached(&self) -> BTreeSet<(String, String)> {
        let mut reached = BTreeSet::new();
        for daemon in ["one", "two"] {
            for cli in ["~/.docker", "~ci/.docker"] {
                let paths = context::paths(cli, daemon);
                let meta = self.file("client", &format!("{}/meta.json", paths.metadata));
                let Some((url, checks)) = meta.and_then(|text| context::endpoint(&text)) else {
                    continue;
                };
                if self.connects(daemon, &url, checks, &paths.tls) {
                    reached.insert((daemon.to_owned(), format!("context of {cli}")));
                }
            }
            let profile = self.file("client", "~/.profile").unwrap_or_default();
            let profile = String::from_utf8(profile).unwrap();
            let value = |name: &str| {
                let prefix = format!("export {name}=");
                let mut lines = profile.lines();
                let value = lines.find_map(|line| line.strip_prefix(&prefix))?;
                Some(value.trim_matches('\'').to_owned())
            };
            let directory = value("DOCKER_CERT_PATH").unwrap_or_else(|| "~/.docker".to_owned());
            let checks = value("DOCKER_TLS_VERIFY").is_some();
            let url = value("DOCKER_HOST").unwrap_or_default();
            if self.connects(daemon, &url, checks, &directory) {
                reached.insert((daemon.to_owned(), "the profile".to_owned()));
            }
            // Programs that are configured where the files are.
            if let Some(running) = self.running.get(daemon)
                && self.connects(daemon, &running.url, true, "/srv/ci/docker")
            {
                reached.insert((daemon.to_owned(), "/srv/ci/docker".to_owned()));
            }
        }
        reached
    }
}

const COMMANDS: [&str; 5] = ["deploy", "rotate", "rotate-ca", "rollback", "remove"];

/// Commands after which the ledger says something else: whose certificates are revoked, or
/// that all were made by hand.
const LEDGERS: [&str; 6] = [
    "revoke client",
    "revoke ci@client",
    "revoke one",
    "mark client",
    "mark one",
    "adopt",
];

fn changes() -> Vec<(&'static str, Value)> {
    vec![
        ("nothing", json!({})),
        (
            "another port",
            json!({"dtls_listen": ["tcp://0.0.0.0:2377"]}),
        ),
        (
            "another name",
            json!({"dtls_extra_sans": ["DNS:more.example.com"]}),
        ),
        (
            "another client directory",
            json!({"dtls_client_dir": "~/.docker/other"}),
        ),
        ("no contexts", json!({"dtls_client_env": ["profile"]})),
        (
            "clients without a certificate",
            json!({"dtls_client_mode": "tlsverify-ca"}),
        ),
        (
            "nobody shows a certificate",
            json!({
                "dtls_client_mode": "tlsverify-ca",
                "dtls_daemon_mode": "tls",
                "dtls_i_understand_anyone_can_connect": true
            }),
        ),
        (
            "another daemon directory",
            json!({"dtls_daemon_dir": "/etc/docker/other"}),
        ),
        (
            "port and client directory",
            json!({"dtls_listen": ["tcp://0.0.0.0:2377"], "dtls_client_dir": "~/.docker/other"}),
        ),
    ]
}

/// Passes of `rotate --ca` that were made before.
const ROLLED: [usize; 4] = [0, 2, 3, 4];

fn ends() -> Vec<[End; 2]> {
    let bad = [End::Stays, End::Unreachable, End::Unsettled, End::Anothers];
    let mut ends = vec![[End::Well; 2]];
    for bad in bad {
        ends.extend([[bad, End::Well], [End::Well, bad], [bad, bad]]);
    }
    ends
}

/// What was lost although no one asked for it.
fn lost(command: &str, variables: &Value, rolled: usize, ends: [End; 2]) -> Vec<(String, String)> {
    let mut world = World::deployed(&BTreeMap::new());
    let variables = serde_json::from_value(variables.clone()).unwrap();
    let (old, new) = (
        inventory_of(INVENTORY, &BTreeMap::new()),
        inventory_of(INVENTORY, &variables),
    );
    for _ in 0..rolled {
        world.run(&old, &playbook(shipped("rotate-ca")), [End::Well; 2]);
    }
    let before = world.reached();
    assert!(!before.is_empty());
    let own = |world: &World| world.leaf("client", "~/.docker/cert.pem");
    let first = own(&world);
    match command {
        "rotate" => {
            world.run(&new, &rotation(), ends);
        }
        named if named.starts_with("mark") || named == "adopt" => {
            world.change_ledger(&new, named, ends);
            world.run(&new, &playbook(shipped("deploy")), ends);
        }
        "rotate-ca" | "revoke client" | "revoke ci@client" | "revoke one" => {
            if command != "rotate-ca" {
                world.change_ledger(&new, command, ends);
            }
            let rotate = playbook(shipped("rotate-ca"));
            for _ in 0..9 {
                if !world.run(&new, &rotate, ends) {
                    break;
                }
            }
        }
        named => {
            world.run(&new, &playbook(shipped(named)), ends);
        }
    }
    let after = world.reached();
    if command == "revoke client" && ends == [End::Well; 2] && variables.is_empty() {
        assert_ne!(own(&world), first, "the revoked certificate is replaced");
    }
    let has_context = |daemon: &str| {
        let paths = context::paths("~/.docker", daemon);
        let metadata = format!("{}/meta.json", paths.metadata);
        world.file("client", &metadata).is_some()
    };
    let lost = before.difference(&after).filter(|(daemon, way)| {
        // Asked for no more, and removed.
        if variables.contains_key("dtls_client_env")
            && way == "context of ~/.docker"
            && !has_context(daemon)
        {
            return false;
        }
        let place = usize::from(daemon == "two");
        // A daemon that has no TLS any more, or listens to no one, is reached by no one.
        let running = &world.running[daemon];
        !(matches!(command, "remove" | "rollback")
            && (running.mode.is_none() || running.url.is_empty())
            && ends[place] == End::Well)
    });
    lost.cloned().collect()
}

#[test]
fn whatever_becomes_of_daemons_their_clients_reach_what_they_reached() {
    let mut wrong = Vec::new();
    let mut cases = 0;
    for command in COMMANDS.into_iter().chain(LEDGERS) {
        for (what, variables) in changes() {
            let plain = ["nothing", "another name", "port and client directory"];
            if LEDGERS.contains(&command) && !plain.contains(&what) {
                continue;
            }
            for rolled in ROLLED {
                // What is changed besides does not depend on where a rollover is.
                if rolled > 0
                    && !matches!(what, "nothing" | "another client directory" | "no contexts")
                {
                    continue;
                }
                for ends in ends() {
                    cases += 1;
                    let mut lost = lost(command, &variables, rolled, ends);
                    // A client that shows nothing to a daemon that asks: declared, where the
                    // daemon could be asked.
                    if what == "clients without a certificate" {
                        lost.retain(|(daemon, _)| {
                            let end = ends[usize::from(daemon == "two")];
                            matches!(end, End::Unreachable | End::Unsettled)
                        });
                    }
                    if !lost.is_empty() {
                        wrong.push(format!(
                            "{command}, {what}, rolled {rolled}, {ends:?}: {lost:?}"
                        ));
                    }
                }
            }
        }
    }
    println!("{cases} cases");
    assert!(
        wrong.is_empty(),
        "{} of {cases}\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Why a client stays as it is.
#[derive(Debug, Clone, Copy)]
enum Stays {
    Unreachable,
    Refused,
    OutsideOfLimit,
}

#[test]
fn no_daemon_moves_away_from_a_client_that_stays() {
    for command in ["deploy", "rotate", "rotate-ca"] {
        for (what, variables) in changes() {
            for stays in [Stays::Unreachable, Stays::Refused, Stays::OutsideOfLimit] {
                // It is for all hosts.
                if matches!((command, stays), ("rotate-ca", Stays::OutsideOfLimit)) {
                    continue;
                }
                let mut world = World::deployed(&BTreeMap::new());
                let variables = serde_json::from_value(variables.clone()).unwrap();
                let inventory = inventory_of(INVENTORY, &variables);
                let before = world.reached();
                let mut playbook = match command {
                    "rotate" => rotation(),
                    named => playbook(shipped(named)),
                };
                match stays {
                    Stays::Unreachable => world.silent.extend(["client".to_owned()]),
                    Stays::Refused => {
                        let open = json!({"mode": "0777", "owner": "ubuntu"});
                        let machine = world.lab.machines.get_mut("client").unwrap();
                        machine.drift("/home/ubuntu/.docker/", &open, 0);
                    }
                    Stays::OutsideOfLimit => {
                        let limit = Some("daemons".to_owned());
                        let filter = plan::playbook::Filter {
                            limit,
                            ..Default::default()
                        };
                        plan::playbook::select(&mut playbook, &inventory, &filter).unwrap();
                    }
                }
                world.run(&inventory, &playbook, [End::Well; 2]);
                let after = world.reached();
                let lost: Vec<_> = before.difference(&after).collect();
                assert!(lost.is_empty(), "{command}, {what}, {stays:?}: {lost:?}");
            }
        }
    }
}
