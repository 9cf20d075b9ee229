//! The decision about one request: certificate, method and path, nothing else.

use std::fmt;

use crate::document::{Grant, Policy};
use crate::{ApiPath, Serial, WithoutCertificate};

/// The sender, as far as dockerd's message shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client<'a> {
    /// No certificate: the local socket.
    Local,
    Certificate {
        serial: &'a Serial,
        /// From its subject; empty if it has none.
        common_name: &'a str,
    },
    /// TLS, but with a certificate that cannot be read.
    Unreadable,
}

/// One request to dockerd. There is no body here: what a plugin sees of it has
/// differed from what dockerd acts on (CVE-2024-41110, CVE-2026-34040).
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub client: Client<'a>,
    pub method: &'a str,
    /// The request's target, with version and query.
    pub target: &'a str,
}

/// Why a request is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Revoked,
    UnknownCertificate,
    UnreadableCertificate,
    Role,
    Path,
    Local,
    NoPolicy,
    /// dockerd's message is not one that the guard understands.
    Message,
}

impl Reason {
    /// A word for the audit log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::UnknownCertificate => "unknown-certificate",
            Self::UnreadableCertificate => "unreadable-certificate",
            Self::Role => "role",
            Self::Path => "path",
            Self::Local => "local",
            Self::NoPolicy => "no-policy",
            Self::Message => "message",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Rejected(Reason),
}

/// A verdict, and the identity it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'a> {
    pub verdict: Verdict,
    /// The policy's name for the certificate.
    pub identity: Option<&'a str>,
    pub role: Option<&'a str>,
    serial: Option<&'a Serial>,
}

/// What the client reads after "authorization denied by plugin ...:".
impl fmt::Display for Decision<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.identity.unwrap_or("this client");
        let role = self.role.unwrap_or("none");
        let serial = self.serial.map_or("unknown", Serial::as_str);
        let Verdict::Rejected(reason) = self.verdict else {
            return formatter.write_str("allowed");
        };
        match reason {
            Reason::Revoked => write!(
                formatter,
                "the certificate of {name} (serial {serial}) is revoked"
            ),
            Reason::UnknownCertificate => write!(
                formatter,
                "the certificate with the serial {serial} is not in the policy of this daemon"
            ),
            Reason::UnreadableCertificate => {
                formatter.write_str("the client certificate cannot be read")
            }
            Reason::Role => write!(
                formatter,
                "the role {role} of {name} does not include this request"
            ),
            Reason::Path => write!(
                formatter,
                "the path of the request is not in its normal form, which the role {role} of {name} requires"
            ),
            Reason::Local => {
                formatter.write_str("the policy of this daemon requires a client certificate")
            }
            Reason::NoPolicy => formatter.write_str("the guard of this daemon has no valid policy"),
            Reason::Message => formatter.write_str("the guard cannot read the request"),
        }
    }
}

impl Decision<'_> {
    /// An unreadable message of dockerd says nothing about its client.
    #[must_use]
    pub const fn unreadable_message() -> Self {
        Self::about(None, Verdict::Rejected(Reason::Message))
    }
}

impl<'a> Decision<'a> {
    const fn about(serial: Option<&'a Serial>, verdict: Verdict) -> Self {
        Self {
            verdict,
            identity: None,
            role: None,
            serial,
        }
    }

    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self.verdict, Verdict::Allowed)
    }
}

