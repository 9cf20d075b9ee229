//! Why a host is left as it is.

use crate::playbook::TemplateError;

/// A module's refusal to plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub message: String,
    pub hint: Option<String>,
}

impl Refusal {
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<crate::node::facts::FactError> for Refusal {
    fn from(error: crate::node::facts::FactError) -> Self {
        use crate::node::facts::FactError;
        let hint = match &error {
            FactError::MixedOwners { path, expected, .. } => Some(format!(
                "look at it, then give it back: chown {expected}: {path}"
            )),
            FactError::LinkOfUser { path, .. } => Some(format!(
                "put a directory there instead: whoever owns {path} could lead it anywhere"
            )),
            FactError::NoAccount { path, uid } => Some(format!(
                "make an account for it (useradd --uid {uid} --no-create-home NAME), or give the directory to one that is there: chown ACCOUNT: {path}"
            )),
            FactError::OpenToOthers { path, .. } => Some(format!("chmod go-w {path}")),
            _ => None,
        };
        Self {
            message: error.to_string(),
            hint,
        }
    }
}

impl From<TemplateError> for Refusal {
    fn from(error: TemplateError) -> Self {
        Self {
            message: error.message,
            hint: error.hint,
        }
    }
}
