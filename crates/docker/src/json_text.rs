//! Edits members of a JSON object without changing any other byte of its text.
//!
//! [`remove`] removes exactly the bytes that [`set`] has added.

use std::ops::Range;

use serde_json::Value;

/// One member of the outermost object.
struct Member {
    name: String,
    key_start: usize,
    value: Range<usize>,
}

struct Object {
    /// Behind the opening brace.
    open: usize,
    members: Vec<Member>,
    /// Before the closing brace.
    close: usize,
}

/// Sets the member `name`: replaces an old value, or appends a new member with the white space of
/// the previous one.
pub(super) fn set(text: &str, name: &str, value: &Value) -> String {
    let newline = newline(text);
    let member = |value: &str| format!("{}: {value}", Value::from(name));
    let value = in_line(value);
    let Some(object) = scan(text) else {
        let is_json = |byte: u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let blank = if text.bytes().all(is_json) { text } else { "" };
        return format!("{blank}{{{newline}  {}{newline}}}{newline}", member(&value));
    };
    if let Some(old) = object.members.iter().find(|member| member.name == name) {
        return replaced(text, &old.value, &value);
    }
    let Some(last) = object.members.last() else {
        let blank = object.open..object.close;
        let end = if blank.is_empty() { "" } else { newline };
        let first = format!("{newline}  {}{end}", member(&value));
        return replaced(text, &(object.open..object.open), &first);
    };
    let before = text.get(..last.key_start).unwrap_or_default();
    let space = before.get(before.trim_end().len()..).unwrap_or_default();
    let space = match space.rfind('\n') {
        Some(at) if space.get(..at).is_some_and(|rest| rest.ends_with('\r')) => {
            space.get(at - 1..).unwrap_or(space)
        }
        Some(at) => space.get(at..).unwrap_or(space),
        None => " ",
    };
    let end = last.value.end;
    replaced(text, &(end..end), &format!(",{space}{}", member(&value)))
}

/// Removes the member `name`; `None` if nothing is left of a file that [`set`] created.
pub(super) fn remove(text: &str, name: &str) -> Option<String> {
    let Some(object) = scan(text) else {
        return Some(text.to_owned());
    };
    let members = &object.members;
    let Some(at) = members.iter().position(|member| member.name == name) else {
        return Some(text.to_owned());
    };
    let member = members.get(at)?;
    let cut = if let Some(before) = at.checked_sub(1).and_then(|before| members.get(before)) {
        before.value.end..member.value.end
    } else if let Some(next) = members.get(at + 1) {
        member.key_start..next.key_start
    } else {
        return emptied(text, &object, member.value.end);
    };
    Some(replaced(text, &cut, ""))
}

/// The text when its last member goes, whose value ends at `end`.
fn emptied(text: &str, object: &Object, end: usize) -> Option<String> {
    let newline = newline(text);
    let before = text.get(..object.open)?;
    let blank = text.get(end..object.close)?;
    let after = text.get(object.close..)?;
    if blank == newline && after == ["}", newline].concat() {
        let around = before.trim_end_matches('{');
        return (!around.is_empty()).then(|| around.to_owned());
    }
    let blank = blank.strip_prefix(newline).unwrap_or(blank);
    Some([before, blank, after].concat())
}

