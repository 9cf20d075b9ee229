//! A host's connection, from its `ansible_` variables.
//!
//! Called by [`super::resolve`] for each host. If several variables set the same thing, Ansible's
//! order applies: its own variables, then the SSH arguments from `ansible_ssh_args` over the common
//! ones to the extra ones (ssh takes the first value it sees).

use super::assigned::Variables;
use super::convert::Context;
use super::host::Connection;
use super::reach::with_whole_paths;
use super::variables::ConnectionVariables;
use crate::kinds::ConnectionKind;

/// How to reach a host of this name.
pub(super) fn read(host: &str, variables: &Variables, context: &mut Context) -> Connection {
    let written = ConnectionVariables::read(variables, context);
    let arguments = written
        .arguments
        .or(written.common_arguments)
        .or(written.extra_arguments);
    let mut ssh_options = with_whole_paths(arguments, context.environment);
    ssh_options.strict_host_key_checking |= written.host_key_checking;
    let mut identity_files: Vec<_> = written.key_file.into_iter().collect();
    for file in &ssh_options.identity_files {
        if !identity_files.contains(file) {
            identity_files.push(file.clone());
        }
    }
    Connection {
        kind: written.kind.unwrap_or(ConnectionKind::Ssh),
        address: written.address.unwrap_or_else(|| host.to_owned()),
        port: written.port.or(ssh_options.port),
        user: written.user,
        identity_files,
        password: written.password,
        r#become: written.becomes,
        become_user: written.become_user.unwrap_or_else(|| "root".to_owned()),
        become_method: written.become_method.unwrap_or_default(),
        become_password: written.become_password,
        ssh_options,
        timeout_seconds: written.timeout,
        shell: written.shell.unwrap_or_default(),
    }
}
