//! What a diff may show of a file: public certificates and this program's own settings. Everything
//! else may be a secret (a proxy's password in daemon.json, a token in a unit's `Environment=`,
//! `export AWS_SECRET…` in a profile), and is masked.

use serde_json::Value;

use super::place::Place;
use crate::host::daemon_json::PATH;
use crate::host::guard;
use crate::host::unit::unit_files;
use docker::{daemon_json, environment, unit};
use node::facts::NodeFacts;
use pki::Certificate;
use policy::Document;

/// Shown in place of a value.
pub const MASK: &str = "(not shown)";

/// Known values of a node's settings that are not this program's: its tools may quote them in their
/// output.
#[derive(Debug, Default)]
pub struct ForeignValues(Vec<String>);

impl ForeignValues {
    /// From daemon.json, the unit's `Environment=` and its environment files.
    #[must_use]
    pub fn of(facts: &NodeFacts) -> Self {
        let mut values = Vec::new();
        let text = facts.text(PATH).unwrap_or_default();
        if let Ok(Value::Object(settings)) = serde_json::from_str(text) {
            for (_, value) in settings
                .iter()
                .filter(|(name, _)| !daemon_json::is_ours(name))
            {
                texts(value, &mut values);
            }
        }
        let files = unit_files(facts);
        values.extend(unit::unit_environment(&files).into_values());
        let paths = facts.unit.iter().flat_map(|unit| &unit.environment_files);
        for text in paths.filter_map(|path| facts.text(path)) {
            values.extend(unit::parse_environment(text).into_values());
        }
        // Shorter values are words of any sentence.
        values.retain(|value| value.len() >= SHORTEST);
        // One value may be part of another.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self(values)
    }

    #[must_use]
    pub fn masked(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, value| {
            text.replace(value.as_str(), MASK)
        })
    }
}

/// Minimum bytes of a value that is masked in the output of tools.
const SHORTEST: usize = 4;

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(values) => values.values().for_each(|value| texts(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text of a file as a diff may show it.
#[must_use]
pub(super) fn shown(place: Place, text: &str) -> String {
    match place {
        Place::Certificates => certificates(text),
        Place::DaemonJson => daemon_json(text),
        Place::DropIn if guard::is_own_text(text) => text.to_owned(),
        Place::DropIn => unit::shown(text, MASK),
        Place::Profile => environment::own_lines(text),
        Place::Context => context(text),
        Place::Policy if serde_json::from_str::<Document>(text).is_ok() => text.to_owned(),
        Place::Key | Place::Authority | Place::Kept | Place::Policy | Place::Program => {
            masked(text)
        }
    }
}

fn masked(text: &str) -> String {
    if text.trim().is_empty() {
        String::new()
    } else {
        format!("{MASK}\n")
    }
}

/// The blocks that are certificates, one a line.
fn certificates(text: &str) -> String {
    let blocks = pem::parse_many(text).unwrap_or_default();
    let public = blocks
        .iter()
        .filter_map(|block| Certificate::from_der(block.contents()).ok())
        .map(|certificate| {
            let end = certificate.not_after().date();
            let (subject, sha256) = (certificate.subject(), certificate.sha256());
            format!("{subject}, valid until {end}, SHA-256 {sha256}")
        });
    let public: Vec<String> = public.collect();
    if public.is_empty() {
        masked(text)
    } else {
        format!("{}\n", public.join("\n"))
    }
}

/// Every key and value on its own line, this program's and the others.
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
        format!("\n  {}: {value}", Value::from(name.as_str()))
    });
    format!("{{{}\n}}\n", lines.collect::<Vec<_>>().join(","))
}

/// Where the context leads, and whether it verifies the daemon.
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

#[cfg(test)]
mod tests {
    use super::*;
    use node::facts::{File, FileFact, UnitFact};

    fn file(text: &str) -> FileFact {
        FileFact::File(File {
            mode: 0o644,
            owner: "root".to_owned(),
            uid: 0,
            size: text.len() as u64,
            changed: 0,
            sha256: String::new(),
            content: Some(text.as_bytes().to_vec()),
            private_key: false,
            link: false,
        })
    }

    #[test]
    fn what_dockerd_says_of_other_peoples_settings_is_masked() {
        let mut facts = NodeFacts::default();
        for (path, text) in [
            (
                PATH,
                r#"{"proxies": {"http-proxy": "http://u:canary@p"}, "labels": ["token=canary", "token=canary2"], "tlskey": "/etc/docker/tls/key.pem", "mtu": 1500, "icc": "no"}"#,
            ),
            ("/etc/default/docker", "TOKEN=canary3\n"),
            (
                "/lib/docker.service",
                "[Service]\nEnvironment=\"OTHER=canary4\"\n",
            ),
        ] {
            facts.files.insert(path.to_owned(), file(text));
        }
        facts.unit = Some(UnitFact {
            properties: [("FragmentPath".to_owned(), "/lib/docker.service".to_owned())].into(),
            environment_files: vec!["/etc/default/docker".to_owned()],
            ..UnitFact::default()
        });
        let values = ForeignValues::of(&facts);
        for (said, masked) in [
            ("invalid label token=canary2", "invalid label (not shown)"),
            (
                "proxy http://u:canary@p refused",
                "proxy (not shown) refused",
            ),
            ("canary3, canary4", "(not shown), (not shown)"),
            (
                "cannot open /etc/docker/tls/key.pem: no",
                "cannot open /etc/docker/tls/key.pem: no",
            ),
        ] {
            assert_eq!(values.masked(said), masked);
        }
        assert_eq!(ForeignValues::default().masked("as it is"), "as it is");
    }

    #[test]
    fn only_certificates_of_a_bundle_are_shown() {
        let damaged = "-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n-----END CERTIFICATE-----\n";
        for text in [
            damaged,
            "canary",
            "-----BEGIN X-----\nY2FuYXJ5\n-----END X-----\n",
        ] {
            assert_eq!(shown(Place::Certificates, text), "(not shown)\n", "{text}");
        }
        for place in [Place::Key, Place::Authority, Place::Kept] {
            assert_eq!(shown(place, "canary"), "(not shown)\n");
            assert_eq!(shown(place, ""), "");
        }
    }
}
