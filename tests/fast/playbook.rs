//! Playbooks of an operator's own: how mistakes are explained, and which part
//! of one `--limit` and tags leave. Nothing is connected to.

use std::process::{Command, Output};

const INVENTORY: &str = "all:
  children:
    ca: {hosts: {authority: }}
    daemons: {hosts: {'docker[1:3]': }}
    clients: {hosts: {laptop: }}
    frankfurt: {hosts: {docker1: , docker2: }}
";

struct Case {
    directory: tempfile::TempDir,
}

impl Case {
    fn new(playbook: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("hosts.yaml"), INVENTORY).unwrap();
        std::fs::write(directory.path().join("book.yaml"), playbook).unwrap();
        Self { directory }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_dtls-deploy"))
            .args(["hosts.yaml", "book.yaml"])
            .args(arguments)
            .env("NO_COLOR", "1")
            .current_dir(self.directory.path())
            .output()
            .unwrap()
    }

    /// Standard output of a list.
    fn list(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of a run that must not begin.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        said
    }
}

const BOOK: &str = "- name: Drain
  hosts: daemons
  tags: drain
  tasks:
    - name: away
      command: {argv: [away]}
    - name: slowly
      command: {argv: [slowly]}
      tags: [slow, careful]
      when: group_names
- name: TLS
  hosts: [daemons, clients]
  tasks:
    - name: one or none
      transaction:
        - daemon_json:
          tags: json
        - restart:
      tags: tls
    - verify:
";

#[test]
fn the_lists_show_the_playbook_and_connect_to_nobody() {
    let case = Case::new(BOOK);
    assert_eq!(
        case.list(&["--list-tasks"]),
        "playbook: book.yaml

Drain (daemons)
  away (command)  tags: drain
  slowly (command)  tags: careful, drain, slow  when: group_names

TLS (daemons:clients)
  transaction: one or none
    daemon_json (daemon_json)  tags: json, tls
    restart (restart)  tags: tls
  verify (verify)
"
    );
    assert_eq!(
        case.list(&["--list-hosts", "--limit", "frankfurt:laptop"]),
        "playbook: book.yaml

Drain (2 hosts)
  docker1
  docker2

TLS (3 hosts)
  docker1
  docker2
  laptop
"
    );
}

#[test]
fn tags_leave_a_part_of_the_playbook() {
    let case = Case::new(BOOK);
    let tasks = |arguments: &[&str]| -> Vec<String> {
        let list = case.list(&[&["--list-tasks"], arguments].concat());
        list.lines()
            .filter_map(|line| Some(line.trim().split_once(" (")?.0.to_owned()))
            .filter(|name| !["Drain", "TLS"].contains(&name.as_str()))
            .collect()
    };
    assert_eq!(tasks(&["--tags", "drain"]), ["away", "slowly"]);
    assert_eq!(tasks(&["--tags", "slow,json"]), ["slowly", "daemon_json"]);
    assert_eq!(
        tasks(&["--skip-tags", "drain"]),
        ["daemon_json", "restart", "verify"]
    );
    assert_eq!(tasks(&["--tags", "drain", "--skip-tags", "slow"]), ["away"]);
    let said = case.refused(&["--tags", "jason"]);
    assert!(
        said.contains("--tags jason: no task has this tag"),
        "{said}"
    );
    assert!(
        said.contains("did you mean `json`? known tags: careful, drain, json, slow, tls"),
        "{said}"
    );
}

#[test]
fn a_limit_names_hosts_and_groups() {
    let case = Case::new("- hosts: all\n  tasks:\n    - client:\n");
    let hosts = |limit: &str| -> Vec<String> {
        let list = case.list(&["--list-hosts", "--limit", limit]);
        list.lines()
            .skip(3)
            .map(|line| line.trim().to_owned())
            .collect()
    };
    assert_eq!(hosts("docker3"), ["docker3"]);
    assert_eq!(hosts("frankfurt,laptop"), ["docker1", "docker2", "laptop"]);
    assert_eq!(hosts("daemons:!docker2"), ["docker1", "docker3"]);
    assert_eq!(hosts("!daemons"), ["authority", "laptop"]);
    assert_eq!(hosts("docker*"), ["docker1", "docker2", "docker3"]);
    assert_eq!(hosts("docker?:!*3"), ["docker1", "docker2"]);
    assert_eq!(hosts("frank*:&daemons"), ["docker1", "docker2"]);
    assert_eq!(hosts("&daemons:!frankfurt"), ["docker3"]);
    let said = case.refused(&["--limit", "podman*"]);
    assert!(said.contains("there is no host or group podman*"), "{said}");
    let said = case.refused(&["--limit", "dokcer1"]);
    assert!(said.contains("there is no host or group dokcer1"), "{said}");
    assert!(said.contains("did you mean `docker1`?"), "{said}");
    let said = case.refused(&["--limit", "laptop:!laptop"]);
    assert!(said.contains("leaves no host"), "{said}");
}

/// All at once, each with its place, before anything is connected to.
#[test]
fn mistakes_are_explained_with_their_places() {
    let case = Case::new(
        "- hosts: daemon
  serial: 0
  when: \"{{ zone == 'a' }}\"
  tasks:
    - command: {argv: touch}
    - command: {argv: [], tiemout: 3}
    - command: {argv: ['{{ x'], timeout: 0}
    - wait_for: {port: 70000, state: open}
    - service: {name: nginx}
      when: [zone ==, true]
      tags: [good, 'not so']
    - name: only a name
      when: true
    - transaction:
        - command: {argv: [x]}
    - wait_for: {port: -1}
    - register: x
",
    );
    let said = case.refused(&[]);
    let messages: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("book.yaml:") || line.trim_start().starts_with("Error: "))
        .map(str::trim)
        .collect();
    for (message, place) in [
        (
            "Error: there is no group or host `daemon` in the inventory",
            "1:10",
        ),
        ("Error: `0` is not the size of a batch", "2:11"),
        ("Error: a condition is an expression without braces", "3:9"),
        ("Error: `argv` is a list of texts, not `touch`", "5:23"),
        ("Error: `argv` needs at least one text", "6:23"),
        ("Error: unknown word `tiemout` in a command", "6:27"),
        (
            "Error: the template `{{ x` cannot be read: syntax error",
            "7:24",
        ),
        ("Error: `0` is not a value of `timeout`", "7:42"),
        ("Error: `70000` is not a value of `port`", "8:24"),
        ("Error: `open` is not a value of `state`", "8:38"),
        ("Error: `service` needs `state`", "9:7"),
        (
            "Error: the condition `zone ==` cannot be read: syntax error",
            "10:14",
        ),
        ("Error: `not so` is not a tag", "11:20"),
        ("Error: the task names no module", "12:7"),
        (
            "Error: `command` cannot be undone and may not stand in a transaction",
            "15:11",
        ),
        ("Error: `-1` is not a value of `port`", "16:24"),
        ("Error: unknown word `register` in a task", "17:7"),
    ] {
        let at = messages
            .iter()
            .position(|line| line.starts_with(message))
            .unwrap_or_else(|| panic!("{message}: {said}"));
        let next = messages.get(at + 1).copied().unwrap_or_default();
        assert!(
            next.contains(&format!("book.yaml:{place}")),
            "{message}: {next}\n{said}"
        );
    }
    assert!(said.contains("did you mean `daemons`?"), "{said}");
    assert!(said.contains("did you mean `timeout`?"), "{said}");
    assert!(
        said.contains("17 errors in the playbook book.yaml; nothing was touched"),
        "{said}"
    );
}
