//! Variables of Ansible, or of other parts of this program, that an inventory does not use: refused
//! ones with the reason, and ones that are allowed because they have no effect here.
//!
//! Read by [`super::definitions`] for names that [`super::variables`] lacks.

/// Refused names, with the reason.
pub(super) const REFUSED: &[(&str, &str)] = &[
    (
        "ansible_group_priority",
        "which group counts more follows from their nesting and names: nest the groups",
    ),
    (
        "ansible_become_flags",
        "sudo is called with flags of its own: remove it",
    ),
    (
        "ansible_become_exe",
        "a command from an inventory is never run: remove it",
    ),
    (
        "ansible_ssh_executable",
        "a command from an inventory is never run: remove it",
    ),
    (
        "ansible_ssh_password_mechanism",
        "the password goes through the connection itself: remove it",
    ),
    (
        "ansible_sshpass_prompt",
        "the password goes through the connection itself: remove it",
    ),
    (
        "ansible_paramiko_proxy_command",
        "a command from an inventory is never run: name the jump host with -J in ansible_ssh_common_args",
    ),
    (
        "ansible_docker_extra_args",
        "hosts are reached by ssh or are this very machine: remove it",
    ),
    (
        "dtls_ca_passphrase",
        "a passphrase never comes from an inventory: prompt, --ca-passphrase-file, --ca-passphrase-command or DTLS_CA_PASSPHRASE",
    ),
    (
        "dtls_ca_passphrase_file",
        "a passphrase never comes from an inventory: use the option --ca-passphrase-file",
    ),
    (
        "dtls_ca_passphrase_command",
        "a passphrase never comes from an inventory: use the option --ca-passphrase-command",
    ),
];

/// Ansible's own variables without effect here.
pub(super) const WITHOUT_MEANING: &[&str] = &[
    "ansible_python_interpreter",
    "ansible_ssh_pipelining",
    "ansible_pipelining",
    "ansible_remote_tmp",
    "ansible_remote_temp",
    "ansible_async_dir",
    "ansible_shell_executable",
    "ansible_executable",
    "ansible_ssh_retries",
    "ansible_ssh_use_tty",
    "ansible_ssh_transfer_method",
    "ansible_scp_if_ssh",
    "ansible_sftp_extra_args",
    "ansible_scp_extra_args",
    "ansible_sftp_batch_mode",
    "ansible_control_path",
    "ansible_control_path_dir",
    "ansible_system_tmpdirs",
    "ansible_admin_users",
    "ansible_common_remote_group",
    "ansible_shell_allow_world_readable_temp",
    "ansible_facts_parallel",
    "ansible_no_target_syslog",
    "ansible_use_persistent_connections",
    "ansible_module_compression",
    "ansible_network_os",
    "ansible_facts",
];

/// Whether this is a variable of Ansible without effect here.
pub(super) fn has_no_meaning(name: &str) -> bool {
    WITHOUT_MEANING.contains(&name)
        || (name.starts_with("ansible_") && name.ends_with("_interpreter"))
}
