//! Inventories as operators write them: good ones, and how broken ones are
//! explained.
//!
//! `tests/inventory/good/` and `tests/inventory/broken/` hold one file a case, or one
//! directory with `inventory.yaml` where a case needs files beside it; `.snap` of
//! the same name is what must come out. A first line `# -e ARGUMENT` is given to
//! the program; there may be several.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use inventory::{DiskFiles, Environment, Inventory, InventoryErrors, load, render, variable_table};
use serde_json::Value;

use crate::harness::Case;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What people copy: the lab's, Vagrant's, the commented one.
fn shipped_inventories() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("inventory")).unwrap();
    let mut shipped: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    shipped.push(root().join("vagrant/inventory.yaml"));
    shipped
}

fn cases(folder: &str) -> PathBuf {
    root().join("tests/inventory").join(folder)
}

/// The surroundings of every case: the folder of the case, and a made-up home.
fn environment(directory: &Path) -> Environment {
    Environment {
        home: Some(cases("home")),
        user: Some("operator".to_owned()),
        directory: directory.to_owned(),
        files: Arc::new(DiskFiles),
        untrusted: false,
    }
}

fn extra_vars(inventory: &Path) -> Vec<String> {
    let text = String::from_utf8_lossy(&std::fs::read(inventory).unwrap()).into_owned();
    let lines = text.lines().map_while(|line| line.strip_prefix("# -e "));
    lines.map(str::to_owned).collect()
}

/// Loads a case, seen from its own folder so that no path of this machine is
/// in a message.
fn load_case(inventory: &Path) -> Result<Inventory, InventoryErrors> {
    let directory = inventory.parent().unwrap();
    let name = Path::new(inventory.file_name().unwrap());
    load(name, &extra_vars(inventory), &environment(directory))
}

fn entries(folder: &str) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(cases(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path())
}

fn is_snapshot(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "snap")
}

/// Every case of a folder: files, and directories with an inventory in them.
fn all_cases(folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = entries(folder)
        // Nor what insta leaves of one that has changed.
        .filter(|path| !path.to_string_lossy().contains(".snap"))
        .map(|path| {
            if path.is_dir() {
                path.join("inventory.yaml")
            } else {
                path
            }
        })
        .collect();
    found.sort();
    found
}

fn case_name(inventory: &Path) -> String {
    let named = if inventory.ends_with("inventory.yaml") {
        inventory.parent().unwrap()
    } else {
        inventory
    };
    named.file_stem().unwrap().to_string_lossy().into_owned()
}

fn settings(folder: &str) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("../inventory/{folder}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

/// One test for each of some inventories.
fn table(name: &str, inventories: Vec<PathBuf>, test: fn(&Path)) -> Vec<Case> {
    let inventories = inventories.into_iter();
    inventories
        .map(|inventory| {
            let name = format!("inventory::{name}::{}", case_name(&inventory));
            Case::new(name, move || test(&inventory))
        })
        .collect()
}

pub fn broken() -> Vec<Case> {
    table("broken", all_cases("broken"), is_explained)
}

pub fn good() -> Vec<Case> {
    table("good", all_cases("good"), resolves)
}

pub fn shipped() -> Vec<Case> {
    table("shipped", shipped_inventories(), loads_without_a_warning)
}

pub fn ansible() -> Vec<Case> {
    let mut inventories = all_cases("good");
    // Ansible shows what is encrypted in a form of its own, and needs its password.
    inventories.retain(|inventory| !case_name(inventory).contains("vault"));
    inventories.extend(shipped_inventories());
    table("ansible", inventories, ansible_sees_the_same)
}

pub fn single() -> Vec<Case> {
    vec![
        Case::new(
            "inventory::the_example_names_every_variable",
            the_example_names_every_variable,
        ),
        Case::new(
            "inventory::every_snapshot_has_its_case",
            every_snapshot_has_its_case,
        ),
    ]
}

fn is_explained(inventory: &Path) {
    let name = case_name(inventory);
    let Err(errors) = load_case(inventory) else {
        panic!("it was accepted");
    };
    assert!(errors.errors().count() > 0);
    let text = format!("{errors}\n\n{}", render(&errors.problems, 100));
    assert!(!text.contains("hunter2"), "it shows a secret:\n{text}");
    assert!(
        !text.contains(env!("CARGO_MANIFEST_DIR")),
        "it shows a path of this machine"
    );
    assert!(
        !text.contains('\u{1b}'),
        "it lets an escape sequence through"
    );
    for problem in errors.errors() {
        assert!(!problem.file.is_empty(), "{problem:?} names no file");
    }
    let text: Vec<&str> = text.lines().map(str::trim_end).collect();
    settings("broken").bind(|| insta::assert_snapshot!(name, text.join("\n")));
}

fn resolves(inventory: &Path) {
    let name = case_name(inventory);
    let loaded = match load_case(inventory) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{errors}\n{}", render(&errors.problems, 100)),
    };
    let text = format!("{}\n{:#?}", render(&loaded.warnings, 100), loaded.hosts);
    assert!(!text.contains("hunter2"), "it shows a secret:\n{text}");
    let text = text.replace(env!("CARGO_MANIFEST_DIR"), "[root]");
    settings("good").bind(|| insta::assert_snapshot!(name, text));
}

