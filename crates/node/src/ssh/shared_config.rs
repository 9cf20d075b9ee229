//! Which hosts share an answer of `ssh -G`.
//!
//! Hosts to which the same blocks apply get the same answer, so that one of them is asked for.
//! Starting `ssh` costs more than logging in to a node does, and most inventories need one or two
//! answers.
//!
//! Only what is plainly understood is shared. `Match` (but `Match all`),
//! canonical names, and `%` in a value that we use make an answer the host's own;
//! then every host is asked for.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::config::HostConfig;
use base::wildcard;

/// Keywords whose values we use. Those of the others may say what they like.
const USED: [&str; 16] = [
    "hostname",
    "user",
    "port",
    "identityfile",
    "certificatefile",
    "identitiesonly",
    "identityagent",
    "proxyjump",
    "proxycommand",
    "userknownhostsfile",
    "globalknownhostsfile",
    "stricthostkeychecking",
    "hashknownhosts",
    "hostkeyalias",
    "connecttimeout",
    "include",
];

/// The `Host` lines of a configuration, and the names it gives.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    hosts: Vec<Vec<String>>,
    /// Values of `HostName`, in lower case.
    names: BTreeSet<String>,
}

/// What decides about an answer; hosts that are alike in it share theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    applies: Vec<bool>,
    is_address: bool,
}

impl Blocks {
    /// `None` when hosts have to be asked for one by one.
    pub(super) fn read(texts: &[String]) -> Option<Self> {
        let mut blocks = Self::default();
        for line in texts.iter().flat_map(|text| text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let end = line.find(|c: char| c.is_whitespace() || c == '=')?;
            let (keyword, value) = line.split_at_checked(end)?;
            let value = value.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
            let keyword = keyword.to_ascii_lowercase();
            // Quotes and what follows a value are understood differently by
            // different versions.
            let is_plain = !value.contains(['"', '\'', '\\', '#']);
            match keyword.as_str() {
                "host" if is_plain => blocks
                    .hosts
                    .push(value.split_whitespace().map(ToOwned::to_owned).collect()),
                "match" if value.eq_ignore_ascii_case("all") => {}
                // Answers would depend on what a resolver says.
                "canonicalizehostname" if value.eq_ignore_ascii_case("no") => {}
                "host" | "match" | "canonicalizehostname" => return None,
                keyword if !keyword.starts_with(|c: char| c.is_ascii_alphabetic()) => return None,
                keyword if USED.contains(&keyword) && value.contains('%') => return None,
                "hostname" if is_plain => {
                    blocks.names.insert(value.trim().to_lowercase());
                }
                "hostname" => return None,
                _ => {}
            }
        }
        Some(blocks)
    }

    /// `None` when the host has to be asked for itself.
    pub(super) fn kind(&self, host: &str) -> Option<Kind> {
        let is_address = host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.to_string() == host);
        // Other spellings of addresses are put into the usual one; a digit may
        // begin one. Of a host that a `HostName` also names the answer does not
        // show whether it applied.
        let is_name = host.starts_with(|c: char| c.is_ascii_alphabetic())
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        if !(is_address || is_name) || self.names.contains(&host.to_lowercase()) {
            return None;
        }
        let applies = self.hosts.iter().map(|patterns| applies(patterns, host));
        Some(Kind {
            applies: applies.collect(),
            is_address,
        })
    }
}

/// `ssh_config(5)`, `Host`: one pattern must match, and none with `!`.
fn applies(patterns: &[String], host: &str) -> bool {
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(pattern) if wildcard::is_match(pattern, host) => return false,
            None if wildcard::is_match(pattern, host) => found = true,
            _ => {}
        }
    }
    found
}

/// The answer for `host`, from that for `asked`, a host of the same kind.
pub(super) fn transfer(answer: &HostConfig, asked: &str, host: &str) -> HostConfig {
    let is_itself = answer.hostname.as_deref() == Some(asked.to_lowercase().as_str());
    let mut answer = answer.clone();
    if is_itself {
        answer.hostname = Some(host.to_lowercase());
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use super::super::config::{ask, files_read};
    use super::*;

    const HOSTS: [&str; 16] = [
        "node1",
        "node2",
        "NODE3",
        "web.example",
        "Web.Example",
        "db.example",
        "not.example",
        "real.host",
        "alias",
        "10.0.0.1",
        "10.0.0.2",
        "10.1.0.1",
        "127.1",
        "010.0.0.1",
        "1and1.example",
        "0x7f.1",
    ];

    async fn blocks(file: &Path) -> Option<Blocks> {
        let read = files_read(Path::new("ssh"), Some(file)).await?;
        let texts: Vec<String> = read
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        Blocks::read(&texts)
    }

    /// Every shared answer is what `ssh -G` says of that very host.
    #[tokio::test]
    async fn shared_answers_are_those_of_openssh() {
        let directory = tempfile::tempdir().unwrap();
        let included = directory.path().join("included");
        std::fs::write(
            &included,
            "Host 10.0.* !10.0.0.2\n  Port 2200\nHost db*\nUser dba\n",
        )
        .unwrap();
        let text = format!(
            "ControlPath ~/.ssh/%r@%h:%p\nHost node? NODE*\n HostKeyAlias of-nodes\n  IdentityFile ~/.ssh/node\n\
             Host *.example !not.example\n\tProxyJump=bastion\n UserKnownHostsFile /kh1 /kh2\n\
             Host never-at-all\n Include {}\nHost alias\n HostName real.host\n\
             Host 10.*\n  Include {}\n StrictHostKeyChecking accept-new\nMatch all\n ConnectTimeout 7\n",
            included.display(),
            included.display()
        );
        let file = directory.path().join("config");
        std::fs::write(&file, text).unwrap();
        let blocks = blocks(&file).await.expect("all of it is plain");
        let mut shared: HashMap<Kind, (&str, HostConfig)> = HashMap::new();
        let mut transferred = 0;
        for host in HOSTS {
            let own = ask(Path::new("ssh"), Some(&file), host, None, None).await;
            let own = own.unwrap();
            let Some(kind) = blocks.kind(host) else {
                continue;
            };
            if let Some((asked, answer)) = shared.get(&kind) {
                transferred += 1;
                assert_eq!(transfer(answer, asked, host), own, "{host} as {asked}");
            } else {
                shared.insert(kind, (host, own));
            }
        }
        assert!(transferred >= 4, "{transferred} of {}", HOSTS.len());
        assert!(blocks.kind("real.host").is_none());
    }

    #[test]
    fn what_is_not_plain_is_not_shared() {
        for text in [
            "Match exec true\n",
            "Match host a\n User x\n",
            "Match final all\n",
            "CanonicalizeHostname yes\n",
            "Host \"a b\"\n",
            "Host a # b\n",
            "HostName %h.example\n",
            "IdentityFile ~/.ssh/%h\n",
            "Include ~/%h\n",
            "\"Host\" a\n",
            "alone\n",
        ] {
            assert!(Blocks::read(&[text.to_owned()]).is_none(), "{text}");
        }
        let blocks = Blocks::read(&[String::new()]).unwrap();
        assert_eq!(blocks.kind("node1"), blocks.kind("node2"));
        assert_ne!(blocks.kind("node1"), blocks.kind("10.0.0.1"));
        for host in ["::1", "127.1", "1.2.3.04", "0x7f000001", "fe80::1%eth0"] {
            assert!(blocks.kind(host).is_none(), "{host}");
        }
    }
}
