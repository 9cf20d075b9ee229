//! A machine as a table: files, directories, one docker unit. Gives the facts that a node in this
//! state reports, with the manual changes of a case.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use inventory::Host;
use node::facts::{
    Component, EngineFact, FactRequest, File, FileFact, Loaded, LoadedCommand, Network, NodeFacts,
    Space, Unheard, UnitFact,
};
use pki::sha256_hex;
use plan::Kind;
use plan::host::read::RECORD;
use time::OffsetDateTime;

pub const FRAGMENT: &str = "/lib/systemd/system/docker.service";
pub const ENVIRONMENT: &str = "/etc/default/docker";
/// Debian's init script of docker, where a case puts one.
const SCRIPT: &str = "/etc/init.d/docker";
const SOCKET: &str = "/lib/systemd/system/docker.socket";
/// Seconds between boot and the deployment.
const BOOTED_BEFORE: i64 = 10_000;

/// One entry of the disk.
#[derive(Debug, Clone)]
pub enum Item {
    File(Stored),
    /// There, but not readable, or not a regular file.
    Special(FileFact),
}

#[derive(Debug, Clone)]
pub struct Stored {
    pub bytes: Vec<u8>,
    pub mode: u32,
    pub owner: String,
    pub changed: i64,
    pub link: bool,
}

#[derive(Debug, Clone)]
pub struct Machine {
    pub name: String,
    /// The account that facts are read as.
    pub account: String,
    /// Whatever the inventory says.
    pub is_account_fixed: bool,
    pub disk: BTreeMap<String, Item>,
    /// Owner and mode.
    pub directories: BTreeMap<String, (String, u32)>,
    /// Root's links to directories.
    pub links: BTreeMap<String, String>,
    pub unit: BTreeMap<String, String>,
    /// The words of the command that systemd has loaded.
    pub command: Option<Vec<String>>,
    /// Clients that cannot check it.
    pub unheard: BTreeMap<String, Unheard>,
    /// Why dockerd would not start with what is planned.
    pub rejected: Option<String>,
    /// dockerd does not ask the guard, whatever its files say.
    pub bypassed: bool,
    /// Whether docker.socket is enabled.
    pub socket_state: String,
    pub services: BTreeMap<String, BTreeMap<String, String>>,
    pub systemd: bool,
    pub tools: BTreeMap<String, String>,
    /// Seconds by which its clock is ahead.
    pub skew: i64,
    /// Addresses of names.
    pub resolved: BTreeMap<String, Vec<String>>,
    pub network: Option<Network>,
    /// What the node finds of its own addresses; none without an awk.
    pub own_addresses: Option<BTreeSet<std::net::IpAddr>>,
    pub reached: Option<std::net::IpAddr>,
    pub space: BTreeMap<String, Space>,
    pub engine: EngineFact,
    /// How the change of another run stands: armed, working, undo-failed.
    pub unsettled: Option<String>,
    /// Homes of accounts besides the login's.
    pub homes: BTreeMap<String, String>,
    /// Why sudo records what is sent to it.
    pub sudo_records: Option<String>,
    pub booted: i64,
    pub started: i64,
}

fn uid(owner: &str) -> u32 {
    match owner {
        "root" => 0,
        "ubuntu" => 1000,
        "ci" => 1002,
        _ => 1001,
    }
}

