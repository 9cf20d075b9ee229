//! The path of a request as dockerd's router sees it, and the patterns of rules.
//!
//! dockerd decodes a path once, redirects one that is not in its shortest form,
//! and takes a version in front of every route. Whatever could mean two things is
//! abnormal here, and no pattern matches it.

/// A request's path without version and query, decoded, in its shortest form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiPath(String);

/// The path of a request is not one that dockerd's router would serve as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path of the request is not in its normal form")]
pub struct Abnormal;

impl ApiPath {
    /// From the target of a request: `/v1.41/containers/json?all=1`.
    pub fn parse(target: &str) -> Result<Self, Abnormal> {
        let target = without_authority(target).ok_or(Abnormal)?;
        let raw = target.split('?').next().unwrap_or_default();
        let path = decode(raw).ok_or(Abnormal)?;
        let inside = path.strip_prefix('/').ok_or(Abnormal)?;
        let is_normal = |segment: &str| {
            !matches!(segment, "" | "." | "..") && !segment.chars().any(char::is_control)
        };
        if !inside.split('/').all(is_normal) {
            return Err(Abnormal);
        }
        match inside.split_once('/') {
            Some((version, rest)) if is_version(version) => Ok(Self(format!("/{rest}"))),
            _ => Ok(Self(path)),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern of a rule matches: `*` is one segment, `**` one or more.
    #[must_use]
    pub fn matches(&self, pattern: &str) -> bool {
        let path: Vec<&str> = self.0.split('/').collect();
        let pattern: Vec<&str> = pattern.split('/').collect();
        let same = |(segment, pattern): (&&str, &&str)| *pattern == "*" || segment == pattern;
        let Some(wide) = pattern.iter().position(|segment| *segment == "**") else {
            return path.len() == pattern.len() && path.iter().zip(&pattern).all(same);
        };
        path.len() >= pattern.len()
            && path.iter().zip(pattern.iter().take(wide)).all(same)
            && path
                .iter()
                .rev()
                .zip(pattern.iter().skip(wide + 1).rev())
                .all(same)
    }
}

/// What is wrong with a rule's path, if anything is.
pub(crate) fn problem_of(pattern: &str) -> Option<&'static str> {
    let Some(inside) = pattern.strip_prefix('/') else {
        return Some("must begin with a slash");
    };
    let segments: Vec<&str> = inside.split('/').collect();
    let is_wild = |segment: &str| segment == "*" || segment == "**";
    if segments.iter().any(|each| matches!(*each, "" | "." | "..")) {
        Some("must be in its shortest form")
    } else if segments
        .iter()
        .any(|each| each.contains('*') && !is_wild(each))
    {
        Some("may have * or ** only as a whole segment")
    } else if segments.iter().filter(|each| **each == "**").count() > 1 {
        Some("may have ** only once")
    } else if segments.first().is_some_and(|first| is_version(first)) {
        Some("must be without the version of the API")
    } else if inside.contains(['?', '%', '#']) || inside.chars().any(char::is_control) {
        Some("must be a path, without a query and without escapes")
    } else {
        None
    }
}

/// `/v{version:[0-9.]+}` is what dockerd's router takes in front of a route.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|number| {
        !number.is_empty()
            && number
                .chars()
                .all(|each| each.is_ascii_digit() || each == '.')
    })
}

/// Go's server accepts `GET http://host/path`, too (RFC 9112, section 3.2.2).
fn without_authority(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let (scheme, rest) = target.split_once("://")?;
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let authority = rest.find(['/', '?'])?;
    is_http.then(|| rest.get(authority..)).flatten()
}

/// Decodes `%2e` and the like, once, as Go does.
fn decode(raw: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{Abnormal, ApiPath, problem_of};

    #[test]
    fn versions_queries_and_escapes_make_no_difference() {
        for target in [
            "/containers/json",
            "/v1.41/containers/json",
            "/v1.41/containers/json?all=1&x=/../images/get",
            "/v1.41/container%73/json",
            "/%761.41/containers/json",
            "/v99999/containers%2Fjson",
            "http://any.host:2376/v1.24/containers/json",
        ] {
            let path = ApiPath::parse(target).unwrap();
            assert_eq!(path.as_str(), "/containers/json", "{target}");
        }
        // Go decodes once.
        let path = ApiPath::parse("/images/a%252e%252e/json").unwrap();
        assert_eq!(path.as_str(), "/images/a%2e%2e/json");
        // A version is taken once.
        let path = ApiPath::parse("/v1.41/v1.41/info").unwrap();
        assert_eq!(path.as_str(), "/v1.41/info");
    }

    #[test]
    fn a_path_that_could_mean_two_things_is_abnormal() {
        for target in [
            "",
            "*",
            "containers/json",
            "//containers/json",
            "/containers//json",
            "/containers/json/",
            "/containers/x/../json",
            "/containers/./json",
            "/containers/%2e%2e/json",
            "/containers/x/%2E%2E%2Fjson",
            "/v1.41//containers/json",
            "/containers/%zz/json",
            "/containers/%2",
            "/containers/%ff/json",
            "/containers/a%00b/json",
            "/containers/a%0ab/json",
            "ftp://host/containers/json",
            "http://host",
        ] {
            assert_eq!(ApiPath::parse(target), Err(Abnormal), "{target}");
        }
    }

    #[test]
    fn patterns_match_whole_segments() {
        let matches = |path: &str, pattern| ApiPath::parse(path).unwrap().matches(pattern);
        assert!(matches("/containers/json", "/containers/json"));
        assert!(matches("/containers/a/json", "/containers/*/json"));
        assert!(!matches("/containers/a/b/json", "/containers/*/json"));
        assert!(!matches("/containers/a%2Fb/json", "/containers/*/json"));
        assert!(!matches("/containers/json", "/containers/*/json"));
        assert!(!matches("/containers/a/json/x", "/containers/*/json"));
        assert!(matches("/images/a/json", "/images/**/json"));
        assert!(matches("/images/r/a/b/json", "/images/**/json"));
        assert!(!matches("/images/json", "/images/**/json"));
        assert!(!matches("/images/a/get", "/images/**/json"));
        assert!(matches("/a/b/c", "/**"));
    }

    #[test]
    fn patterns_that_would_match_nothing_are_refused() {
        for pattern in [
            "containers",
            "/",
            "/a//b",
            "/a/",
            "/a/../b",
            "/a*/b",
            "/**/a/**",
            "/v1.41/info",
            "/a?b",
            "/a%20b",
        ] {
            assert!(problem_of(pattern).is_some(), "{pattern}");
        }
        for pattern in [
            "/_ping",
            "/containers/*/json",
            "/images/**/json",
            "/volumes",
        ] {
            assert_eq!(problem_of(pattern), None, "{pattern}");
        }
    }
}
