//! daemon.json, with the TLS settings merged into its content.
//!
//! Settings: docs.docker.com/reference/cli/dockerd, "daemon configuration file".

use serde_json::{Map, Value};

pub use super::tls::{self, DaemonMode, TlsPaths};
use super::{json_text, strict_json};

/// The merged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Empty when no setting is left.
    pub text: String,
    /// `hosts` of the old file. It conflicts with `-H` in the unit (moby#25471) and is removed: the
    /// unit's drop-in sets the listeners. Without a unit: the addresses of the old file that are no
    /// longer listened on.
    pub hosts: Vec<String>,
}

/// The listeners of a daemon that reads them from daemon.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening<'a> {
    /// `tcp://…` addresses.
    pub tcp: &'a [String],
    /// Keep the local socket for docker's users on the host.
    pub local_socket: bool,
}

pub(super) const LIVE_RESTORE: &str = "live-restore";
pub(super) const PLUGINS: &str = "authorization-plugins";

/// dockerd's default listener.
const LOCAL_SOCKET: &str = "unix:///var/run/docker.sock";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DaemonJsonError {
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        line: usize,
        column: usize,
        message: String,
    },
    #[error("the file is not UTF-8 text")]
    NotText,
    #[error("the file holds no JSON object")]
    NotAnObject,
    #[error("authorization-plugins is not a list")]
    NotAList,
}

/// Merges the TLS settings of a mode; settings of other modes are removed.
///
/// # Errors If the old text is not a JSON object: dockerd would not start with it, and a guess
/// could lose settings.
pub fn merge(
    old: Option<&[u8]>,
    mode: DaemonMode,
    paths: &TlsPaths,
) -> Result<Merged, DaemonJsonError> {
    rewrite(old, &tls::settings(mode, paths), None)
}

/// As [`merge`], with the listeners: without systemd `hosts` is the place for them.
pub fn merge_with_hosts(
    old: Option<&[u8]>,
    mode: DaemonMode,
    paths: &TlsPaths,
    listening: Listening<'_>,
) -> Result<Merged, DaemonJsonError> {
    rewrite(old, &tls::settings(mode, paths), Some(listening))
}

/// Removes every TLS setting, even an operator's: dockerd would not start with the same flags on the
/// command line.
pub fn without_tls(old: Option<&[u8]>) -> Result<Merged, DaemonJsonError> {
    rewrite(old, &[], None)
}

fn rewrite(
    old: Option<&[u8]>,
    wanted: &[(&str, Value)],
    listening: Option<Listening<'_>>,
) -> Result<Merged, DaemonJsonError> {
    let (old, settings) = read(old)?;
    let mut hosts = match settings.get(HOSTS) {
        None => Vec::new(),
        Some(Value::Array(hosts)) => hosts
            .iter()
            .map(|host| {
                host.as_str()
                    .map_or_else(|| host.to_string(), str::to_owned)
            })
            .collect(),
        Some(other) => vec![other.to_string()],
    };
    let mut wanted = wanted.to_vec();
    if let Some(listening) = listening {
        wanted.push((HOSTS, listening.beside(&hosts)));
        hosts.retain(|host| !is_local(host) && !listening.tcp.contains(host));
    }
    let mut text = old.to_owned();
    // dockerd enables TLS for any value of `tlsverify` (moby, cmd/dockerd).
    let is_on = settings.get("tlsverify").is_some_and(Value::is_boolean);
    for (name, value) in &wanted {
        let is_implied = *name == "tls" && is_on && !settings.contains_key(*name);
        if !is_implied && settings.get(*name) != Some(value) {
            text = json_text::set(&text, name, value);
        }
    }
    let unwanted = TLS.iter().chain([&HOSTS]);
    let unwanted = unwanted.filter(|name| wanted.iter().all(|(wanted, _)| wanted != *name));
    let text = removed(text, unwanted.copied()).unwrap_or_default();
    Ok(Merged { text, hosts })
}

/// The text without these settings; `None` if nothing is left.
fn removed<'a>(text: String, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut names = names;
    names.try_fold(text, |text, name| json_text::remove(&text, name))
}

