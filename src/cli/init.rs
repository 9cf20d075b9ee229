//! `dtls-deploy init`: writes a first inventory.
//!
//! Connects to no node.

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::arguments::Common;
use super::reports::{Reports, directory_hint};
use super::start::load_inventory;
use base::event::ErrorKind;
use run::Exit;
use run::journal::Journal;

/// Maximum bytes.
const LARGEST_SSH_CONFIG: u64 = 4 << 20;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The file to write
    #[arg(default_value = "inventory.yaml")]
    file: PathBuf,
    /// The host that keeps the certificate authority
    #[arg(long, value_name = "NAME[=ADDRESS]", value_parser = parse)]
    ca: Option<Node>,
    /// A host whose Docker daemon is to be reachable over TLS. Can be repeated
    #[arg(long = "daemon", value_name = "NAME[=ADDRESS]", value_parser = parse)]
    daemons: Vec<Node>,
    /// A host that uses the daemons. Can be repeated
    #[arg(long = "client", value_name = "NAME[=ADDRESS]", value_parser = parse)]
    clients: Vec<Node>,
    /// Account to log in with, if ~/.ssh/config does not set one
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A guard on each daemon: roles for certificates, and revocation without a restart of Docker
    #[arg(long)]
    guard: bool,
}

/// A host in the form `node3` or `node3=10.0.0.12`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    name: String,
    address: Option<String>,
}

/// The roles of the hosts.
#[derive(Debug, PartialEq, Eq)]
struct Hosts {
    ca: Node,
    daemons: Vec<Node>,
    clients: Vec<Node>,
    user: Option<String>,
    guard: bool,
}

#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("--{0} is missing, and there is no terminal to ask on")]
    Missing(&'static str),
    #[error("the answers ended too early")]
    NoAnswer,
    #[error("{name} has two addresses, {one} and {other}: a host has one in an inventory")]
    TwoAddresses {
        name: String,
        one: String,
        other: String,
    },
    #[error("{} is there already, and it is not overwritten", .0.display())]
    IsThere(PathBuf),
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Terminal(#[from] std::io::Error),
}

pub(super) fn main(arguments: Arguments) -> Exit {
    let reports = match Reports::new(
        Path::new("inventory.yaml"),
        &Common::default(),
        &Journal::off(),
    ) {
        Ok(reports) => reports,
        Err(exit) => return exit,
    };
    let file = arguments.file.clone();
    // Before the questions.
    if file.exists() {
        return refused(&reports, &InitError::IsThere(file));
    }
    let hosts = match hosts(arguments).and_then(|hosts| one_address_each(&hosts).map(|()| hosts)) {
        Ok(hosts) => hosts,
        Err(error) => {
            return refused(&reports, &error);
        }
    };
    if let Err(error) = write(&file, &text(&hosts)) {
        return refused(&reports, &error);
    }
    // An inventory that does not load is useless.
    if let Err(exit) = load_inventory(&file, &Common::default(), &reports) {
        let _ = std::fs::remove_file(&file);
        return exit;
    }
    base::output::print(&format!(
        "{0} is written. Next: dtls-deploy plan {0}\n",
        file.display()
    ));
    Exit::Fine
}

fn refused(reports: &Reports, error: &InitError) -> Exit {
    let message = "no inventory was written".to_owned();
    let hint = error.hint();
    reports.advise(
        ErrorKind::Usage,
        "write the inventory",
        message,
        error,
        hint,
    );
    Exit::Usage
}

impl InitError {
    /// What to do about it.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(_) => Some(
                "name the hosts: dtls-deploy init inventory.yaml --ca NAME --daemon NAME --client NAME"
                    .to_owned(),
            ),
            Self::IsThere(file) => Some(format!(
                "name another file, or show what it changes: dtls-deploy plan {}",
                file.display()
            )),
            Self::Write { path, .. } => directory_hint(path),
            _ => None,
        }
    }
}

impl Hosts {
    /// Every mention of a host, in the inventory's order.
    fn mentions(&self) -> impl Iterator<Item = &Node> {
        let others = self.daemons.iter().chain(&self.clients);
        std::iter::once(&self.ca).chain(others)
    }

    /// A host's address, from any mention.
    fn address(&self, name: &str) -> Option<&str> {
        self.mentions()
            .filter(|node| node.name == name)
            .find_map(|node| node.address.as_deref())
    }
}

fn one_address_each(hosts: &Hosts) -> Result<(), InitError> {
    for node in hosts.mentions() {
        let known = hosts.address(&node.name);
        if let (Some(one), Some(other)) = (known, node.address.as_deref())
            && one != other
        {
            return Err(InitError::TwoAddresses {
                name: node.name.clone(),
                one: one.to_owned(),
                other: other.to_owned(),
            });
        }
    }
    Ok(())
}

/// Never overwrites an existing file.
fn write(file: &Path, text: &str) -> Result<(), InitError> {
    let opened = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file);
    let written = opened.and_then(|mut opened| opened.write_all(text.as_bytes()));
    written.map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => InitError::IsThere(file.to_owned()),
        _ => InitError::Write {
            path: file.to_owned(),
            source,
        },
    })
}