impl Machine {
    /// A freshly installed node; Debian's docker runs on it where it is a daemon.
    pub fn fresh(name: &str, privileged: bool, daemon: bool, now: OffsetDateTime) -> Self {
        let booted = now.unix_timestamp() - BOOTED_BEFORE;
        let mut machine = Self {
            name: name.to_owned(),
            account: if privileged { "root" } else { "ubuntu" }.to_owned(),
            is_account_fixed: false,
            disk: BTreeMap::new(),
            directories: BTreeMap::new(),
            links: BTreeMap::new(),
            unit: BTreeMap::new(),
            command: None,
            unheard: BTreeMap::new(),
            rejected: None,
            bypassed: false,
            socket_state: "enabled".to_owned(),
            services: BTreeMap::new(),
            systemd: true,
            tools: BTreeMap::from([("docker".to_owned(), "/usr/bin/docker".to_owned())]),
            skew: 0,
            resolved: BTreeMap::new(),
            network: None,
            reached: None,
            own_addresses: Some(["10.0.0.12".parse().unwrap()].into()),
            space: BTreeMap::new(),
            engine: EngineFact::default(),
            unsettled: None,
            homes: BTreeMap::new(),
            sudo_records: None,
            booted,
            started: booted + 60,
        };
        for directory in ["/", "/etc", "/etc/systemd", "/etc/systemd/system", "/home"] {
            machine.mkdir(directory, "root", 0o755);
        }
        machine.mkdir("/home/ubuntu", "ubuntu", 0o755);
        // Two more people, one of them with a place outside of homes.
        for name in ["alice", "ci"] {
            let home = format!("/home/{name}");
            machine.mkdir(&home, name, 0o755);
            machine.homes.insert(name.to_owned(), home);
        }
        machine.mkdir("/srv", "root", 0o755);
        machine.mkdir("/srv/ci", "ci", 0o755);
        if daemon {
            machine.mkdir("/etc/docker", "root", 0o755);
            machine.write(
                FRAGMENT,
                "[Service]\nEnvironmentFile=-/etc/default/docker\nExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS\n",
                booted,
            );
            machine.write(ENVIRONMENT, "# nothing\n", booted);
            let socket = "[Socket]\nListenStream=/run/docker.sock\nSocketMode=0660\n";
            machine.write(SOCKET, socket, booted);
            machine
                .tools
                .insert("dockerd".to_owned(), "/usr/sbin/dockerd".to_owned());
            for (name, value) in [
                ("LoadState", "loaded"),
                ("ActiveState", "active"),
                ("FragmentPath", FRAGMENT),
                ("InvocationID", "boot"),
                ("NeedDaemonReload", "no"),
            ] {
                machine.unit.insert(name.to_owned(), value.to_owned());
            }
        }
        machine
    }

    /// What is done here from now on, is done as the inventory says.
    pub fn act_as(&mut self, host: &Host) {
        if !self.is_account_fixed {
            let account = if host.as_root { "root" } else { "ubuntu" };
            account.clone_into(&mut self.account);
        }
    }

    pub fn mkdir(&mut self, path: &str, owner: &str, mode: u32) {
        self.directories
            .insert(path.to_owned(), (owner.to_owned(), mode));
    }

    /// A directory with this mode and those on the way to it, where they are missing.
    pub fn make(&mut self, path: &str, owner: &str, mode: u32) {
        let mut walked = String::new();
        for part in path.split('/').skip(1) {
            walked = format!("{walked}/{part}");
            if !self.directories.contains_key(&walked) {
                self.mkdir(&walked, owner, if walked == path { mode } else { 0o755 });
            }
        }
    }

    pub fn write(&mut self, path: &str, text: &str, at: i64) {
        let stored = Stored {
            bytes: text.as_bytes().to_vec(),
            mode: 0o644,
            owner: "root".to_owned(),
            changed: at,
            link: false,
        };
        self.disk.insert(path.to_owned(), Item::File(stored));
    }

    pub fn stored(&self, path: &str) -> Option<&Stored> {
        match self.disk.get(path) {
            Some(Item::File(stored)) => Some(stored),
            _ => None,
        }
    }

    /// The drop-ins that systemd would read now.
    fn drop_ins(&self, unit: &str) -> Vec<String> {
        let directory = format!("/etc/systemd/system/{unit}.d/");
        let paths = self.disk.keys();
        let found = paths.filter(|path| path.starts_with(&directory));
        found.cloned().collect()
    }

    /// daemon-reload, and a restart that no one confirmed.
    pub fn restart(&mut self, invocation: &str, at: i64) {
        let drop_ins = self.drop_ins("docker.service").join(" ");
        self.unit.insert("DropInPaths".to_owned(), drop_ins);
        self.unit
            .insert("InvocationID".to_owned(), invocation.to_owned());
        self.started = at;
    }

    /// What a confirmed restart leaves behind.
    pub fn confirm(&mut self, reads: &BTreeSet<String>, record: &str, at: i64) {
        let mut text = self.unit["InvocationID"].clone() + "\n";
        for path in reads {
            if let Some(stored) = self.stored(path) {
                writeln!(text, "{}  {path}", sha256_hex(&stored.bytes)).unwrap();
            }
        }
        self.write(record, &text, at);
    }

