//! The policy file: JSON, as it is written and as the guard uses it.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::path::problem_of;
use crate::{ApiPath, Role, Serial};

const VERSION: u32 = 1;
const METHODS: [&str; 5] = ["DELETE", "GET", "HEAD", "POST", "PUT"];
/// Bytes of the name of an identity or role.
const LONGEST_NAME: usize = 128;

/// The file as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub version: u32,
    #[serde(default)]
    pub without_certificate: WithoutCertificate,
    /// The role of certificates that are not listed; without one they are rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, OwnRole>,
    /// Roles by the common name of the certificate's subject: a renewed certificate has the
    /// role of the one before it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
    /// Takes precedence over `names`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<Identity>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<Revoked>,
}

/// Requests without a client certificate: those of the local socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WithoutCertificate {
    #[default]
    Allow,
    Reject,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnRole {
    pub allow: Vec<Rule>,
}

/// Each of the methods is allowed on each of the paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub methods: Vec<String>,
    pub paths: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub serial: Serial,
    pub name: String,
    pub role: String,
}

/// Takes precedence over everything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    pub serial: Serial,
    pub name: String,
}

/// Why a file is not a policy.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("is not a policy: {0}")]
    Syntax(#[from] serde_json::Error),
    #[error("has the version {0}, and this guard reads version {VERSION}")]
    Version(u32),
    #[error("uses the role {0:?}, which is neither full, read or logs nor defined in roles")]
    UnknownRole(String),
    #[error("defines the role {0:?}, which every policy has already")]
    RoleExists(String),
    #[error("role {role:?}: the method {method:?} is none of {}", METHODS.join(", "))]
    Method { role: String, method: String },
    #[error("role {role:?}: the path {path:?} {problem}")]
    Path {
        role: String,
        path: String,
        problem: &'static str,
    },
    #[error("lists the serial {0} twice in identities")]
    Duplicate(String),
    #[error("has the name {0:?}: a name is 1 to {LONGEST_NAME} printable characters")]
    Name(String),
}

/// What a certificate may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grant {
    Shared(Role),
    Own(String, OwnRole),
}

impl Grant {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Shared(role) => role.name(),
            Self::Own(name, _) => name,
        }
    }

    pub(crate) const fn is_full(&self) -> bool {
        matches!(self, Self::Shared(Role::Full))
    }

    pub(crate) fn allows(&self, method: &str, path: &ApiPath) -> bool {
        match self {
            Self::Shared(role) => role.allows(method, path),
            Self::Own(_, role) => role.allow.iter().any(|rule| {
                rule.methods.iter().any(|each| each == method)
                    && rule.paths.iter().any(|pattern| path.matches(pattern))
            }),
        }
    }
}

impl Document {
    /// A policy without certificates yet.
    #[must_use]
    pub fn new(roles: BTreeMap<String, OwnRole>, unknown: Option<String>) -> Self {
        Self {
            version: VERSION,
            without_certificate: WithoutCertificate::Allow,
            unknown,
            roles,
            names: BTreeMap::new(),
            identities: Vec::new(),
            revoked: Vec::new(),
        }
    }

    /// Whether a guard would accept it.
    pub fn check(&self) -> Result<(), Problem> {
        Policy::of(self.clone()).map(|_| ())
    }

