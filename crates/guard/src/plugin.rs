//! The three requests of dockerd's plugin protocol, and their answers.

use std::cell::RefCell;
use std::convert::Infallible;
use std::time::Instant;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response, StatusCode};
use policy::{ApiPath, Decision, Verdict, decide};
use serde::Serialize;

use crate::audit::{Audit, Entry, Level};
use crate::message::{Message, Peer};
use crate::sieve::Sieve;
use crate::store::Store;

const ACTIVATE: &str = r#"{"Implements":["authz"]}"#;
const ALLOW: &str = r#"{"Allow":true}"#;
/// A request of the node itself with this in its target is rejected with it: what is not rejected
/// was not asked about. `guard_asked` on the node sends such requests.
const ASKED: &str = "dtls-deploy-guard-asked";

#[derive(Debug)]
pub struct Plugin {
    store: RefCell<Store>,
    audit: RefCell<Audit>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    allow: bool,
    msg: &'a str,
}

impl Plugin {
    /// Reads the policy, so that the first request finds it.
    pub fn new(store: Store, audit: Audit) -> Self {
        let plugin = Self {
            store: RefCell::new(store),
            audit: RefCell::new(audit),
        };
        plugin.refresh();
        plugin
    }

    /// Answers one request from dockerd.
    pub async fn answer<B: Body<Data = Bytes> + Unpin>(
        &self,
        request: Request<B>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let is_post = request.method() == Method::POST;
        let path = request.uri().path().to_owned();
        let mut body = request.into_body();
        Ok(match path.as_str() {
            _ if !is_post => status(StatusCode::METHOD_NOT_ALLOWED),
            "/Plugin.Activate" => {
                discard(&mut body).await;
                json(ACTIVATE.to_owned())
            }
            "/AuthZPlugin.AuthZReq" => json(self.decide(sift(&mut body).await.as_ref())),
            // The request was allowed; its response decides nothing.
            "/AuthZPlugin.AuthZRes" => {
                discard(&mut body).await;
                json(ALLOW.to_owned())
            }
            _ => status(StatusCode::NOT_FOUND),
        })
    }

    /// Checks whether the policy has changed.
    pub fn refresh(&self) {
        if let Some(news) = self.store.borrow_mut().refresh() {
            let level = match news {
                crate::store::News::Loaded { .. } => Level::Info,
                crate::store::News::Broken { .. } => Level::Warning,
            };
            self.audit
                .borrow_mut()
                .write(&Entry::new(level, &news.to_string()));
        }
    }

    fn decide(&self, message: Option<&Message>) -> String {
        self.refresh();
        let store = self.store.borrow();
        let Some(message) = message else {
            let decision = Decision::unreadable_message();
            self.record(&decision, None);
            return said(&decision);
        };
        let peer = message.peer();
        if matches!(peer, Peer::Local) && message.request_uri.contains(ASKED) {
            return rejection(ASKED);
        }
        let request = policy::Request {
            client: peer.client(&message.user),
            method: &message.request_method,
            target: &message.request_uri,
        };
        let decision = decide(store.policy(), &request);
        self.record(&decision, Some((message, &peer)));
        said(&decision)
    }

    fn record(&self, decision: &Decision<'_>, about: Option<(&Message, &Peer)>) {
        let entry = || entry(decision, about);
        let is_allowed = decision.is_allowed();
        self.audit
            .borrow_mut()
            .decision(is_allowed, Instant::now(), entry);
    }
}

