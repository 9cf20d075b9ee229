//! The types that `dtls_` variables have: from the parsed tree to the value
//! that the rest of the program works with, everything impossible refused.
//!
//! [`super::variables`] names one of these types for each variable.

use crate::pki::KeyType;

use super::convert::{Context, Convert, Found};
use super::names;
use super::source::quoted;

/// The names of the three files of a daemon, in its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The trust bundle.
    pub ca: String,
    pub cert: String,
    pub key: String,
}

/// How long before its end a certificate is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewBefore {
    pub days: u32,
}

/// What a client's account gets besides its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEnv {
    /// `DOCKER_HOST`, `DOCKER_TLS_VERIFY`, `DOCKER_CERT_PATH` in the profile.
    Profile,
    /// A docker context for each daemon.
    Context,
}

pub(super) struct Boolean;

impl Convert for Boolean {
    type Output = bool;
    const EXPECTED: &'static str = "true or false";
    const SCHEMA: &'static str = r#"{"type": "boolean"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<bool> {
        value.boolean(context)
    }
}

/// A number of days that a certificate can live.
pub(super) struct Days;

impl Convert for Days {
    type Output = u32;
    const EXPECTED: &'static str = "a number of days";
    const SCHEMA: &'static str = r#"{"type": "integer", "minimum": 1, "maximum": 36500}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<u32> {
        let days = value.integer(Self::EXPECTED, context)?;
        days_in_range(days, value, context)
    }
}

fn days_in_range(days: i128, value: &Found, context: &mut Context) -> Option<u32> {
    match u32::try_from(days) {
        Ok(days @ 1..=36_500) => Some(days),
        _ => value.refuse(
            format!("{} cannot be {days}", quoted(value.name)),
            "a number of days from 1 to 36500",
            context,
        ),
    }
}

/// `30` or `30d`.
pub(super) struct Renewal;

impl Convert for Renewal {
    type Output = Option<RenewBefore>;
    const EXPECTED: &'static str = "a number of days, like 30 or 30d";
    const SCHEMA: &'static str = r#"{"oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[1-9][0-9]*d$"}]}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Self::Output> {
        let text = value.text(Self::EXPECTED, context)?;
        let digits = text.strip_suffix('d').unwrap_or(text);
        let all_digits = !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit());
        let Some(days) = all_digits.then(|| digits.parse().ok()).flatten() else {
            return value.wrong_type(Self::EXPECTED, context);
        };
        let days = days_in_range(days, value, context)?;
        Some(Some(RenewBefore { days }))
    }
}

/// A directory on a node, from the root.
pub(super) struct Directory;

impl Convert for Directory {
    type Output = String;
    const EXPECTED: &'static str = "an absolute directory";
    const SCHEMA: &'static str = r#"{"type": "string", "pattern": "^/"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<String> {
        let text = value.line(Self::EXPECTED, context)?;
        if !text.starts_with('/') {
            let help = match text.strip_prefix("~/") {
                Some(rest) => format!("write the whole path, like /home/NAME/{rest}"),
                None => format!("write it from the root: /{}", text.trim_start_matches("./")),
            };
            let message = format!("{} is not an absolute directory", quoted(text));
            return value.refuse(message, help, context);
        }
        directory(text, value, context)
    }
}

/// A directory on a node, from the root or from the account's home.
pub(super) struct HomeDirectory;

impl Convert for HomeDirectory {
    type Output = String;
    const EXPECTED: &'static str = "a directory, absolute or beginning with ~/";
    const SCHEMA: &'static str = r#"{"type": "string", "pattern": "^(/|~/)"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<String> {
        let text = value.line(Self::EXPECTED, context)?;
        if !text.starts_with('/') && !text.starts_with("~/") {
            let message = format!(
                "{} is neither absolute nor in the home directory",
                quoted(text)
            );
            let help = format!(
                "write ~/{}",
                text.trim_start_matches("./").trim_start_matches('~')
            );
            return value.refuse(message, help, context);
        }
        directory(text, value, context)
    }
}