impl Listening<'_> {
    /// `hosts` with these addresses instead: local sockets stay.
    fn beside(self, old: &[String]) -> Value {
        let mut hosts = Vec::new();
        if self.local_socket {
            hosts.extend(old.iter().filter(|host| is_local(host)).cloned());
            if hosts.is_empty() {
                hosts.push(LOCAL_SOCKET.to_owned());
            }
        }
        hosts.extend(self.tcp.iter().cloned());
        Value::from(hosts)
    }
}

/// Whether an address is a local socket.
#[must_use]
pub fn is_local(host: &str) -> bool {
    host.starts_with("unix:") || host.starts_with("fd:")
}

/// The addresses in `hosts`; none if dockerd could not read the text.
#[must_use]
pub fn hosts(text: &str) -> Vec<String> {
    let settings: Value = serde_json::from_str(text).unwrap_or_default();
    let hosts = settings.get("hosts").and_then(Value::as_array);
    let hosts = hosts.into_iter().flatten().filter_map(Value::as_str);
    hosts.map(str::to_owned).collect()
}

/// Those that are not local sockets.
#[must_use]
pub fn tcp_hosts(text: &str) -> Vec<String> {
    let mut found = hosts(text);
    found.retain(|host| !is_local(host));
    found
}

/// Every TLS setting.
const TLS: [&str; 5] = ["tls", "tlsverify", "tlscacert", "tlscert", "tlskey"];

/// Whether this program writes the setting. The values of all others may be secrets, and are never
/// shown.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    is_tls(name) || [HOSTS, LIVE_RESTORE, PLUGINS].contains(&name)
}

/// Whether it is a TLS setting.
#[must_use]
pub fn is_tls(name: &str) -> bool {
    TLS.contains(&name)
}

/// The TLS mode of a daemon with these settings; none if it speaks no TLS or could not read the
/// text.
#[must_use]
pub fn mode_of(text: &str) -> Option<DaemonMode> {
    let settings: Value = serde_json::from_str(text).ok()?;
    let is = |name: &str| settings.get(name).and_then(Value::as_bool);
    match (is("tls"), is("tlsverify")) {
        (_, Some(true)) | (Some(true), None) => Some(DaemonMode::TlsVerify),
        // moby, cmd/dockerd: any value of tlsverify turns TLS on.
        (Some(true) | None, Some(false)) => Some(DaemonMode::Tls),
        _ => None,
    }
}

/// The TLS files that a text names: CA, certificate, key.
#[must_use]
pub fn named_paths(text: &str) -> [Option<String>; 3] {
    let settings: Value = serde_json::from_str(text).unwrap_or_default();
    let text = |name: &str| settings.get(name)?.as_str().map(str::to_owned);
    ["tlscacert", "tlscert", "tlskey"].map(text)
}

/// Removes what [`merge`] sets, if it names these paths, and the addresses in `tcp` from `hosts`;
/// everything else stays, and `hosts` becomes `put_back` unless it is set. `None` if nothing is
/// left.
pub fn without(
    old: &[u8],
    paths: &TlsPaths,
    tcp: &[String],
    put_back: &[String],
) -> Result<Option<String>, DaemonJsonError> {
    let (text, settings) = read(Some(old))?;
    let ours = [
        ("tlscacert", &paths.ca),
        ("tlscert", &paths.certificate),
        ("tlskey", &paths.key),
    ];
    let is_ours = ours
        .iter()
        .any(|(name, path)| settings.get(*name).and_then(Value::as_str) == Some(path));
    if !is_ours {
        return Ok(Some(text.to_owned()));
    }
    let mut text = text.to_owned();
    let mut ours = TLS.to_vec();
    if let Some(Value::Array(hosts)) = settings.get(HOSTS)
        && !tcp.is_empty()
    {
        let is_kept = |host: &&Value| !tcp.iter().any(|ours| host.as_str() == Some(ours));
        let left: Vec<Value> = hosts.iter().filter(is_kept).cloned().collect();
        // The rest is dockerd's default.
        if left.iter().all(|host| host.as_str() == Some(LOCAL_SOCKET)) {
            ours.push(HOSTS);
        } else if left != *hosts {
            text = json_text::set(&text, HOSTS, &Value::from(left));
        }
    }
    let is_set = settings.contains_key(HOSTS) && !ours.contains(&HOSTS);
    let left = removed(text, ours.into_iter());
    if put_back.is_empty() || is_set {
        return Ok(left);
    }
    let put_back = Value::from(put_back);
    Ok(Some(json_text::set(
        &left.unwrap_or_default(),
        HOSTS,
        &put_back,
    )))
}