fn hosts(arguments: Arguments) -> Result<Hosts, InitError> {
    let is_complete =
        arguments.ca.is_some() && !arguments.daemons.is_empty() && !arguments.clients.is_empty();
    if !is_complete && !std::io::stdin().is_terminal() {
        return Err(InitError::Missing(match &arguments {
            Arguments { ca: None, .. } => "ca",
            Arguments { daemons, .. } if daemons.is_empty() => "daemon",
            _ => "client",
        }));
    }
    let known = std::env::home_dir()
        .and_then(|home| base::file::read_text(&home.join(".ssh/config"), LARGEST_SSH_CONFIG).ok())
        .map(|text| names_in(&text))
        .unwrap_or_default();
    ask(
        arguments,
        is_complete,
        &known,
        &mut std::io::stdin().lock(),
        &mut std::io::stdout(),
    )
}

/// Asks for what the arguments do not set.
fn ask(
    arguments: Arguments,
    is_complete: bool,
    known: &[String],
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> Result<Hosts, InitError> {
    if !is_complete {
        writeln!(output, "A host is a NAME, or NAME=ADDRESS.")?;
        if !known.is_empty() {
            writeln!(output, "~/.ssh/config knows: {}", known.join(", "))?;
        }
    }
    let mut list = |question: &str, most: usize| -> Result<Vec<Node>, InitError> {
        loop {
            write!(output, "{question}: ")?;
            output.flush()?;
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                return Err(InitError::NoAnswer);
            }
            let nodes: Result<Vec<Node>, String> = line
                .split([' ', ',', '\n', '\r'])
                .filter(|word| !word.is_empty())
                .map(parse)
                .collect();
            match nodes {
                Ok(nodes) if (1..=most).contains(&nodes.len()) => return Ok(nodes),
                Ok(nodes) if nodes.is_empty() => writeln!(output, "at least one is needed")?,
                Ok(_) => writeln!(output, "only one, please")?,
                Err(error) => writeln!(output, "{error}")?,
            }
        }
    };
    let ca = match arguments.ca {
        Some(ca) => ca,
        None => list("Host that keeps the certificate authority", 1)?
            .pop()
            .ok_or(InitError::NoAnswer)?,
    };
    let daemons = if arguments.daemons.is_empty() {
        list("Hosts with a docker daemon", usize::MAX)?
    } else {
        arguments.daemons
    };
    let clients = if arguments.clients.is_empty() {
        list("Hosts that talk to the daemons", usize::MAX)?
    } else {
        arguments.clients
    };
    let user = match arguments.user {
        None if !is_complete => {
            write!(output, "Account to log in with (empty: as ssh would): ")?;
            output.flush()?;
            let mut line = String::new();
            input.read_line(&mut line)?;
            Some(line.trim().to_owned()).filter(|user| !user.is_empty())
        }
        user => user,
    };
    let guard = arguments.guard
        || (!is_complete
            && agrees(
                "Guard on the daemons: roles for certificates, revocation without a restart? [y/N]: ",
                input,
                output,
            )?);
    Ok(Hosts {
        ca,
        daemons,
        clients,
        user,
        guard,
    })
}

/// Anything but yes is no.
fn agrees(
    question: &str,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> Result<bool, InitError> {
    write!(output, "{question}")?;
    output.flush()?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    let answer = line.trim().to_ascii_lowercase();
    Ok(matches!(answer.as_str(), "y" | "yes"))
}

fn parse(text: &str) -> Result<Node, String> {
    let (name, address) = match text.split_once('=') {
        Some((name, address)) => (name, Some(address)),
        None => (text, None),
    };
    let is_fit = |text: &str, more: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || more.contains(letter))
    };
    if !is_fit(name, "._-") || name.starts_with(['-', '.']) {
        return Err(format!(
            "\"{name}\" is no name of a host: letters, digits, `.`, `_` and `-`"
        ));
    }
    if address.is_some_and(|address| !is_fit(address, "._-:")) {
        return Err(format!("\"{text}\" names no address behind `=`"));
    }
    Ok(Node {
        name: name.to_owned(),
        address: address.map(str::to_owned),
    })
}

/// The hosts that an SSH configuration names, without patterns.
fn names_in(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
        if !words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("host"))
        {
            continue;
        }
        for word in words {
            let word = word.trim_matches('"');
            let is_new = !names.iter().any(|name| name == word);
            if parse(word).is_ok() && is_new {
                names.push(word.to_owned());
            }
        }
    }
    names
}