fn directory(text: &str, value: &Found, context: &mut Context) -> Option<String> {
    if text.split('/').any(|part| part == "..") {
        let message = format!("{} leads up with `..`", quoted(text));
        return value.refuse(message, "write the directory itself", context);
    }
    if matches!(names::tidy_path(text).as_str(), "/" | "~" | "") {
        let message = format!("{} cannot hold the files", quoted(text));
        return value.refuse(message, "name a directory of its own", context);
    }
    if text.len() > 1024 || text.split('/').any(|part| part.len() > 255) {
        return value.refuse("this path is longer than file systems allow", "", context);
    }
    Some(text.to_owned())
}

/// The three file names of a daemon; what is left out keeps its default.
pub(super) struct FileNames;

impl Convert for FileNames {
    type Output = Files;
    const EXPECTED: &'static str = "a mapping with ca, cert and key";
    const SCHEMA: &'static str = r#"{"type": "object", "additionalProperties": false,
        "properties": {"ca": {"type": "string"}, "cert": {"type": "string"}, "key": {"type": "string"}}}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Files> {
        let mut files = Files::default();
        let mut fine = true;
        for entry in value.mapping(Self::EXPECTED, context)? {
            let key = entry.key.text.as_str();
            let slot = match key {
                "ca" => &mut files.ca,
                "cert" => &mut files.cert,
                "key" => &mut files.key,
                _ => {
                    unknown_key(value.name, entry, &["ca", "cert", "key"], context);
                    fine = false;
                    continue;
                }
            };
            let name = format!("{}.{key}", value.name);
            let inner = Found {
                name: &name,
                name_span: entry.key_span,
                node: &entry.node,
                secret: false,
            };
            match file_name(&inner, context) {
                Some(file) => *slot = file,
                None => fine = false,
            }
        }
        let same = files.ca == files.cert || files.ca == files.key || files.cert == files.key;
        if fine && same {
            return value.refuse(
                format!("{} names one file for two things", quoted(value.name)),
                format!(
                    "ca is {}, cert is {}, key is {}",
                    quoted(&files.ca),
                    quoted(&files.cert),
                    quoted(&files.key)
                ),
                context,
            );
        }
        fine.then_some(files)
    }
}

impl Default for Files {
    fn default() -> Self {
        Self {
            ca: "ca.pem".to_owned(),
            cert: "cert.pem".to_owned(),
            key: "key.pem".to_owned(),
        }
    }
}

/// Reports a key of a mapping that means nothing.
pub(super) fn unknown_key(
    variable: &str,
    entry: &super::yaml::Entry,
    known: &[&'static str],
    context: &mut Context,
) {
    let help = match names::nearest(&entry.key.text, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it has: {}", known.join(", ")),
    };
    let message = format!(
        "{} has no part {}",
        quoted(variable),
        quoted(&entry.key.text)
    );
    context
        .problems
        .error(entry.key_span, message, "unknown", Some(help));
}

fn file_name(value: &Found, context: &mut Context) -> Option<String> {
    let text = value.line("a file name", context)?;
    if text.contains('/') || matches!(text, "." | "..") || text.len() > 200 {
        let message = format!("{} is not a file name", quoted(text));
        return value.refuse(
            message,
            "a name without `/`; the directory is a variable of its own",
            context,
        );
    }
    Some(text.to_owned())
}

/// The name of a drop-in file.
pub(super) struct DropIn;

impl Convert for DropIn {
    type Output = String;
    const EXPECTED: &'static str = "a file name ending in .conf";
    const SCHEMA: &'static str = r#"{"type": "string", "pattern": "^[^/]+\\.conf$"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<String> {
        let name = file_name(value, context)?;
        // systemd.unit(5) reads only "*.conf"; a leading dot hides the file.
        if !name.ends_with(".conf") || name.starts_with('.') {
            let message = format!("systemd would not read a drop-in named {}", quoted(&name));
            let stem = name
                .trim_start_matches('.')
                .split('.')
                .next()
                .unwrap_or_default();
            return value.refuse(
                message,
                format!("it must end in .conf: {stem}.conf"),
                context,
            );
        }
        Some(name)
    }
}

/// The name of a systemd service.
pub(super) struct Unit;

