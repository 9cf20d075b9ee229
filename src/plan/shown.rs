//! What a diff may show of a file: public certificates and our own settings.
//! Everything else may be a secret (a proxy's password in daemon.json, a token in
//! a unit's `Environment=`, `export AWS_SECRET…` in a profile), and is masked.
//!
//! Comes in: the text of a file and what stands at its path. Goes out: the text
//! that diffs are drawn from, on both sides. Pure.

use serde_json::Value;

use super::place::Place;
use crate::docker::{daemon_json, environment, unit};
use crate::pki::Certificate;

/// In the place of a value.
pub const MASK: &str = "(not shown)";

/// The text of a file as a diff may show it.
#[must_use]
pub(super) fn shown(place: Place, text: &str) -> String {
    match place {
        Place::Certificates => certificates(text),
        Place::DaemonJson => daemon_json(text),
        Place::DropIn => unit::shown(text, MASK),
        Place::Profile => environment::own_lines(text),
        Place::Context => context(text),
        Place::Key | Place::Authority | Place::Kept => masked(text),
    }
}

fn masked(text: &str) -> String {
    if text.trim().is_empty() {
        String::new()
    } else {
        format!("{MASK}\n")
    }
}

/// The blocks that are certificates.
fn certificates(text: &str) -> String {
    let blocks = pem::parse_many(text).unwrap_or_default();
    let public: String = blocks
        .iter()
        .filter_map(|block| Certificate::from_der(block.contents()).ok())
        .map(|certificate| certificate.to_pem())
        .collect();
    if public.is_empty() {
        masked(text)
    } else {
        public
    }
}

/// Every key with a value of its own line, ours with theirs.
fn daemon_json(text: &str) -> String {
    let Ok(Value::Object(settings)) = serde_json::from_str(text) else {
        return masked(text);
    };
    let lines = settings.iter().map(|(name, value)| {
        let value = if daemon_json::is_ours(name) {
            value.to_string()
        } else {
            MASK.to_owned()
        };
        format!("  {}: {value},\n", Value::from(name.as_str()))
    });
    format!("{{\n{}}}\n", lines.collect::<String>())
}

/// Where the context leads, and whether it checks the daemon.
fn context(text: &str) -> String {
    let Ok(Value::Object(settings)) = serde_json::from_str(text) else {
        return masked(text);
    };
    let settings = Value::Object(settings);
    let pointers = [
        "/Name",
        "/Endpoints/docker/Host",
        "/Endpoints/docker/SkipTLSVerify",
    ];
    let lines = pointers.iter().filter_map(|pointer| {
        let name = pointer.rsplit('/').next()?;
        Some(format!("{name}: {}\n", settings.pointer(pointer)?))
    });
    lines.collect()
}
