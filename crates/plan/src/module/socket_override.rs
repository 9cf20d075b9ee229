//! Part of `systemd_override`: the drop-in that closes TCP ports of docker.socket, which systemd
//! would pass to dockerd without TLS.

use crate::host::loaded_unit::unread;
use crate::host::socket::{directory, files, path};
use crate::playbook::Task;
use crate::{Change, Content, Desired, Place, Planner, Refusal};
use docker::unit::socket::{NAME, derive, unit_of};
use inventory::Host;
use node::facts::FactRequest;

pub(super) fn facts(host: &Host, request: &mut FactRequest) {
    request
        .unit
        .get_or_insert_with(|| host.settings.unit.clone());
    request.socket = Some(unit_of(&host.settings.unit));
    request.directories.insert(directory(host));
    request.content.insert(path(host));
}

pub(super) fn plan(
    planner: &Planner<'_>,
    host: &Host,
    task: &Task,
) -> Result<Option<Change>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let Some(socket) = &facts.socket else {
        return Ok(None);
    };
    if let Some((file, why)) = unread(socket, facts).first() {
        return Err(Refusal::new(format!(
            "{file} belongs to {}, and dtls-deploy cannot read it: {why}",
            unit_of(&host.settings.unit)
        ))
        .hint("put a regular file of root's in its place, or remove it: it may open a port, or name a socket that local users need"));
    }
    let closing = derive(&files(facts), &path(host)).map_err(|error| {
        Refusal::new(error.to_string()).hint(
            "remove the port from that file: anyone who can connect to it is root on the node",
        )
    })?;
    let Some(closing) = closing else {
        return Ok(None);
    };
    let mut change = planner.compare(host, task, desired(host, Content::Text(closing.text)))?;
    if let Some(change) = &mut change {
        let closed = closing.closed.iter();
        change.reasons.extend(
            closed.map(|stream| format!("ListenStream={stream} of docker.socket is closed")),
        );
    }
    Ok(change)
}

/// Removes dtls-deploy's drop-in.
pub(super) fn remove(
    planner: &Planner<'_>,
    host: &Host,
    task: &Task,
) -> Result<Option<Change>, Refusal> {
    let facts = planner.facts(&host.name)?;
    if facts.regular(&path(host)).is_none() {
        return Ok(None);
    }
    planner.compare(host, task, desired(host, Content::Gone { prune: 1 }))
}

fn desired(host: &Host, content: Content) -> Desired {
    Desired::new(Place::DropIn, directory(host), NAME, content)
}