impl Convert for Unit {
    type Output = String;
    const EXPECTED: &'static str = "the name of a systemd service";
    const SCHEMA: &'static str =
        r#"{"type": "string", "pattern": "^[A-Za-z0-9:_.@\\\\-]+\\.service$"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<String> {
        let text = value.line(Self::EXPECTED, context)?;
        let stem = text.strip_suffix(".service").unwrap_or("");
        // systemd.unit(5), "unit names".
        let fits =
            |character: char| character.is_ascii_alphanumeric() || ":-_.\\@".contains(character);
        if stem.is_empty() || stem.starts_with('-') || text.len() > 255 || !stem.chars().all(fits) {
            let message = format!("{} is not the name of a systemd service", quoted(text));
            return value.refuse(message, "it must look like docker.service", context);
        }
        Some(text.to_owned())
    }
}

/// A Jinja template for a file's name; what it renders to is checked later.
pub(super) struct NameTemplate;

impl Convert for NameTemplate {
    type Output = String;
    const EXPECTED: &'static str = "a Jinja template for a file name";
    const SCHEMA: &'static str = r#"{"type": "string"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<String> {
        let text = value.line(Self::EXPECTED, context)?;
        if let Err(error) = minijinja::Environment::new().template_from_str(text) {
            let reason = error.detail().unwrap_or("syntax error").to_owned();
            let message = format!("{} is not a valid template: {reason}", quoted(value.name));
            return value.refuse(
                message,
                "for example: '{{ inventory_hostname }}/{{ role }}-{{ kind }}.pem'",
                context,
            );
        }
        if text.starts_with('/') || text.split('/').any(|part| part == "..") {
            let message = format!("{} leads out of the directory of the CA", quoted(text));
            return value.refuse(
                message,
                "a name inside dtls_ca_dir, without a leading `/` and without `..`",
                context,
            );
        }
        let tells_apart = ["kind", "role", "key", "cert"]
            .iter()
            .any(|word| text.contains(word));
        if !text.contains('{') || !tells_apart {
            return value.refuse(
                format!("{} gives key and certificate one name", quoted(value.name)),
                "use {{ kind }} in it, and {{ role }} or {{ inventory_hostname }}",
                context,
            );
        }
        Some(text.to_owned())
    }
}

/// The type of a key.
pub(super) struct Key;

impl Convert for Key {
    type Output = KeyType;
    const EXPECTED: &'static str = "the type of a key";
    const SCHEMA: &'static str =
        r#"{"enum": ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519"]}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<KeyType> {
        const KNOWN: [&str; 6] = [
            "ecdsa-p256",
            "ecdsa-p384",
            "rsa-2048",
            "rsa-3072",
            "rsa-4096",
            "ed25519",
        ];
        let text = value.line(Self::EXPECTED, context)?;
        if let Some(key_type) = KNOWN.contains(&text).then(|| text.parse().ok()).flatten() {
            return Some(key_type);
        }
        let help = match names::nearest(text, KNOWN) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("one of {}", KNOWN.join(", ")),
        };
        value.refuse(
            format!("there is no key type {}", quoted(text)),
            help,
            context,
        )
    }
}

/// What a client's account gets.
pub(super) struct ClientEnvironment;

impl Convert for ClientEnvironment {
    type Output = Vec<ClientEnv>;
    const EXPECTED: &'static str = "a list of profile and context";
    const SCHEMA: &'static str =
        r#"{"type": "array", "items": {"enum": ["profile", "context"]}, "uniqueItems": true}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Vec<ClientEnv>> {
        let mut seen = Vec::new();
        value.each(Self::EXPECTED, context, |item, context| {
            let text = item.line("profile or context", context)?;
            let kind = match text {
                "profile" => ClientEnv::Profile,
                "context" => ClientEnv::Context,
                _ => {
                    let help = names::nearest(text, ["profile", "context"]).map_or_else(
                        || "profile or context".to_owned(),
                        |near| format!("did you mean {near}?"),
                    );
                    let message = format!("a client's environment cannot be {}", quoted(text));
                    return item.refuse(message, help, context);
                }
            };
            if seen.contains(&kind) {
                return item.refuse(format!("{} is there twice", quoted(text)), "", context);
            }
            seen.push(kind);
            Some(kind)
        })
    }
}

/// The name of a daemon's host; that it is one is checked with all hosts known.
pub(super) struct HostName;

impl Convert for HostName {
    type Output = Option<String>;
    const EXPECTED: &'static str = "the name of a host in the group daemons";
    const SCHEMA: &'static str = r#"{"type": "string"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Self::Output> {
        value
            .line(Self::EXPECTED, context)
            .map(|text| Some(text.to_owned()))
    }
}