/// The line ending of a text.
fn newline(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

fn in_line(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(in_line).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

fn replaced(text: &str, range: &Range<usize>, new: &str) -> String {
    let before = text.get(..range.start).unwrap_or_default();
    let after = text.get(range.end..).unwrap_or_default();
    [before, new, after].concat()
}

/// The positions of an object's members; `None` if the text has no object. The text must be valid
/// JSON.
fn scan(text: &str) -> Option<Object> {
    let mut object = Object {
        open: 0,
        members: Vec::new(),
        close: 0,
    };
    let (mut depth, mut string, mut escaped) = (0_usize, false, false);
    // Of the member that is being read: where its key, then where its value begins and ends.
    let (mut key, mut value): (Option<Range<usize>>, Option<Range<usize>>) = (None, None);
    let mut in_value = false;
    for (at, character) in text.char_indices() {
        let end = at + character.len_utf8();
        let mut belongs = true;
        if string {
            string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else {
            match character {
                '"' => string = true,
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.checked_sub(1)?,
                ' ' | '\t' | '\r' | '\n' => belongs = false,
                _ => {}
            }
            if depth == 1 && character == '{' && object.open == 0 {
                object.open = end;
                continue;
            }
            if depth == 1 && character == ':' && !in_value {
                in_value = true;
                continue;
            }
            if depth == 0 || (depth == 1 && character == ',') {
                if let (Some(key), Some(value)) = (key.take(), value.take()) {
                    object.members.push(Member {
                        name: serde_json::from_str(text.get(key.clone())?).ok()?,
                        key_start: key.start,
                        value,
                    });
                }
                in_value = false;
                if object.open > 0 && depth == 0 && character == '}' {
                    object.close = at;
                    return Some(object);
                }
                continue;
            }
        }
        if belongs {
            let part = if in_value { &mut value } else { &mut key };
            part.get_or_insert(at..end).end = end;
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// White space as files have it; with lines that end as `newline` says.
    fn space(newline: &'static str) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec![" ", "\t", newline, "  "]), 0..4)
            .prop_map(|parts| parts.concat())
    }

    /// One object in any layout, with other members than `a`, `b` and `c`.
    pub fn object() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["\n", "\r\n"]).prop_flat_map(|newline| {
            let value = prop::sample::select(vec![
                "1",
                "true",
                "null",
                "-1.5e3",
                "\"\"",
                "\"a\\\"}{,:\"",
                "\"é\\\\\"",
                "[]",
                "[1, {\"a\": [2]}]",
                "{\"a\": {\"b\": \"c\"}, \"c\":[]}",
                "{ }",
            ]);
            let gaps = || {
                (
                    space(newline),
                    space(newline),
                    space(newline),
                    space(newline),
                )
            };
            let members = prop::collection::vec((gaps(), value), 0..5);
            (space(newline), members, space(newline), space(newline)).prop_map(
                |(before, members, blank, after)| {
                    let members: Vec<String> = members
                        .into_iter()
                        .enumerate()
                        .map(|(number, ((one, two, three, four), value))| {
                            format!("{one}\"x{number}\"{two}:{three}{value}{four}")
                        })
                        .collect();
                    let inner = if members.is_empty() {
                        blank
                    } else {
                        members.join(",")
                    };
                    format!("{before}{{{inner}}}{after}")
                },
            )
        })
    }

    fn parsed(text: &str) -> serde_json::Map<String, Value> {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_set_is_removed_to_the_byte(text in object(), names in prop::sample::subsequence(vec!["a", "b", "c"], 1..4), first in any::<bool>()) {
            let mut set_in = text.clone();
            for name in &names {
                set_in = set(&set_in, name, &Value::from("x"));
                set_in = set(&set_in, name, &serde_json::json!(["unix:///a", "b"]));
            }
            let mut expected = parsed(&text);
            for name in &names {
                expected.insert((*name).to_owned(), serde_json::json!(["unix:///a", "b"]));
            }
            prop_assert_eq!(parsed(&set_in), expected);
            let mut order = names.clone();
            if first {
                order.reverse();
            }
            let mut left = Some(set_in);
            for name in order {
                left = left.and_then(|text| remove(&text, name));
            }
            prop_assert_eq!(left, Some(text));
        }

        #[test]
        fn whatever_is_removed_the_rest_is_read_as_before(text in object(), name in "x[0-4]") {
            let mut expected = parsed(&text);
            expected.shift_remove(&name);
            let left = remove(&text, &name).unwrap_or_else(|| "{}".to_owned());
            if left.trim().is_empty() {
                prop_assert!(expected.is_empty());
            } else {
                prop_assert_eq!(parsed(&left), expected);
            }
        }
    }

    #[test]
    fn a_file_that_said_nothing_says_nothing_again() {
        for text in ["", "\n", " \r\n"] {
            let with = set(&set(text, "a", &Value::Bool(true)), "b", &Value::Bool(true));
            assert_eq!(parsed(&with).len(), 2);
            let left = remove(&with, "b").and_then(|with| remove(&with, "a"));
            assert_eq!(left.unwrap_or_default(), text);
        }
    }

    #[test]
    fn a_new_member_stands_as_the_others_do() {
        let set = |text: &str| set(text, "a", &Value::Bool(true));
        assert_eq!(set(""), "{\n  \"a\": true\n}\n");
        assert_eq!(
            set("{\n\n\t\"x\": 1\n}"),
            "{\n\n\t\"x\": 1,\n\t\"a\": true\n}"
        );
        assert_eq!(
            set("{\"x\": 1, \"y\":2}\n"),
            "{\"x\": 1, \"y\":2, \"a\": true}\n"
        );
        assert_eq!(
            set("{\r\n  \"x\": 1\r\n}"),
            "{\r\n  \"x\": 1,\r\n  \"a\": true\r\n}"
        );
        assert_eq!(set("{\"\\u0061\": 1}"), "{\"\\u0061\": true}");
    }
}
