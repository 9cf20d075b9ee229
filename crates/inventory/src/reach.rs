//! The types of `ansible_` connection variables.
//!
//! [`super::variables`] names one of these types for each variable;
//! [`super::connection`] combines them into the connection of a host.

use std::path::{Path, PathBuf};

use base::secret::Secret;

use super::convert::{Context, Convert, Found};
use super::environment::{Environment, Place};
use super::generic::bounded;
use super::kinds::{BecomeMethod, ConnectionKind, ShellType};
use super::names;
use super::ssh_options::{self, Parsed, SshOptions, WrittenOptions};
use crate::yaml::source::quoted;
use base::file::{FileFault, FileKind};

macro_rules! optional {
    ($(#[$doc:meta])* $name:ident -> $type:ty, $expected:literal, $schema:literal, |$value:ident, $context:ident| $body:expr) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl Convert for $name {
            type Output = Option<$type>;
            const EXPECTED: &'static str = $expected;
            const SCHEMA: &'static str = $schema;

            fn convert($value: &Found, $context: &mut Context) -> Option<Self::Output> {
                $body.map(Some)
            }
        }
    };
}

optional! {
    /// Where a host is reached.
    Address -> String, "a host name or an IP address", r#"{"type": "string"}"#, |value, context| {
        let text = value.line(Self::EXPECTED, context)?;
        if names::is_address(text) {
            Some(text.to_owned())
        } else {
            let help = match names::split_port(text) {
                Some((host, Some(port))) if names::is_address(host) => {
                    format!("write ansible_host: {host} and ansible_port: {port}")
                }
                _ => Self::EXPECTED.to_owned(),
            };
            value.refuse(format!("{} is neither a host name nor an address", quoted(text)), help, context)
        }
    }
}

optional! {
    /// A TCP port.
    Port -> u16, "a port from 1 to 65535", r#"{"type": "integer", "minimum": 1, "maximum": 65535}"#,
    |value, context| {
        let port = value.integer(Self::EXPECTED, context)?;
        match u16::try_from(port) {
            Ok(port @ 1..) => Some(port),
            _ => value.refuse(format!("{port} is not a port"), Self::EXPECTED, context),
        }
    }
}

optional! {
    /// An account.
    Account -> String, "the name of an account", r#"{"type": "string"}"#, |value, context| {
        let text = value.line(Self::EXPECTED, context)?;
        if names::is_account(text) {
            Some(text.to_owned())
        } else {
            value.refuse(
                format!("{} is not the name of an account", quoted(text)),
                "letters, digits and . _ - @ + only, not beginning with a hyphen",
                context,
            )
        }
    }
}

optional! {
    /// The account that commands run as where the login's rights are not enough.
    Superuser -> String, "root", r#"{"enum": ["root"]}"#, |value, context| {
        let text = Account::convert(value, context)??;
        if text == "root" {
            Some(text)
        } else {
            value.refuse(
                format!("{} cannot be the account that commands run as", quoted(&text)),
                "only root can; log in as that account (ansible_user) and set ansible_become: false",
                context,
            )
        }
    }
}

optional! {
    /// A password; its text is never shown.
    Password -> Secret, "text", r#"{"type": "string"}"#, |value, context| {
        let text = value.text(Self::EXPECTED, context)?;
        if context.environment.untrusted {
            return ignored(value, "no password of the inventory is sent", context);
        }
        Some(Secret::from(text.to_owned()))
    }
}

bounded! {
    /// A duration.
    Seconds: u64, 1..=86_400, "a number of seconds", "seconds from 1 to 86400"
}

optional! {
    /// A private key on this machine.
    KeyFile -> PathBuf, "the path of a private key on this machine", r#"{"type": "string"}"#,
    |value, context| {
        let text = value.line(Self::EXPECTED, context)?;
        if context.environment.untrusted {
            return ignored(value, "the inventory names no file of this machine", context);
        }
        key_file(text, value, context)
    }
}

/// Warns that `--untrusted` makes a variable mean nothing.
fn ignored<T>(value: &Found, why: &str, context: &mut Context) -> Option<T> {
    let message = format!("{} has no effect with --untrusted", quoted(value.name));
    context
        .problems
        .warning(value.span(), message, "ignored", Some(why.to_owned()));
    None
}

/// A path on this machine made whole, with the file there.
fn key_file(text: &str, value: &Found, context: &mut Context) -> Option<PathBuf> {
    let Some(path) = context.environment.local_path(text) else {
        return value.refuse(
            format!("the home directory for {} is not known", quoted(text)),
            "set HOME, or write the whole path",
            context,
        );
    };
    match context.environment.files.kind(Place::Named(&path)) {
        Ok(Some(FileKind::File { .. })) => Some(path),
        Err(FileFault::Kind(kind)) => value.refuse(
            format!("the key file {} is {kind}", quoted(text)),
            "name the file of the private key",
            context,
        ),
        Ok(Some(FileKind::Directory)) => value.refuse(
            format!("the key file {} is a directory", quoted(text)),
            "name the file of the private key",
            context,
        ),
        Ok(None) => {
            let help = missing_file_help(text, &path, context.environment);
            value.refuse(
                format!("the key file {} does not exist", quoted(text)),
                help,
                context,
            )
        }
        Err(error) => value.refuse(
            format!("the key file {} cannot be read: {error}", quoted(text)),
            "",
            context,
        ),
    }
}

