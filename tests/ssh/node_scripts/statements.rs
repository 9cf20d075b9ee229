//! A script's statements, and the same script with one of them twice.

/// One place where a call of a prelude function stands, and the script in which
/// it is made twice.
#[derive(Debug)]
pub struct Variant {
    /// The function.
    pub what: String,
    pub body: String,
}

/// Splits shell text at line ends that are neither quoted nor inside a function
/// or a subshell.
fn split(body: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut now = String::new();
    let mut is_quoted = false;
    let mut is_escaped = false;
    for character in body.chars() {
        if is_escaped {
            is_escaped = false;
        } else if character == '\\' && !is_quoted {
            is_escaped = true;
        } else if character == '\'' {
            is_quoted = !is_quoted;
        }
        let last = now.rsplit('\n').next().unwrap_or_default();
        let is_whole = match now.lines().next() {
            Some("(") => last.starts_with(") &"),
            Some(line) if line.ends_with("() {") => last == "}",
            _ => true,
        };
        if character == '\n' && !is_quoted && is_whole {
            found.push(std::mem::take(&mut now));
        } else {
            now.push(character);
        }
    }
    found.push(now);
    found
}

/// The word in single quotes at the beginning of `text`, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let mut word = String::new();
    let mut rest = text.strip_prefix('\'').expect("a quoted word");
    loop {
        let end = rest.find('\'').expect("the end of a quoted word");
        word.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix("\\''") {
            Some(after) => {
                word.push('\'');
                rest = after;
            }
            None => return (word, rest),
        }
    }
}

fn first_word(statement: &str) -> String {
    let word = statement.trim_start_matches(['(', '{', ' ']);
    word.split([' ', '\n'])
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// One statement of a script, and what stands there instead.
struct Replaced {
    what: String,
    text: String,
}

/// Every way in which something in a statement can be done twice.
fn doubled(statement: &str) -> Vec<Replaced> {
    let first = statement.lines().next().unwrap_or_default();
    // What is defined twice is defined; and a shell's own wait is no call.
    let is_definition = first.ends_with("() {") || first.contains('=') && !first.contains(' ');
    if is_definition || first.starts_with("wait ") {
        return Vec::new();
    }
    if let Some(inner) = statement.strip_prefix("(\n") {
        let (inner, after) = inner.rsplit_once("\n)").expect("the end of a subshell");
        let rebuild = |inner: String| format!("(\n{inner}\n){after}");
        return each(&split(inner), rebuild);
    }
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(place) = statement[at..].find("in_account '") {
        let begin = at + place + "in_account ".len();
        let (account, rest) = quoted(&statement[begin..]);
        let (inner, after) = quoted(rest.trim_start());
        found.extend(each(&split(&inner), |inner| {
            let arguments = [account.as_str(), inner.as_str()];
            let call = node::script::call("in_account", &arguments);
            format!("{}{call}{after}", &statement[..at + place])
        }));
        at = statement.len() - after.len();
    }
    if found.is_empty() {
        found.push(Replaced {
            what: first_word(statement),
            text: format!("{statement}\n{statement}"),
        });
    }
    found
}

/// As [`doubled`], for each of a list of statements.
fn each(statements: &[String], rebuild: impl Fn(String) -> String) -> Vec<Replaced> {
    let mut found = Vec::new();
    for (index, statement) in statements.iter().enumerate() {
        for replaced in doubled(statement) {
            let mut all = statements.to_vec();
            all[index] = replaced.text;
            found.push(Replaced {
                what: replaced.what,
                text: rebuild(all.join("\n")),
            });
        }
    }
    found
}

/// Every script that differs from `body` in one call being there twice.
pub fn variants(body: &str) -> Vec<Variant> {
    each(&split(body), |text| text)
        .into_iter()
        .map(|replaced| Variant {
            what: replaced.what,
            body: replaced.text,
        })
        .collect()
}
