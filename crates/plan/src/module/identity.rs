//! Which identity of a client host owns which directory.

use crate::host::leaf::location as leaf_location;
use crate::{Planner, Refusal};
use base::shell::quote;
use inventory::Host;
use node::facts::NodeFacts;
use pki::Role;

/// Requires that files in `directory` belong to the identity's owner.
pub(super) fn check_owner(
    facts: &NodeFacts,
    holder: &Host,
    directory: &str,
) -> Result<(), Refusal> {
    let Some(owner) = holder.owner() else {
        return Ok(());
    };
    let name = holder.holder();
    if facts.accounts.get(owner).is_none_or(Option::is_none) {
        return Err(Refusal::new(format!(
            "{name} is to be {owner}'s, and there is no account {owner} on {}",
            holder.name
        ))
        .hint(format!(
            "make the account, or name another `owner` for {name} in dtls_identities"
        )));
    }
    if facts.uid != 0 && facts.account != owner {
        return Err(Refusal::new(format!(
            "the files of {name} are {owner}'s, and {} can neither read nor write them",
            facts.account
        ))
        .hint("leave ansible_become out for this host, or set it to true"));
    }
    let whole = facts.expand(directory);
    let account = facts.account_for(directory)?;
    if account == owner {
        return Ok(());
    }
    let refusal = Refusal::new(format!(
        "{whole} is to be {owner}'s, and what is written there would belong to {account}"
    ));
    let quoted = quote(&whole);
    Err(if account != "root" {
        // The owner of a parent directory can replace everything below it.
        refusal.hint(format!(
            "name a `dir` for {name} whose directories are root's or {owner}'s, or let its `owner` be {account}"
        ))
    } else if facts.missing_from(directory).is_some() {
        refusal.hint(format!(
            "make it on {} first: install -d -m 0700 -o {owner} -g \"$(id -gn {owner})\" {quoted}",
            holder.name
        ))
    } else {
        // An existing file is not given to another owner.
        refusal.hint(format!(
            "look at it, then give it to {owner}: chown -R {owner}: {quoted}"
        ))
    })
}

/// Requires that no two certificate holders on the host share a directory: only here do two
/// spellings of one directory show.
pub(super) fn check_places(planner: &Planner<'_>, host: &Host) -> Result<(), Refusal> {
    let facts = planner.facts(&host.name)?;
    let mut taken: Vec<(String, String)> = Vec::new();
    let own = host.is_client.then_some(host);
    for holder in own.into_iter().chain(&host.identities) {
        let place = facts.expand(&leaf_location(holder, Role::Client).0);
        let place = place.trim_end_matches('/').to_owned();
        let name = holder.holder();
        if let Some((_, first)) = taken.iter().find(|(known, _)| *known == place) {
            return Err(Refusal::new(format!(
                "{first} and {name} would both keep their files in {place}"
            ))
            .hint("give each a `dir` of its own in dtls_identities"));
        }
        taken.push((place, name));
    }
    Ok(())
}
