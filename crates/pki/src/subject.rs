//! The name a certificate is made out to.

use std::fmt;

use rcgen::{DistinguishedName, DnType, DnValue};
use serde::{Deserialize, Serialize};

use super::name::escape_value;
use super::sha256_hex;

/// In characters (RFC 5280, appendix A.1: ub-common-name).
pub(super) const LONGEST_COMMON_NAME: usize = 64;

/// A distinguished name, one value per attribute (RFC 5280, section 4.1.2.4).
///
/// Read and written with the attributes' usual short names: `CN`, `O`, `OU`,
/// `L`, `ST`, `C`, `emailAddress`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Subject {
    #[serde(rename = "CN", skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    #[serde(rename = "O", skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    #[serde(rename = "OU", skip_serializing_if = "Option::is_none")]
    pub organizational_unit: Option<String>,
    #[serde(rename = "L", skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    #[serde(rename = "ST", skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Two letters (ISO 3166).
    #[serde(rename = "C", skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(rename = "emailAddress", skip_serializing_if = "Option::is_none")]
    pub email_address: Option<String>,
}

impl Subject {
    /// A subject of a common name alone.
    #[must_use]
    pub fn named(common_name: &str) -> Self {
        Self {
            common_name: Some(common_name.to_owned()),
            ..Self::default()
        }
    }

    /// The subject of a certificate for a host or an identity. A name that is longer than a
    /// common name may be is cut and ends in the beginning of its SHA-256, so that two of them
    /// differ for whatever reads common names, such as authorization plugins of dockerd. The
    /// whole name is in the subjectAltName, which docker and OpenSSL go by.
    #[must_use]
    pub fn of_leaf(holder: &str) -> Self {
        if holder.chars().count() <= LONGEST_COMMON_NAME {
            return Self::named(holder);
        }
        let hash = sha256_hex(holder.as_bytes());
        let hash = hash.get(..16).unwrap_or(&hash);
        let cut: String = holder.chars().take(LONGEST_COMMON_NAME - 17).collect();
        Self::named(&format!("{}-{hash}", cut.trim_end_matches(['.', '-'])))
    }

    /// The attributes that are set, in the order OpenSSL asks for them, which
    /// is the order they are encoded in, with the upper bound of each in
    /// characters (RFC 5280, appendix A.1).
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&'static str, &str, usize)> {
        [
            ("C", &self.country, 2),
            ("ST", &self.state, 128),
            ("L", &self.locality, 128),
            ("O", &self.organization, 64),
            ("OU", &self.organizational_unit, 64),
            ("CN", &self.common_name, LONGEST_COMMON_NAME),
            ("emailAddress", &self.email_address, 255),
        ]
        .into_iter()
        .filter_map(|(name, value, bound)| value.as_deref().map(|value| (name, value, bound)))
    }

    /// The name as rcgen writes it: country as `PrintableString` and e-mail
    /// address as `IA5String` (RFC 5280, appendix A.1), the rest as `UTF8String`.
    pub(crate) fn encoded(&self) -> Result<DistinguishedName, rcgen::Error> {
        let mut name = DistinguishedName::new();
        for (attribute, value, _) in self.attributes() {
            let (kind, value) = match attribute {
                "C" => (
                    DnType::CountryName,
                    DnValue::PrintableString(value.try_into()?),
                ),
                "ST" => (DnType::StateOrProvinceName, value.into()),
                "L" => (DnType::LocalityName, value.into()),
                "O" => (DnType::OrganizationName, value.into()),
                "OU" => (DnType::OrganizationalUnitName, value.into()),
                "emailAddress" => (
                    DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]),
                    DnValue::Ia5String(value.try_into()?),
                ),
                _ => (DnType::CommonName, value.into()),
            };
            name.push(kind, value);
        }
        Ok(name)
    }

    /// Whether a certificate can carry this name.
    ///
    /// # Errors
    /// No attribute at all, an empty or overlong value, a country that is not
    /// two letters, an e-mail address that is not ASCII, control characters.
    pub fn check(&self) -> Result<(), SubjectError> {
        if self.attributes().next().is_none() {
            return Err(SubjectError::Empty);
        }
        for (attribute, value, bound) in self.attributes() {
            let refuse = |reason: String| Err(SubjectError::Value { attribute, reason });
            let length = value.chars().count();
            if value.trim().is_empty() {
                return refuse("it is empty".to_owned());
            }
            if attribute == "C" && !(length == 2 && value.bytes().all(|b| b.is_ascii_alphabetic()))
            {
                return refuse("a country is two letters (ISO 3166)".to_owned());
            }
            if length > bound {
                return refuse(format!("{length} characters, at most {bound} are allowed"));
            }
            if value.chars().any(char::is_control) {
                return refuse("it contains a control character".to_owned());
            }
            if attribute == "emailAddress" && !value.is_ascii() {
                return refuse("it may contain ASCII characters only".to_owned());
            }
        }
        Ok(())
    }
}

/// As [`Certificate::subject`](super::Certificate::subject) shows it.
impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut attributes: Vec<String> = self
            .attributes()
            .map(|(name, value, _)| format!("{name}={}", escape_value(value)))
            .collect();
        attributes.reverse();
        formatter.pad(&attributes.join(","))
    }
}

/// Why a subject cannot be put into a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    #[error("the subject has no attribute; it needs a CN at least")]
    Empty,
    #[error("subject attribute {attribute}: {reason}")]
    Value {
        attribute: &'static str,
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_by_the_attributes_usual_names() {
        let subject: Subject =
            serde_json::from_str(r#"{"CN":"lab","O":"Example","C":"DE","emailAddress":"a@b"}"#)
                .unwrap();
        assert_eq!(subject.common_name.as_deref(), Some("lab"));
        let order: Vec<_> = subject.attributes().map(|(name, _, _)| name).collect();
        assert_eq!(order, ["C", "O", "CN", "emailAddress"]);
        assert_eq!(subject.check(), Ok(()));
        assert!(serde_json::from_str::<Subject>(r#"{"cn":"lab"}"#).is_err());
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_and_stays_its_own() {
        let name = |last: char| format!("{}.{}.example.{last}", "a".repeat(63), "b".repeat(63));
        let (one, other) = (Subject::of_leaf(&name('x')), Subject::of_leaf(&name('y')));
        assert_eq!((one.check(), other.check()), (Ok(()), Ok(())));
        assert_ne!(one, other);
        assert_eq!(one, Subject::of_leaf(&name('x')));
        let longest = "x".repeat(LONGEST_COMMON_NAME);
        assert_eq!(Subject::of_leaf(&longest), Subject::named(&longest));
        let edge = Subject::of_leaf(&format!("{}.{}", "a".repeat(46), "b".repeat(20)));
        assert!(edge.to_string().contains("a-"), "{edge}");
    }

    #[test]
    fn a_subject_that_no_certificate_can_carry_is_refused() {
        assert_eq!(Subject::default().check(), Err(SubjectError::Empty));
        assert!(Subject::named(" ").check().is_err());
        assert!(Subject::named(&"x".repeat(65)).check().is_err());
        assert!(Subject::named("a\nb").check().is_err());
        let country = |text: &str| Subject {
            country: Some(text.to_owned()),
            ..Subject::named("x")
        };
        assert!(country("Germany").check().is_err());
        assert!(country("D1").check().is_err());
        assert_eq!(country("DE").check(), Ok(()));
    }
}
