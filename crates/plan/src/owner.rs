//! The owner of a daemon: the inventory that set it up.
//!
//! The record names a CA and its place, not a path on the operator's machine: an inventory may have
//! many copies.

use super::launch::serves_tls;
use super::{Planner, Refusal};
use crate::host::unit;
use inventory::{Host, Inventory};
use node::facts::NodeFacts;
use pki::Certificate;

/// The record on a daemon's node.
pub const OWNER: &str = "/var/lib/dtls-deploy/owner";

/// The record of this inventory on a daemon whose clients have certificates of these CAs: lines of
/// a word and a value.
#[must_use]
pub fn record(inventory: &Inventory, host: &Host, authorities: &[Certificate]) -> String {
    use std::fmt::Write as _;
    let name = inventory.path.file_name().unwrap_or_default();
    let mut text = format!(
        "inventory {}\nca {}\ndropin {}\n",
        node::visible(&name.to_string_lossy()),
        place(inventory),
        unit::path(host)
    );
    for authority in authorities {
        let _ = writeln!(text, "authority {}", authority.public_key_sha256());
    }
    text
}

/// A record without a CA has no owner: it was emptied or cut, and cannot be distinguished from this
/// inventory's own. The next restart writes it again.
fn is_whole(record: &str) -> bool {
    record.ends_with('\n') && record.lines().any(|line| line.starts_with("ca "))
}

fn place(inventory: &Inventory) -> String {
    let ca = inventory.ca();
    format!("{}:{}", ca.name, ca.settings.ca_dir)
}

/// Whether the record on a daemon names the CA of another inventory.
pub(super) fn is_of_another(inventory: &Inventory, facts: &NodeFacts) -> bool {
    let record = facts.text(OWNER).filter(|record| is_whole(record));
    let own = format!("ca {}", place(inventory));
    record.is_some_and(|record| record.lines().all(|line| line != own))
}

/// Whether the record on a daemon names this inventory's CA.
pub(super) fn is_own(inventory: &Inventory, facts: &NodeFacts) -> bool {
    let record = facts.text(OWNER).filter(|record| is_whole(record));
    record.is_some() && !is_of_another(inventory, facts)
}

/// The values of a word in a record.
fn values<'a>(record: &'a str, word: &str) -> Vec<&'a str> {
    let lines = record.lines().filter_map(|line| line.split_once(' '));
    lines
        .filter(|(found, _)| *found == word)
        .map(|(_, value)| value)
        .collect()
}

/// The keys of the CAs in the record on a daemon.
pub(super) fn authorities(facts: &NodeFacts) -> Vec<&str> {
    let record = facts.text(OWNER).filter(|record| is_whole(record));
    values(record.unwrap_or_default(), "authority")
}

/// Whether the record on a node names this inventory and its CA: other inventories may share the CA.
pub(super) fn is_of(inventory: &Inventory, facts: &NodeFacts) -> bool {
    let name = inventory.path.file_name().unwrap_or_default();
    let name = format!("inventory {}", node::visible(&name.to_string_lossy()));
    let record = facts.text(OWNER).unwrap_or_default();
    is_own(inventory, facts) && record.lines().any(|line| line == name)
}

/// Refuses a daemon that another inventory set up and that still speaks TLS.
pub(super) fn refuse_foreign(
    planner: &Planner<'_>,
    host: &Host,
    facts: &NodeFacts,
) -> Result<(), Refusal> {
    let record = facts.text(OWNER).filter(|record| is_whole(record));
    let Some(record) = record.filter(|_| !host.settings.take_over) else {
        return planner.check_served_authority(host, facts, None);
    };
    let values = |word: &str| values(record, word);
    let own = place(planner.inventory);
    let authorities = [&planner.authority.certificate, &planner.authority.next];
    let mut keys = authorities
        .into_iter()
        .flatten()
        .map(Certificate::public_key_sha256);
    let is_own = values("ca").contains(&own.as_str())
        || keys.any(|key| values("authority").contains(&key.as_str()));
    if is_own {
        return planner.check_served_authority(host, facts, Some(&values("authority")));
    }
    if !serves_tls(host, facts) {
        return Ok(());
    }
    let one = |word: &str| node::visible(values(word).first().unwrap_or(&"?"));
    Err(Refusal::new(format!(
        "its docker belongs to another inventory: it was set up from {}, whose CA is {}; this one's is {own}, and its clients would lock out the others",
        one("inventory"),
        one("ca"),
    ))
    .hint(format!(
        "leave {} out of one of the two; to move it, remove it there first (dtls-deploy remove {}), or take it over with -e dtls_take_over=true",
        host.name,
        one("inventory"),
    )))
}
