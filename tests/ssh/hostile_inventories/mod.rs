//! Inventories that are written against the machine that reads them, with the
//! built program: it shows, writes, runs and waits for nothing.
//!
//! Each scene has a home with secrets, an inventory, and a journal's place of
//! its own. An inventory is tried with several commands; afterwards the whole
//! scene is as it was before, no secret is in what was printed, and no command
//! has taken long.

#![allow(clippy::format_collect, clippy::semicolon_if_nothing_returned)]

mod scene;
mod secrets;
use std::os::unix::fs::symlink;

use scene::{Ended, Scene};
use secrets::{SECRETS, WAYS};

/// Commands that change nothing, with the inventory as `I`.
const READING: &[&str] = &[
    "I --list-hosts",
    "I --check",
    "I --check --output json",
    "rotate I --check -v",
    "status I --output json",
    "doctor I",
    "verify I",
    "I --check --untrusted",
    "env I",
];

/// Every kind of secret, on every way that leads an inventory to it, with
/// every command: no line of it is shown.
#[test]
fn no_secret_is_shown_on_any_way() {
    let mut tried = 0;
    for (row, (kind, text)) in SECRETS.iter().enumerate() {
        for (column, way) in WAYS.iter().enumerate() {
            let scene = Scene::new();
            let secret = scene.write("home/secret", text);
            let words = (way.prepare)(&scene, &secret, text);
            let before = scene.tree();
            // Each command meets each kind and each way.
            for step in 0..2 {
                let command = READING[(row + column + 4 * step) % READING.len()];
                let ended = scene.run(&format!("{command} {words}"));
                let shown = secrets::shown(text, &ended.text);
                assert_eq!(
                    shown, None,
                    "{kind}, {}, {command}:\n{}",
                    way.name, ended.text
                );
                // Of what is in a vault it is reported that it is not read.
                if way.is_read_with_the_inventory && *kind != "a vault" {
                    assert_eq!(ended.code, 2, "{kind}, {}, {command}", way.name);
                }
                tried += 1;
            }
            assert_eq!(scene.tree(), before, "{kind}, {}", way.name);
        }
    }
    assert_eq!(tried, SECRETS.len() * WAYS.len() * 2);
}

/// What is reported of such a file: its name, and what it should be.
#[test]
fn a_file_that_is_no_mapping_is_named() {
    let scene = Scene::new();
    scene.write("i/group_vars/all.yaml", SECRETS[0].1);
    let ended = scene.run("I --list-hosts");
    assert!(ended.text.contains("group_vars/all.yaml"), "{}", ended.text);
    assert!(ended.text.contains("variables must"), "{}", ended.text);
    let ended = scene.run("I --list-hosts --output json");
    assert!(
        ended.text.contains("\"kind\":\"inventory\""),
        "{}",
        ended.text
    );
    // Of what is a mapping pieces are shown as before.
    scene.write("i/group_vars/all.yaml", "own: 1\ndtls_typo: 2\n");
    let ended = scene.run("I --list-hosts");
    assert!(ended.text.contains("dtls_typo: 2"), "{}", ended.text);
}

/// As people see it, and programs.
const ERROR: &str = "Error:|\"event\":\"error\"";

/// One inventory that tries something.
struct Row {
    name: &'static str,
    /// Variables of all hosts.
    variables: String,
    prepare: fn(&Scene),
    /// What each command has to say; empty: anything.
    said: &'static str,
}

fn row(name: &'static str, variables: impl Into<String>, said: &'static str) -> Row {
    Row {
        name,
        variables: variables.into(),
        prepare: |_| {},
        said,
    }
}

impl Row {
    fn after(mut self, prepare: fn(&Scene)) -> Self {
        self.prepare = prepare;
        self
    }
}

