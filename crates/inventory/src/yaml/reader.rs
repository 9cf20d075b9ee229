//! Parses YAML text into a tree in which every value and key has its position.
//!
//! Called for the inventory itself, for each `group_vars/` and `host_vars/` file and for `-e`
//! arguments. Anchors, aliases and merge keys are resolved, within a budget.

use std::collections::HashMap;
use std::rc::Rc;

use serde_saphyr::granit_parser::{
    self as parser, Event, Parser, ScalarStyle, StrInput, Tag, options,
};

use super::node::{Entry, Meaning, Node, Value, scalar};
use super::problems::Problems;
use super::source::{Span, quoted};

/// What a document may expand to, in bytes and 64 for each value: far above
/// any real inventory, far below what would hurt.
const BUDGET: usize = 64 << 20;
const DEEPEST: usize = 64;

/// Reads one document. Errors are added to `problems`; duplicate keys do not stop it, a syntax
/// error does.
pub fn parse(source: usize, text: &str, problems: &mut Problems) -> Option<Node> {
    let mut options = options! { emit_comments: false, flow_nesting_limit: DEEPEST, block_nesting_limit: DEEPEST };
    options.set_emit_comments(false);
    let mut reader = Reader {
        source,
        parser: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        problems,
    };
    match reader.document() {
        Ok(node) => node,
        Err(stop) => {
            let start = floor(text, stop.at);
            let end = text
                .get(start..)
                .and_then(|rest| rest.chars().next())
                .filter(|character| !character.is_control())
                .map_or(start, |character| start + character.len_utf8());
            let span = Span { source, start, end };
            let help = stop.help.map(str::to_owned);
            reader.problems.shape_error(span, stop.message, help);
            None
        }
    }
}

fn floor(text: &str, byte: usize) -> usize {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    byte
}

/// Why reading a text ended early; it quotes nothing from the text, which may be a file that is not
/// YAML at all.
struct Stop {
    at: usize,
    message: String,
    help: Option<&'static str>,
}

impl From<parser::ScanError> for Stop {
    fn from(error: parser::ScanError) -> Self {
        Self {
            at: error.marker().byte_offset().unwrap_or(0),
            message: format!("not valid YAML: {}", error.info()),
            help: yaml_help(&error.info()),
        }
    }
}

fn yaml_help(message: &str) -> Option<&'static str> {
    if message.contains("tab") {
        Some("indent with spaces: YAML does not allow tabs there")
    } else if message.contains("nesting") || message.contains("recursion") {
        Some("no inventory needs that many levels")
    } else if message.contains("cannot start any token") {
        Some("put a value that begins with this character in quotes")
    } else {
        None
    }
}

struct Reader<'a> {
    source: usize,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    problems: &'a mut Problems,
}

