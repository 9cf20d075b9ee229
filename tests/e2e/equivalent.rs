//! Inventories that mean the same, and every command: same exit code, same words.
//!
//! A sequence of commands is carried out twice, on fresh nodes: with an inventory that is
//! spelt plainly, and with one that is spelt again for each command. `SEED=` repeats a run;
//! the ignored test goes on for `MINUTES=` (15).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::lab::{Lab, Run};
use crate::random::{Random, seed};
use crate::spelling::{Meant, Spelt, Value, spell};

/// The words of a command; `INVENTORY` stands for the file.
const COMMANDS: [&str; 24] = [
    "INVENTORY --check --diff",
    "INVENTORY -e dtls_validity_days=10",
    "status INVENTORY",
    "verify INVENTORY",
    "doctor INVENTORY",
    "check-access INVENTORY",
    "env INVENTORY --shell bash",
    "rotate INVENTORY --check --exit-code",
    "rotate INVENTORY",
    "rotate INVENTORY --force --check",
    "rotate INVENTORY --clients-only --force",
    "rotate INVENTORY --daemons-only --force",
    "rotate INVENTORY --force",
    "rollback INVENTORY --check",
    "rollback INVENTORY",
    "adopt INVENTORY --check",
    "adopt INVENTORY",
    // As a schedule runs it, with certificates that are due.
    "rotate INVENTORY --wait 1800 -e dtls_renew_before=100",
    "revoke INVENTORY node1 --check",
    "rotate INVENTORY --ca",
    "INVENTORY --diff",
    "revoke INVENTORY node1 --yes",
    "remove INVENTORY --check",
    "remove INVENTORY",
];

/// How hosts are reached, besides what the inventory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// The account stands in `ssh_config`.
    Account,
    /// So does the way: over node1.
    Jump,
    /// The way over node1 stands in the inventory.
    JumpArguments,
}

fn meant(named: bool, way: Way) -> Vec<Meant> {
    let nodes = [
        ("node1", "10.0.0.10", "clients"),
        ("node2", "10.0.0.11", "ca"),
        ("node3", "10.0.0.12", "daemons"),
    ];
    let machine = |(name, address, group): (&str, &str, &'static str)| {
        let mut variables = BTreeMap::new();
        let text = |text: &str| Value::Text(text.to_owned());
        if !named {
            variables.insert("ansible_host".to_owned(), text(address));
        }
        if !matches!(way, Way::Account | Way::Jump) {
            variables.insert("ansible_user".to_owned(), text("ubuntu"));
        }
        variables.insert("dtls_keep_generations".to_owned(), Value::Number(6));
        // On a host that does not read it, it is warned about.
        if group == "daemons" {
            let sans = vec!["DNS:docker.example.com".to_owned()];
            variables.insert("dtls_extra_sans".to_owned(), Value::List(sans));
        }
        if way == Way::JumpArguments && name != "node1" {
            let jump = text("-J ubuntu@node1");
            variables.insert("ansible_ssh_common_args".to_owned(), jump);
        }
        Meant {
            name: name.to_owned(),
            groups: vec![group],
            variables,
        }
    };
    nodes.into_iter().map(machine).collect()
}

/// Root on some of them, and from then on always.
fn with_root(machines: &mut [Meant], random: &mut Random, asked: &mut BTreeSet<String>) {
    let all = random.one_in(2);
    for machine in machines {
        if all || random.one_in(3) {
            asked.insert(machine.name.clone());
        }
        if asked.contains(&machine.name) {
            let root = Value::Flag(true);
            machine.variables.insert("ansible_become".to_owned(), root);
        }
    }
}

/// What differs from run to run.
const VOLATILE: [&str; 19] = [
    "checks",
    "time",
    "milliseconds",
    "away_milliseconds",
    "run",
    "inventory",
    "serial",
    "serials",
    "not_before",
    "not_after",
    "address",
    "days_left",
    "used",
    "version",
    "diff",
    "hosts_in_order",
    "issuer",
    "sha256",
    "at",
];

/// An event without what differs from run to run; none for one that is about time alone.
fn canonical(line: &str) -> Option<String> {
    let Ok(mut event) = serde_json::from_str::<Json>(line) else {
        return Some(without_numbers(line));
    };
    let skipped = ["waited", "connected", "facts", "act", "act_ended"];
    if skipped.iter().any(|word| event["event"] == *word) {
        return None;
    }
    if event["event"] == "checked" && event["topic"] == "sudo" {
        return None;
    }
    // How it is spelt, not what it means: `FILE:LINE: ...`.
    let is_of_file = |text: &str| {
        let place = text.split(": ").next().unwrap_or_default();
        let line = place.rsplit(':').next().unwrap_or_default();
        line.parse::<u32>().is_ok()
    };
    if event["event"] == "warning" && event["text"].as_str().is_some_and(is_of_file) {
        return None;
    }
    strip(&mut event);
    let text = without_numbers(&event.to_string());
    let mut words: Vec<&str> = text.split(' ').collect();
    for index in 1..words.len() {
        // How long curl has waited.
        if words[index].starts_with("ms") && words[index - 1].parse::<u32>().is_ok() {
            words[index - 1] = "NUMBER";
        }
    }
    Some(words.join(" ").replace("became root, ", ""))
}