/// Method, path and identity: no query, which can contain secrets, and no body.
fn entry(decision: &Decision<'_>, about: Option<(&Message, &Peer)>) -> Entry {
    let (level, verdict, reason) = match decision.verdict {
        Verdict::Allowed => (Level::Info, "allowed", None),
        Verdict::Rejected(reason) => (Level::Notice, "rejected", Some(reason.word())),
    };
    let (method, path) = about.map_or(("-", "-".to_owned()), |(message, _)| {
        (message.request_method.as_str(), path(&message.request_uri))
    });
    let name = decision.identity.or(match about {
        Some((_, Peer::Local)) => Some("local"),
        _ => None,
    });
    let because = reason.map_or_else(String::new, |word| format!(" ({word})"));
    let text = format!(
        "{verdict} {method} {path} for {}{because}",
        name.unwrap_or("unknown")
    );
    let fields = [
        ("DTLS_DECISION", Some(verdict)),
        ("DTLS_REASON", reason),
        ("DTLS_IDENTITY", name),
        ("DTLS_ROLE", decision.role),
        ("DTLS_METHOD", Some(method)),
        ("DTLS_PATH", Some(path.as_str())),
        (
            "DTLS_SERIAL",
            match about {
                Some((_, Peer::Certificate(serial))) => Some(serial.as_str()),
                _ => None,
            },
        ),
        (
            "DTLS_COMMON_NAME",
            about.map(|(message, _)| message.user.as_str()),
        ),
    ];
    let present = fields
        .into_iter()
        .filter_map(|(field, value)| Some((field, value?)));
    present
        .filter(|(_, value)| !value.is_empty())
        .fold(Entry::new(level, &text), |entry, (field, value)| {
            entry.with(field, value)
        })
}

fn path(target: &str) -> String {
    ApiPath::parse(target).map_or_else(
        |_| target.split('?').next().unwrap_or_default().to_owned(),
        |path| path.as_str().to_owned(),
    )
}

fn said(decision: &Decision<'_>) -> String {
    if decision.is_allowed() {
        ALLOW.to_owned()
    } else {
        rejection(&decision.to_string())
    }
}

fn rejection(text: &str) -> String {
    let answer = Answer {
        allow: false,
        msg: text,
    };
    // Two plain fields can always be written; dockerd treats a missing answer as a rejection.
    serde_json::to_string(&answer).unwrap_or_default()
}

/// None if it is too long, ends early, or is not a message of dockerd.
async fn sift<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Option<Message> {
    let mut sieve = Sieve::default();
    let mut is_good = true;
    while let Some(frame) = body.frame().await {
        let data = frame.ok()?.into_data();
        // The rest is still read, so that dockerd gets an answer.
        is_good = is_good && data.is_ok_and(|data| sieve.take(&data).is_ok());
    }
    is_good.then(|| Message::parse(sieve.kept())).flatten()
}

/// Reads a body to its end without keeping it.
async fn discard<B: Body + Unpin>(body: &mut B) {
    while let Some(Ok(_)) = body.frame().await {}
}

