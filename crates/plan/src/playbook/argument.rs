//! What a task gives to its module.
//!
//! Made while a playbook is read, of the kind that the module's parameter
//! has; rendered for each host when the plan is made.

use super::template::{Scope, Template, TemplateError};

/// The value of one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    Text(Template),
    List(Vec<Template>),
    Integer(u64),
}

impl Argument {
    /// A word that is no template.
    #[must_use]
    pub fn word(text: &str) -> Self {
        Self::Text(Template::fixed(text.to_owned()))
    }

    /// Texts that are no templates.
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