fn strip(value: &mut Json) {
    match value {
        Json::Object(fields) => {
            fields.retain(|name, _| !VOLATILE.contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        Json::Array(items) => {
            items.iter_mut().for_each(strip);
            if items
                .iter()
                .all(|item| item["host"].is_string() || item.is_string())
            {
                items.sort_by_key(Json::to_string);
            }
        }
        _ => {}
    }
}

/// Names of runs, of generations and of temporary files, serials, and times of day.
fn without_numbers(text: &str) -> String {
    let separator = |letter: char| !(letter.is_ascii_alphanumeric() || "-_./@".contains(letter));
    let mut plain = String::new();
    let mut word = String::new();
    for letter in text.chars().chain(['\n']) {
        if !separator(letter) {
            word.push(letter);
            continue;
        }
        let digits = word.chars().filter(char::is_ascii_digit).count();
        let is_path = word.contains("/generations/") || word.contains("/tmp/");
        let is_hex = word.len() >= 16 && word.chars().all(|of| of.is_ascii_hexdigit());
        if is_path || is_hex || digits >= 8 {
            plain.push_str("NUMBER");
        } else {
            plain.push_str(&word);
        }
        word.clear();
        plain.push(letter);
    }
    plain.trim_end().to_owned()
}

/// Exit code and words of a command, in alphabetical order.
fn told(run: &Run) -> Vec<String> {
    let lines = run.stdout.lines().chain(run.stderr.lines());
    let mut told: Vec<String> = lines.filter_map(canonical).collect();
    told.sort_unstable();
    told.insert(0, format!("exit code {}", run.code));
    told
}

struct World<'a> {
    lab: &'a Lab,
    count: usize,
}

/// The tests after this one use the same controller.
impl Drop for World<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.lab.state("ssh/config"));
    }
}

impl World<'_> {
    /// Fresh nodes, and nothing of an earlier run in `ssh_config`.
    fn reset(&mut self) {
        self.lab.control(&["reset"]);
        let _ = std::fs::remove_file(self.lab.state("ssh/config"));
    }

    fn run(&mut self, command: &str, spelt: &Spelt, way: Way) -> Run {
        self.count += 1;
        let directory = self.lab.directory(&format!("spelt{}", self.count));
        for (name, text) in &spelt.files {
            let path = Path::new(&directory).join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let config = match way {
            Way::Plain | Way::JumpArguments => "",
            Way::Account => "Host node* 10.0.0.*\n  User ubuntu\n",
            Way::Jump => {
                "Host node1 10.0.0.10\n  User ubuntu\nHost node2 node3 10.0.0.11 10.0.0.12\n  User ubuntu\n  ProxyJump node1\n"
            }
        };
        std::fs::write(self.lab.state("ssh/config"), config).unwrap();
        let file = format!("{directory}/inventory.yaml");
        let mut words: Vec<&str> = command
            .split(' ')
            .map(|word| if word == "INVENTORY" { &file } else { word })
            .collect();
        for extra in &spelt.extra {
            words.extend(["-e", extra]);
        }
        if !command.starts_with("env ") {
            words.extend(["--output", "json"]);
        }
        // The commands that it names repeat what was given with -e.
        let mut run = self.lab.run(&words);
        let repeated = inventory::repeated(&spelt.extra);
        let in_json = Json::from(repeated.as_str()).to_string();
        for text in [repeated.as_str(), in_json.trim_matches('"')] {
            if !text.is_empty() {
                run.stdout = run.stdout.replace(text, "");
                run.stderr = run.stderr.replace(text, "");
            }
        }
        run
    }
}

