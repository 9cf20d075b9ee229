//! Refusals: why a host is left unchanged.

use super::AuthorityProblem;
use crate::playbook::TemplateError;

/// A module's refusal to plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
    pub hint: Option<String>,
}

/// What a refusal is about, where code depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RefusalKind {
    #[default]
    Other,
    /// The CA cannot be used: refused for the CA's host and for every holder of a certificate.
    Authority(Box<AuthorityProblem>),
    /// The CA cannot sign now: it has expired, or is not valid yet.
    AuthorityDates,
    /// No system-wide docker is installed on the node.
    NoDocker,
}

impl Refusal {
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            kind: RefusalKind::Other,
            message: message.into(),
            hint: None,
        }
    }

    #[must_use]
    pub fn of(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            ..Self::new(message)
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<node::facts::FactError> for Refusal {
    fn from(error: node::facts::FactError) -> Self {
        use node::facts::FactError;
        let hint = match &error {
            FactError::MixedOwners { path, expected, .. } => Some(format!(
                "look at it, then give it back: chown {expected}: {path}"
            )),
            FactError::LinkOfUser { path, .. } => Some(format!(
                "put a directory there instead: the owner of {path} could redirect it anywhere"
            )),
            FactError::NoAccount { path, uid } => Some(format!(
                "make an account for it (useradd --uid {uid} --no-create-home NAME), or give the directory to one that is there: chown ACCOUNT: {path}"
            )),
            FactError::OpenToOthers { path, .. } => Some(format!("chmod go-w {path}")),
            _ => None,
        };
        Self {
            hint,
            ..Self::new(error.to_string())
        }
    }
}

impl From<AuthorityProblem> for Refusal {
    fn from(problem: AuthorityProblem) -> Self {
        let (message, hint) = (problem.to_string(), problem.hint());
        Self::of(RefusalKind::Authority(Box::new(problem)), message).hint(hint)
    }
}

impl From<TemplateError> for Refusal {
    fn from(error: TemplateError) -> Self {
        Self {
            hint: error.hint,
            ..Self::new(error.message)
        }
    }
}