fn missing_file_help(text: &str, path: &Path, environment: &Environment) -> String {
    if let Some(stripped) = text.strip_suffix(".pub") {
        return format!("the private key has no .pub: {stripped}");
    }
    let siblings = path
        .parent()
        .and_then(|parent| environment.files.list(Place::Named(parent)).ok())
        .unwrap_or_default();
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    if let Some(near) = names::nearest(&name, siblings.iter().map(String::as_str)) {
        return format!("there is {} in that directory", quoted(near));
    }
    if text.starts_with('/') || text.starts_with('~') {
        return "it is a path on this machine, not on the node".to_owned();
    }
    "it is relative to the directory that the program runs in".to_owned()
}

optional! {
    /// SSH or this very machine.
    Transport -> ConnectionKind, "ssh or local", r#"{"enum": ["ssh", "paramiko", "smart", "local"]}"#,
    |value, context| {
        let text = value.line(Self::EXPECTED, context)?;
        match text.strip_prefix("ansible.builtin.").unwrap_or(text) {
            "ssh" | "paramiko" | "paramiko_ssh" | "smart" => Some(ConnectionKind::Ssh),
            "local" => Some(ConnectionKind::Local),
            // Refused with the name of each host: see checks.
            "winrm" | "psrp" | "ansible.windows.winrm" => Some(ConnectionKind::WinRm),
            _ => value.refuse(
                format!("the connection {} is not understood here", quoted(text)),
                "ssh (also as paramiko or smart) or local",
                context,
            ),
        }
    }
}

optional! {
    /// How to become someone else.
    Becoming -> BecomeMethod, "sudo", r#"{"enum": ["sudo"]}"#, |value, context| {
        let text = value.line(Self::EXPECTED, context)?;
        match text.strip_prefix("ansible.builtin.").unwrap_or(text) {
            "sudo" => Some(BecomeMethod::Sudo),
            _ => value.refuse(format!("{} cannot be used to become another account here", quoted(text)), "only sudo is", context),
        }
    }
}

optional! {
    /// The kind of shell on a host.
    Shell -> ShellType, "sh", r#"{"enum": ["sh"]}"#, |value, context| {
        let text = value.line(Self::EXPECTED, context)?;
        match text.strip_prefix("ansible.builtin.").unwrap_or(text) {
            "sh" => Some(ShellType::Sh),
            "powershell" | "cmd" => Some(ShellType::Windows),
            _ => value.refuse(format!("the shell {} is not understood here", quoted(text)), "nodes need a POSIX shell: sh", context),
        }
    }
}

/// Whether host keys are checked: an inventory can ask for it, and cannot turn
/// it off.
pub(super) struct HostKeySwitch;

impl Convert for HostKeySwitch {
    type Output = bool;
    const EXPECTED: &'static str = "true or false";
    const SCHEMA: &'static str = r#"{"type": "boolean"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<bool> {
        let checks = value.boolean(context)?;
        if !checks {
            let message = format!("{}: false has no effect", value.name);
            let help = Some(ssh_options::NOT_WEAKENED.to_owned());
            context
                .problems
                .warning(value.span(), message, "ignored", help);
        }
        Some(checks)
    }
}

/// Words for the ssh command.
pub(super) struct SshArguments;

impl Convert for SshArguments {
    type Output = WrittenOptions;
    const EXPECTED: &'static str = "SSH options in one text";
    const SCHEMA: &'static str = r#"{"type": "string"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<WrittenOptions> {
        let text = value.text(Self::EXPECTED, context)?;
        let Parsed {
            mut options,
            refusals,
            warnings,
        } = ssh_options::parse(text);
        let understood = refusals.is_empty();
        for (message, help) in refusals {
            context
                .problems
                .error(value.span(), message, "in these arguments", help);
        }
        for (message, help) in warnings {
            context
                .problems
                .warning(value.span(), message, "in these arguments", help);
        }
        if context.environment.untrusted && options.keep_route_alone() {
            let why = "of SSH arguments only the jump host and the port count";
            let _: Option<()> = ignored(value, why, context);
        }
        let keys = options.identity_files.iter();
        let found: Vec<_> = keys.map(|file| key_file(file, value, context)).collect();
        (understood && found.iter().all(Option::is_some)).then_some(options)
    }
}

/// The options with their paths whole; `~` needs a home.
pub(super) fn with_whole_paths(written: WrittenOptions, environment: &Environment) -> SshOptions {
    let whole = |files: Vec<String>| {
        files
            .iter()
            .filter_map(|file| environment.local_path(file))
            .collect()
    };
    SshOptions {
        proxy_jump: written.proxy_jump.filter(|jump| jump != "none"),
        strict_host_key_checking: written.strict_host_key_checking,
        port: written.port,
        identity_files: whole(written.identity_files),
        identities_only: written.identities_only,
    }
}
