//! Templates and conditions: Jinja over the inventory and a few facts.
//!
//! Of all that a node reports, only [`FACTS`] are rendered, and a rendered text is never rendered
//! again.

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value, json};

use inventory::Host;
use inventory::names::nearest;
use inventory::yaml::source::quoted;
use node::facts::NodeFacts;

/// Maximum steps of one template: far more than a sensible one needs.
const FUEL: u64 = 50_000;
/// Maximum bytes of one rendered template.
const LONGEST: usize = 64 << 10;

/// The members of `facts.`, with a description.
pub const FACTS: &[(&str, &str)] = &[
    ("kernel", "name of the kernel, from `uname -s`: `Linux`"),
    ("machine", "architecture, from `uname -m`: `x86_64`"),
    ("hostname", "the node's own name, from `uname -n`"),
    (
        "account",
        "the account that acts on the node, see [sudo](ssh.md#sudo)",
    ),
    ("home", "home directory of the account that logs in"),
    ("systemd", "true if systemd runs"),
    ("docker_installed", "true if a Docker CLI is in PATH"),
    ("dockerd_installed", "true if dockerd is in PATH"),
];

/// The variables that a template sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    /// For messages.
    host: String,
    variables: Map<String, Value>,
}

/// Why a template cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    pub message: String,
    pub hint: Option<String>,
}

/// The variables of a host; `facts` only once they are known.
#[must_use]
pub fn scope(host: &Host, facts: Option<&NodeFacts>) -> Scope {
    let mut variables = host.variables.clone();
    variables.insert("inventory_hostname".to_owned(), host.name.clone().into());
    variables.insert("group_names".to_owned(), host.groups.clone().into());
    variables.remove("facts");
    if let Some(facts) = facts {
        let known = json!({
            "kernel": facts.kernel,
            "machine": facts.machine,
            "hostname": facts.hostname,
            "account": facts.account,
            "home": facts.home,
            "systemd": facts.systemd,
            "docker_installed": facts.tools.contains_key("docker"),
            "dockerd_installed": facts.tools.contains_key("dockerd"),
        });
        variables.insert("facts".to_owned(), known);
    }
    Scope {
        host: host.name.clone(),
        variables,
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    // Text for argv and paths, never for HTML.
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment
}

/// A text that may contain `{{ }}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    fixed: bool,
}

impl Template {
    /// Parses a text from a playbook.
    pub fn read(text: &str) -> Result<Self, String> {
        let fixed = !["{{", "{%", "{#"].iter().any(|sign| text.contains(sign));
        if !fixed {
            environment()
                .template_from_str(text)
                .map_err(|error| reason(&error))?;
        }
        Ok(Self {
            text: text.to_owned(),
            fixed,
        })
    }

    /// A text without a template, whatever it contains.
    #[must_use]
    pub fn fixed(text: String) -> Self {
        Self { text, fixed: true }
    }

    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// The source text, or the rendered text if it was rendered.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its value for a host.
    pub fn render(&self, scope: &Scope) -> Result<String, TemplateError> {
        if self.fixed {
            return Ok(self.text.clone());
        }
        let environment = environment();
        let mut rendered = environment
            .template_from_str(&self.text)
            .and_then(|template| {
                template
                    .render(Serde(&scope.variables))
                    .map_err(|error| explained(error, &template.undeclared_variables(false)))
            })
            .map_err(|error| scope.error(&self.text, &error))?;
        // Jinja removes the newline at the end of a template.
        if self.text.ends_with('\n') {
            rendered.push('\n');
        }
        if rendered.len() > LONGEST {
            return Err(said(&self.text, "it gives too long a text"));
        }
        Ok(rendered)
    }
}

/// A condition of `when:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    text: String,
}

