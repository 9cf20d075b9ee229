//! How many daemons restart at the same time: `serial`, in Ansible's forms.
//!
//! Parses `dtls_serial` of an inventory or `serial` of a playbook into the sizes of the batches, in
//! order.

use super::convert::{Context, Convert, Found};
use super::generic::bounded;
use crate::yaml::node::{Node, Value};
use crate::yaml::source::quoted;

/// How large a batch is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// A number of hosts, at least one.
    Hosts(u32),
    /// A percentage from 1 to 100; rounded down, at least one host.
    Percent(u8),
}

/// As it is written in an inventory.
impl std::fmt::Debug for BatchSize {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hosts(hosts) => write!(formatter, "{hosts}"),
            Self::Percent(percent) => write!(formatter, "{percent}%"),
        }
    }
}

/// What a size may be, for messages.
pub const SIZE: &str = "a number of hosts from 1, or a percentage like 25%";

impl std::str::FromStr for BatchSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit());
            plain.then(|| digits.parse::<u32>().ok()).flatten()
        };
        match text.strip_suffix('%') {
            Some(digits) => number(digits)
                .and_then(|percent| u8::try_from(percent).ok())
                .filter(|percent| (1..=100).contains(percent))
                .map(Self::Percent),
            None => number(text).filter(|hosts| *hosts > 0).map(Self::Hosts),
        }
        .ok_or(SIZE)
    }
}

impl BatchSize {
    /// Hosts in a batch of this size, out of `all`.
    #[must_use]
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Hosts(hosts) => usize::try_from(hosts).unwrap_or(usize::MAX),
            Self::Percent(percent) => all.saturating_mul(percent.into()) / 100,
        }
        .max(1)
    }
}

/// One first, to see that it works; then more and more at a time.
#[must_use]
pub(crate) fn default_serial() -> Vec<BatchSize> {
    vec![
        BatchSize::Hosts(1),
        BatchSize::Percent(10),
        BatchSize::Percent(25),
        BatchSize::Percent(100),
    ]
}

/// The items of a `serial`: a list of at least one, or a single size.
#[must_use]
pub fn sizes_in(node: &Node) -> &[Node] {
    match &node.value {
        Value::Sequence(items) => items,
        _ => std::slice::from_ref(node),
    }
}

/// `1`, `25%`, or a list of them.
pub(super) struct Serial;

impl Convert for Serial {
    type Output = Vec<BatchSize>;
    const EXPECTED: &'static str =
        "a number of hosts, a percentage like 25%, or a list of such sizes";
    const SCHEMA: &'static str = r#"{"oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^([1-9][0-9]?|100)%$"}, {"type": "array", "minItems": 1, "items": {"oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^([1-9][0-9]?|100)%$"}]}}]}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Self::Output> {
        let items = sizes_in(value.node);
        if items.is_empty() {
            let message = format!("{} is an empty list", quoted(value.name));
            return value.refuse(message, SIZE, context);
        }
        let sizes: Vec<Option<BatchSize>> = items
            .iter()
            .map(|node| {
                let item = value.item(node);
                let text = item.text(SIZE, context)?;
                if let Ok(size) = text.parse() {
                    return Some(size);
                }
                let message = format!("{} is not the size of a batch", quoted(text));
                item.refuse(
                    message,
                    format!("{SIZE}; all hosts at one time are 100%"),
                    context,
                )
            })
            .collect();
        sizes.into_iter().collect()
    }
}

bounded! {
    /// How many of a batch may fail.
    FailPercentage: u8, 0..=100, "a percentage from 0 to 100",
    "0 stops at the first failure, 100 never does"
}

#[cfg(test)]
mod tests {
    use super::BatchSize::{Hosts, Percent};

    #[test]
    fn sizes_are_numbers_and_percentages() {
        for (text, size) in [
            ("1", Ok(Hosts(1))),
            ("30", Ok(Hosts(30))),
            ("25%", Ok(Percent(25))),
            ("100%", Ok(Percent(100))),
            ("0", Err(super::SIZE)),
            ("0%", Err(super::SIZE)),
            ("101%", Err(super::SIZE)),
            ("-1", Err(super::SIZE)),
            ("+1", Err(super::SIZE)),
            ("1.5", Err(super::SIZE)),
            ("25 %", Err(super::SIZE)),
            ("%", Err(super::SIZE)),
            ("", Err(super::SIZE)),
        ] {
            assert_eq!(text.parse(), size, "{text}");
        }
    }

    #[test]
    fn a_percentage_is_rounded_down_to_at_least_one() {
        assert_eq!(Percent(10).of(3), 1);
        assert_eq!(Percent(25).of(10), 2);
        assert_eq!(Percent(100).of(7), 7);
        assert_eq!(Hosts(3).of(2), 3);
    }
}
