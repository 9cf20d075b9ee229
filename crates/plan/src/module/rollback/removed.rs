//! A client does not go back to a daemon whose deployment was removed since.

use std::collections::BTreeSet;

use crate::host::address::daemon_address;
use crate::host::client::PROFILES;
use crate::host::daemon_json;
use crate::launch::mode_now;
use crate::{Action, Change, Planner, Refusal};
use docker::context::endpoint;
use docker::environment::found;
use inventory::Host;
use node::generation::BeforeRun;

/// A client's file that leads to a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Profile,
    Context,
}

/// Drops from `changes` what would lead the client to a daemon that does not speak TLS now and does
/// not go back itself. Returns the note about it.
pub(super) fn leave_out(
    planner: &Planner<'_>,
    host: &Host,
    before: &BeforeRun,
    changes: &mut Vec<Change>,
) -> Result<Option<String>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let removed = planner.inventory.daemons();
    let removed = removed.filter(|daemon| is_removed(planner, daemon, &before.run));
    let removed: Vec<(String, &str)> = removed
        .map(|daemon| (daemon_address(daemon).url(), daemon.name.as_str()))
        .collect();
    let (mut ways, mut daemons) = (BTreeSet::new(), BTreeSet::new());
    for (file, _) in &before.files {
        let bytes = facts.regular(&file.copy);
        let bytes = bytes.and_then(|copy| copy.content.as_deref());
        let leads_to = leads_to(planner, &file.path, bytes.unwrap_or_default());
        let Some((way, url)) = leads_to else {
            continue;
        };
        let Some((_, daemon)) = removed.iter().find(|(address, _)| *address == url) else {
            continue;
        };
        let copies = file.path.replace("/contexts/meta/", "/contexts/tls/");
        let copies = copies.trim_end_matches("meta.json");
        let count = changes.len();
        changes.retain(|change| match &change.action {
            Action::File(of) => {
                let is_copy = way == Way::Context && of.path().starts_with(copies);
                of.path() != file.path && !is_copy
            }
            _ => true,
        });
        if changes.len() < count {
            ways.insert(way);
            daemons.insert(*daemon);
        }
    }
    let ways = ways.into_iter().map(|way| match way {
        Way::Profile => "DOCKER_HOST",
        Way::Context => "the context",
    });
    let ways = ways.collect::<Vec<_>>().join(" and ");
    let daemons = daemons.into_iter().collect::<Vec<_>>().join(", ");
    Ok((!ways.is_empty()).then(|| {
        format!(
            "does not get {ways} for {daemons} back, because Docker does not speak TLS there now"
        )
    }))
}

fn is_removed(planner: &Planner<'_>, daemon: &Host, run: &str) -> bool {
    planner.facts.get(&daemon.name).is_some_and(|facts| {
        let goes_back = |kept: &node::facts::KeptGeneration| kept.run() == Some(run);
        facts.unit.is_some()
            && daemon_json::check(facts).is_ok()
            && mode_now(daemon, facts).is_none()
            && !facts.generations.iter().any(goes_back)
    })
}

/// Where a file of a client leads.
fn leads_to(planner: &Planner<'_>, path: &str, bytes: &[u8]) -> Option<(Way, String)> {
    let name = path.rsplit('/').next()?;
    if name == "meta.json" && path.contains("/contexts/meta/") {
        return Some((Way::Context, endpoint(bytes)?.0));
    }
    if !PROFILES.contains(&name) {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let block = found(text, &planner.inventory.name)?;
    Some((Way::Profile, block.host))
}
