//! Which leaves exist, and under which names the CA node keeps them.
//!
//! Called when facts are requested and when a leaf is planned.

use std::collections::BTreeMap;

use super::Refusal;
use crate::host::ca::{NEXT_CERTIFICATE, NEXT_KEY};
use inventory::{Host, Inventory};
use pki::Role;
use pki::issued_name::check_name;
use serde_json::{Map, Value};

/// Files of the CA itself.
const OF_AUTHORITY: [&str; 7] = [
    ".ledger.jsonl",
    ".lock",
    "ca-key.pem",
    "ca.pem",
    "ca.srl",
    NEXT_KEY,
    NEXT_CERTIFICATE,
];

fn is_of_authority(name: &str) -> bool {
    OF_AUTHORITY.contains(&name)
}

/// The names of an issued pair on the CA node, relative to the CA directory: key, certificate. For
/// an identity, `inventory_hostname` is NAME@HOST, so that every template distinguishes it from its
/// host.
///
/// # Errors If the template cannot be rendered, or does not give a name inside that directory;
/// `host` names the subject of the leaf.
pub fn issued_names(template: &str, host: &Host, role: Role) -> Result<(String, String), Refusal> {
    let environment = environment();
    let holder = host.holder();
    let own = host.variables.iter().filter(|(_, value)| is_word(value));
    let own: Map<String, Value> = own
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let render = |kind: &str| {
        let mut variables = own.clone();
        for (name, value) in [
            ("inventory_hostname", holder.as_str()),
            ("role", role.to_string().as_str()),
            ("kind", kind),
        ] {
            variables.insert(name.to_owned(), value.into());
        }
        let name = environment
            .render_str(template, minijinja::value::Serde(&variables))
            .map_err(|error| {
                Refusal::new(format!("dtls_issued_name cannot be rendered: {error}"))
                    .hint("it may use inventory_hostname, role, kind, the host's own variables that are words or numbers, and the filters lower, upper, trim and default")
            })?;
        // check_issued_names reports a collision with one of the CA's own files.
        match check_name(&name) {
            Err(error) if !is_of_authority(&name) => Err(Refusal::new(format!(
                "dtls_issued_name: for {role} of {holder}, {error}"
            ))
            .hint("change dtls_issued_name: it names a file inside dtls_ca_dir")),
            _ => Ok(name),
        }
    };
    Ok((render("key")?, render("cert")?))
}

/// Maximum bytes of a host variable that is part of a name.
const WORD: usize = 255;
/// Maximum steps of a template for a file name.
const FUEL: u64 = 1_000;

/// Limits a template. The inventory is untrusted input: the output is bounded by the steps times
/// the longest variable, so nothing multiplies and nothing repeats.
fn environment() -> minijinja::Environment<'static> {
    use minijinja::filters;
    let mut environment = minijinja::Environment::empty();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("lower", filters::lower);
    environment.add_filter("upper", filters::upper);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("default", filters::default);
    environment.add_test("defined", minijinja::tests::is_defined);
    environment
}

fn is_word(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= WORD,
        Value::Number(_) | Value::Bool(_) => true,
        _ => false,
    }
}

/// Every leaf that the inventory requests: a host may have two, and one more for each of its
/// identities.
#[must_use]
pub fn leaves_of(inventory: &Inventory) -> Vec<(&Host, Role)> {
    let daemons = inventory.daemons().map(|host| (host, Role::Daemon));
    let holders = inventory.hosts.iter().flat_map(Host::client_holders);
    let clients = holders.map(|host| (host, Role::Client));
    daemons.chain(clients).collect()
}

/// No two leaves share a file on the CA node.
pub fn check_issued_names(inventory: &Inventory) -> Result<(), Refusal> {
    let template = &inventory.ca().settings.issued_name;
    let mut taken: BTreeMap<String, String> = OF_AUTHORITY
        .into_iter()
        .map(|name| (name.to_owned(), "the CA itself".to_owned()))
        .collect();
    for (host, role) in leaves_of(inventory) {
        let (key, certificate) = issued_names(template, host, role)?;
        for name in [key, certificate] {
            let owner = format!("{role} of {}", host.holder());
            if let Some(other) = taken.insert(name.clone(), owner.clone()) {
                return Err(Refusal::new(format!(
                    "dtls_issued_name gives the same file {name} to {other} and to {owner}"
                ))
                .hint("let it contain {{ inventory_hostname }}, {{ role }} and {{ kind }}"));
            }
        }
    }
    Ok(())
}