type Step<'a> = (Event<'a>, Span, usize);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Step<'a>, Stop> {
        let Some(event) = self.parser.next_event() else {
            return Ok((Event::StreamEnd, self.span(0, 0), 0));
        };
        let (event, span) = event?;
        let range = span.byte_range().unwrap_or(0..0);
        let tag = span
            .tag_start
            .and_then(|tag| tag.byte_offset())
            .unwrap_or(range.start);
        Ok((event, self.span(range.start, range.end), tag))
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span {
            source: self.source,
            start,
            end: end.max(start),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let step = self.next()?;
            match step.0 {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Stop {
                        at: step.1.start,
                        message: "a second YAML document begins here".to_owned(),
                        help: Some(
                            "an inventory is one document: remove the `---` between the two",
                        ),
                    });
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                _ => root = Some(self.node(step)?),
            }
        }
    }

    fn node(&mut self, (event, span, tag_start): Step<'a>) -> Result<Node, Stop> {
        let (node, anchor) = match event {
            Event::Alias(id) => {
                let node = self.anchors.get(&id).cloned().ok_or_else(|| Stop {
                    at: span.start,
                    message: "an alias inside the very value that it names".to_owned(),
                    help: None,
                })?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let tag = tag
                    .map(|tag| Self::scalar_tag(&tag, tag_start))
                    .transpose()?;
                (scalar(text.into_owned(), span, plain, tag), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                Self::collection_tag(tag.as_deref(), tag_start)?;
                (self.sequence(span)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                Self::collection_tag(tag.as_deref(), tag_start)?;
                (self.mapping(span)?, anchor)
            }
            _ => {
                return Err(Stop {
                    at: span.start,
                    message: "not valid YAML".to_owned(),
                    help: None,
                });
            }
        };
        if node.weight > BUDGET {
            return Err(Stop {
                at: span.start,
                message: "the aliases in this document expand to far too much".to_owned(),
                help: Some("write the values out, or put them in a group's variables"),
            });
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn sequence(&mut self, open: Span) -> Result<Node, Stop> {
        let mut items: Vec<Node> = Vec::new();
        let mut weight = 64_usize;
        loop {
            let step = self.next()?;
            if step.0 == Event::SequenceEnd {
                break;
            }
            let item = self.node(step)?;
            weight = weight.saturating_add(item.weight);
            items.push(item);
        }
        let span = items.first().map_or(open, |first| first.span);
        Ok(Node {
            span,
            value: Value::Sequence(Rc::new(items)),
            weight,
        })
    }

    fn mapping(&mut self, open: Span) -> Result<Node, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<String, Span> = HashMap::new();
        let mut merged: Vec<Entry> = Vec::new();
        let mut weight = 64_usize;
        loop {
            let step = self.next()?;
            if step.0 == Event::MappingEnd {
                break;
            }
            let key = self.node(step)?;
            let step = self.next()?;
            let node = self.node(step)?;
            weight = weight
                .saturating_add(key.weight)
                .saturating_add(node.weight);
            let Value::Scalar(text) = &key.value else {
                self.problems.error(
                    key.span,
                    "a list or a mapping cannot be a key here".to_owned(),
                    "this key",
                    None,
                );
                continue;
            };
            if text.plain && text.text == "<<" {
                self.merge(&key, &node, &mut merged);
                continue;
            }
            if let Some(first) = places.get(&text.text) {
                let line = self.problems.line(*first);
                self.problems.error(
                    key.span,
                    format!("the key {} is there twice", quoted(&text.text)),
                    "the second time",
                    Some(format!(
                        "it stands first on line {line}: keep one of the two"
                    )),
                );
                continue;
            }
            places.insert(text.text.clone(), key.span);
            entries.push(Entry {
                key: (**text).clone(),
                key_span: key.span,
                node,
            });
        }
        let mut inherited: Vec<Entry> = Vec::new();
        for entry in merged {
            if !places.contains_key(&entry.key.text) {
                places.insert(entry.key.text.clone(), entry.key_span);
                inherited.push(entry);
            }
        }
        let span = entries.first().map_or(open, |first| first.key_span);
        entries.splice(0..0, inherited);
        Ok(Node {
            span,
            value: Value::Mapping(Rc::new(entries)),
            weight,
        })
    }

    /// `<<: *base` or `<<: [*one, *two]`: the earlier one wins.
    fn merge(&mut self, key: &Node, node: &Node, merged: &mut Vec<Entry>) {
        let bases: &[Node] = match &node.value {
            Value::Sequence(items) => items,
            _ => std::slice::from_ref(node),
        };
        for base in bases {
            match &base.value {
                Value::Mapping(entries) => merged.extend(entries.iter().cloned()),
                _ => self.problems.error(
                    key.span,
                    format!("`<<` merges mappings, and this is {}", base.described()),
                    "merged here",
                    None,
                ),
            }
        }
    }

    /// The meaning of a scalar's tag: `!unsafe`, `!vault` and `!!str`.
    fn scalar_tag(tag: &Tag, at: usize) -> Result<Meaning, Stop> {
        if tag.is_yaml_core_schema() {
            return match tag.core_suffix() {
                Some("str") => Ok(Meaning::Text),
                Some("int" | "float" | "bool" | "null") => Ok(Meaning::Plain),
                _ => Err(unknown_tag(at)),
            };
        }
        match tag.original().as_str() {
            "!" => Ok(Meaning::Text),
            "!unsafe" => Ok(Meaning::Unsafe),
            "!vault" | "!vault-encrypted" => Ok(Meaning::Vault),
            _ => Err(unknown_tag(at)),
        }
    }

    fn collection_tag(tag: Option<&Tag>, at: usize) -> Result<(), Stop> {
        match tag {
            Some(tag) if !matches!(tag.core_suffix(), Some("map" | "seq")) => Err(unknown_tag(at)),
            _ => Ok(()),
        }
    }
}

fn unknown_tag(at: usize) -> Stop {
    Stop {
        at,
        message: "this YAML tag means nothing here".to_owned(),
        help: Some("remove the tag; put the value in quotes if it is text"),
    }
}