/// Words for ssh that run a program, read a file or change what is checked.
fn of_ssh_arguments() -> Vec<Row> {
    const RUNS: &[&str] = &[
        "-o ProxyCommand='touch MARK'",
        "-oProxyCommand=\"touch MARK\"",
        "-o PermitLocalCommand=yes -o LocalCommand='touch MARK'",
        "-o KnownHostsCommand='/bin/touch MARK'",
        "-o PKCS11Provider=HOME/evil.so",
        "-o SecurityKeyProvider=HOME/evil.so",
        "-o XAuthLocation=HOME/evil",
        "-o RemoteCommand='touch MARK'",
        "-o Include=HOME/evil.conf",
        "-o 'Match=exec \"touch MARK\"'",
        "-F HOME/evil.conf",
        "-FHOME/evil.conf",
        "-S HOME/evil -O check",
        "-I HOME/evil.so",
        "-E MARK",
        "-w 0:0",
        "-J '-oProxyCommand=touch MARK'",
        "-J '$(touch MARK)'",
        "-o ProxyJump='a;touch MARK'",
    ];
    let mut rows = Vec::new();
    for variable in [
        "ansible_ssh_common_args",
        "ansible_ssh_extra_args",
        "ansible_ssh_args",
    ] {
        for arguments in RUNS {
            let value = serde_json::to_string(arguments).unwrap();
            rows.push(
                row("a program", format!("{variable}: {value}"), ERROR).after(|scene| {
                    let config = format!("Match exec \"touch {}\"\n", scene.path("MARK").display());
                    scene.write("home/evil.conf", &config);
                    scene.write("home/evil", "#!/bin/sh\ntouch \"$HOME/../MARK\"\n");
                    scene.execute("home/evil");
                }),
            );
        }
    }
    rows
}

/// What has no effect, and is reported.
fn of_host_keys() -> Vec<Row> {
    [
        "ansible_host_key_checking: false",
        "ansible_ssh_host_key_checking: 'no'",
        "ansible_ssh_common_args: -o StrictHostKeyChecking=no",
        "ansible_ssh_extra_args: -oStrictHostKeyChecking=accept-new",
        "ansible_ssh_args: -C -o UserKnownHostsFile=/dev/null",
    ]
    .into_iter()
    .map(|variables| row("a weaker check of host keys", variables, "has no effect"))
    .collect()
}

/// Files that are not what they are named for.
fn of_known_hosts() -> Vec<Row> {
    let file = |name: &str| format!("ansible_ssh_common_args: -o UserKnownHostsFile={name}");
    let row = |name, variables| row(name, variables, "has no effect");
    vec![
        row("authorized_keys", file("HOME/.ssh/authorized_keys")),
        row("a private key", file("HOME/.ssh/id_ed25519")),
        row("a device", file("/dev/zero")),
        row("a FIFO", file("HOME/fifo")).after(|scene| scene.fifo("home/fifo")),
        row("a directory", file("HOME/.ssh")),
        row("a sparse file", file("HOME/sparse")).after(|scene| scene.sparse("home/sparse")),
        row("a file to be made", file("HOME/.ssh/rc")),
    ]
}

fn of_key_files() -> Vec<Row> {
    let file = |name: &str| format!("ansible_ssh_private_key_file: {name}");
    vec![
        row("a device", file("/dev/zero"), ""),
        row("a FIFO", file("HOME/fifo"), "").after(|scene| scene.fifo("home/fifo")),
        row("a directory", file("HOME/.ssh"), ""),
        row("a sparse file", file("HOME/sparse"), "").after(|scene| scene.sparse("home/sparse")),
        row("known hosts", file("HOME/.ssh/known_hosts"), ""),
    ]
}

/// Files beside the inventory that stop or flood their reader.
fn of_files_beside() -> Vec<Row> {
    fn at(name: &'static str, prepare: fn(&Scene)) -> Row {
        row(name, "own: 1", "cannot be read|is not read").after(prepare)
    }
    vec![
        at("a FIFO of variables", |scene| {
            scene.fifo("i/group_vars/all.yaml")
        }),
        at("a FIFO among variables", |scene| {
            scene.write("i/group_vars/all/one.yaml", "own: 1\n");
            scene.fifo("i/group_vars/all/two.yaml");
        }),
        at("a device", |scene| {
            scene.link("/dev/zero", "i/group_vars/all.yaml")
        }),
        at("a terminal", |scene| {
            scene.link("/dev/tty", "i/host_vars/b.yaml")
        }),
        at("a sparse file", |scene| scene.sparse("i/host_vars/c.yml")),
        at("a loop", |scene| {
            scene.link("all.yaml", "i/group_vars/all.yaml")
        }),
        at("a directory out", |scene| scene.link("/", "i/group_vars")),
        row(
            "a name that a terminal obeys",
            "own: 1",
            "belongs to no group",
        )
        .after(|scene| {
            scene.write("i/group_vars/\u{1b}[31mx\u{202e}.yaml", "own: 1\n");
        }),
        at("its own descriptor", |scene| {
            scene.link("/proc/self/fd/0", "i/group_vars/all.yaml");
        }),
        at("its environment", |scene| {
            scene.link("/proc/self/environ", "i/group_vars/all.yaml");
        }),
    ]
}

