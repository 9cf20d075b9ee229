//! `live-restore` in daemon.json: set, and restored later.

use serde_json::{Map, Value};

use super::daemon_json::{DaemonJsonError, LIVE_RESTORE, read};
use super::json_text;

/// The file with `live-restore` on, and what it says of the setting without that, for
/// [`without_live_restore`]; `None` where it is on already.
pub fn with_live_restore(old: Option<&[u8]>) -> Result<Option<(String, String)>, DaemonJsonError> {
    let (old, settings) = read(old)?;
    if is_on(&settings) {
        return Ok(None);
    }
    let text = json_text::set(old, LIVE_RESTORE, &Value::Bool(true));
    let before = settings.get(LIVE_RESTORE);
    let before = before.map(|value| (LIVE_RESTORE.to_owned(), value.clone()));
    let before = Value::Object(before.into_iter().collect());
    Ok(Some((text, format!("{before}\n"))))
}

/// The file with what it said before [`with_live_restore`], if the setting is on; `None` when
/// nothing is left.
pub fn without_live_restore(text: &str, before: &[u8]) -> Result<Option<String>, DaemonJsonError> {
    let (_, settings) = read(Some(text.as_bytes()))?;
    if !is_on(&settings) {
        return Ok(Some(text.to_owned()));
    }
    Ok(match read(Some(before))?.1.get(LIVE_RESTORE) {
        Some(value) => Some(json_text::set(text, LIVE_RESTORE, value)),
        None => json_text::remove(text, LIVE_RESTORE),
    })
}

/// Whether a daemon that starts with this file keeps running containers; no if it cannot read the
/// file.
#[must_use]
pub fn has_live_restore(text: Option<&[u8]>) -> bool {
    read(text).is_ok_and(|(_, settings)| is_on(&settings))
}

fn is_on(settings: &Map<String, Value>) -> bool {
    settings.get(LIVE_RESTORE) == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::daemon_json::{TlsPaths, merge, without};
    use super::super::json_text::tests::object;
    use super::super::tls::DaemonMode;
    use super::*;

    #[test]
    fn live_restore_is_added_and_nothing_else_touched() {
        let with = |text: &str| with_live_restore(Some(text.as_bytes())).unwrap();
        assert_eq!(
            with_live_restore(None).unwrap().unwrap(),
            (
                "{\n  \"live-restore\": true\n}\n".to_owned(),
                "{}\n".to_owned()
            )
        );
        assert_eq!(
            with("{\n\t\"live-restore\": false,\n\t\"debug\": true\n}").unwrap(),
            (
                "{\n\t\"live-restore\": true,\n\t\"debug\": true\n}".to_owned(),
                "{\"live-restore\":false}\n".to_owned()
            )
        );
        assert_eq!(with("{ \"live-restore\":true }"), None);
        assert!(has_live_restore(Some(b"{\"live-restore\": true}")));
        assert!(!has_live_restore(Some(b"{\"live-restore\": true,}")));
        assert!(!has_live_restore(None));
    }

    #[test]
    fn what_was_made_goes_and_what_somebody_has_changed_since_stays() {
        let (made, before) = with_live_restore(None).unwrap().unwrap();
        assert_eq!(without_live_restore(&made, before.as_bytes()), Ok(None));
        let off = "{\"live-restore\": false}".to_owned();
        assert_eq!(without_live_restore(&off, b"{}"), Ok(Some(off.clone())));
        assert!(without_live_restore(&made, b"torn").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// In whatever layout a file is, and with the TLS settings behind it.
        #[test]
        fn a_file_is_given_back_to_the_byte(
            object in object(),
            said in prop::sample::select(vec![None, Some("false")]),
        ) {
            let value = said.map(|text| serde_json::from_str(text).unwrap());
            let old = value.map_or(object.clone(), |value: Value| {
                json_text::set(&object, LIVE_RESTORE, &value)
            });
            let paths = TlsPaths {
                ca: "/d/ca.pem".to_owned(),
                certificate: "/d/cert.pem".to_owned(),
                key: "/d/key.pem".to_owned(),
            };
            let (text, before) = with_live_restore(Some(old.as_bytes())).unwrap().unwrap();
            let text = merge(Some(text.as_bytes()), DaemonMode::TlsVerify, &paths).unwrap().text;
            let text = without(text.as_bytes(), &paths, &[], &[]).unwrap().unwrap();
            prop_assert_eq!(without_live_restore(&text, before.as_bytes()), Ok(Some(old)));
        }
    }
}
