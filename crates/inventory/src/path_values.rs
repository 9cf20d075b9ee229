//! The `dtls_` types that name something on a node: directories, files, units.
//!
//! [`super::variables`] names one of these types for each variable.

use super::convert::{Context, Convert, Found};
use super::names;
use super::system_directories::system_directory;
use crate::yaml::source::quoted;

/// The names of the three files of a daemon, in its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The trust bundle.
    pub ca: String,
    pub cert: String,
    pub key: String,
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
    if let Some(of) = system_directory(text) {
        let message = if names::tidy_path(text) == of {
            format!("{} is a directory of the system", quoted(text))
        } else {
            format!("{} lies in a directory of the system, {of}", quoted(text))
        };
        let help = "name a directory of its own: /etc/docker/tls for a daemon, ~/.docker for a client, /etc/dtls-deploy/ca for the CA";
        return value.refuse(message, help, context);
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
            let inner = Found::part(&name, entry);
            match file_name(&inner, context) {
                Some(name) => *slot = name,
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
    entry: &crate::yaml::node::Entry,
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
    if DOCKERS.contains(&text) {
        let message = format!("{} is the name of a file of Docker's own", quoted(text));
        return value.refuse(
            message,
            "a name that Docker has no use for: ca.pem",
            context,
        );
    }
    Some(text.to_owned())
}

/// What Docker keeps in /etc/docker and in ~/.docker.
const DOCKERS: [&str; 4] = ["config.json", "daemon.json", "key.json", "meta.json"];

/// The name of a drop-in file.
pub(super) struct DropIn;

impl Convert for DropIn {
    type Output = String;
    const EXPECTED: &'static str = "a file name ending in .conf";
    const SCHEMA: &'static str = r#"{"type": "string", "pattern": "^[^/]+\\.conf$"}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<String> {
        let name = file_name(value, context)?;
        // systemd.unit(5) reads only "*.conf"; a leading dot hides the file.
        if name.strip_suffix(".conf").is_none() || name.starts_with('.') {
            let message = format!("systemd would not read a drop-in named {}", quoted(&name));
            let stem = match name.trim_start_matches('.').split('.').next() {
                None | Some("" | "conf") => "override",
                Some(stem) => stem,
            };
            return value.refuse(
                message,
                format!("it must end in .conf and not begin with a dot: {stem}.conf"),
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