impl Expression {
    /// Parses an expression from a playbook.
    pub fn read(text: &str) -> Result<Self, String> {
        environment()
            .compile_expression(text)
            .map_err(|error| reason(&error))?;
        Ok(Self {
            text: text.to_owned(),
        })
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it holds for a host.
    pub fn holds(&self, scope: &Scope) -> Result<bool, TemplateError> {
        let environment = environment();
        let value = environment
            .compile_expression(&self.text)
            .and_then(|expression| {
                expression
                    .eval(Serde(&scope.variables))
                    .map_err(|error| explained(error, &expression.undeclared_variables(false)))
            })
            .map_err(|error| scope.error(&self.text, &error))?;
        if value.is_undefined() {
            return Err(said(&self.text, "it is undefined"));
        }
        Ok(value.is_true())
    }
}

/// Records the names that a template uses, for the message.
fn explained(error: Error, names: &std::collections::HashSet<String>) -> Error {
    if error.kind() != ErrorKind::UndefinedError {
        return error;
    }
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    Error::new(ErrorKind::UndefinedError, names.join(" "))
}

impl Scope {
    fn error(&self, text: &str, error: &Error) -> TemplateError {
        if error.kind() != ErrorKind::UndefinedError {
            return said(text, &reason(error));
        }
        let used = error.detail().unwrap_or_default();
        let unknown: Vec<&str> = used
            .split(' ')
            .filter(|name| !name.is_empty() && !self.variables.contains_key(*name))
            .collect();
        let Some(first) = unknown.first() else {
            return said(text, "a part of a variable that it names is undefined");
        };
        let message = format!("{} is not a variable of {}", quoted(first), self.host);
        let mut error = said(text, &message);
        error.hint = if *first == "facts" {
            Some("facts are not known yet when it is decided which to read: what is looked at on the node may use the inventory's variables only".to_owned())
        } else {
            nearest(first, self.variables.keys().map(String::as_str))
                .map(|near| format!("did you mean {}?", quoted(near)))
                .or_else(|| Some("set it in the inventory, or write `| default(...)`".to_owned()))
        };
        error
    }
}

fn said(text: &str, reason: &str) -> TemplateError {
    TemplateError {
        message: format!("the template {} has no value: {reason}", quoted(text)),
        hint: None,
    }
}

fn reason(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(variables: Value) -> Scope {
        let Value::Object(variables) = variables else {
            panic!("an object");
        };
        Scope {
            host: "node3".to_owned(),
            variables,
        }
    }

    fn render(text: &str, variables: Value) -> Result<String, TemplateError> {
        Template::read(text).unwrap().render(&here(variables))
    }

    #[test]
    fn what_comes_out_is_data() {
        let hostile = json!({"name": "{{ 7 * 7 }}<&'\"`$(id)\n"});
        let rendered = render("a {{ name }}", hostile).unwrap();
        assert_eq!(rendered, "a {{ 7 * 7 }}<&'\"`$(id)\n");
        let again = Argument::Text(Template::fixed(rendered.clone()));
        assert_eq!(
            again.rendered(&here(json!({}))),
            Ok(Argument::Text(Template::fixed(rendered)))
        );
    }

    use super::super::Argument;

    #[test]
    fn what_is_undefined_is_named_with_what_is_near() {
        let error = render("{{ regoin }}", json!({"region": "eu"})).unwrap_err();
        assert_eq!(
            error.message,
            "the template `{{ regoin }}` has no value: `regoin` is not a variable of node3"
        );
        assert_eq!(error.hint.as_deref(), Some("did you mean `region`?"));
        let error = render("{{ region.name }}", json!({"region": {}})).unwrap_err();
        assert!(error.message.contains("is undefined"), "{error}");
        assert_eq!(render("{{ x | default('y') }}", json!({})).unwrap(), "y");
    }

    #[test]
    fn what_does_not_end_is_ended() {
        let text = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        let error = render(text, json!({})).unwrap_err();
        assert!(error.message.contains("fuel"), "{error}");
    }

    #[test]
    fn broken_templates_are_found_without_a_host() {
        assert!(Template::read("{{ a").is_err());
        assert!(Template::read("{{ a | no_such_filter }}").is_ok());
        assert!(Expression::read("a ==").is_err());
        assert!(Expression::read("a == 1 and b is defined").is_ok());
    }

    #[test]
    fn conditions_are_expressions() {
        let scope = here(json!({"group_names": ["daemons"], "zone": "a"}));
        for (text, holds) in [
            ("'daemons' in group_names and zone == 'a'", true),
            ("zone is not defined", false),
            ("false", false),
            ("extra | default(false)", false),
        ] {
            assert_eq!(
                Expression::read(text).unwrap().holds(&scope),
                Ok(holds),
                "{text}"
            );
        }
        assert!(
            Expression::read("zoen == 'a'")
                .unwrap()
                .holds(&scope)
                .is_err()
        );
    }
}
