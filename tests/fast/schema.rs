//! The JSON Schema of inventories, against Debian's `python3-jsonschema`: what
//! the program accepts is accepted, what it refuses by name is refused.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use inventory::schema;
use serde_json::{Value, json};

/// Reads `{"schema": ..., "texts": {NAME: YAML}}`, answers `{NAME: problem}` for
/// each text that the schema refuses. Tags such as `!unsafe` mean nothing to it.
const VALIDATE: &str = r#"
import json, sys, yaml, jsonschema
class Loader(yaml.SafeLoader):
    pass
def tagged(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)
Loader.add_multi_constructor("!", tagged)
given = json.load(sys.stdin)
jsonschema.Draft7Validator.check_schema(given["schema"])
validator = jsonschema.Draft7Validator(given["schema"])
answer = {}
for name, text in given["texts"].items():
    tree = json.loads(json.dumps(yaml.load(text, Loader), default=str))
    problem = jsonschema.exceptions.best_match(validator.iter_errors(tree))
    if problem is not None:
        answer[name] = "%s: %s" % ("/".join(map(str, problem.absolute_path)), problem.message)
print(json.dumps(answer))
"#;

fn refused(texts: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut child = Command::new("python3")
        .args(["-c", VALIDATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 with the Debian packages python3-yaml and python3-jsonschema is needed");
    let given = json!({"schema": schema(), "texts": texts}).to_string();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(given.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the validator failed");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The YAML files of a folder; of a case with files beside it, the inventory.
fn inventories(folder: &str) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| !path.to_string_lossy().contains(".snap"))
        .map(|path| {
            if path.is_dir() {
                path.join("inventory.yaml")
            } else {
                path
            }
        })
        .map(|path: PathBuf| {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            (path.display().to_string(), text)
        })
        .collect()
}

#[test]
fn every_inventory_that_is_read_fits() {
    let mut texts = inventories("inventory");
    texts.extend(inventories("tests/inventory/good"));
    let vagrant = std::fs::read_to_string(root().join("vagrant/inventory.yaml")).unwrap();
    texts.insert("vagrant".to_owned(), vagrant);
    // What hosts outside of the groups have is not read; a schema cannot tell them apart.
    texts.retain(|path, _| !path.ends_with("/others.yaml"));
    assert!(texts.len() >= 20, "{}", texts.len());
    assert_eq!(refused(&texts), BTreeMap::new());
}

#[test]
fn what_the_program_refuses_by_name_does_not_fit() {
    let below_all = |lines: &str| format!("all:\n  vars:\n    {lines}\n");
    let cases = [
        (
            "fine: Ansible's own",
            below_all("ansible_python_interpreter: /usr/bin/python3"),
            true,
        ),
        (
            "fine: the operator's own",
            below_all("site: {rack: 3, rooms: [a, b]}"),
            true,
        ),
        (
            "fine: booleans as Ansible writes them",
            below_all("dtls_local_socket: 'no'"),
            true,
        ),
        (
            "fine: a number in quotes",
            below_all("dtls_validity_days: '90'"),
            true,
        ),
        (
            "fine: hosts without variables",
            "daemons:\n  hosts:\n    node[01:20]:\n".to_owned(),
            true,
        ),
        ("a misspelt name", below_all("dtls_validity_day: 90"), false),
        (
            "a name in capitals",
            below_all("DTLS_validity_days: 90"),
            false,
        ),
        ("hyphens", below_all("dtls-validity-days: 90"), false),
        ("a passphrase", below_all("dtls_ca_passphrase: x"), false),
        (
            "a command",
            below_all("ansible_ssh_executable: /bin/ssh"),
            false,
        ),
        (
            "a word for a number",
            below_all("dtls_validity_days: many"),
            false,
        ),
        ("too many", below_all("ansible_port: 65536"), false),
        ("no key type", below_all("dtls_key_type: rsa-1024"), false),
        (
            "not a name of a SAN",
            below_all("dtls_extra_sans: [{node3: 1}]"),
            false,
        ),
        (
            "a list of hosts",
            "daemons:\n  hosts: [node1]\n".to_owned(),
            false,
        ),
        (
            "a host in place of a group",
            "all:\n  node1:\n".to_owned(),
            false,
        ),
        (
            "hosts outside of a group",
            "hosts:\n  node1:\n".to_owned(),
            false,
        ),
        (
            "misspelt below a host",
            "ca:\n  hosts:\n    vault:\n      dtls_cadir: /x\n".to_owned(),
            false,
        ),
        (
            "misspelt deep inside",
            "all:\n  children:\n    a:\n      children:\n        b:\n          vars: {dtls_x: 1}\n"
                .to_owned(),
            false,
        ),
    ];
    let texts = cases
        .iter()
        .map(|(name, text, _)| ((*name).to_owned(), text.clone()))
        .collect();
    let refused = refused(&texts);
    for (name, text, fits) in cases {
        assert_eq!(!refused.contains_key(name), fits, "{name}: {text}");
    }
}

/// The program prints the same one.
#[test]
fn the_command_prints_it() {
    let output = Command::new(env!("CARGO_BIN_EXE_dtls-deploy"))
        .arg("schema")
        .output()
        .unwrap();
    assert!(output.status.success());
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, schema());
}
