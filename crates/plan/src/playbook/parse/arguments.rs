//! Parses the parameters of a task into arguments of the types that the module declares.

use super::Reader;
use crate::playbook::{Argument, Kind, Parameter, Spec, Template};
use inventory::yaml::node::{Entry, Node, Value};
use inventory::yaml::source::quoted;

/// Shows a value that is not a mapping as the parameter it should be: `command: {argv: [touch,
/// x]}`.
fn example(module: &Spec, node: &Node) -> Option<String> {
    let parameters = module.parameters.iter();
    let parameter = parameters.clone().find(|parameter| parameter.required);
    let parameter = parameter.or_else(|| parameters.clone().next())?;
    let words: Vec<String> = match &node.value {
        Value::Scalar(scalar) => match parameter.kind {
            Kind::TextList => shlex::split(&scalar.text)?,
            _ => vec![scalar.text.clone()],
        },
        Value::Sequence(items) => items.iter().map(text_of).collect::<Option<_>>()?,
        Value::Mapping(_) => return None,
    };
    let words: Vec<String> = words.iter().map(|word| in_flow(word)).collect();
    let value = match parameter.kind {
        Kind::TextList => format!("[{}]", words.join(", ")),
        _ => words.concat(),
    };
    let (module, name) = (module.name, parameter.name);
    Some(format!("`{module}: {{{name}: {value}}}`"))
}

fn text_of(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) => Some(scalar.text.clone()),
        _ => None,
    }
}

/// A text as a flow sequence in YAML may contain it.
fn in_flow(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

impl Reader<'_> {
    pub(super) fn arguments(
        &mut self,
        module: &Spec,
        entry: &Entry,
    ) -> Option<Vec<(String, Argument)>> {
        let parameters = module.parameters;
        let none = Vec::new();
        let given: &[Entry] = match &entry.node.value {
            Value::Mapping(entries) => entries,
            _ if entry.node.is_null() => &none,
            _ => {
                let message = format!("the parameters of {} are a mapping", quoted(module.name));
                let help = example(module, &entry.node);
                self.problems.error(entry.node.span, message, "here", help);
                return None;
            }
        };
        let mut arguments = Vec::new();
        for argument in given {
            let name = argument.key.text.as_str();
            let Some(parameter) = parameters.iter().find(|parameter| parameter.name == name) else {
                let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name).collect();
                self.unknown(argument, module.name, &names);
                continue;
            };
            if let Some(value) = self.value(parameter, &argument.node) {
                arguments.push((name.to_owned(), value));
            }
        }
        for parameter in parameters.iter().filter(|parameter| parameter.required) {
            let is_given = |argument: &Entry| argument.key.text == parameter.name;
            if !given.iter().any(is_given) {
                let message = format!(
                    "{} needs {}: {}",
                    quoted(module.name),
                    quoted(parameter.name),
                    parameter.summary
                );
                let help = parameter.kind.described();
                self.problems
                    .error(entry.key_span, message, "here", Some(help));
            }
        }
        Some(arguments)
    }

    fn value(&mut self, parameter: &Parameter, node: &Node) -> Option<Argument> {
        match parameter.kind {
            Kind::Choice(values) => {
                let text = self.text(node)?;
                if values.contains(&text.as_str()) {
                    return Some(Argument::Text(Template::fixed(text)));
                }
                let message = format!(
                    "{} is not a value of {}",
                    quoted(&text),
                    quoted(parameter.name)
                );
                let help = Some(parameter.kind.described());
                self.problems.error(node.span, message, "here", help);
                None
            }
            Kind::Text => self.template(node).map(Argument::Text),
            Kind::TextList => {
                let Value::Sequence(items) = &node.value else {
                    let message = format!("{} is a list of texts", quoted(parameter.name));
                    self.wrong(node, &message);
                    return None;
                };
                if items.is_empty() {
                    let message = format!("{} needs at least one text", quoted(parameter.name));
                    self.lacks(node, &message);
                }
                let items = items.iter().filter_map(|item| self.template(item));
                Some(Argument::List(items.collect()))
            }
            Kind::Integer { least, most, .. } => {
                let text = self.text(node)?;
                let digits = text.chars().all(|character| character.is_ascii_digit());
                let number = text
                    .parse()
                    .ok()
                    .filter(|number| digits && (least..=most).contains(number));
                if number.is_none() {
                    let message = format!(
                        "{} is not a value of {}",
                        quoted(&text),
                        quoted(parameter.name)
                    );
                    let help = Some(parameter.kind.described());
                    self.problems.error(node.span, message, "here", help);
                }
                number.map(Argument::Integer)
            }
        }
    }

    /// A text, which may be a template unless it is written `!unsafe`.
    fn template(&mut self, node: &Node) -> Option<Template> {
        let text = self.text(node)?;
        if text.contains('\0') {
            self.wrong(node, "a text without NUL is expected here");
            return None;
        }
        if matches!(&node.value, Value::Scalar(scalar) if scalar.verbatim) {
            return Some(Template::fixed(text));
        }
        match Template::read(&text) {
            Ok(template) => Some(template),
            Err(reason) => {
                let message = format!("the template {} cannot be read: {reason}", quoted(&text));
                let help = "`!unsafe` before the text takes it as it stands".to_owned();
                self.problems.error(node.span, message, "here", Some(help));
                None
            }
        }
    }
}
