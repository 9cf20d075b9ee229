//! The parameters of a task: YAML in, arguments of the kinds that the module
//! declares out. Called by the reader of tasks.

use super::Reader;
use crate::module::{Kind, Module, Parameter};
use crate::playbook::{Argument, Template};
use crate::yaml::node::{Entry, Node, Value};
use crate::yaml::source::quoted;

impl Reader<'_> {
    pub(super) fn arguments(
        &mut self,
        module: &'static dyn Module,
        entry: &Entry,
    ) -> Option<Vec<(String, Argument)>> {
        let parameters = module.parameters();
        let none = Vec::new();
        let given: &[Entry] = match &entry.node.value {
            Value::Mapping(entries) => entries,
            _ if entry.node.is_null() => &none,
            _ => {
                let message = format!("the parameters of {} are a mapping", quoted(module.name()));
                self.wrong(&entry.node, &message);
                return None;
            }
        };
        let mut arguments = Vec::new();
        for argument in given {
            let name = argument.key.text.as_str();
            let Some(parameter) = parameters.iter().find(|parameter| parameter.name == name) else {
                let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name).collect();
                self.unknown(argument, module.name(), &names);
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
                    quoted(module.name()),
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
