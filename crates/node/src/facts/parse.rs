//! Parses the records of a facts script into [`NodeFacts`].
//!
//! Facts below a directory of another account come in that account's own section, which can name
//! only the paths that the account was asked about.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::network::{inet6, prefix, socket_address};
use super::own_addresses::OwnAddresses;
use super::ways::Ways;
use super::{
    AccountFault, FactError, FactRequest, File, FileFact, Holder, KeptGeneration, Listener,
    Network, NodeFacts, Owner, Space,
};
use crate::answer::{self, Lines};
use pki::sha256_hex;

pub(super) struct Parser<'a> {
    lines: Lines<'a>,
    facts: NodeFacts,
    own: OwnAddresses,
    /// Directories that the next `df` output is about.
    space_of: Vec<String>,
    ways: Ways,
    /// Paths that only another account may report about, by its name.
    asked: BTreeMap<String, BTreeSet<String>>,
    /// Runs with an active script of root's, according to root.
    at_work: BTreeSet<String>,
    /// The output of other accounts, by name.
    said: BTreeMap<String, Said>,
}

/// The result of asking an account.
struct Said {
    output: Vec<u8>,
    /// Exit code of its shell.
    status: String,
}

impl NodeFacts {
    /// Parses the answer to a request.
    ///
    /// # Errors If the script reported a failure, if its output is incomplete, or if it names
    /// something that was not requested.
    pub fn parse(output: &[u8], request: &FactRequest) -> Result<Self, FactError> {
        Parser::new(output).ok_or(FactError::NoAnswer)?.run(request)
    }
}

impl<'a> Parser<'a> {
    /// For the answer of a node; `None` if it has not begun.
    pub(super) fn new(output: &'a [u8]) -> Option<Self> {
        Lines::of_answer(output).map(Self::on)
    }

    fn on(lines: Lines<'a>) -> Self {
        Self {
            lines,
            facts: NodeFacts::default(),
            own: OwnAddresses::default(),
            space_of: Vec::new(),
            ways: Ways::default(),
            asked: BTreeMap::new(),
            at_work: BTreeSet::new(),
            said: BTreeMap::new(),
        }
    }
}