    /// The content of the file: each certificate on a line of its own, so that two
    /// policies can be compared by eye.
    #[must_use]
    pub fn text(&self) -> String {
        // A structure of texts is always JSON.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// A checked policy, ready for decisions.
#[derive(Debug, Clone)]
pub struct Policy {
    without_certificate: WithoutCertificate,
    unknown: Option<Grant>,
    identities: HashMap<Serial, (String, Grant)>,
    names: HashMap<String, Grant>,
    revoked: HashMap<Serial, String>,
}

impl Policy {
    /// Reads and checks the content of a policy file.
    pub fn parse(text: &[u8]) -> Result<Self, Problem> {
        Self::of(serde_json::from_slice(text)?)
    }

    fn of(document: Document) -> Result<Self, Problem> {
        if document.version != VERSION {
            return Err(Problem::Version(document.version));
        }
        for (name, role) in &document.roles {
            check_role(name, role)?;
        }
        let grant = |name: &str| grant(&document.roles, name);
        let unknown = document.unknown.as_deref().map(grant).transpose()?;
        let mut identities = HashMap::new();
        for Identity { serial, name, role } in document.identities {
            check_name(&name)?;
            let duplicate = Problem::Duplicate(serial.as_str().to_owned());
            if identities.insert(serial, (name, grant(&role)?)).is_some() {
                return Err(duplicate);
            }
        }
        let mut names = HashMap::new();
        for (name, role) in &document.names {
            check_name(name)?;
            names.insert(name.clone(), grant(role)?);
        }
        let mut revoked = HashMap::new();
        for Revoked { serial, name } in document.revoked {
            check_name(&name)?;
            revoked.insert(serial, name);
        }
        Ok(Self {
            without_certificate: document.without_certificate,
            unknown,
            identities,
            names,
            revoked,
        })
    }

    /// How many certificates and names have a role, and how many certificates are revoked.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let listed = self.identities.len() + self.names.len();
        (listed, self.revoked.len())
    }

    pub(crate) const fn without_certificate(&self) -> WithoutCertificate {
        self.without_certificate
    }

    pub(crate) fn revoked(&self, serial: &Serial) -> Option<&str> {
        self.revoked.get(serial).map(String::as_str)
    }

    pub(crate) fn grant(
        &self,
        serial: &Serial,
        common_name: &str,
    ) -> Option<(Option<&str>, &Grant)> {
        let listed = self.identities.get(serial);
        let listed = listed.map(|(name, grant)| (Some(name.as_str()), grant));
        let named = || {
            let (name, grant) = self.names.get_key_value(common_name)?;
            Some((Some(name.as_str()), grant))
        };
        listed
            .or_else(named)
            .or_else(|| self.unknown.as_ref().map(|grant| (None, grant)))
    }
}

fn grant(roles: &BTreeMap<String, OwnRole>, name: &str) -> Result<Grant, Problem> {
    if let Some(role) = Role::named(name) {
        return Ok(Grant::Shared(role));
    }
    let role = roles.get(name).cloned();
    role.map(|role| Grant::Own(name.to_owned(), role))
        .ok_or_else(|| Problem::UnknownRole(name.to_owned()))
}

fn check_name(name: &str) -> Result<(), Problem> {
    let is_sized = (1..=LONGEST_NAME).contains(&name.len());
    if is_sized && !name.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(Problem::Name(name.chars().take(LONGEST_NAME).collect()))
    }
}

fn check_role(name: &str, role: &OwnRole) -> Result<(), Problem> {
    check_name(name)?;
    if Role::named(name).is_some() {
        return Err(Problem::RoleExists(name.to_owned()));
    }
    for rule in &role.allow {
        let unknown = rule
            .methods
            .iter()
            .find(|each| !METHODS.contains(&each.as_str()));
        if let Some(method) = unknown {
            let (role, method) = (name.to_owned(), method.clone());
            return Err(Problem::Method { role, method });
        }
        for path in &rule.paths {
            if let Some(problem) = problem_of(path) {
                let (role, path) = (name.to_owned(), path.clone());
                return Err(Problem::Path {
                    role,
                    path,
                    problem,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Document, Policy};

    #[test]
    fn what_is_not_understood_is_no_policy() {
        let role = |rule: &str| {
            format!(
                r#"{{"version": 1, "roles": {{"own": {{"allow": [{rule}]}}}}, "identities": []}}"#
            )
        };
        let identity = |text: &str| format!(r#"{{"version": 1, "identities": [{text}]}}"#);
        let node = r#"{"serial": "1", "name": "a", "role": "full"}"#;
        for (text, problem) in [
            (String::new(), "EOF"),
            ("{}".to_owned(), "missing field"),
            (
                r#"{"version": 2, "identities": []}"#.to_owned(),
                "version 2",
            ),
            (
                r#"{"version": 1, "identities": [], "default": "full"}"#.to_owned(),
                "unknown field",
            ),
            (
                r#"{"version": 1, "identities": [], "unknown": "reject"}"#.to_owned(),
                "role \"reject\"",
            ),
            (identity(&format!("{node}, {node}")), "01 twice"),
            (identity(&node.replace("full", "admin")), "role \"admin\""),
            (identity(&node.replace("\"1\"", "\"g\"")), "hexadecimal"),
            (identity(&node.replace("\"a\"", "\"a\\nb\"")), "printable"),
            (
                role(r#"{"methods": ["get"], "paths": ["/info"]}"#),
                "method \"get\"",
            ),
            (
                role(r#"{"methods": ["GET"], "paths": ["info"]}"#),
                "must begin",
            ),
            (
                role("").replace("own", "full"),
                "\"full\", which every policy has",
            ),
        ] {
            let error = Policy::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = r#"{"version":1,"without_certificate":"reject","unknown":"logs","roles":{"own":{"allow":[{"methods":["GET"],"paths":["/info"]}]}},"identities":[{"serial":"0A","name":"a","role":"own"}],"revoked":[{"serial":"0B","name":"b"}]}"#;
        let document: Document = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&document).unwrap(), text);
        assert_eq!(Policy::parse(text.as_bytes()).unwrap().size(), (1, 1));
    }
}