    pub fn facts(&self, request: &FactRequest, now: OffsetDateTime) -> NodeFacts {
        let clock = now.unix_timestamp();
        let mut facts = NodeFacts {
            kernel: "Linux".to_owned(),
            machine: "x86_64".to_owned(),
            hostname: self.name.clone(),
            clock: clock + self.skew,
            skew: self.skew,
            armed: self.unsettled_as("armed"),
            undo_failed: self.unsettled_as("undo-failed"),
            working: self
                .unsettled_as("working")
                .into_iter()
                .map(|run| (run, std::collections::BTreeSet::new()))
                .collect(),
            resolved: self.resolved.clone(),
            network: self.network.clone(),
            own_addresses: self.own_addresses.clone().filter(|_| request.own_addresses),
            space: self.space.clone(),
            #[allow(clippy::cast_precision_loss)]
            uptime: Some((clock - self.booted) as f64),
            uid: uid(&self.account),
            account: self.account.clone(),
            home: "/home/ubuntu".to_owned(),
            systemd: self.systemd,
            tools: self.tools.clone(),
            accounts: request
                .accounts
                .iter()
                .map(|name| (name.clone(), self.homes.get(name).cloned()))
                .collect(),
            ..NodeFacts::default()
        };
        for path in &request.directories {
            let path = facts.expand(path);
            let components = self.components(&path);
            let mut way = std::path::Path::new(&path).ancestors();
            let obstacle = way.find(|part| self.disk.contains_key(part.to_str().unwrap()));
            if let Some(obstacle) = obstacle {
                let obstacle = obstacle.to_str().unwrap().to_owned();
                facts.blocked.insert(path.clone(), obstacle);
            }
            facts.directories.insert(path, components);
        }
        let paths = |set: &BTreeSet<String>, home: &NodeFacts| -> Vec<String> {
            set.iter().map(|path| home.expand(path)).collect()
        };
        facts.claims.sudo_records.clone_from(&self.sudo_records);
        facts.claims.unheard.clone_from(&self.unheard);
        facts.claims.rejected.clone_from(&self.rejected);
        facts.claims.reached = self.reached;
        facts.claims.guard_not_asked = self.bypassed && self.asks_for_guard(request);
        if !request.former.is_empty() {
            self.former(request, &mut facts);
        }
        if request.generations {
            self.generations(&mut facts);
        }
        for path in paths(&request.hashed, &facts) {
            let fact = self.file(&path, false);
            facts.files.insert(path, fact);
        }
        for path in paths(&request.keys, &facts) {
            let stored = self.stored(&path);
            if stored.is_some_and(|stored| Kind::of(&stored.bytes) == Kind::Key) {
                facts.claims.keys.insert(path);
            }
        }
        for set in [&request.content, &request.bundles, &request.certificates] {
            for path in paths(set, &facts) {
                let fact = self.file(&path, true);
                facts.files.insert(path, fact);
            }
        }
        for path in paths(&request.exists, &facts) {
            let there = self.disk.contains_key(&path) || self.directories.contains_key(&path);
            facts.exists.insert(path, there);
        }
        for unit in &request.services {
            let properties = self.services.get(unit).cloned().unwrap_or_else(|| {
                BTreeMap::from([
                    ("LoadState".to_owned(), "not-found".to_owned()),
                    ("ActiveState".to_owned(), "inactive".to_owned()),
                ])
            });
            let fact = UnitFact {
                properties,
                ..UnitFact::default()
            };
            facts.services.insert(unit.clone(), fact);
        }
        if request.unit.is_some() {
            self.daemon(&mut facts);
        }
        if request.socket.is_some() && self.systemd {
            self.socket(&mut facts);
        }
        // Only root sees a daemon's files.
        if request.engine && self.account == "root" {
            facts.engine = Some(self.engine.clone());
        }
        facts
    }

    /// Whether the prelude's `fact_guard` would look.
    fn asks_for_guard(&self, request: &FactRequest) -> bool {
        let guard = request.guard.as_ref().filter(|_| request.unit.is_some());
        guard.is_some_and(|[_, program]| self.disk.contains_key(program))
    }

    /// As the prelude's `fact_former` does it.
    fn former(&self, request: &FactRequest, facts: &mut NodeFacts) {
        let wanted: Vec<String> = request
            .former
            .iter()
            .map(|path| facts.expand(path))
            .collect();
        let record = self.stored(RECORD).map(|stored| stored.bytes.clone());
        let record = String::from_utf8(record.unwrap_or_default()).unwrap();
        let settings = ["json", "service", "socket", "conf"];
        for (hash, path) in record.lines().filter_map(|line| line.split_once("  ")) {
            let extension = path.rsplit('.').next().unwrap();
            if wanted.iter().any(|known| known == path)
                || settings.contains(&extension)
                || path == ENVIRONMENT
                || self.stored(path).is_none()
            {
                continue;
            }
            facts.claims.former.insert(path.to_owned(), hash.to_owned());
            facts.files.insert(path.to_owned(), self.file(path, false));
            let directory = path.rsplit_once('/').unwrap().0.to_owned();
            let components = self.components(&directory);
            facts.directories.insert(directory, components);
        }
    }