#[must_use]
pub fn decide<'a>(policy: Option<&'a Policy>, request: &Request<'a>) -> Decision<'a> {
    let rejected = |serial, reason| Decision::about(serial, Verdict::Rejected(reason));
    let (serial, common_name) = match request.client {
        Client::Local => {
            return match policy.map(Policy::without_certificate) {
                Some(WithoutCertificate::Reject) => rejected(None, Reason::Local),
                Some(WithoutCertificate::Allow) | None => Decision::about(None, Verdict::Allowed),
            };
        }
        Client::Unreadable => return rejected(None, Reason::UnreadableCertificate),
        Client::Certificate {
            serial,
            common_name,
        } => (serial, common_name),
    };
    let Some(policy) = policy else {
        return rejected(Some(serial), Reason::NoPolicy);
    };
    if let Some(name) = policy.revoked(serial) {
        let identity = Some(name);
        return Decision {
            identity,
            ..rejected(Some(serial), Reason::Revoked)
        };
    }
    match policy.grant(serial, common_name) {
        None => rejected(Some(serial), Reason::UnknownCertificate),
        Some((identity, grant)) => Decision {
            verdict: verdict(grant, request),
            identity,
            role: Some(grant.name()),
            serial: Some(serial),
        },
    }
}

fn verdict(grant: &Grant, request: &Request<'_>) -> Verdict {
    if grant.is_full() {
        return Verdict::Allowed;
    }
    match ApiPath::parse(request.target) {
        Err(_) => Verdict::Rejected(Reason::Path),
        Ok(path) if grant.allows(request.method, &path) => Verdict::Allowed,
        Ok(_) => Verdict::Rejected(Reason::Role),
    }
}

#[cfg(test)]
mod tests {
    use super::{Client, Reason, Request, Verdict, decide};
    use crate::{Policy, Serial};