fn loads_without_a_warning(inventory: &Path) {
    let relative = inventory.strip_prefix(root()).unwrap();
    match load(relative, &[], &environment(root())) {
        Ok(loaded) => assert!(
            loaded.warnings.is_empty(),
            "{}",
            render(&loaded.warnings, 100)
        ),
        Err(errors) => panic!("{errors}\n{}", render(&errors.problems, 100)),
    }
}

/// The commented example is the reference for people: it names every variable.
fn the_example_names_every_variable() {
    let text = std::fs::read_to_string(root().join("inventory/example.yaml")).unwrap();
    for variable in variable_table() {
        assert!(
            text.contains(&format!("{}:", variable.name)),
            "{} is missing",
            variable.name
        );
    }
}

/// What Ansible itself makes of an inventory, as `ansible-inventory --list`.
fn ansible_list(inventory: &Path) -> Value {
    let mut command = Command::new("ansible-inventory");
    command.arg("-i").arg(inventory).arg("--list");
    for argument in extra_vars(inventory) {
        command.arg("-e").arg(argument);
    }
    command.current_dir(inventory.parent().unwrap());
    command
        .env("ANSIBLE_CONFIG", cases("home").join("ansible.cfg"))
        .env("ANSIBLE_LOCALHOST_WARNING", "false");
    let output = command
        .output()
        .expect("ansible-inventory of the Debian package ansible-core is needed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}: {}",
        inventory.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_str(&text).unwrap()
}

/// The variables of each host.
fn hostvars(list: &Value) -> BTreeMap<String, Value> {
    let hostvars = list["_meta"]["hostvars"].as_object().unwrap();
    let chosen = hostvars.iter();
    chosen
        .map(|(host, variables)| (host.clone(), relevant(variables.as_object().unwrap())))
        .collect()
}

/// The hosts of a group and of the groups in it.
fn members(list: &Value, group: &str) -> BTreeSet<String> {
    let names = |part: &str| -> Vec<String> {
        let names = list[group][part].as_array().into_iter().flatten();
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    };
    let mut found: BTreeSet<String> = names("hosts").into_iter().collect();
    for child in names("children") {
        found.extend(members(list, &child));
    }
    found
}

fn relevant(variables: &serde_json::Map<String, Value>) -> Value {
    let ours = |name: &str| {
        matches!(name, "ansible_host" | "ansible_port" | "ansible_user")
            || name.starts_with("dtls_")
            || name.starts_with("own_")
    };
    // What was tagged !unsafe, in ansible-inventory's own spelling.
    let plain = |value: &Value| value.get("__ansible_unsafe").unwrap_or(value).clone();
    let chosen = variables.iter().filter(|(name, _)| ours(name));
    let mut chosen: Vec<_> = chosen
        .map(|(name, value)| (name.clone(), plain(value)))
        .collect();
    chosen.sort_by(|one, other| one.0.cmp(&other.0));
    Value::Object(chosen.into_iter().collect())
}

/// Precedence, ranges, merge keys, booleans and numbers: the real Ansible sees
/// the same values.
fn ansible_sees_the_same(inventory: &Path) {
    let loaded = load_case(inventory).unwrap_or_else(|errors| panic!("{errors}"));
    let list = ansible_list(inventory);
    let theirs = hostvars(&list);
    for host in &loaded.hosts {
        let nothing = Value::Object(serde_json::Map::new());
        let theirs = theirs.get(&host.name).unwrap_or(&nothing);
        assert_eq!(&relevant(&host.variables), theirs, "{}", host.name);
    }
    // Ansible leaves groups without hosts out of its list.
    let all: BTreeSet<String> = loaded.hosts.iter().map(|host| host.name.clone()).collect();
    assert_eq!(all, members(&list, "all"));
    let groups: BTreeSet<&String> = loaded.hosts.iter().flat_map(|host| &host.groups).collect();
    for group in groups {
        let ours: BTreeSet<String> = loaded
            .group(group)
            .into_iter()
            .map(|host| host.name.clone())
            .collect();
        assert_eq!(ours, members(&list, group), "the group {group}");
    }
}

/// A snapshot whose case is gone would never be compared again.
fn every_snapshot_has_its_case() {
    for folder in ["broken", "good"] {
        let names: BTreeSet<String> = all_cases(folder).iter().map(|one| case_name(one)).collect();
        for path in entries(folder).filter(|path| is_snapshot(path)) {
            assert!(
                names.contains(&case_name(&path)),
                "{} belongs to no case",
                path.display()
            );
        }
    }
}