impl Parser<'_> {
    /// The facts, limited to what was requested.
    pub(super) fn run(mut self, request: &FactRequest) -> Result<NodeFacts, FactError> {
        loop {
            let (line, texts) = self.record()?;
            let fields: Vec<&str> = texts.iter().map(String::as_str).collect();
            match fields.as_slice() {
                ["done"] => break,
                ["failed", step, message] => {
                    return Err(FactError::Failed(format!("{step}: {message}")));
                }
                ["asked", account, path] => {
                    let asked = self.asked.entry((*account).to_owned()).or_default();
                    asked.insert((*path).to_owned());
                }
                ["at-work", run] => self.at_work.extend(run_id(run)),
                ["as", account] => {
                    let output = self.base64()?;
                    let status = self.end()?;
                    self.said
                        .insert((*account).to_owned(), Said { output, status });
                }
                fields => {
                    if !(self.about_paths(fields)?
                        || self.about_node(fields, &line)?
                        || self.around_docker(fields))
                    {
                        return Err(FactError::Malformed(line));
                    }
                }
            }
        }
        self.facts.directories = self.ways.told().map_err(FactError::Malformed)?;
        self.hear_accounts();
        request.answered_by(&self.facts)?;
        Ok(self.facts)
    }

    /// Adds what each account reported about its own paths. It can report nothing about others',
    /// and a missing or invalid answer only prevents changes on its own host.
    fn hear_accounts(&mut self) {
        for (account, asked) in std::mem::take(&mut self.asked) {
            let heard = match self.said.get(&account) {
                None => Err(AccountFault::Silent),
                Some(said) => Parser::on(Lines::of_account(&said.output))
                    .of_account(&asked)
                    .map_err(|fault| match said.status.as_str() {
                        "124" | "137" | "143" => AccountFault::TimedOut,
                        _ => fault,
                    }),
            };
            match heard {
                Ok(heard) => self.take_over(heard),
                Err(fault) => {
                    for path in asked {
                        self.facts.files.insert(path, FileFact::Unreadable);
                    }
                    self.facts.faults.insert(account, fault);
                }
            }
        }
    }

    /// The answer of an account that was asked about these paths.
    fn of_account(mut self, asked: &BTreeSet<String>) -> Result<NodeFacts, AccountFault> {
        loop {
            let (_, texts) = self.record().map_err(|_| AccountFault::Malformed)?;
            let fields: Vec<&str> = texts.iter().map(String::as_str).collect();
            match fields.as_slice() {
                ["done"] => break,
                ["failed", _, message] => {
                    return Err(AccountFault::Failed((*message).to_owned()));
                }
                fields => match self.about_paths(fields) {
                    Ok(true) => {}
                    Err(FactError::Changed(path)) => return Err(AccountFault::Changed(path)),
                    _ => return Err(AccountFault::Malformed),
                },
            }
        }
        self.facts.directories = self.ways.told().map_err(|_| AccountFault::Malformed)?;
        let facts = &self.facts;
        let named = facts
            .files
            .keys()
            .chain(facts.directories.keys())
            .chain(facts.blocked.keys())
            .chain(&facts.claims.keys)
            .chain(&facts.leftovers);
        if let Some(path) = named.into_iter().find(|path| !asked.contains(*path)) {
            return Err(AccountFault::NotAsked(path.clone()));
        }
        let answered = |path: &&String| {
            facts.files.contains_key(*path) || facts.directories.contains_key(*path)
        };
        if !asked.iter().all(|path| answered(&path)) {
            return Err(AccountFault::Malformed);
        }
        Ok(self.facts)
    }

    /// Adds an account's facts: below the first directory that is not root's, which root reported.
    fn take_over(&mut self, heard: NodeFacts) {
        for (path, fact) in heard.files {
            self.insert(&path, fact);
        }
        self.facts.claims.keys.extend(heard.claims.keys);
        self.facts.blocked.extend(heard.blocked);
        // Root reports the path up to the first directory of another account.
        for (asked, components) in heard.directories {
            let Some(known) = self.facts.directories.get_mut(&asked) else {
                continue;
            };
            for component in components {
                if !known.iter().any(|other| other.path == component.path) {
                    known.push(component);
                }
            }
        }
        let known = |directories: BTreeSet<String>| {
            let is_directory = |path: &String| self.facts.directories.contains_key(path);
            directories.into_iter().filter(is_directory).collect()
        };
        let mut leftovers: BTreeSet<String> = known(heard.leftovers);
        let mut working: Vec<(String, BTreeSet<String>)> = Vec::new();
        for (run, directories) in heard.working {
            let directories = known(directories);
            // A stage that no script works on may be removed; an account can create one at any
            // time.
            if self.at_work.contains(&run) {
                working.push((run, directories));
            } else {
                leftovers.extend(directories);
            }
        }
        self.facts.leftovers.extend(leftovers);
        for (run, directories) in working {
            let known = self.facts.working.entry(run).or_default();
            known.extend(directories);
        }
    }

    /// Records that an account may report about its own paths too.
    fn about_paths(&mut self, fields: &[&str]) -> Result<bool, FactError> {
        match fields {
            ["absent", path] => self.insert(path, FileFact::Absent),
            ["unreadable", path] => self.insert(path, FileFact::Unreadable),
            ["other", path] => self.insert(path, FileFact::Other),
            ["exposed", path] => self.insert(path, FileFact::Exposed),
            ["path", asked, paths @ ..] => self.ways.walked(asked, paths),
            ["blocked", asked, path] => {
                let blocked = &mut self.facts.blocked;
                blocked.insert((*asked).to_owned(), (*path).to_owned());
            }
            ["directories", paths @ ..] => {
                for path in paths {
                    let line = self.line()?;
                    let seen = self.ways.seen(path, &line);
                    seen.ok_or(FactError::Malformed(line))?;
                }
            }
            ["file", path, mark @ ..] => self.file_set(path, mark)?,
            ["declared", fields @ ..] => return Ok(self.facts.claims.record(fields)),
            ["certificates", path, key @ ..] => {
                let bytes = self.base64()?;
                self.end()?;
                // A file that is too large, or was removed in between, does not count.
                if let Some(FileFact::File(file)) = self.facts.files.get_mut(*path) {
                    file.content = Some(bytes);
                    file.private_key = !key.is_empty();
                }
            }
            ["working", run, directory] => {
                // Anything else was not created by a run.
                if answer::is_run_id(run) {
                    let stages = self.facts.working.entry((*run).to_owned()).or_default();
                    stages.insert((*directory).to_owned());
                }
            }
            ["leftover", directory] => {
                self.facts.leftovers.insert((*directory).to_owned());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Records about the whole node.
    fn about_node(&mut self, fields: &[&str], line: &str) -> Result<bool, FactError> {
        match fields {
            ["system", kernel, machine, hostname] => {
                (*kernel).clone_into(&mut self.facts.kernel);
                (*machine).clone_into(&mut self.facts.machine);
                (*hostname).clone_into(&mut self.facts.hostname);
            }
            ["clock", seconds] => self.facts.clock = number(seconds, line)?,
            ["audit"] => {
                self.facts.audit = self.base64()?;
                self.end()?;
            }
            ["uptime", seconds] => self.facts.uptime = seconds.parse().ok(),
            ["unit-started", at] => self.facts.unit_started = Some(nanoseconds(at, line)?),
            ["account", uid, name] => {
                self.facts.uid = number(uid, line)?;
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
            ["exists", answer, path] => {
                self.facts
                    .exists
                    .insert((*path).to_owned(), *answer == "yes");
            }
            ["resolved", name, addresses] => {
                // getent lists each address once for every type of socket.
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
                let address = address.ok_or_else(|| FactError::Malformed(line.to_owned()))?;
                let network = self.network();
                if !network.addresses.contains(&address) {
                    network.addresses.push(address);
                }
            }
            ["listener", address, port, owner @ ..] => {
                let listener = self.listener(address, port, owner);
                let listener = listener.ok_or_else(|| FactError::Malformed(line.to_owned()))?;
                self.network().listeners.push(listener);
            }
            ["space-of", directory] => self.space_of.push((*directory).to_owned()),
            ["space", kind] => self.space(kind)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// No home: there is no such account.
    fn named_account(&mut self, name: &str, home: &str) {
        let home = Some(home.to_owned()).filter(|home| !home.is_empty());
        self.facts.accounts.insert(name.to_owned(), home);
    }

    /// Records of drop-ins, of the daemon's socket, of addresses and of what `doctor` requests;
    /// false for any other.
    fn around_docker(&mut self, fields: &[&str]) -> bool {
        match fields {
            ["unit", property] => self.unit(property),
            ["unit-plain"] => self.facts.unit.get_or_insert_default().words_are_plain(),
            ["unit-loaded", property, json] => {
                let unit = self.facts.unit.get_or_insert_default();
                return unit.loaded.record(property, json);
            }
            ["socket-loaded", property, json] => {
                let socket = self.facts.socket.get_or_insert_default();
                return socket.loaded.record(property, json);
            }
            ["guard-not-asked"] => self.facts.claims.guard_not_asked = true,
            ["armed", run] => self.facts.armed.extend(run_id(run)),
            ["undo-failed", run] => self.facts.undo_failed.extend(run_id(run)),
            ["generation", path, account] => self.facts.generations.push(KeptGeneration {
                path: (*path).to_owned(),
                account: (*account).to_owned(),
            }),
            ["hidden-generations", path] => {
                self.facts.hidden_generations = Some((*path).to_owned());
            }
            ["engine", fields @ ..] => {
                return self.facts.engine.get_or_insert_default().record(fields);
            }
            ["service", unit, property] => {
                let (name, value) = property.split_once('=').unwrap_or((property, ""));
                let unit = self.facts.services.entry((*unit).to_owned()).or_default();
                unit.properties.insert(name.to_owned(), value.to_owned());
            }
            ["drop-in", path] => {
                let unit = self.facts.unit.get_or_insert_default();
                unit.on_disk.push((*path).to_owned());
            }
            ["unit-link", directory, real] => {
                let unit = self.facts.unit.get_or_insert_default();
                unit.name_as_linked(directory, real);
            }
            ["socket-link", directory, real] => {
                let socket = self.facts.socket.get_or_insert_default();
                socket.name_as_linked(directory, real);
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

    /// A file with known bytes keeps them if it is reported again without them.
    fn insert(&mut self, path: &str, fact: FileFact) {
        if let (Some(FileFact::File(known)), FileFact::File(more)) =
            (self.facts.files.get(path), &fact)
            && (known.content.is_some() || !known.sha256.is_empty())
            && more.content.is_none()
        {
            return;
        }
        self.facts.files.insert(path.to_owned(), fact);
    }

    fn network(&mut self) -> &mut Network {
        self.facts.network.get_or_insert_default()
    }

    fn listener(&self, address: &str, port: &str, owner: &[&str]) -> Option<Listener> {
        Some(Listener {
            address: socket_address(address, &self.facts.machine)?,
            port: u16::from_str_radix(port, 16).ok()?,
            owner: match owner {
                ["daemon"] => Owner::Daemon,
                ["unknown"] => Owner::Unknown,
                ["hidden"] => Owner::Other(Holder::Hidden),
                ["process", pid, name] => Owner::Other(Holder::Process {
                    name: (*name).to_owned(),
                    pid: pid.parse().ok()?,
                }),
                _ => return None,
            },
        })
    }

    /// The output of `df` for each directory, after its heading.
    fn space(&mut self, kind: &str) -> Result<(), FactError> {
        self.df()?;
        for directory in std::mem::take(&mut self.space_of) {
            let line = self.df()?;
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

    fn df(&mut self) -> Result<String, FactError> {
        let (line, texts) = self.record()?;
        match texts.as_slice() {
            [word, said] if word == "df" => Ok(said.clone()),
            _ => Err(FactError::Malformed(line)),
        }
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

    /// The files that were read together, of which this record names the first: one record each,
    /// then the output of stat, the hashes of the first ones, and the bytes of the first of those.
    fn file_set(&mut self, first: &str, mark: &[&str]) -> Result<(), FactError> {
        let mut named = vec![(first.to_owned(), !mark.is_empty())];
        let mut files = Vec::new();
        loop {
            let (line, said) = self.line_and_fields()?;
            let Some(said) = said else {
                return Err(FactError::Malformed(line));
            };
            let fields: Vec<&str> = said.iter().map(String::as_str).collect();
            match fields.as_slice() {
                ["file", path, mark @ ..] if files.is_empty() => {
                    named.push(((*path).to_owned(), !mark.is_empty()));
                }
                [mode, uid, owner, size, changed] if files.len() < named.len() => {
                    files.push(File {
                        mode: octal(mode, &line)?,
                        owner: (*owner).to_owned(),
                        uid: number(uid, &line)?,
                        size: number(size, &line)?,
                        changed: nanoseconds(changed, &line)?,
                        sha256: String::new(),
                        content: None,
                        private_key: false,
                        link: named.get(files.len()).is_some_and(|(_, link)| *link),
                    });
                }
                ["hashes"] if files.len() == named.len() => break,
                _ => return Err(FactError::Malformed(line)),
            }
        }
        let mut hashed = 0;
        let count = loop {
            let line = self.line()?;
            if let Some(count) = line.strip_prefix("contents\t") {
                break number(count, &line)?;
            }
            let Some(file) = files.get_mut(hashed).filter(|_| is_sha256(&line)) else {
                return Err(FactError::Malformed(line));
            };
            file.sha256 = line;
            hashed += 1;
        };
        let bytes = self.base64()?;
        self.end()?;
        let files_read = files.iter_mut().zip(&named).take(count);
        let files_read = files_read.map(|(file, (path, _))| (path.as_str(), file));
        contents(files_read, &bytes)?;
        for ((path, _), file) in named.iter().zip(files) {
            self.insert(path, FileFact::File(file));
        }
        Ok(())
    }

    /// The bytes of the lines up to the next record `end`, which is not consumed.
    fn base64(&mut self) -> Result<Vec<u8>, FactError> {
        let mut text = Vec::new();
        loop {
            let mut ahead = self.lines;
            let line = ahead.next_line().ok_or_else(|| self.broken_off())?;
            if line.starts_with(b"end") && line.get(3).is_none_or(|byte| *byte == b'\t') {
                break;
            }
            text.extend_from_slice(line);
            self.lines = ahead;
        }
        STANDARD
            .decode(text)
            .map_err(|_| FactError::Malformed("bytes that are not base64".to_owned()))
    }

    /// The record `end`; returns its field, if it has one.
    fn end(&mut self) -> Result<String, FactError> {
        let (line, texts) = self.record()?;
        match texts.as_slice() {
            [word] if word == "end" => Ok(String::new()),
            [word, status] if word == "end" => Ok(status.clone()),
            _ => Err(FactError::Malformed(line)),
        }
    }

    fn record(&mut self) -> Result<(String, Vec<String>), FactError> {
        match self.line_and_fields()? {
            (line, Some(fields)) => Ok((line, fields)),
            (line, None) => Err(FactError::Malformed(line)),
        }
    }

    fn line_and_fields(&mut self) -> Result<(String, Option<Vec<String>>), FactError> {
        let line = self.lines.next_line().ok_or_else(|| self.broken_off())?;
        let fields = answer::fields(line).map(|fields| answer::texts(&fields));
        Ok((String::from_utf8_lossy(line).into_owned(), fields))
    }

    fn line(&mut self) -> Result<String, FactError> {
        let line = self.lines.next_line().ok_or_else(|| self.broken_off())?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    fn broken_off(&self) -> FactError {
        FactError::Malformed(self.lines.shown())
    }
}

/// Splits the bytes among files. A piece counts as a file's only if it has that file's hash: bytes
/// and hash were read separately, and the file may have changed in between.
fn contents<'a>(
    files: impl Iterator<Item = (&'a str, &'a mut File)>,
    mut bytes: &[u8],
) -> Result<(), FactError> {
    let mut last = String::new();
    for (path, file) in files {
        path.clone_into(&mut last);
        let size = usize::try_from(file.size).unwrap_or(usize::MAX);
        let piece = bytes
            .get(..size)
            .filter(|piece| sha256_hex(piece) == file.sha256);
        let piece = piece.ok_or_else(|| FactError::Changed(last.clone()))?;
        file.content = Some(piece.to_vec());
        bytes = bytes.get(size..).unwrap_or_default();
    }
    if bytes.is_empty() {
        Ok(())
    } else {
        Err(FactError::Changed(last))
    }
}

/// Seconds since the epoch, as `stat -c %.9Z` prints them, in nanoseconds. Without a fraction, the
/// end of the second: in doubt, later.
fn nanoseconds(text: &str, line: &str) -> Result<i64, FactError> {
    let malformed = || FactError::Malformed(line.to_owned());
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "999999999"));
    if fraction.len() != 9 {
        return Err(malformed());
    }
    let seconds: i64 = number(seconds, line)?;
    let fraction: u32 = number(fraction, line)?;
    let nanoseconds = seconds.checked_mul(1_000_000_000);
    nanoseconds
        .and_then(|nanoseconds| nanoseconds.checked_add(fraction.into()))
        .ok_or_else(malformed)
}

fn run_id(name: &str) -> Option<String> {
    answer::is_run_id(name).then(|| name.to_owned())
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn number<T: std::str::FromStr>(text: &str, line: &str) -> Result<T, FactError> {
    text.parse()
        .map_err(|_| FactError::Malformed(line.to_owned()))
}

fn octal(text: &str, line: &str) -> Result<u32, FactError> {
    u32::from_str_radix(text, 8).map_err(|_| FactError::Malformed(line.to_owned()))
}