/// Names that a shell or a file system would take for something else.
fn of_names() -> Vec<Row> {
    let mut rows = vec![
        row("an address", "ansible_host: '$(touch MARK)'", ERROR),
        row(
            "an address",
            "ansible_host: '-oProxyCommand=touch MARK'",
            ERROR,
        ),
        row("an account", "ansible_user: '`touch MARK`'", ERROR),
        row("a program", "ansible_ssh_executable: HOME/evil", ERROR),
        row("a program", "ansible_become_exe: HOME/evil", ERROR),
        row("a program", "dtls_ca_passphrase_command: touch MARK", ERROR),
        row(
            "a lookup",
            "dtls_ca_dir: \"{{ lookup('pipe', 'touch MARK') }}\"",
            ERROR,
        ),
    ];
    for template in [
        "{{ '.' ~ '.' }}/{{ kind }}",
        "{{ '/etc' }}/{{ role }}-{{ kind }}",
        "{{ inventory_hostname }}/{{ '.' ~ '.' }}/{{ role }}{{ kind }}",
        "{% if kind == 'key' %}{% endif %}",
        "{{ kind }}{{ role }}{{ '\\n' }}",
        "{{ kind }}{{ role }}{{ '\\x1b' }}",
        "a//{{ kind }}",
        ".{{ kind }}/{{ role }}",
        "{{ kind }}/",
        "{{ own }}/{{ kind }}",
        "{{ cycler }}{{ kind }}",
        // What multiplies: time and memory without an end.
        "{{ role }}{{ kind }}{{ '%999999999d' | format(1) }}",
        "{{ role }}{{ kind }}{{ 'a\nb' | indent(4000000000) }}",
        "{{ role }}{{ kind }}{{ 'a' * 9999999999 }}",
        "{{ role }}{{ kind }}{{ 'aa' | replace('a', own) | replace('.', own) }}",
        "{% set x = kind ~ role %}{% set x = x ~ x %}{{ x }}",
        "{% for a in range(9999999) %}{{ kind }}{{ role }}{% endfor %}",
        "{%- macro m(a) %}{{ a }}{{ kind }}{% endmacro %}{{ m(role) }}",
        "{{ many }}{{ kind }}{{ role }}",
    ] {
        let value = serde_json::to_string(template).unwrap();
        let variables = format!(
            "own: '..'\nmany: {}\ndtls_issued_name: {value}",
            "x".repeat(300)
        );
        rows.push(row("an issued name", variables, "dtls_issued_name"));
    }
    rows
}

/// Each inventory with several commands: nothing is written or run, nothing is
/// waited for, and what is reported is reported by each.
#[test]
fn nothing_happens_because_of_an_inventory() {
    let rows = [
        of_ssh_arguments(),
        of_host_keys(),
        of_known_hosts(),
        of_key_files(),
        of_files_beside(),
        of_names(),
    ]
    .concat_rows();
    assert!(rows.len() > 90, "{}", rows.len());
    for (number, row) in rows.iter().enumerate() {
        let scene = Scene::new();
        (row.prepare)(&scene);
        let variables = scene.filled(&row.variables);
        scene.inventory(&variables);
        let before = scene.tree();
        // Each row with three of them, and each command with many rows.
        for step in 0..3 {
            let command = READING[(number + 3 * step) % (READING.len() - 1)];
            let Ended { text, .. } = scene.run(command);
            let context = format!("{}: {variables}\n{command}\n{text}", row.name);
            assert_eq!(scene.tree(), before, "{context}");
            assert!(!text.contains("CANARY"), "{context}");
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{context}");
            let mut words = row.said.split('|');
            assert!(words.any(|words| text.contains(words)), "{context}");
        }
    }
}

trait Rows {
    fn concat_rows(self) -> Vec<Row>;
}

impl<const N: usize> Rows for [Vec<Row>; N] {
    fn concat_rows(self) -> Vec<Row> {
        self.into_iter().flatten().collect()
    }
}

