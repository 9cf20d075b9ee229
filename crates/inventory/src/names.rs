//! The syntax of host names, accounts, directories and units.
//!
//! Used for every value of the inventory that names something on a node.

use std::net::{IpAddr, Ipv6Addr};

/// A host name as an inventory may have it: letters, digits, dots, hyphens and
/// underscores, labels of at most 63 characters (RFC 1123, and the underscore
/// that Ansible allows).
pub(crate) fn is_host_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|label| is_label(label, true))
}

/// A name for a certificate: RFC 1123 labels, a `*` alone as the first one
/// allowed (RFC 6125, section 6.4.3).
pub(crate) fn is_certificate_name(text: &str) -> bool {
    let rest = text.strip_prefix("*.").unwrap_or(text);
    // A name whose last label is a number is an address.
    let address_like = rest
        .rsplit('.')
        .next()
        .is_some_and(|last| last.chars().all(|character| character.is_ascii_digit()));
    rest.len() <= 253 && !address_like && rest.split('.').all(|label| is_label(label, false))
}

fn is_label(label: &str, underscores: bool) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(|character| {
            character.is_ascii_alphanumeric()
                || character == '-'
                || (underscores && character == '_')
        })
}

/// A host name or an IP address.
#[must_use]
pub fn is_address(text: &str) -> bool {
    is_host_name(text) || without_zone(text).parse::<IpAddr>().is_ok()
}

/// `fe80::1%eth0` without its zone, when the zone is harmless.
fn without_zone(text: &str) -> &str {
    match text.split_once('%') {
        Some((address, zone)) if is_label(zone, true) && address.contains(':') => address,
        _ => text,
    }
}

/// An account name that no command can mistake for an option.
pub(crate) fn is_account(text: &str) -> bool {
    let allowed = |character: char| {
        character.is_alphanumeric() || matches!(character, '.' | '_' | '-' | '@' | '\\' | '+' | '$')
    };
    !text.is_empty() && text.len() <= 256 && !text.starts_with('-') && text.chars().all(allowed)
}

/// `host:port`, `[address]:port` or a host alone.
pub(crate) fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((address, Some(decimal_port(port)?))),
            None => rest.is_empty().then_some((address, None)),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => Some((text, None)),
        Some((host, port)) => Some((host, Some(decimal_port(port)?))),
        None => Some((text, None)),
    }
}

/// A port without sign or blanks.
pub(crate) fn decimal_port(text: &str) -> Option<u16> {
    let digits = text.chars().all(|character| character.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A path without double or trailing slashes and without `.`: two spellings
/// of one place become the same text.
pub(crate) fn tidy_path(text: &str) -> String {
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let root = if text.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

/// Of the names of this program's variables.
const PREFIX: &str = "dtls_";

/// The name nearest to a misspelt one, if one is near.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let near = known.into_iter().filter_map(|candidate| {
        let other = candidate.to_lowercase();
        // What all variables have in common makes none of them alike.
        let (name, other) = match (lower.strip_prefix(PREFIX), other.strip_prefix(PREFIX)) {
            (Some(name), Some(other)) => (name, other),
            _ => (lower.as_str(), other.as_str()),
        };
        let distance = strsim::damerau_levenshtein(name, other);
        (distance <= 1 + other.len().min(name.len()) / 4).then_some((distance, candidate))
    });
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_alike_without_their_common_prefix() {
        let known = ["dtls_role", "dtls_listen", "dtls_roles"];
        assert_eq!(nearest("dtls_prot", known), None);
        assert_eq!(nearest("dtls_rloe", known), Some("dtls_role"));
        assert_eq!(nearest("dlts_listen", known), Some("dtls_listen"));
    }

    #[test]
    fn host_names() {
        for good in ["node1", "a_b", "n.example.com", "10.0.0.1", "X-1"] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a..b",
            ".a",
            "a.",
            "a b",
            "a/b",
            "é",
            "a\n",
            "$(id)",
            &"a".repeat(64),
        ] {
            assert!(!is_host_name(bad), "{bad}");
        }
        assert!(is_address("::1") && is_address("fe80::1%eth0") && !is_address("fe80::1%a b"));
    }

    #[test]
    fn certificate_names() {
        for good in ["a", "*.example.com", "node-1.lan"] {
            assert!(is_certificate_name(good), "{good}");
        }
        for bad in [
            "*",
            "*.",
            "a_b",
            "10.0.0.1",
            "a.*.b",
            "1.2.3.999",
            "a.b.",
            "",
        ] {
            assert!(!is_certificate_name(bad), "{bad}");
        }
    }

    #[test]
    fn ports_and_paths() {
        assert_eq!(split_port("a:22"), Some(("a", Some(22))));
        assert_eq!(split_port("[::1]:22"), Some(("::1", Some(22))));
        assert_eq!(split_port("::1"), Some(("::1", None)));
        assert_eq!(split_port("a:+2"), None);
        assert_eq!(split_port("[x]:2"), None);
        assert_eq!(tidy_path("//a/./b//"), "/a/b");
        assert_eq!(tidy_path("~/.docker/"), "~/.docker");
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["dtls_listen", "dtls_sans", "dtls_unit"];
        assert_eq!(nearest("dtls_listn", known), Some("dtls_listen"));
        assert_eq!(nearest("DTLS_SANS", known), Some("dtls_sans"));
        assert_eq!(nearest("dtls_frobnicate", known), None);
    }
}
