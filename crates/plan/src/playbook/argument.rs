//! The arguments of a task.
//!
//! Created while a playbook is read, with the type of the module's parameter; rendered for each
//! host during planning.

use super::template::{Scope, Template, TemplateError};

/// The value of one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    Text(Template),
    List(Vec<Template>),
    Integer(u64),
}

impl Argument {
    /// A word without a template.
    #[must_use]
    pub fn word(text: &str) -> Self {
        Self::Text(Template::fixed(text.to_owned()))
    }

    /// Texts without templates.
    #[must_use]
    pub fn words(texts: &[String]) -> Self {
        Self::List(texts.iter().cloned().map(Template::fixed).collect())
    }

    /// Nothing in it is a template.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        match self {
            Self::Text(template) => template.is_fixed(),
            Self::List(items) => items.iter().all(Template::is_fixed),
            Self::Integer(_) => true,
        }
    }

    /// The same with every template rendered.
    pub fn rendered(&self, scope: &Scope) -> Result<Self, TemplateError> {
        Ok(match self {
            Self::Text(template) => Self::Text(Template::fixed(template.render(scope)?)),
            Self::List(items) => Self::List(
                items
                    .iter()
                    .map(|item| item.render(scope).map(Template::fixed))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Integer(number) => Self::Integer(*number),
        })
    }
}