/// A host that has never been seen, whose key the operator accepts: only a run
/// that may change something takes it down.
#[test]
fn what_changes_nothing_writes_nothing() {
    let scene = Scene::with_sshd();
    let before = scene.tree();
    for command in READING
        .iter()
        .filter(|command| !command.contains("untrusted"))
    {
        let accepts = if command.starts_with("env") {
            ""
        } else {
            "--host-key-checking accept-new"
        };
        let ended = scene.run(&format!("{command} {accepts}"));
        assert_eq!(scene.tree(), before, "{command}: {}", ended.text);
        if command.contains("check") {
            assert!(
                ended.text.contains("accept-new"),
                "{command}: {}",
                ended.text
            );
        }
    }
    let ended = scene.run("check-access I --host-key-checking accept-new --ca-passphrase-file P");
    assert_eq!(scene.tree(), before, "{}", ended.text);
    scene.run("history");
    scene.run("completions bash");
    assert_eq!(scene.tree(), before);
    // The same without --check.
    scene.run("I --host-key-checking accept-new");
    assert_ne!(scene.tree(), before);
    assert!(scene.read("home/.ssh/known_hosts").contains("127.0.0.1"));
}

/// Every run with a weaker check of host keys says so, no matter who asked for it.
#[test]
fn a_weaker_check_of_host_keys_is_said() {
    let scene = Scene::with_sshd();
    for (option, config, words) in [
        ("--host-key-checking off", "", "check of host keys is off"),
        ("--host-key-checking accept-new", "", "accepts new hosts"),
        ("", "StrictHostKeyChecking no", "check of host keys is off"),
        ("", "StrictHostKeyChecking accept-new", "accepts new hosts"),
    ] {
        scene.write("home/ssh-config", &format!("Host *\n {config}\n GlobalKnownHostsFile none\n UserKnownHostsFile HOME/.ssh/known_hosts\n").replace("HOME", scene.path("home").to_str().unwrap()));
        for command in [
            "I --check",
            "I --check --output json",
            "status I",
            "doctor I --output json",
        ] {
            let with = format!("{command} --limit a {option} --ssh-config CONFIG");
            let ended = scene.run(&with);
            assert!(ended.text.contains(words), "{with}: {}", ended.text);
        }
        // Strictness is the operator's to take back, and a stranger's to get.
        let ended = scene.run("I --check --host-key-checking yes --ssh-config CONFIG");
        assert!(!ended.text.contains(words), "{}", ended.text);
        let ended = scene.run("I --check --untrusted --ssh-config CONFIG");
        assert!(!ended.text.contains(words), "{}", ended.text);
    }
}

/// Host keys are the operator's to know: a `known_hosts` that the inventory
/// brings along vouches for nothing, and what was accepted unseen gets no
/// password.
#[test]
fn an_inventory_vouches_for_no_host() {
    let scene = Scene::with_sshd();
    scene.write("i/known_hosts", &scene.host_key_line());
    scene.key("home/other");
    let lines = "ansible_ssh_common_args: -o UserKnownHostsFile=DIR/known_hosts\nansible_password: hunter2\nansible_ssh_private_key_file: HOME/other";
    scene.inventory(&scene.filled(lines));
    let before = scene.tree();
    let ended = scene.run("I --check --limit a");
    assert!(ended.text.contains("has no effect"), "{}", ended.text);
    assert!(
        ended.text.contains("is in no known_hosts"),
        "{}",
        ended.text
    );
    for how in ["accept-new", "off"] {
        let ended = scene.run(&format!("I --check --limit a --host-key-checking {how}"));
        assert!(ended.text.contains("password: not sent"), "{}", ended.text);
    }
    // The operator can name that very file.
    let ended = scene.run("I --check --limit a --known-hosts i/known_hosts");
    assert!(ended.text.contains("password: refused"), "{}", ended.text);
    assert_eq!(scene.tree(), before);
    scene.write("home/.ssh/known_hosts", &scene.host_key_line());
    let ended = scene.run("I --check --limit a");
    assert!(ended.text.contains("password: refused"), "{}", ended.text);
}

