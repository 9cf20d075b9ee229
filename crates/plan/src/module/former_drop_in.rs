//! dtls-deploy's drop-in under the name that it had before `dtls_dropin` was changed.
//!
//! If it stayed, its listener would stay too, and a drop-in that sorts after the new one would
//! override it.

use crate::host::unit::{directory, path, unit_files};
use crate::playbook::Task;
use crate::{Change, Content, Desired, OWNER, Place, Planner, Refusal};
use docker::unit::{LOADED, UnitFile, without_exec_start, without_ours};
use inventory::Host;
use node::facts::NodeFacts;

/// The name if the inventory sets none.
const DEFAULT: &str = "50-dtls-deploy.conf";

/// Its path under that name.
pub(super) fn usual(host: &Host) -> String {
    format!("{}/{DEFAULT}", directory(&host.settings.unit))
}

/// The path of an existing drop-in of dtls-deploy that is not where the inventory wants it.
fn former(host: &Host, facts: &NodeFacts) -> Option<String> {
    let directory = directory(&host.settings.unit);
    let recorded = facts.text(OWNER).unwrap_or_default().lines();
    let recorded = recorded.filter_map(|line| line.strip_prefix("dropin "));
    let is_beside = |path: &String| {
        path.strip_prefix(&format!("{directory}/"))
            .and_then(|name| name.strip_suffix(".conf"))
            .is_some_and(|name| !name.contains('/'))
    };
    recorded
        .map(str::to_owned)
        .chain([usual(host)])
        .filter(is_beside)
        .find(|found| *found != path(host) && facts.text(found).is_some())
}

/// Its text, if it is not where the inventory wants it.
pub(super) fn text<'a>(host: &Host, facts: &'a NodeFacts) -> Option<&'a str> {
    facts.text(&former(host, facts)?)
}

/// The unit's files once it has its new name: the other lines in it are an operator's, and move
/// with it.
pub(super) fn renamed(mut files: Vec<UnitFile>, host: &Host, facts: &NodeFacts) -> Vec<UnitFile> {
    let (Some(former), own) = (former(host, facts), path(host)) else {
        return files;
    };
    if facts.text(&own).is_some() {
        files.retain(|file| file.path != former);
        return files;
    }
    let Some(at) = files.iter().position(|file| file.path == former) else {
        return files;
    };
    let mut moved = files.remove(at);
    moved.path.clone_from(&own);
    let name = |path: &str| path.rsplit('/').next().map(str::to_owned);
    let is_after =
        |file: &UnitFile| file.path.contains(".d/") && name(&file.path) > name(&moved.path);
    let to = files.iter().position(is_after).unwrap_or(files.len());
    files.insert(to, moved);
    files
}

/// Removes it; lines that an operator added stay, unless another drop-in took them over.
pub(super) fn remove(
    planner: &Planner<'_>,
    host: &Host,
    task: &Task,
    moves: bool,
) -> Result<Option<Change>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let Some(former) = former(host, facts) else {
        return Ok(None);
    };
    let (Some(text), Some((directory, name))) = (facts.text(&former), former.rsplit_once('/'))
    else {
        return Ok(None);
    };
    let has_moved = moves && facts.text(&path(host)).is_none();
    let left = if moves {
        without_exec_start(text).filter(|_| !has_moved)
    } else {
        left_of(facts, &former, text)
    };
    let desired = Desired::new(
        Place::DropIn,
        directory,
        name,
        left.map_or(Content::Gone { prune: 1 }, Content::Text),
    )
    .because(
        moves
            .then(|| "our drop-in has another name now".to_owned())
            .into_iter()
            .collect(),
    );
    planner.compare(host, task, desired)
}

/// The drop-in at `path` without the lines of deployments.
pub(super) fn left_of(facts: &NodeFacts, path: &str, text: &str) -> Option<String> {
    let mut others = unit_files(facts);
    others.retain(|file| file.path != path && file.path != LOADED);
    let own = UnitFile {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    without_ours(&own, &others)
}
