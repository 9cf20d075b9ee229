//! Parses the keywords that plays, transactions and tasks share: `hosts`, `when`, `tags`.
//!
//! Called by the reader of plays.

use super::{Inherited, Reader};
use crate::playbook::Expression;
use crate::playbook::select::separated;
use inventory::names::nearest;
use inventory::yaml::node::{Entry, Node, Value};
use inventory::yaml::source::quoted;
use inventory::{BATCH_SIZE, BatchSize, sizes_in};

const PATTERNS: &str = "hosts are groups and host names, several separated by a colon";

impl Reader<'_> {
    /// `hosts: daemons`, `hosts: daemons:clients`, or a list.
    pub(super) fn patterns(&mut self, node: &Node) -> Vec<String> {
        let mut patterns = Vec::new();
        for (text, node) in self.texts(node) {
            let parts = separated(&text);
            if parts.is_empty() {
                self.lacks(node, PATTERNS);
            }
            for pattern in parts {
                if pattern.starts_with(['!', '&', '~']) || pattern.contains(['*', '[', '{']) {
                    self.lacks(node, PATTERNS);
                } else {
                    self.check_known(pattern, node);
                    patterns.push(pattern.to_owned());
                }
            }
        }
        patterns
    }

    fn check_known(&mut self, pattern: &str, node: &Node) {
        let Some(known) = self.known.filter(|known| !known.contains(pattern)) else {
            return;
        };
        let help = nearest(pattern, known.iter().map(String::as_str)).map_or_else(
            || "a play names groups or hosts of the inventory".to_owned(),
            |near| format!("did you mean {}?", quoted(near)),
        );
        let message = format!(
            "there is no group or host {} in the inventory",
            quoted(pattern)
        );
        self.problems.error(node.span, message, "here", Some(help));
    }

    pub(super) fn inherited(&mut self, from: &Inherited, entries: &[Entry]) -> Inherited {
        let mut inherited = from.clone();
        for entry in entries {
            match entry.key.text.as_str() {
                "when" => inherited.when.extend(self.conditions(&entry.node)),
                "tags" => inherited.tags.extend(self.tags(&entry.node)),
                _ => {}
            }
        }
        inherited
    }

    /// An expression, or a list of expressions that must all hold.
    fn conditions(&mut self, node: &Node) -> Vec<Expression> {
        let mut conditions = Vec::new();
        for (text, node) in self.texts(node) {
            if text.contains("{{") || text.contains("{%") {
                self.problems.error(
                    node.span,
                    "a condition is an expression without braces",
                    "here",
                    Some("`when: zone == 'a'`".to_owned()),
                );
                continue;
            }
            match Expression::read(&text) {
                Ok(condition) => conditions.push(condition),
                Err(reason) => {
                    let message =
                        format!("the condition {} cannot be read: {reason}", quoted(&text));
                    self.problems.error(node.span, message, "here", None);
                }
            }
        }
        conditions
    }

    /// `serial: 2`, `serial: 25%`, or a list of such sizes.
    pub(super) fn serial(&mut self, node: &Node) -> Option<Vec<BatchSize>> {
        let items = sizes_in(node);
        if items.is_empty() {
            self.lacks(node, "`serial` is an empty list");
            return None;
        }
        let sizes: Vec<Option<BatchSize>> = items
            .iter()
            .map(|item| {
                let text = self.text(item)?;
                let size = text.parse().ok();
                if size.is_none() {
                    let message = format!("{} is not the size of a batch", quoted(&text));
                    let help = format!("{BATCH_SIZE}; all hosts at one time are 100%");
                    self.problems.error(item.span, message, "here", Some(help));
                }
                size
            })
            .collect();
        sizes.into_iter().collect()
    }

    /// `max_fail_percentage: 30`.
    pub(super) fn percentage(&mut self, node: &Node) -> Option<u8> {
        let text = self.text(node)?;
        let digits = text.chars().all(|character| character.is_ascii_digit());
        let percent = text
            .parse()
            .ok()
            .filter(|percent| digits && *percent <= 100);
        if percent.is_none() {
            let message = format!("{} is not a percentage", quoted(&text));
            let help = "a number from 0 to 100: 0 stops at the first failure, 100 never does";
            self.problems
                .error(node.span, message, "here", Some(help.to_owned()));
        }
        percent
    }

    fn tags(&mut self, node: &Node) -> Vec<String> {
        let mut tags = Vec::new();
        for (text, node) in self.texts(node) {
            for tag in text.split(',').map(str::trim) {
                let allowed =
                    |character: char| character.is_alphanumeric() || "-_.".contains(character);
                if !tag.is_empty() && tag.chars().all(allowed) {
                    tags.push(tag.to_owned());
                } else {
                    let message = format!("{} is not a tag", quoted(tag));
                    let help = "letters, digits, `-`, `_` and `.`".to_owned();
                    self.problems.error(node.span, message, "here", Some(help));
                }
            }
        }
        tags
    }

    /// One text or a list of texts, each with its position.
    fn texts<'a>(&mut self, node: &'a Node) -> Vec<(String, &'a Node)> {
        match &node.value {
            Value::Sequence(items) => items
                .iter()
                .filter_map(|item| Some((self.text(item)?, item)))
                .collect(),
            _ => self
                .text(node)
                .map(|text| (text, node))
                .into_iter()
                .collect(),
        }
    }
}