/// Every command twice; what differs is reported with what repeats it.
fn same_words(world: &mut World<'_>, number: u64, commands: &[&str]) {
    let mut random = Random::new(number);
    let named = random.one_in(2);
    let plain = spell(&meant(named, Way::Plain), &mut Random::new(0));
    world.reset();
    let expected: Vec<Vec<String>> = commands
        .iter()
        .map(|command| told(&world.run(command, &plain, Way::Plain)))
        .collect();
    world.reset();
    let mut root = BTreeSet::new();
    let mut text = String::new();
    for (command, expected) in commands.iter().zip(expected) {
        let ways = [Way::Plain, Way::Account, Way::Jump, Way::JumpArguments];
        let way = *random.pick(&ways);
        let mut machines = meant(named, way);
        with_root(&mut machines, &mut random, &mut root);
        let spelt = spell(&machines, &mut random);
        let run = world.run(command, &spelt, way);
        let found = told(&run);
        if found == expected {
            continue;
        }
        writeln!(text, "{command}, {way:?}: {spelt:#?}").unwrap();
        for (what, one, other) in [("missing", &expected, &found), ("extra", &found, &expected)] {
            for line in one.iter().filter(|line| !other.contains(line)) {
                writeln!(text, "{what} {line}").unwrap();
            }
        }
    }
    assert!(text.is_empty(), "SEED={number}\n{text}{commands:#?}");
}

#[test]
fn every_command_says_the_same_of_inventories_that_mean_the_same() {
    let seed = seed();
    println!("SEED={seed}");
    let lab = Lab::fresh();
    let mut world = World {
        lab: &lab,
        count: 0,
    };
    same_words(&mut world, seed, &COMMANDS);
}

/// Machines with a role each, or one machine in all of them: every command that there is ends
/// well, and every certificate is another one after a rotation and the old one after going back.
fn roles_share(world: &mut World<'_>, number: u64) {
    let mut random = Random::new(number);
    let mut machines = meant(false, Way::Plain);
    // The daemon's machine is in all roles that are taken from others.
    let taken = *random.pick(&[&[0][..], &[1], &[0, 1]]);
    for index in taken {
        let groups = std::mem::take(&mut machines[*index].groups);
        machines[2].groups.extend(groups);
    }
    machines.retain(|machine| !machine.groups.is_empty());
    random.shuffle(&mut machines[..]);
    let client = if taken.contains(&0) { "node3" } else { "node1" };
    world.reset();
    let mut root = BTreeSet::new();
    let lab = world.lab;
    let leaves = || {
        let daemon = lab.exec("node3", "cat /etc/docker/tls/cert.pem");
        let client = lab.exec(client, "cat /home/ubuntu/.docker/cert.pem");
        [daemon, client]
    };
    let mut step = |command: &str, random: &mut Random| {
        let mut machines = machines.clone();
        with_root(&mut machines, random, &mut root);
        let spelt = spell(&machines, random);
        let run = world.run(command, &spelt, Way::Plain);
        assert_eq!(
            run.code, 0,
            "SEED={number}: {command}\n{spelt:#?}\n{}\n{}",
            run.stdout, run.stderr
        );
    };
    step("INVENTORY", &mut random);
    let first = leaves();
    step("rotate INVENTORY --force", &mut random);
    let second = leaves();
    assert!(
        first.iter().zip(&second).all(|(one, other)| one != other),
        "SEED={number}"
    );
    for command in [
        "status INVENTORY",
        "verify INVENTORY",
        "doctor INVENTORY",
        "rollback INVENTORY",
    ] {
        step(command, &mut random);
    }
    assert_eq!(leaves(), first, "SEED={number}");
    for command in [
        "verify INVENTORY",
        "rotate INVENTORY --ca",
        "remove INVENTORY",
    ] {
        step(command, &mut random);
    }
    for node in ["node3", client] {
        let left = "! find / -xdev -path '*dtls-deploy/generations/*' 2>/dev/null | grep .";
        world.lab.exec(node, left);
    }
}

#[test]
fn a_machine_in_several_roles_is_served_in_each() {
    let seed = seed();
    println!("SEED={seed}");
    let lab = Lab::fresh();
    let mut world = World {
        lab: &lab,
        count: 0,
    };
    roles_share(&mut world, seed);
}

/// `make equivalent SEED=... MINUTES=...`
#[test]
#[ignore = "goes on for MINUTES"]
fn soak() {
    let minutes = std::env::var("MINUTES").map_or(15, |text| text.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let lab = Lab::fresh();
    let mut world = World {
        lab: &lab,
        count: 0,
    };
    let mut number = seed();
    if std::env::var("SEED").is_err() {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        number = since.as_secs();
    }
    let (mut count, mut failed) = (0, Vec::new());
    while Instant::now() < end {
        println!("SEED={number}");
        let mut random = Random::new(number);
        let mut commands = vec![COMMANDS[1]];
        commands.extend((0..12).map(|_| *random.pick(&COMMANDS)));
        let round = std::panic::catch_unwind(AssertUnwindSafe(|| {
            same_words(&mut world, number, &commands);
            roles_share(&mut world, number);
        }));
        count += 1;
        failed.extend(round.is_err().then_some(number));
        number = number.wrapping_add(1);
    }
    println!("{count} rounds");
    assert!(failed.is_empty(), "SEED={failed:?}");
}
