//! docker.socket of one host: its files, and the path of the drop-in that closes its ports.

use docker::unit::UnitFile;
use docker::unit::socket::{NAME, unit_of};
use inventory::Host;
use node::facts::NodeFacts;

#[must_use]
pub fn directory(host: &Host) -> String {
    super::unit::directory(&unit_of(&host.settings.unit))
}

/// The path of dtls-deploy's drop-in.
#[must_use]
pub fn path(host: &Host) -> String {
    format!("{}/{NAME}", directory(host))
}

/// The socket's files with their texts, in systemd's order.
#[must_use]
pub fn files(facts: &NodeFacts) -> Vec<UnitFile> {
    let Some(socket) = &facts.socket else {
        return Vec::new();
    };
    let paths = socket.fragment().into_iter().chain(socket.all_drop_ins());
    paths
        .filter_map(|path| {
            Some(UnitFile {
                path: path.to_owned(),
                text: facts.text(path)?.to_owned(),
            })
        })
        .collect()
}
