//! Host patterns: `node[01:20]`, `node[a:c]`, `db[0:10:2]`, `host:2222`.
//!
//! Expands a key below `hosts:` into names and a port, like Ansible.

/// More hosts than this from one pattern are a mistake.
const MOST: usize = 65_536;

/// What is wrong with a pattern.
pub(super) type Wrong = (String, &'static str);

/// The names and the port that a pattern stands for.
pub(super) fn expand(pattern: &str) -> Result<(Vec<String>, Option<u16>), Wrong> {
    let (pattern, port) = split_port(pattern)?;
    if !pattern.contains('[') {
        return Ok((vec![pattern.to_owned()], port));
    }
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some((head, tail)) = rest.split_once('[') {
        let Some((range, tail)) = tail.split_once(']') else {
            return Err((
                "a range is not closed with `]`".to_owned(),
                "write it like node[01:20]",
            ));
        };
        let parts = sequence(range)?;
        if names.len().saturating_mul(parts.len()) > MOST {
            return Err((
                format!("this stands for more than {MOST} hosts"),
                "shorten the range",
            ));
        }
        names = names
            .iter()
            .flat_map(|name| parts.iter().map(move |part| format!("{name}{head}{part}")))
            .collect();
        rest = tail;
    }
    for name in &mut names {
        name.push_str(rest);
    }
    Ok((names, port))
}

/// Takes a port off the end: `host:2222`, `[::1]:22`, `node[1:3]:22`.
fn split_port(pattern: &str) -> Result<(&str, Option<u16>), Wrong> {
    if pattern.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((pattern, None));
    }
    let (host, port) = match pattern.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => return Ok((pattern, None)),
    };
    let number = super::names::decimal_port(port)
        .filter(|port| *port > 0)
        .ok_or_else(|| {
            (
                format!("`{}` is not a port", port.escape_debug()),
                "a number from 1 to 65535 after the colon",
            )
        })?;
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match inner {
        Some(address) if address.parse::<std::net::IpAddr>().is_ok() => Ok((address, Some(number))),
        _ => Ok((host, Some(number))),
    }
}

/// The parts that one `[begin:end:step]` stands for.
fn sequence(range: &str) -> Result<Vec<String>, Wrong> {
    const FORM: &str = "write [begin:end] or [begin:end:step], like [01:20] or [a:c]";
    let wrong = |message: &str| {
        (
            format!("the range [{}] {message}", range.escape_debug()),
            FORM,
        )
    };
    let bounds: Vec<&str> = range.split(':').collect();
    let (begin, end, step) = match *bounds.as_slice() {
        [begin, end] => (begin, end, 1),
        [begin, end, step] => {
            let step = step.parse::<usize>().ok().filter(|step| *step > 0);
            (
                begin,
                end,
                step.ok_or_else(|| wrong("has a step that is not a number above 0"))?,
            )
        }
        _ => return Err(wrong("is not begin and end")),
    };
    if end.is_empty() {
        return Err(wrong("has no end"));
    }
    if let (Some(first), Some(last)) = (letter(begin), letter(end)) {
        if first > last {
            return Err(wrong("ends before it begins"));
        }
        let letters = LETTERS
            .chars()
            .skip(first)
            .take(last - first + 1)
            .step_by(step);
        return Ok(letters.map(String::from).collect());
    }
    let begin = if begin.is_empty() { "0" } else { begin };
    let digits = |text: &str| text.chars().all(|digit| digit.is_ascii_digit());
    if !digits(begin) || !digits(end) {
        return Err(wrong("mixes what cannot be counted"));
    }
    let width = if begin.len() > 1 && begin.starts_with('0') {
        begin.len()
    } else {
        0
    };
    if width > 0 && width != end.len() {
        return Err(wrong("begins and ends with numbers of different length"));
    }
    let (Ok(first), Ok(last)) = (begin.parse::<usize>(), end.parse::<usize>()) else {
        return Err(wrong("is too long"));
    };
    if first > last {
        return Err(wrong("ends before it begins"));
    }
    if (last - first) / step >= MOST {
        return Err(wrong("is too long"));
    }
    Ok((first..=last)
        .step_by(step)
        .map(|number| format!("{number:0width$}"))
        .collect())
}

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

fn letter(text: &str) -> Option<usize> {
    let mut characters = text.chars();
    let (first, rest) = (characters.next()?, characters.next());
    rest.is_none().then(|| LETTERS.find(first)).flatten()
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn patterns_stand_for_what_ansible_says() {
        for (pattern, names, port) in [
            ("node1", "node1", None),
            ("node[01:03]", "node01 node02 node03", None),
            ("node[a:c]", "nodea nodeb nodec", None),
            ("node[y:B]", "nodey nodez nodeA nodeB", None),
            ("db[0:10:5]x", "db0x db5x db10x", None),
            ("db[:2]", "db0 db1 db2", None),
            ("r[1:2]n[08:09]", "r1n08 r1n09 r2n08 r2n09", None),
            ("n[9:11]:2222", "n9 n10 n11", Some(2222)),
            ("host:22", "host", Some(22)),
            ("::1", "::1", None),
            ("[::1]:2200", "::1", Some(2200)),
        ] {
            let expected = names.split(' ').map(str::to_owned).collect();
            assert_eq!(expand(pattern).unwrap(), (expected, port), "{pattern}");
        }
    }

    #[test]
    fn impossible_ranges_are_refused() {
        for pattern in [
            "n[1:",
            "n[1]",
            "n[1:]",
            "n[3:1]",
            "n[c:a]",
            "n[01:100]",
            "n[1:9:0]",
            "n[1:9:x]",
            "n[a:9]",
            "n[1:2:3:4]",
            "n[0:99999999999]",
            "n[0:9999]m[0:9999]",
            "n:99999",
            "n:0",
            "n:",
        ] {
            assert!(expand(pattern).is_err(), "{pattern}");
        }
    }
}
