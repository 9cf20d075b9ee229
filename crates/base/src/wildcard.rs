//! Patterns of names: `known_hosts`, `ssh_config` and `--limit` have the same two wildcards.

/// `*` for any run of characters, `?` for one; linear backtracking, so that a
/// hostile pattern costs no more than its length times the name's.
#[must_use]
pub fn is_match(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut retry = None;
    loop {
        match pattern.next() {
            Some('*') => {
                retry = Some((pattern.clone(), text.clone()));
                continue;
            }
            Some(wanted) => match text.next() {
                Some(found) if wanted == '?' || wanted == found => continue,
                Some(_) => {}
                None => return false,
            },
            None if text.as_str().is_empty() => return true,
            None => {}
        }
        let Some((after_star, mut from)) = retry.take() else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        retry = Some((after_star.clone(), from.clone()));
        (pattern, text) = (after_star, from);
    }
}

#[cfg(test)]
mod tests {
    use super::is_match;

    #[test]
    fn two_wildcards_and_everything_else_is_itself() {
        for (pattern, text, matches) in [
            ("docker*", "docker1", true),
            ("docker*", "docker", true),
            ("*", "", true),
            ("node?", "node", false),
            ("node?", "node12", false),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbx", false),
            ("a.c", "abc", false),
        ] {
            assert_eq!(is_match(pattern, text), matches, "{pattern} {text}");
        }
    }
}
