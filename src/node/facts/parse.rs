//! The records of a facts script, as [`NodeFacts`].
//!
//! Comes in: what the prelude's `fact_` functions print, lines of fields
//! separated by tabs, and the bytes of files by their announced sizes. Called
//! by [`NodeFacts::parse`].

use std::collections::BTreeSet;

use super::network::{inet6, prefix, socket_address};
use super::own_addresses::OwnAddresses;
use super::{Component, FactError, File, FileFact, Listener, Network, NodeFacts, Owner, Space};

pub(super) struct Parser<'a> {
    rest: &'a [u8],
    facts: NodeFacts,
    links: BTreeSet<String>,
    own: OwnAddresses,
    /// Directories that `df` is about to be asked about.
    space_of: Vec<String>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(output: &'a [u8]) -> Self {
        Self {
            rest: output,
            facts: NodeFacts::default(),
            links: BTreeSet::new(),
            own: OwnAddresses::default(),
            space_of: Vec::new(),
        }
    }
}

impl Parser<'_> {
    pub(super) fn run(mut self) -> Result<NodeFacts, FactError> {
        loop {
            let line = self.line()?;
            let fields: Vec<&str> = line.split('\t').collect();
            match fields.as_slice() {
                ["done"] => break,
                ["failed", step, message] => {
                    return Err(FactError::Failed(format!("{step}: {message}")));
                }
                ["system", kernel, machine, hostname] => {
                    (*kernel).clone_into(&mut self.facts.kernel);
                    (*machine).clone_into(&mut self.facts.machine);
                    (*hostname).clone_into(&mut self.facts.hostname);
                }
                ["clock", seconds] => self.facts.clock = number(seconds, &line)?,
                ["uptime", seconds] => self.facts.uptime = seconds.parse().ok(),
                ["account", uid, name] => {
                    self.facts.uid = number(uid, &line)?;
                    (*name).clone_into(&mut self.facts.account);
                }
                ["named-account", name, home] => self.named_account(name, home),
                ["home", home] => (*home).clone_into(&mut self.facts.home),
                ["init", init] => self.facts.systemd = *init == "systemd",
                ["tool", name, path] => {
                    self.facts
                        .tools
                        .insert((*name).to_owned(), (*path).to_owned());
                }
                ["absent", path] => self.insert(path, FileFact::Absent),
                ["unreadable", path] => self.insert(path, FileFact::Unreadable),
                ["other", path] => self.insert(path, FileFact::Other),
                ["link", path] => {
                    self.links.insert((*path).to_owned());
                }
                ["path", asked, count] => self.components(asked, number(count, &line)?)?,
                ["files", want, count] => {
                    self.file_set(number(count, &line)?, want)?;
                }
                ["unit", property] => self.unit(property),
                ["armed", run] => self.facts.armed.push((*run).to_owned()),
                ["undo-failed", run] => self.facts.undo_failed.push((*run).to_owned()),
                ["generation", path] => self.facts.generation = Some((*path).to_owned()),
                ["engine", fields @ ..] => {
                    if !self.facts.engine.get_or_insert_default().record(fields) {
                        return Err(FactError::Malformed(line));
                    }
                }
                ["exists", answer, path] => {
                    self.facts
                        .exists
                        .insert((*path).to_owned(), *answer == "yes");
                }
                ["service", unit, property] => {
                    let (name, value) = property.split_once('=').unwrap_or((property, ""));
                    let unit = self.facts.services.entry((*unit).to_owned()).or_default();
                    unit.properties.insert(name.to_owned(), value.to_owned());
                }
                ["working", run, stage] => {
                    let stages = self.facts.working.entry((*run).to_owned()).or_default();
                    stages.insert((*stage).to_owned());
                }
                ["leftover", directory, _] => {
                    self.facts.leftovers.insert((*directory).to_owned());
                }
                ["resolved", name, addresses] => {
                    // getent names each once for every type of socket.
                    let mut found: Vec<String> = Vec::new();
                    for address in addresses.split_whitespace() {
                        if !found.iter().any(|known| known == address) {
                            found.push(address.to_owned());
                        }
                    }
                    self.facts.resolved.insert((*name).to_owned(), found);
                }
                ["network", nonlocal_bind] => {
                    self.network().nonlocal_bind = *nonlocal_bind == "yes";
                }
                ["address", text] => {
                    let address = prefix(text).or_else(|| inet6(text));
                    let address = address.ok_or_else(|| FactError::Malformed(line.clone()))?;
                    let network = self.network();
                    if !network.addresses.contains(&address) {
                        network.addresses.push(address);
                    }
                }
                ["listener", address, port, owner] => {
                    let listener = self.listener(address, port, owner);
                    let listener = listener.ok_or_else(|| FactError::Malformed(line.clone()))?;
                    self.network().listeners.push(listener);
                }
                ["space-of", directory] => self.space_of.push((*directory).to_owned()),
                ["space", kind] => self.space(kind)?,
                fields => {
                    if !self.around_docker(fields) {
                        return Err(FactError::Malformed(line));
                    }
                }
            }
        }
        Ok(self.facts)
    }

    /// No home: there is no such account.
    fn named_account(&mut self, name: &str, home: &str) {
        let home = Some(home.to_owned()).filter(|home| !home.is_empty());
        self.facts.accounts.insert(name.to_owned(), home);
    }

    /// Records of drop-ins, of the daemon's socket, of addresses and of what `doctor` asks;
    /// false when it is none of them.
    fn around_docker(&mut self, fields: &[&str]) -> bool {
        match fields {
            ["drop-in", path] => {
                let unit = self.facts.unit.get_or_insert_default();
                unit.on_disk.push((*path).to_owned());
            }
            ["socket", property] => {
                let (name, value) = property.split_once('=').unwrap_or((property, ""));
                let socket = self.facts.socket.get_or_insert_default();
                socket.properties.insert(name.to_owned(), value.to_owned());
            }
            ["socket-drop-in", path] => {
                let socket = self.facts.socket.get_or_insert_default();
                socket.on_disk.push((*path).to_owned());
            }
            ["own-address", fields @ ..] => {
                let is_whole = self.own.record(fields, &self.facts.machine);
                self.facts.own_addresses = Some(self.own.addresses());
                return is_whole;
            }
            ["health", name, value] => {
                let health = self.facts.health.get_or_insert_default();
                return health.record(name, value);
            }
            _ => return false,
        }
        true
    }

    fn insert(&mut self, path: &str, fact: FileFact) {
        self.facts.files.insert(path.to_owned(), fact);
    }

    fn network(&mut self) -> &mut Network {
        self.facts.network.get_or_insert_default()
    }

    fn listener(&self, address: &str, port: &str, owner: &str) -> Option<Listener> {
        Some(Listener {
            address: socket_address(address, &self.facts.machine)?,
            port: u16::from_str_radix(port, 16).ok()?,
            owner: match owner {
                "daemon" => Owner::Daemon,
                "unknown" => Owner::Unknown,
                process => Owner::Other(process.to_owned()),
            },
        })
    }

    /// What `df` says of each directory, below its heading.
    fn space(&mut self, kind: &str) -> Result<(), FactError> {
        self.line()?;
        for directory in std::mem::take(&mut self.space_of) {
            let line = self.line()?;
            let space = if kind == "gnu" {
                Space::from_gnu(&line)
            } else {
                Space::from_posix(&line)
            };
            let space = space.ok_or(FactError::Malformed(line))?;
            self.facts.space.insert(directory, space);
        }
        Ok(())
    }

    fn unit(&mut self, property: &str) {
        let unit = self.facts.unit.get_or_insert_default();
        let (name, value) = property.split_once('=').unwrap_or((property, ""));
        if name == "EnvironmentFiles" {
            let path = value.split(" (").next().unwrap_or(value);
            unit.environment_files.push(path.to_owned());
        } else {
            unit.properties.insert(name.to_owned(), value.to_owned());
        }
    }

    fn components(&mut self, asked: &str, count: usize) -> Result<(), FactError> {
        let mut components = Vec::new();
        for _ in 0..count {
            let line = self.line()?;
            let fields: Vec<&str> = line.split('\t').collect();
            let [uid, owner, mode, kind, path] = fields.as_slice() else {
                return Err(FactError::Malformed(line));
            };
            components.push(Component {
                path: (*path).to_owned(),
                uid: number(uid, &line)?,
                owner: (*owner).to_owned(),
                mode: octal(mode, &line)?,
                link: *kind == "symbolic link",
            });
        }
        self.facts.directories.insert(asked.to_owned(), components);
        Ok(())
    }

    fn file_set(&mut self, count: usize, want: &str) -> Result<(), FactError> {
        let mut paths = Vec::new();
        for _ in 0..count {
            paths.push(self.line()?);
        }
        let mut files = Vec::new();
        for path in &paths {
            let line = self.line()?;
            let fields: Vec<&str> = line.split('\t').collect();
            let [mode, uid, owner, size, changed] = fields.as_slice() else {
                return Err(FactError::Malformed(line));
            };
            files.push(File {
                mode: octal(mode, &line)?,
                owner: (*owner).to_owned(),
                uid: number(uid, &line)?,
                size: number(size, &line)?,
                changed: number(changed, &line)?,
                sha256: String::new(),
                content: None,
                link: self.links.contains(path),
            });
        }
        let hashed = if want == "stat" { 0 } else { count };
        for file in files.iter_mut().take(hashed) {
            let line = self.line()?;
            // A name with a backslash makes sha256sum start the line with one.
            let hash = line.trim_start_matches('\\').get(..64);
            hash.ok_or_else(|| FactError::Malformed(line.clone()))?
                .clone_into(&mut file.sha256);
        }
        if want == "content" {
            for file in &mut files {
                let size = usize::try_from(file.size).unwrap_or(usize::MAX);
                if self.rest.len() < size {
                    return Err(FactError::Malformed("the content of a file".to_owned()));
                }
                let (content, rest) = self.rest.split_at(size);
                file.content = Some(content.to_vec());
                self.rest = rest;
            }
            let line = self.line()?;
            if !line.is_empty() {
                return Err(FactError::Malformed(
                    "a file that changed while it was read".to_owned(),
                ));
            }
        }
        let line = self.line()?;
        if line != "end" {
            return Err(FactError::Malformed(line));
        }
        for (path, file) in paths.into_iter().zip(files) {
            self.facts.files.insert(path, FileFact::File(file));
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String, FactError> {
        let end = self
            .rest
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(|| {
                FactError::Malformed(
                    String::from_utf8_lossy(self.rest)
                        .chars()
                        .take(80)
                        .collect(),
                )
            })?;
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(String::from_utf8_lossy(line).into_owned())
    }
}

fn number<T: std::str::FromStr>(text: &str, line: &str) -> Result<T, FactError> {
    text.parse()
        .map_err(|_| FactError::Malformed(line.to_owned()))
}

fn octal(text: &str, line: &str) -> Result<u32, FactError> {
    u32::from_str_radix(text, 8).map_err(|_| FactError::Malformed(line.to_owned()))
}
