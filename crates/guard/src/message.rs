//! What dockerd tells a plugin about one request, in JSON: who, method, target.
//! <https://docs.docker.com/engine/extend/plugins_authorization/>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policy::{Client, Serial};
use serde::Deserialize;
use x509_parser::parse_x509_certificate;
use x509_parser::pem::parse_x509_pem;

/// The fields that are needed; the body is not one of them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Message {
    /// The common name of the certificate.
    #[serde(default)]
    pub user: String,
    /// `TLS`, or nothing on the local socket.
    #[serde(default)]
    user_auth_n_method: String,
    pub request_method: String,
    pub request_uri: String,
    /// Base64 of PEM, the leaf first.
    #[serde(default)]
    request_peer_certificates: Vec<String>,
}

/// The sender of the request.
#[derive(Debug, PartialEq, Eq)]
pub enum Peer {
    Local,
    Certificate(Serial),
    Unreadable,
}

impl Message {
    /// None for anything but an object with a method and a target: it would have
    /// no certificate, either, and count as local.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let is_object = text.first() == Some(&b'{');
        is_object
            .then(|| serde_json::from_slice(text).ok())
            .flatten()
    }

    /// Any sign of TLS makes it a request over TLS.
    pub fn peer(&self) -> Peer {
        match self.request_peer_certificates.first() {
            Some(leaf) => serial(leaf).map_or(Peer::Unreadable, Peer::Certificate),
            None if self.user.is_empty() && self.user_auth_n_method.is_empty() => Peer::Local,
            None => Peer::Unreadable,
        }
    }
}

impl Peer {
    /// With what dockerd says is the certificate's common name.
    pub const fn client<'a>(&'a self, common_name: &'a str) -> Client<'a> {
        match self {
            Self::Local => Client::Local,
            Self::Certificate(serial) => Client::Certificate {
                serial,
                common_name,
            },
            Self::Unreadable => Client::Unreadable,
        }
    }
}

/// dockerd has verified the certificate: only its serial is read here.
fn serial(leaf: &str) -> Option<Serial> {
    let pem = STANDARD.decode(leaf).ok()?;
    let (_, pem) = parse_x509_pem(&pem).ok()?;
    let (_, certificate) = parse_x509_certificate(&pem.contents).ok()?;
    Some(Serial::from_bytes(certificate.raw_serial()))
}

#[cfg(test)]
pub mod tests {
    use super::{Message, Peer};
    use policy::Serial;

    /// Of `openssl req -x509 -newkey ed25519 -set_serial 0x0BADCAFE -subj /CN=laptop`,
    /// as dockerd sends it.
    pub const LEAF: &str = include_str!("leaf.base64");

    fn peer(fields: &str) -> Peer {
        let text = format!(r#"{{"RequestMethod": "GET", "RequestUri": "/info"{fields}}}"#);
        Message::parse(text.as_bytes()).unwrap().peer()
    }

    #[test]
    fn the_leaf_says_who_it_is() {
        let leaf = LEAF.trim();
        let serial = Serial::parse("0BADCAFE").unwrap();
        let text = format!(
            r#", "User": "laptop", "UserAuthNMethod": "TLS", "RequestBody": "e30=", "RequestPeerCertificates": ["{leaf}", "another"]"#
        );
        assert_eq!(peer(&text), Peer::Certificate(serial));
    }

    #[test]
    fn only_a_request_without_any_sign_of_tls_is_local() {
        assert_eq!(peer(""), Peer::Local);
        for text in [
            r#", "UserAuthNMethod": "TLS""#,
            r#", "User": "laptop""#,
            r#", "RequestPeerCertificates": [""]"#,
            r#", "RequestPeerCertificates": ["bm8gcGVt"]"#,
            r#", "RequestPeerCertificates": ["-"]"#,
        ] {
            assert_eq!(peer(text), Peer::Unreadable, "{text}");
        }
    }

    #[test]
    fn what_is_not_one_message_is_none() {
        let good = r#"{"RequestMethod": "GET", "RequestUri": "/info"}"#;
        assert!(Message::parse(good.as_bytes()).is_some());
        for text in [
            "",
            "[]",
            "{}",
            r#"["", "", "GET", "/info", []]"#,
            r#"{"RequestMethod": "GET"}"#,
            &good.replace("GET", "GET\", \"RequestMethod\": \"PUT"),
            &good.replace("\"GET\"", "1"),
            &format!("{good}{good}"),
        ] {
            assert!(Message::parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