/// The file without `hosts`; `None` if nothing is left.
pub fn without_hosts(old: &[u8]) -> Result<Option<String>, DaemonJsonError> {
    let (text, _) = read(Some(old))?;
    Ok(json_text::remove(text, HOSTS))
}

const HOSTS: &str = "hosts";

/// The text and what it says; a missing or an empty file says nothing.
pub(super) fn read(old: Option<&[u8]>) -> Result<(&str, Map<String, Value>), DaemonJsonError> {
    let old = old.unwrap_or_default();
    let old = std::str::from_utf8(old).map_err(|_| DaemonJsonError::NotText)?;
    if old.trim().is_empty() {
        return Ok((old, Map::new()));
    }
    match strict_json::parse(old) {
        Ok(Value::Object(settings)) => Ok((old, settings)),
        Ok(_) => Err(DaemonJsonError::NotAnObject),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            let message = error.to_string();
            let place = format!(" at line {line} column {column}");
            let message = message.strip_suffix(&place).unwrap_or(&message).to_owned();
            Err(DaemonJsonError::Syntax {
                line,
                column,
                message,
            })
        }
    }
}

/// Requires that dockerd can read the text. [`merge`] refuses duplicate keys: some releases of
/// dockerd start with them.
pub fn readable(text: Option<&[u8]>) -> Result<(), DaemonJsonError> {
    match read(text) {
        Err(_)
            if serde_json::from_slice::<Map<String, Value>>(text.unwrap_or_default()).is_ok() =>
        {
            Ok(())
        }
        found => found.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json_text::tests::object;
    use super::*;

    fn paths() -> TlsPaths {
        TlsPaths {
            ca: "/d/ca.pem".to_owned(),
            certificate: "/d/cert.pem".to_owned(),
            key: "/d/key.pem".to_owned(),
        }
    }

    const FRESH: &str = "{\n  \"tls\": true,\n  \"tlsverify\": true,\n  \"tlscacert\": \"/d/ca.pem\",\n  \"tlscert\": \"/d/cert.pem\",\n  \"tlskey\": \"/d/key.pem\"\n}\n";

    #[test]
    fn a_missing_or_empty_file_gets_the_five_settings() {
        for old in [None, Some(&b""[..])] {
            assert_eq!(
                merge(old, DaemonMode::TlsVerify, &paths()).unwrap().text,
                FRESH
            );
        }
    }

    #[test]
    fn other_settings_their_order_and_the_indentation_are_kept() {
        let old =
            b"{\n\t\"log-driver\": \"journald\",\n\t\"tls\": false,\n\t\"dns\": [\"1.1.1.1\"]\n}";
        let text = merge(Some(old), DaemonMode::TlsVerify, &paths())
            .unwrap()
            .text;
        assert_eq!(
            text,
            "{\n\t\"log-driver\": \"journald\",\n\t\"tls\": true,\n\t\"dns\": [\"1.1.1.1\"],\n\t\"tlsverify\": true,\n\t\"tlscacert\": \"/d/ca.pem\",\n\t\"tlscert\": \"/d/cert.pem\",\n\t\"tlskey\": \"/d/key.pem\"\n}"
        );
    }

    #[test]
    fn tls_is_not_added_to_tlsverify() {
        let guide = r#"{"tlsverify": true, "tlscacert": "/d/ca.pem", "tlscert": "/d/cert.pem", "tlskey": "/d/key.pem"}"#;
        let merged = |old: &str, mode| merge(Some(old.as_bytes()), mode, &paths()).unwrap().text;
        assert_eq!(merged(guide, DaemonMode::TlsVerify), guide);
        let open = merged(guide, DaemonMode::Tls);
        assert_eq!(
            open,
            r#"{"tlsverify": false, "tlscert": "/d/cert.pem", "tlskey": "/d/key.pem"}"#
        );
        assert_eq!(mode_of(&open), Some(DaemonMode::Tls));
        let off = merged(
            r#"{"tls": false, "tlsverify": true}"#,
            DaemonMode::TlsVerify,
        );
        assert!(off.starts_with(r#"{"tls": true"#), "{off}");
    }

    #[test]
    fn a_file_that_is_right_already_stays_as_it_is_byte_for_byte() {
        let odd = FRESH.replace("\n  ", "  ");
        assert_eq!(
            merge(Some(odd.as_bytes()), DaemonMode::TlsVerify, &paths())
                .unwrap()
                .text,
            odd
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// For any layout of a file, and any settings of an inventory in between.
        #[test]
        fn a_file_is_given_back_to_the_byte(
            old in object(),
            modes in prop::collection::vec(prop::sample::select(vec![DaemonMode::TlsVerify, DaemonMode::Tls]), 1..4),
            by_flags in any::<bool>(),
            tcp in prop::collection::vec("tcp://n[1-9]:2376", 0..2),
        ) {
            let mut text = old.clone();
            for mode in modes {
                let listening = Listening { tcp: &tcp, local_socket: true };
                let bytes = Some(text.as_bytes());
                text = if tcp.is_empty() {
                    merge(bytes, mode, &paths())
                } else {
                    merge_with_hosts(bytes, mode, &paths(), listening)
                }
                .unwrap()
                .text;
            }
            if by_flags {
                prop_assert_eq!(without_tls(Some(text.as_bytes())).unwrap().text, old.as_str());
            }
            prop_assert_eq!(without(text.as_bytes(), &paths(), &tcp, &[]), Ok(Some(old)));
        }
    }

    #[test]
    fn what_was_set_is_taken_out_again() {
        assert_eq!(without(FRESH.as_bytes(), &paths(), &[], &[]), Ok(None));
        let old = "{\n  \"dns\": [\n    \"1.1.1.1\"\n  ]\n}\n";
        let merged = merge(Some(old.as_bytes()), DaemonMode::TlsVerify, &paths())
            .unwrap()
            .text;
        assert_eq!(
            without(merged.as_bytes(), &paths(), &[], &[]),
            Ok(Some(old.to_owned()))
        );
        let foreign = FRESH.replace("/d/", "/other/");
        assert_eq!(
            without(foreign.as_bytes(), &paths(), &[], &[]),
            Ok(Some(foreign.clone()))
        );
        assert_eq!(mode_of(FRESH), Some(DaemonMode::TlsVerify));
        assert_eq!((mode_of(old), mode_of("")), (None, None));
    }

    #[test]
    fn a_mode_leaves_nothing_of_another_and_flags_leave_nothing_at_all() {
        let open = merge(Some(FRESH.as_bytes()), DaemonMode::Tls, &paths()).unwrap();
        assert_eq!(
            open.text,
            "{\n  \"tls\": true,\n  \"tlsverify\": false,\n  \"tlscert\": \"/d/cert.pem\",\n  \"tlskey\": \"/d/key.pem\"\n}\n"
        );
        assert_eq!(mode_of(&open.text), Some(DaemonMode::Tls));
        assert_eq!(mode_of("{\"tls\": true}"), Some(DaemonMode::TlsVerify));
        assert_eq!(without_tls(Some(FRESH.as_bytes())).unwrap().text, "");
        assert_eq!(without_tls(None).unwrap().text, "");
        let old = "{\"tlskey\": \"/other\", \"debug\": true}";
        assert_eq!(
            without_tls(Some(old.as_bytes())).unwrap().text,
            "{\"debug\": true}"
        );
        let plain = "{ \"debug\":true }";
        assert_eq!(without_tls(Some(plain.as_bytes())).unwrap().text, plain);
    }

    #[test]
    fn hosts_is_taken_out_and_reported() {
        let merged = merge(
            Some(b"{\"hosts\": [\"tcp://0.0.0.0:2375\"]}"),
            DaemonMode::TlsVerify,
            &paths(),
        )
        .unwrap();
        assert_eq!(merged.hosts, ["tcp://0.0.0.0:2375"]);
        assert!(!merged.text.contains("hosts"), "{}", merged.text);
        let with_empty = FRESH.replace('{', "{\n  \"hosts\": [],");
        assert_eq!(
            merge(Some(with_empty.as_bytes()), DaemonMode::TlsVerify, &paths())
                .unwrap()
                .text,
            FRESH
        );
    }

    #[test]
    fn only_what_no_dockerd_reads_is_unreadable() {
        for text in ["", " ", "{}", r#"{"log-opts": {}, "log-opts": {}}"#] {
            assert_eq!(readable(Some(text.as_bytes())), Ok(()), "{text}");
        }
        assert_eq!(readable(None), Ok(()));
        let error = readable(Some(b"{\n  \"debug\": true,,\n}")).unwrap_err();
        assert_eq!(error.to_string(), "line 2, column 17: key must be a string");
        for text in [&b"[]"[..], b"{} x", b"\xff{}"] {
            assert!(readable(Some(text)).is_err());
        }
    }

    #[test]
    fn hosts_is_put_back_unless_somebody_has_set_it() {
        let sockets = ["unix:///a".to_owned(), "unix:///b".to_owned()];
        let back = without(FRESH.as_bytes(), &paths(), &[], &sockets).unwrap();
        assert_eq!(super::hosts(&back.unwrap()), sockets);
        let set = FRESH.replace('{', "{\"hosts\": [\"unix:///c\"],");
        let back = without(set.as_bytes(), &paths(), &[], &sockets).unwrap();
        assert_eq!(super::hosts(&back.unwrap()), ["unix:///c"]);
    }

    #[test]
    fn without_systemd_hosts_says_where_to_listen() {
        let tcp = ["tcp://node3:2376".to_owned()];
        let listening = Listening {
            tcp: &tcp,
            local_socket: true,
        };
        let with = |old: Option<&[u8]>, listening| {
            merge_with_hosts(old, DaemonMode::TlsVerify, &paths(), listening).unwrap()
        };
        let fresh = with(None, listening);
        let hosts = "\"hosts\": [\"unix:///var/run/docker.sock\", \"tcp://node3:2376\"]";
        assert!(fresh.text.contains(hosts), "{}", fresh.text);
        assert_eq!(with(Some(fresh.text.as_bytes()), listening), fresh);
        assert_eq!(tcp_hosts(&fresh.text), tcp);
        assert_eq!(
            without(fresh.text.as_bytes(), &paths(), &tcp, &[]),
            Ok(None)
        );

        let old = b"{\"hosts\": [\"tcp://0.0.0.0:2375\", \"unix:///x\", \"tcp://node3:2376\"]}";
        let merged = with(Some(old), listening);
        assert_eq!(merged.hosts, ["tcp://0.0.0.0:2375"]);
        let settings: Value = serde_json::from_str(&merged.text).unwrap();
        assert_eq!(
            settings["hosts"],
            serde_json::json!(["unix:///x", "tcp://node3:2376"])
        );
        let left = without(merged.text.as_bytes(), &paths(), &tcp, &[])
            .unwrap()
            .unwrap();
        assert_eq!(left, "{\"hosts\": [\"unix:///x\"]}");

        let remote = Listening {
            tcp: &tcp,
            local_socket: false,
        };
        let settings: Value = serde_json::from_str(&with(Some(old), remote).text).unwrap();
        assert_eq!(settings["hosts"], serde_json::json!(["tcp://node3:2376"]));
    }

    #[test]
    fn broken_files_are_refused_with_their_line() {
        let error = merge(
            Some(b"{\n  \"a\": 1,\n}\n"),
            DaemonMode::TlsVerify,
            &paths(),
        )
        .unwrap_err();
        assert!(
            matches!(error, DaemonJsonError::Syntax { line: 3, .. }),
            "{error:?}"
        );
        assert_eq!(
            merge(Some(b"[]"), DaemonMode::TlsVerify, &paths()),
            Err(DaemonJsonError::NotAnObject)
        );
        assert_eq!(
            merge(Some(b"\xff"), DaemonMode::TlsVerify, &paths()),
            Err(DaemonJsonError::NotText)
        );
    }
}
