//! Values that someone hopes will be executed, and inventories that are no
//! inventories: refused, or taken byte for byte; never a crash.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use inventory::{
    Environment, Inventory, InventoryErrors, MemoryFiles, load, render, variable_table,
};
use proptest::prelude::*;
use serde_json::Value;

fn read(text: &str, extra: &[String]) -> Result<Inventory, InventoryErrors> {
    let files = BTreeMap::from([
        (
            PathBuf::from("/memory/inventory.yaml"),
            text.as_bytes().to_vec(),
        ),
        (PathBuf::from("/home/operator/.ssh/id"), b"key".to_vec()),
    ]);
    let environment = Environment {
        home: Some(PathBuf::from("/home/operator")),
        user: None,
        directory: PathBuf::from("/memory"),
        files: Arc::new(MemoryFiles(files)),
        untrusted: false,
    };
    load(Path::new("inventory.yaml"), extra, &environment)
}

const ROLES: &str =
    "ca: {hosts: {node2: }}\ndaemons: {hosts: {node3: }}\nclients: {hosts: {node1: }}\n";

const HOSTILE: &[&str] = &[
    "$(reboot)",
    "`id`",
    "; id",
    "| id",
    "&& id",
    "a b",
    "'",
    "\"",
    "\\",
    "a'b\"c",
    "-oProxyCommand=id",
    "--help",
    "-",
    "..",
    "../../etc/passwd",
    "/etc/../x",
    "a\nb",
    "a\r\nb",
    "a\tb",
    "a\0b",
    "\u{1b}[31m",
    "\u{7f}",
    "\u{202e}x",
    "\u{feff}",
    "{{ x }}",
    "{% x %}",
    "{# x #}",
    "*",
    "?",
    "[a]",
    "~",
    "~root/x",
    "$HOME",
    "${IFS}",
    "%h",
    "%n",
    "é",
    "漢",
    "😀",
    "",
    " ",
    " x ",
    "x ",
    "#x",
    "!x",
    "&x",
    "*x",
    "yes",
    "null",
    "0",
    "-1",
    "1e9",
    "0x10",
    "99999999999999999999",
    "tcp://$(id):2376",
    "tcp://a:2376\n",
    "DNS:a\nb",
    "IP:1",
    "/a\nb",
    "/a b",
    "/$(id)",
    "~/$(id)",
    "/-rf",
    "docker.service\n[Service]",
    "x.conf\n",
    "é.conf",
];

/// Every text that reaches the typed settings is the one that was written.
fn arrives_in(settings: &str, text: &str) -> bool {
    settings.contains(&format!("{text:?}")) || settings.contains(text)
}

#[test]
fn hostile_values_are_refused_or_arrive_byte_for_byte() {
    let (mut accepted, mut refused) = (0, 0);
    for variable in variable_table() {
        for hostile in HOSTILE {
            let quoted = serde_json::to_string(hostile).unwrap();
            for written in [
                quoted.clone(),
                format!("[{quoted}]"),
                format!("{{CN: {quoted}, cert: {quoted}}}"),
            ] {
                let text = format!("{ROLES}all: {{vars: {{{}: {written}}}}}\n", variable.name);
                match read(&text, &[]) {
                    Ok(inventory) => {
                        accepted += 1;
                        let host = inventory.host("node3").unwrap();
                        if let Some(kept) = host.variables.get(variable.name) {
                            let expected: Value = serde_json::from_str(&quoted).unwrap();
                            let kept = match kept {
                                Value::Array(items) => &items[0],
                                Value::Object(parts) => &parts["CN"],
                                other => other,
                            };
                            assert_eq!(kept, &expected, "{text}");
                        }
                    }
                    Err(errors) => {
                        refused += 1;
                        let shown = render(&errors.problems, 100);
                        let safe = |character: char| !character.is_control() || character == '\n';
                        assert!(shown.chars().all(safe), "{text}: {shown:?}");
                        assert!(!shown.contains('\u{202e}'), "{text}: {shown:?}");
                    }
                }
            }
        }
    }
    assert!(
        accepted > 100 && refused > 1000,
        "{accepted} accepted, {refused} refused"
    );
}

#[test]
fn directories_arrive_as_written() {
    for hostile in [
        "/srv/$(id)",
        "/srv/a b",
        "/srv/'x'",
        "/srv/\"x\"",
        "/srv/\\",
        "/srv/é",
        "/-rf",
        "/srv//x/",
    ] {
        let quoted = serde_json::to_string(hostile).unwrap();
        let text = format!("{ROLES}all: {{vars: {{dtls_daemon_dir: {quoted}}}}}\n");
        let inventory = read(&text, &[]).unwrap();
        assert_eq!(
            inventory.host("node3").unwrap().settings.daemon_dir,
            hostile
        );
        assert!(arrives_in(&format!("{:?}", inventory.hosts), hostile));
    }
}

#[test]
fn passwords_are_nowhere_but_in_their_type() {
    for name in [
        "ansible_password",
        "ansible_ssh_pass",
        "ansible_become_pass",
        "ansible_become_password",
    ] {
        let text = format!("{ROLES}all: {{vars: {{{name}: hunter2}}}}\n");
        let inventory = read(&text, &[]).unwrap();
        assert!(!format!("{inventory:?}").contains("hunter2"), "{name}");
        let connection = &inventory.host("node3").unwrap().connection;
        let secret = connection
            .password
            .as_ref()
            .or(connection.become_password.as_ref())
            .unwrap();
        assert_eq!(secret.expose(), b"hunter2");
    }
}