fn json(text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let kind = hyper::header::HeaderValue::from_static("application/vnd.docker.plugins.v1.1+json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn status(code: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = code;
    response
}

#[cfg(test)]
mod tests {
    use super::{Plugin, path};
    use crate::audit::Audit;
    use crate::message::tests::LEAF;
    use crate::store::Store;
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::Bytes;
    use hyper::{Request, StatusCode};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::time::Instant;

    fn plugin(directory: &tempfile::TempDir, policy: &str) -> Plugin {
        let path = directory.path().join("guard.json");
        std::fs::write(&path, policy).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let owner = path.metadata().unwrap().uid();
        Plugin::new(Store::new(path, owner), Audit::new(false, Instant::now()))
    }

    fn ask(plugin: &Plugin, path: &str, body: &str) -> (StatusCode, String) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let request = Request::post(path)
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let response = runtime.block_on(plugin.answer(request)).unwrap();
        let status = response.status();
        let body = runtime
            .block_on(response.into_body().collect())
            .unwrap()
            .to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn request(method: &str, target: &str, more: &str) -> String {
        let leaf = LEAF.trim();
        format!(
            r#"{{"User": "laptop", "UserAuthNMethod": "TLS", "RequestMethod": "{method}", "RequestUri": "{target}", "RequestPeerCertificates": ["{leaf}"]{more}}}"#
        )
    }

    #[test]
    fn dockerd_gets_its_answers() {
        let directory = tempfile::tempdir().unwrap();
        let policy = r#"{"version": 1, "identities": [{"serial": "badcafe", "name": "laptop", "role": "read"}]}"#;
        let plugin = plugin(&directory, policy);
        let said = |path: &str, body: &str| ask(&plugin, path, body).1;
        assert_eq!(said("/Plugin.Activate", ""), r#"{"Implements":["authz"]}"#);
        assert_eq!(
            said("/AuthZPlugin.AuthZRes", "not even JSON"),
            r#"{"Allow":true}"#
        );
        assert_eq!(
            ask(&plugin, "/VolumeDriver.List", "").0,
            StatusCode::NOT_FOUND
        );

        let decide = |body: &str| said("/AuthZPlugin.AuthZReq", body);
        assert_eq!(
            decide(&request("GET", "/v1.41/containers/json", "")),
            r#"{"Allow":true}"#
        );
        let body = format!(r#", "RequestBody": "{}""#, "A".repeat(4 * 1024 * 1024));
        assert_eq!(decide(&request("GET", "/info", &body)), r#"{"Allow":true}"#);
        let no = decide(&request("POST", "/v1.41/containers/create", &body));
        assert_eq!(
            no,
            r#"{"Allow":false,"Msg":"the role read of laptop does not include this request"}"#
        );
        assert_eq!(
            decide(r#"{"RequestMethod": "POST", "RequestUri": "/build"}"#),
            r#"{"Allow":true}"#
        );
        // The node itself learns that this guard is asked, and a client does not.
        let trial = "/v1.41/containers/json?filters=%7B%22name%22%3A%7B%22dtls-deploy-guard-asked";
        assert_eq!(
            decide(&format!(
                r#"{{"RequestMethod": "GET", "RequestUri": "{trial}"}}"#
            )),
            r#"{"Allow":false,"Msg":"dtls-deploy-guard-asked"}"#
        );
        assert_eq!(decide(&request("GET", trial, "")), r#"{"Allow":true}"#);
        let headers = r#", "X": "0123456789""#.repeat(100_000);
        for broken in ["", "{", "[]", &request("GET", "/info", &headers)] {
            assert!(
                decide(broken).contains("cannot read the request"),
                "{}",
                broken.len()
            );
        }
    }

    #[test]
    fn a_long_target_or_certificate_is_no_way_around() {
        let directory = tempfile::tempdir().unwrap();
        let policy = r#"{"version": 1, "identities": [{"serial": "badcafe", "name": "laptop", "role": "read"}]}"#;
        let plugin = plugin(&directory, policy);
        let long = format!("/info?{}", "x".repeat(100_000));
        let answer = ask(&plugin, "/AuthZPlugin.AuthZReq", &request("GET", &long, "")).1;
        assert!(answer.contains("not in its normal form"), "{answer}");
        let text = format!(
            r#"{{"RequestMethod": "GET", "RequestUri": "/info", "RequestPeerCertificates": ["{}"]}}"#,
            "A".repeat(100_000)
        );
        let answer = ask(&plugin, "/AuthZPlugin.AuthZReq", &text).1;
        assert!(answer.contains("cannot be read"), "{answer}");
    }

    #[test]
    fn a_new_policy_is_in_force_with_the_next_request() {
        let directory = tempfile::tempdir().unwrap();
        let policy = r#"{"version": 1, "identities": [{"serial": "badcafe", "name": "laptop", "role": "full"}]}"#;
        let plugin = plugin(&directory, policy);
        let decide = || {
            ask(
                &plugin,
                "/AuthZPlugin.AuthZReq",
                &request("GET", "/info", ""),
            )
            .1
        };
        assert_eq!(decide(), r#"{"Allow":true}"#);
        let revoked = policy.replace(
            "]}",
            r#"], "revoked": [{"serial": "badcafe", "name": "laptop"}]}"#,
        );
        let staged = directory.path().join("staged");
        std::fs::write(&staged, revoked).unwrap();
        std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::rename(&staged, directory.path().join("guard.json")).unwrap();
        assert!(decide().contains("the certificate of laptop (serial 0BADCAFE) is revoked"));
        std::fs::write(directory.path().join("guard.json"), "{").unwrap();
        assert!(decide().contains("is revoked"));
    }

    #[test]
    fn queries_are_not_recorded() {
        assert_eq!(path("/v1.41/build?buildargs=secret"), "/build");
        assert_eq!(path("//build?buildargs=secret"), "//build");
    }
}