    const POLICY: &str = r#"{
        "version": 1,
        "roles": {"deployer": {"allow": [{"methods": ["POST"], "paths": ["/services/*/update"]}]}},
        "identities": [
            {"serial": "0A", "name": "node1", "role": "full"},
            {"serial": "0B", "name": "monitor", "role": "read"},
            {"serial": "0C", "name": "laptop", "role": "full"},
            {"serial": "0D", "name": "ci", "role": "deployer"}
        ],
        "revoked": [{"serial": "c", "name": "laptop"}]
    }"#;

    fn verdict(policy: &str, serial: &str, method: &str, target: &str) -> Verdict {
        let policy = Policy::parse(policy.as_bytes()).unwrap();
        let serial = Serial::parse(serial).unwrap();
        let client = Client::Certificate {
            serial: &serial,
            common_name: "",
        };
        let request = Request {
            client,
            method,
            target,
        };
        decide(Some(&policy), &request).verdict
    }

    #[test]
    fn the_role_of_the_serial_decides() {
        let rejected = Verdict::Rejected;
        for (serial, method, target, expected) in [
            ("a", "POST", "/v1.41/containers/create", Verdict::Allowed),
            ("a", "GET", "//x/../y", Verdict::Allowed),
            ("b", "GET", "/v1.41/containers/json?all=1", Verdict::Allowed),
            (
                "b",
                "POST",
                "/v1.41/containers/create",
                rejected(Reason::Role),
            ),
            (
                "b",
                "GET",
                "/v1.41/containers/a/archive?path=/",
                rejected(Reason::Role),
            ),
            ("b", "GET", "/containers//json", rejected(Reason::Path)),
            ("c", "GET", "/_ping", rejected(Reason::Revoked)),
            (
                "d",
                "POST",
                "/services/web/update?version=3",
                Verdict::Allowed,
            ),
            ("d", "GET", "/services/web/update", rejected(Reason::Role)),
            ("d", "GET", "/_ping", rejected(Reason::Role)),
            ("e", "GET", "/_ping", rejected(Reason::UnknownCertificate)),
        ] {
            assert_eq!(
                verdict(POLICY, serial, method, target),
                expected,
                "{serial} {method} {target}"
            );
        }
    }

    #[test]
    fn a_renewed_certificate_has_the_role_of_its_name_and_a_revoked_one_has_none() {
        let policy = r#"{"version": 1, "names": {"node1": "full", "laptop": "read"},
            "identities": [{"serial": "0A", "name": "adopted", "role": "logs"}],
            "revoked": [{"serial": "0C", "name": "laptop"}]}"#;
        let policy = Policy::parse(policy.as_bytes()).unwrap();
        for (serial, common_name, target, expected) in [
            ("1", "node1", "/build", Verdict::Allowed),
            ("2", "laptop", "/info", Verdict::Allowed),
            ("2", "laptop", "/build", Verdict::Rejected(Reason::Role)),
            ("c", "laptop", "/info", Verdict::Rejected(Reason::Revoked)),
            // Its serial number identifies it, whatever its name is.
            ("a", "node1", "/build", Verdict::Rejected(Reason::Role)),
            (
                "3",
                "",
                "/info",
                Verdict::Rejected(Reason::UnknownCertificate),
            ),
            (
                "3",
                "Node1",
                "/info",
                Verdict::Rejected(Reason::UnknownCertificate),
            ),
        ] {
            let serial = Serial::parse(serial).unwrap();
            let request = Request {
                client: Client::Certificate {
                    serial: &serial,
                    common_name,
                },
                method: "POST",
                target,
            };
            let request = if target == "/info" {
                Request {
                    method: "GET",
                    ..request
                }
            } else {
                request
            };
            assert_eq!(
                decide(Some(&policy), &request).verdict,
                expected,
                "{common_name}"
            );
        }
    }

    #[test]
    fn unknown_certificates_can_have_a_role() {
        let policy = POLICY.replacen("\"version\": 1", "\"version\": 1, \"unknown\": \"read\"", 1);
        assert_eq!(verdict(&policy, "e", "GET", "/info"), Verdict::Allowed);
        assert_eq!(
            verdict(&policy, "e", "POST", "/containers/create"),
            Verdict::Rejected(Reason::Role)
        );
        assert_eq!(
            verdict(&policy, "c", "GET", "/info"),
            Verdict::Rejected(Reason::Revoked)
        );
    }

    #[test]
    fn without_a_policy_only_the_local_socket_works() {
        let serial = Serial::parse("0A").unwrap();
        for (client, expected) in [
            (Client::Local, Verdict::Allowed),
            (
                Client::Unreadable,
                Verdict::Rejected(Reason::UnreadableCertificate),
            ),
            (
                Client::Certificate {
                    serial: &serial,
                    common_name: "",
                },
                Verdict::Rejected(Reason::NoPolicy),
            ),
        ] {
            let request = Request {
                client,
                method: "GET",
                target: "/info",
            };
            assert_eq!(decide(None, &request).verdict, expected);
        }
    }

    #[test]
    fn the_local_socket_can_be_closed() {
        let local = Request {
            client: Client::Local,
            method: "GET",
            target: "/info",
        };
        let policy = Policy::parse(POLICY.as_bytes()).unwrap();
        assert_eq!(decide(Some(&policy), &local).verdict, Verdict::Allowed);
        let closed = r#"{"version": 1, "without_certificate": "reject", "identities": []}"#;
        let policy = Policy::parse(closed.as_bytes()).unwrap();
        let decision = decide(Some(&policy), &local);
        assert_eq!(decision.verdict, Verdict::Rejected(Reason::Local));
    }

    #[test]
    fn a_client_reads_who_it_is_and_why() {
        let policy = Policy::parse(POLICY.as_bytes()).unwrap();
        let said = |serial: &str| {
            let serial = Serial::parse(serial).unwrap();
            let client = Client::Certificate {
                serial: &serial,
                common_name: "",
            };
            let request = Request {
                client,
                method: "POST",
                target: "/build",
            };
            decide(Some(&policy), &request).to_string()
        };
        assert_eq!(
            said("c"),
            "the certificate of laptop (serial 0C) is revoked"
        );
        assert_eq!(
            said("b"),
            "the role read of monitor does not include this request"
        );
        assert_eq!(
            said("e"),
            "the certificate with the serial 0E is not in the policy of this daemon"
        );
    }
}