/// Ways to write a password near a mistake: it is never part of a message.
#[test]
fn a_password_is_never_shown() {
    let places = [
        "ansible_password: hunter2\n  dtls_typo: 1",
        "ansible_password: \"hunter2\"\n  dtls_typo: 1",
        "ansible_password: |\n    hunter2\n    hunter2\n  dtls_typo: 1",
        "ansible_password: >-\n\n    hunter2\n  dtls_typo: 1",
        "ansible_password:\n    hunter2\n  dtls_typo: 1",
        "\"ansible_password\": hunter2\n  dtls_typo: 1",
        "'ansible_password' : 'hunter2'\n  dtls_typo: 1",
        "? ansible_password\n  : hunter2\n  dtls_typo: 1",
        "ansible_pasword: hunter2\n  dtls_typo: 1",
        "ansible_password: [hunter2]\n  dtls_typo: 1",
        "ansible_password: {a: hunter2}\n  dtls_typo: 1",
        "ansible_password: &x hunter2\n  dtls_unit: *x",
        "ansible_password: !vault hunter2",
        "ansible_password: !what hunter2",
        "ansible_password: hunter2: hunter2",
        "ansible_password: \"hunter2\n  dtls_typo: 1",
        "ansible_password: 'hunter2\n  hunter2\n  x",
        "# ansible_password: hunter2\n  dtls_typo: 1",
        "own: 1 # password: hunter2\n  dtls_typo: 1",
        "{ansible_password: hunter2, dtls_typo: 1, ]",
        "ansible_password: \"{{ hunter2 }}\"",
        "ansible_password: hunter2\n  ansible_password: hunter2",
        "dtls_ca_passphrase: hunter2",
        "my_token: hunter2\n  dtls_typo: [",
    ];
    for place in places {
        let text = format!("{ROLES}all:\n vars:\n  {place}\n");
        if let Err(errors) = read(&text, &[]) {
            let shown = format!("{errors} {errors:?} {}", render(&errors.problems, 100));
            assert!(!shown.contains("hunter2"), "{text}\n{shown}");
        } else {
            panic!("accepted: {text}");
        }
    }
    let extra = [
        "ansible_password=hunter2 dtls_typo=1",
        "ansible_password='hunter2 x' dtls_typo=1",
        "{ansible_password: hunter2, dtls_typo: 1}",
        "{\"ansible_password\": \"hunter2\", ",
        "ansible_password='hunter2",
    ];
    for argument in extra {
        let errors = read(ROLES, &[argument.to_owned()]).unwrap_err();
        let shown = format!("{errors} {errors:?} {}", render(&errors.problems, 100));
        assert!(!shown.contains("hunter2"), "{argument}\n{shown}");
    }
}

#[test]
fn thousands_of_hosts_are_read_in_no_time() {
    let mut text =
        "ca: {hosts: {authority: }}\nclients: {hosts: {laptop: }}\ndaemons:\n  hosts:\n".to_owned();
    for number in 0..5000 {
        writeln!(
            text,
            "    node{number}: {{ansible_host: 10.{}.{}.1, dtls_validity_days: 90}}",
            number / 250,
            number % 250
        )
        .unwrap();
    }
    let start = Instant::now();
    let inventory = read(&text, &[]).unwrap();
    assert_eq!(inventory.daemons().count(), 5000);
    println!("5000 hosts in {:?}", start.elapsed());
}

#[test]
fn bombs_end_quickly() {
    let mut chain = String::new();
    for number in 0..30_000 {
        writeln!(chain, "g{number}: {{children: {{g{}: }}}}", number + 1).unwrap();
    }
    let mut backwards = String::new();
    for number in (0..30_000).rev() {
        writeln!(backwards, "g{number}: {{children: {{g{}: }}}}", number + 1).unwrap();
    }
    let bombs = [
        "[".repeat(1_000_000),
        "{a: ".repeat(100_000),
        "all: {hosts: {'a[0:60000]': }}".to_owned(),
        (0..2000).fold("all:\n hosts:\n".to_owned(), |text, number| {
            text + &format!("  a{number}n[0:60000]:\n")
        }),
        format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(1 << 20),
            vec!["*a"; 100_000].join(", ")
        ),
        format!(
            "{ROLES}all: {{vars: {{x: {}}}, hosts: {{'n[0:60000]': }}}}",
            "x".repeat(1 << 20)
        ),
        chain,
        backwards,
        "x".repeat(9 << 20),
        "a: *b".to_owned(),
        "&a a: *a".to_owned(),
        "\u{0}".to_owned(),
        "%YAML 9.9\n---\na: b".to_owned(),
    ];
    for bomb in bombs {
        let start = Instant::now();
        let errors = read(&bomb, &[]).unwrap_err();
        assert!(errors.errors().count() > 0);
        let shown: String = bomb.chars().take(60).collect();
        println!("{:?} {shown:?}: {}", start.elapsed(), errors.problems.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        let _ = read(&text, &[]);
        let _ = read(ROLES, &[text]);
    }

    /// One character of a good inventory changed, removed or added.
    #[test]
    fn a_changed_inventory_is_read_or_refused(
        place in 0_usize..2000, remove in 0_usize..12, insert in "[-:\\[\\]{}\"'#|>&*!%@`\n\t a-z0-9\u{e9}\u{1b}]{0,4}",
    ) {
        let good = include_str!("../../inventory/lab.yaml");
        let characters: Vec<char> = good.chars().collect();
        let place = place % characters.len();
        let mut changed: String = characters[..place].iter().collect();
        changed.push_str(&insert);
        changed.extend(characters.iter().skip(place + remove));
        if let Err(errors) = read(&changed, &[]) {
            let shown = render(&errors.problems, 80);
            prop_assert!(!shown.chars().any(|shown| shown.is_control() && shown != '\n'), "a control character");
            for problem in errors.errors() {
                prop_assert!(problem.line >= 1 && problem.line <= changed.lines().count() + 1);
            }
        }
    }
}