    /// The daemon's unit, or its init script where there is no systemd.
    fn daemon(&self, facts: &mut NodeFacts) {
        if !self.systemd && self.stored(SCRIPT).is_none() {
            return;
        }
        let mut properties = self.unit.clone();
        let since_boot = (self.started - self.booted) * 1_000_000;
        properties.insert(
            "ExecMainStartTimestampMonotonic".to_owned(),
            since_boot.to_string(),
        );
        let mut on_disk = self.drop_ins("docker.service");
        if !self.systemd {
            properties.insert("FragmentPath".to_owned(), SCRIPT.to_owned());
            properties.remove("DropInPaths");
            on_disk.clear();
        }
        let unit = UnitFact {
            properties,
            loaded: self.loaded(&on_disk),
            on_disk,
            environment_files: vec![ENVIRONMENT.to_owned()],
        };
        let read = unit
            .fragment()
            .into_iter()
            .chain(unit.all_drop_ins())
            .chain([ENVIRONMENT]);
        for path in read {
            facts.files.insert(path.to_owned(), self.file(path, true));
        }
        facts.unit = Some(unit);
    }

    /// What its bus says, where a case gives it words.
    fn loaded(&self, drop_ins: &[String]) -> Loaded {
        let Some(words) = &self.command else {
            return Loaded::default();
        };
        Loaded {
            commands: Some(vec![LoadedCommand {
                path: words[0].clone(),
                arguments: words.clone(),
                flags: Vec::new(),
            }]),
            drop_ins: Some(drop_ins.to_vec()),
            ..Loaded::default()
        }
    }

    /// docker.socket, where it is installed.
    fn socket(&self, facts: &mut NodeFacts) {
        if !self.disk.contains_key(SOCKET) {
            return;
        }
        let socket = UnitFact {
            properties: BTreeMap::from([
                ("FragmentPath".to_owned(), SOCKET.to_owned()),
                ("UnitFileState".to_owned(), self.socket_state.clone()),
            ]),
            on_disk: self.drop_ins("docker.socket"),
            ..UnitFact::default()
        };
        for path in [SOCKET].into_iter().chain(socket.all_drop_ins()) {
            facts.files.insert(path.to_owned(), self.file(path, true));
        }
        facts.socket = Some(socket);
    }

    /// As spelled, and then where its links lead.
    pub fn components(&self, path: &str) -> Vec<Component> {
        let link = self.links.iter().find(|(link, _)| {
            let rest = path.strip_prefix(link.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let Some((link, to)) = link else {
            return self.spelled(path);
        };
        let mut components = self.spelled(link.rsplit_once('/').unwrap().0);
        components.push(Component {
            path: link.clone(),
            uid: 0,
            owner: "root".to_owned(),
            mode: 0o777,
            link: true,
        });
        let real = self.spelled(&format!("{to}{}", &path[link.len()..]));
        components.extend(real.into_iter().skip(1));
        components
    }

    fn spelled(&self, path: &str) -> Vec<Component> {
        let mut walked = String::new();
        let parts = path.split('/').skip(1).map(|part| {
            walked = format!("{walked}/{part}");
            walked.clone()
        });
        std::iter::once("/".to_owned())
            .chain(parts)
            .map_while(|path| {
                let (owner, mode) = self.directories.get(&path)?;
                Some(Component {
                    uid: uid(owner),
                    owner: owner.clone(),
                    mode: *mode,
                    link: false,
                    path,
                })
            })
            .collect()
    }

    pub fn file(&self, path: &str, with_content: bool) -> FileFact {
        match self.disk.get(path) {
            _ if self.is_hidden(path) => FileFact::Unreadable,
            Some(Item::File(stored)) if !self.may_read(&stored.owner, stored.mode) => {
                FileFact::Unreadable
            }
            None => FileFact::Absent,
            Some(Item::Special(fact)) => fact.clone(),
            Some(Item::File(stored)) => FileFact::File(File {
                mode: stored.mode,
                owner: stored.owner.clone(),
                uid: uid(&stored.owner),
                size: stored.bytes.len() as u64,
                changed: stored.changed * 1_000_000_000,
                sha256: sha256_hex(&stored.bytes),
                content: with_content.then(|| stored.bytes.clone()),
                private_key: false,
                link: stored.link,
            }),
        }
    }

    /// A directory on the way is closed to the account.
    pub fn is_hidden(&self, path: &str) -> bool {
        let components = self.components(path);
        let above = components.iter().filter(|component| component.path != path);
        above
            .into_iter()
            .any(|component| !self.may_read(&component.owner, component.mode))
    }

    fn may_read(&self, owner: &str, mode: u32) -> bool {
        self.account == "root" || self.account == owner || mode & 0o005 != 0
    }

    fn unsettled_as(&self, how: &str) -> Vec<String> {
        let is = self.unsettled.as_deref() == Some(how);
        is.then(|| "run1".to_owned()).into_iter().collect()
    }
}