#[test]
fn untrusted_is_for_plans_alone() {
    let scene = Scene::new();
    let templated = "- hosts: all\n  tasks:\n    - command: {argv: [echo, '{{ own }}']}\n";
    scene.write("play.yaml", templated);
    let before = scene.tree();
    for command in [
        "I",
        "rotate I",
        "rotate I --ca",
        "rollback I",
        "remove I",
        "revoke I c",
        "adopt I",
        "ca backup I --to BACKUP",
        "ca restore I --from BACKUP",
        "check-access I",
        "verify I",
        "status I",
        "doctor I",
        "I --check --diff",
        "I --check --ask-pass",
        "I --check --host-key-checking off",
    ] {
        let ended = scene.run(&format!("{command} --untrusted"));
        assert_eq!(ended.code, 2, "{command}: {}", ended.text);
        assert!(
            ended.text.contains("--untrusted"),
            "{command}: {}",
            ended.text
        );
    }
    for command in [
        "I --list-hosts",
        "verify I --list-tasks",
        "doctor I --list-hosts",
    ] {
        let ended = scene.run(&format!("{command} --untrusted"));
        assert_eq!(ended.code, 0, "{command}: {}", ended.text);
    }
    let ended = scene.run("I play.yaml --check --untrusted");
    assert_eq!(ended.code, 2, "{}", ended.text);
    assert!(
        ended.text.contains("puts a command together"),
        "{}",
        ended.text
    );
    assert_eq!(scene.tree(), before);
}

/// What such an inventory says of this machine means nothing, and this machine
/// itself is none of its hosts.
#[test]
fn an_untrusted_inventory_names_nothing_of_this_machine() {
    let scene = Scene::with_sshd();
    scene.write("home/.ssh/known_hosts", &scene.host_key_line());
    scene.fifo("home/fifo");
    for (variables, words) in [
        (
            "ansible_ssh_private_key_file: HOME/fifo",
            "ansible_ssh_private_key_file` has no effect",
        ),
        (
            "ansible_password: hunter2",
            "ansible_password` has no effect",
        ),
        (
            "ansible_become_pass: hunter2",
            "ansible_become_pass` has no effect",
        ),
        (
            "ansible_ssh_common_args: -i HOME/fifo",
            "ansible_ssh_common_args` has no effect",
        ),
        (
            "ansible_ssh_extra_args: -o IdentityFile=HOME/fifo",
            "ansible_ssh_extra_args` has no effect",
        ),
        (
            "ansible_ssh_args: -o IdentitiesOnly=yes",
            "ansible_ssh_args` has no effect",
        ),
    ] {
        scene.inventory(&scene.filled(variables));
        let ended = scene.run("I --check --untrusted --output json --limit a");
        assert!(ended.text.contains(words), "{variables}: {}", ended.text);
        // The operator's own key logs in.
        assert!(
            ended.text.contains("\"event\":\"connected\""),
            "{variables}: {}",
            ended.text
        );
        let trusted = scene.run("I --check --output json --limit a");
        assert!(
            !trusted.text.contains(words),
            "{variables}: {}",
            trusted.text
        );
    }
    scene.inventory("ansible_port: 1\nansible_ssh_common_args: -J b.example:22");
    let ended = scene.run("I --list-hosts --untrusted");
    assert_eq!(
        (ended.code, ended.text.contains("no effect")),
        (0, false),
        "{}",
        ended.text
    );
    scene.write("i/host_vars/a.yaml", "ansible_connection: local\n");
    let ended = scene.run("I --list-hosts --untrusted");
    assert_eq!(ended.code, 2, "{}", ended.text);
    assert!(ended.text.contains("ansible_connection"), "{}", ended.text);
}

/// A node that says something, which is shown to anyone who trusts the inventory.
#[test]
fn an_untrusted_inventory_shows_nothing_of_a_node() {
    let scene =
        Scene::with_sshd_config("ForceCommand /bin/sh -c 'echo CANARY of the node >&2; exit 1'");
    scene.write("home/.ssh/known_hosts", &scene.host_key_line());
    for command in ["I --check -v", "I --check --output json"] {
        let trusted = scene.run(command);
        assert!(trusted.text.contains("CANARY"), "{}", trusted.text);
        let ended = scene.run(&format!("{command} --untrusted"));
        assert!(
            ended.text.contains("masked by --untrusted"),
            "{}",
            ended.text
        );
        assert!(!ended.text.contains("CANARY"), "{}", ended.text);
    }
}

#[test]
fn a_log_is_no_link() {
    let scene = Scene::new();
    scene.write("home/victim", "CANARY\n");
    symlink(scene.path("home/victim"), scene.path("log")).unwrap();
    scene.fifo("pipe");
    let before = scene.tree();
    for log in ["log", "pipe", "home", "/dev/null"] {
        let ended = scene.run(&format!("I --list-hosts --log {log}"));
        assert_eq!(ended.code, 2, "{log}: {}", ended.text);
        assert_eq!(scene.tree(), before);
    }
    let ended = scene.run("I --check --log private");
    assert!(
        scene.read("private").contains("\"event\""),
        "{}",
        ended.text
    );
}
