//! `dtls_identities`: several people or jobs on one client host, each with its own certificate and
//! directory.
//!
//! [`super::identities`] turns them into hosts.

use super::convert::{Context, Convert, Found};
use super::daemon_values::ClientModeName;
use super::guard_values::RoleName;
use super::path_values::{HomeDirectory, unknown_key};
use super::values::{Boolean, Days, Key, RenewBefore, Renewal};
use crate::yaml::node::Entry;
use crate::yaml::source::quoted;
use docker::tls::ClientMode;
use pki::KeyType;

/// One identity as it is written; settings that it omits are the client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenIdentity {
    pub name: String,
    /// From the root, or below `~/` or `~owner/`.
    pub dir: String,
    /// The account that uses it, if the directory does not decide.
    pub owner: Option<String>,
    pub mode: Option<ClientMode>,
    /// What it may do on daemons that have a guard.
    pub role: Option<String>,
    pub key_type: Option<KeyType>,
    pub validity_days: Option<u32>,
    pub renew_before: Option<RenewBefore>,
    /// The owner gets a docker context for each daemon.
    pub context: bool,
    /// Its files are removed.
    pub absent: bool,
}

/// The settings of an identity.
const PARTS: [&str; 9] = [
    "dir",
    "owner",
    "mode",
    "role",
    "key_type",
    "validity_days",
    "renew_before",
    "context",
    "absent",
];

/// The identities of a client, by their names.
pub(super) struct Identities;

impl Convert for Identities {
    type Output = Vec<WrittenIdentity>;
    const EXPECTED: &'static str = "a mapping of names, each with a dir";
    const SCHEMA: &'static str = r#"{"type": "object",
        "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"},
        "additionalProperties": {"type": "object", "additionalProperties": false, "properties": {
        "dir": {"type": "string", "pattern": "^(/|~/)"}, "owner": {"type": "string"},
        "mode": {"enum": ["tlsverify", "tlsverify-ca", "tls-cert", "tls"]},
        "role": {"type": "string"}, "key_type": {"type": "string"}, "validity_days": {"type": "integer", "minimum": 1, "maximum": 36500},
        "renew_before": {"oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[1-9][0-9]*d$"}]},
        "context": {"type": "boolean"}, "absent": {"type": "boolean"}},
        "anyOf": [{"required": ["dir"]}, {"required": ["owner"]}]}}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Self::Output> {
        let entries = value.mapping(Self::EXPECTED, context)?;
        let read: Vec<Option<WrittenIdentity>> = entries
            .iter()
            .map(|entry| identity(value.name, entry, context))
            .collect();
        read.into_iter().collect()
    }
}

/// A name is a part of a certificate's CN, of a file's name on the CA node, and
/// of what people type: NAME@HOST.
fn is_name(text: &str) -> bool {
    let fits = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    text.len() <= 32
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(fits)
}

/// An account whose home a node's shell can find: see the prelude.
fn is_owner(text: &str) -> bool {
    let fits = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    (1..=256).contains(&text.len()) && !text.starts_with(['-', '.']) && text.chars().all(fits)
}

fn identity(variable: &str, entry: &Entry, context: &mut Context) -> Option<WrittenIdentity> {
    let name = entry.key.text.as_str();
    let whole = format!("{variable}.{name}");
    let value = Found::part(&whole, entry);
    if !is_name(name) {
        let message = format!("{} is not a name for an identity", quoted(name));
        let help = "letters, digits and . _ - only, beginning with a letter or a digit, at most 32";
        context
            .problems
            .error(entry.key_span, message, "this name", Some(help.to_owned()));
        return None;
    }
    let mut found = WrittenIdentity {
        name: name.to_owned(),
        dir: String::new(),
        owner: None,
        mode: None,
        role: None,
        key_type: None,
        validity_days: None,
        renew_before: None,
        context: false,
        absent: false,
    };
    let mut dir = None;
    let mut fine = true;
    for part in value.mapping("a mapping with dir", context)? {
        let key = part.key.text.as_str();
        let inner_name = format!("{whole}.{key}");
        let inner = Found::part(&inner_name, part);
        fine &= match key {
            "dir" => set(&mut dir, directory(&inner, context)),
            "owner" => set(&mut found.owner, owner(&inner, context)),
            "mode" => set(&mut found.mode, ClientModeName::convert(&inner, context)),
            "role" => set(&mut found.role, RoleName::convert(&inner, context)),
            "key_type" => set(&mut found.key_type, Key::convert(&inner, context)),
            "validity_days" => set(&mut found.validity_days, Days::convert(&inner, context)),
            "renew_before" => set(&mut found.renew_before, Renewal::convert(&inner, context)),
            "context" => replace(&mut found.context, Boolean::convert(&inner, context)),
            "absent" => replace(&mut found.absent, Boolean::convert(&inner, context)),
            _ => {
                unknown_key(&whole, part, &PARTS, context);
                false
            }
        };
    }
    if !fine {
        return None;
    }
    found.dir = match (dir, &found.owner) {
        (Some(dir), Some(owner)) => match dir.strip_prefix("~/") {
            Some(rest) => format!("~{owner}/{rest}"),
            None => dir,
        },
        (Some(dir), None) => dir,
        (None, Some(owner)) => format!("~{owner}/.docker"),
        (None, None) => {
            return value.refuse(
                format!("{} does not say where its files go", quoted(&whole)),
                "give it `dir: DIRECTORY`, or `owner: ACCOUNT` for ~ACCOUNT/.docker",
                context,
            );
        }
    };
    if found.context && found.owner.is_none() {
        return value.refuse(
            format!("{} does not say whose contexts", quoted(&whole)),
            "give it `owner: ACCOUNT`: contexts lie in ~ACCOUNT/.docker/contexts",
            context,
        );
    }
    Some(found)
}

/// The directory of its files: `~` is the owner's home.
fn directory(value: &Found, context: &mut Context) -> Option<String> {
    let text = value.line(HomeDirectory::EXPECTED, context)?;
    let account = text
        .strip_prefix('~')
        .and_then(|below| below.split_once('/'))
        .filter(|(account, _)| !account.is_empty());
    if let Some((account, rest)) = account {
        return value.refuse(
            format!("{} names whose home it is", quoted(text)),
            format!("write owner: {account} and dir: ~/{rest}"),
            context,
        );
    }
    HomeDirectory::convert(value, context)
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    *slot = value;
    slot.is_some()
}

fn replace<T>(slot: &mut T, value: Option<T>) -> bool {
    match value {
        Some(value) => {
            *slot = value;
            true
        }
        None => false,
    }
}

fn owner(value: &Found, context: &mut Context) -> Option<String> {
    let text = value.line("the name of an account on the node", context)?;
    if is_owner(text) {
        return Some(text.to_owned());
    }
    value.refuse(
        format!("{} is not the name of an account", quoted(text)),
        "letters, digits and . _ - only, not beginning with a hyphen or a dot",
        context,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_told_from_a_host_and_typed_anywhere() {
        for good in ["alice", "ci-1", "A.b_c", "0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "-a",
            ".a",
            "a@b",
            "a/b",
            "a b",
            "é",
            "a'",
            &"a".repeat(33),
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn an_owner_is_one_word_of_a_shell() {
        for good in ["alice", "_apt", "a.b", "0x"] {
            assert!(is_owner(good), "{good}");
        }
        for bad in ["", "-a", ".a", "a@b", "$(id)", "a b", "a/b", "a'b"] {
            assert!(!is_owner(bad), "{bad}");
        }
    }
}