/// The inventory. Each address is written once, at the host's first mention.
fn text(hosts: &Hosts) -> String {
    let mut named = BTreeSet::new();
    let mut group = |nodes: &[Node]| -> String {
        nodes.iter().fold(String::new(), |text, node| {
            let is_first = named.insert(node.name.clone());
            let address = hosts.address(&node.name).filter(|_| is_first);
            let address = address.map_or_else(String::new, |address| {
                format!("          ansible_host: \"{address}\"\n")
            });
            // Names such as `on` and 10 need quotes in YAML.
            format!("{text}        \"{}\":\n{address}", node.name)
        })
    };
    let ca = group(std::slice::from_ref(&hosts.ca));
    let daemons = group(&hosts.daemons);
    let clients = group(&hosts.clients);
    let user = match &hosts.user {
        Some(user) => format!("    ansible_user: \"{user}\"\n"),
        None => "    # The account to log in with, where ~/.ssh/config does not say it.\n    # ansible_user: ubuntu\n".to_owned(),
    };
    let guard = if hosts.guard { "" } else { "# " };
    format!(
        "# An inventory that Ansible reads, too. A host may be in several groups.
#
#   dtls-deploy check-access FILE   tests SSH, sudo and the CA's lock
#   dtls-deploy plan FILE           shows what would change
#   dtls-deploy deploy FILE         does it, and checks the result
all:
  vars:
{user}    # The validity period of a certificate in days. It is renewed in the last third.
    dtls_validity_days: 365
    # Where a daemon listens for TLS. Its local socket stays as it is.
    dtls_listen: [\"tcp://0.0.0.0:2376\"]
    # A guard on each daemon: dtls_role restricts a client, and revoke needs no restart of Docker.
    {guard}dtls_guard: true
  children:
    # Keeps the certificate authority; its key is encrypted, and never leaves it.
    ca:
      hosts:
{ca}    # Docker daemons. Everyone who holds a client certificate is root on these hosts.
    daemons:
      hosts:
{daemons}    # Hosts whose account gets a client's certificate and docker contexts.
    clients:
      hosts:
{clients}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Arguments {
        Arguments {
            file: PathBuf::new(),
            ca: None,
            daemons: Vec::new(),
            clients: Vec::new(),
            user: None,
            guard: false,
        }
    }

    fn node(text: &str) -> Node {
        parse(text).unwrap()
    }

    #[test]
    fn what_is_not_given_is_asked_for_until_it_is_right() {
        let mut said = Vec::new();
        let mut answers = &b"a b\n\nca1\nbad host!\nd1=10.0.0.1, d2\nc1\nubuntu\nYes\n"[..];
        let known = vec!["d1".to_owned(), "d2".to_owned()];
        let hosts = ask(nothing(), false, &known, &mut answers, &mut said).unwrap();
        let expected = Hosts {
            ca: node("ca1"),
            daemons: vec![node("d1=10.0.0.1"), node("d2")],
            clients: vec![node("c1")],
            user: Some("ubuntu".to_owned()),
            guard: true,
        };
        assert_eq!(hosts, expected);
        assert!(text(&hosts).contains("\n    dtls_guard: true\n"));
        let none = agrees("?", &mut &b"\n"[..], &mut Vec::new());
        assert!(!none.unwrap());
        let said = String::from_utf8(said).unwrap();
        for part in [
            "knows: d1, d2",
            "only one",
            "at least one",
            "\"host!\" is no name",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let early = ask(nothing(), false, &[], &mut &b"ca1\n"[..], &mut Vec::new());
        assert!(matches!(early, Err(InitError::NoAnswer)));
    }

    #[test]
    fn a_host_in_two_groups_has_its_address_once() {
        let hosts = Hosts {
            ca: node("one=10.0.0.1"),
            daemons: vec![node("one=10.0.0.1"), node("on")],
            clients: vec![node("one")],
            user: None,
            guard: false,
        };
        let text = text(&hosts);
        assert_eq!(text.matches("10.0.0.1").count(), 1, "{text}");
        assert!(text.contains("\"on\":"), "{text}");
    }

    #[test]
    fn an_address_counts_whichever_role_gives_it() {
        let hosts = Hosts {
            ca: node("node1"),
            daemons: vec![node("node3")],
            clients: vec![node("node1=10.0.0.10"), node("node3=10.0.0.12")],
            user: None,
            guard: false,
        };
        assert!(one_address_each(&hosts).is_ok());
        let text = text(&hosts);
        for (name, address) in [("node1", "10.0.0.10"), ("node3", "10.0.0.12")] {
            let first = format!("\"{name}\":\n          ansible_host: \"{address}\"\n");
            assert!(text.contains(&first), "{text}");
            assert_eq!(text.matches(address).count(), 1, "{text}");
        }
    }

    #[test]
    fn two_addresses_of_one_host_are_refused() {
        let hosts = Hosts {
            ca: node("one=10.0.0.1"),
            daemons: vec![node("one=10.0.0.2")],
            clients: vec![node("two")],
            user: None,
            guard: false,
        };
        let error = one_address_each(&hosts).unwrap_err().to_string();
        assert!(
            error.starts_with("one has two addresses, 10.0.0.1 and 10.0.0.2"),
            "{error}"
        );
    }

    #[test]
    fn hosts_of_an_ssh_configuration_are_offered_and_patterns_are_not() {
        let text = "Host *\n  User x\nHost web1 web2 !web3 web?\n host=db\nHostName y\nHost web1\n";
        assert_eq!(names_in(text), ["web1", "web2", "db"]);
    }
}
