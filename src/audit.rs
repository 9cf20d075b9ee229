//! Audit: who requested what from the daemons, as the journals of their guards say.
//!
//! Reads only, in one round trip to each daemon.

use std::time::{Duration, Instant};

use serde_json::Value;
use time::OffsetDateTime;

use base::event::{Audited, Event, FailureKind};
use inventory::Host;
use node::facts::FactRequest;
use run::Exit;
use run::look::Look;
use run::session::close;

/// What of the logs is wanted.
#[derive(Debug)]
pub struct Filter {
    pub since: Duration,
    pub identity: Option<String>,
    pub denied: bool,
    /// Entries of each daemon.
    pub count: u32,
}

#[derive(Debug)]
pub struct Audit<'a> {
    pub look: Look<'a>,
    pub filter: Filter,
}

impl Audit<'_> {
    pub async fn collect(&self) -> Exit {
        let begun = Instant::now();
        let listed = self.look.playbook.limited(self.look.inventory);
        let daemons: Vec<&Host> = listed.daemons().collect();
        self.look.announce_for("audit", &daemons);
        let wanted: Vec<(&Host, FactRequest)> = daemons
            .iter()
            .map(|daemon| (*daemon, self.request()))
            .collect();
        let gathered = self.look.gather_only(&wanted).await;
        let mut entries: Vec<Audited> = Vec::new();
        for daemon in &daemons {
            let Some(facts) = gathered.facts.get(&daemon.name) else {
                continue;
            };
            let own = entries_of(&daemon.name, &facts.audit);
            let is_cut = u32::try_from(own.len()).is_ok_and(|count| count >= self.filter.count);
            let text = if is_cut {
                format!(
                    "only its newest {} entries are listed: -n lists more, and --since a shorter time",
                    self.filter.count
                )
            } else if own.is_empty() && !daemon.is_guarded() {
                "it has no guard, and so no audit log: dtls_guard is not true".to_owned()
            } else {
                String::new()
            };
            if !text.is_empty() {
                self.look.events.emit(Event::Warning {
                    host: Some(daemon.name.clone()),
                    text,
                });
            }
            entries.extend(own);
        }
        entries.sort_by(|left, right| (left.at, &left.host).cmp(&(right.at, &right.host)));
        let count = entries.len();
        for entry in entries {
            self.look.events.emit(Event::Audited(Box::new(entry)));
        }
        self.look.events.emit(Event::Audit {
            entries: count,
            milliseconds: begun.elapsed().as_millis(),
        });
        let missing = gathered.kinds();
        close(&gathered.nodes).await;
        let unreachable = |kind: &FailureKind| *kind == FailureKind::Unreachable;
        if missing.values().any(|kind| !unreachable(kind)) {
            Exit::Failed
        } else if missing.is_empty() {
            Exit::Fine
        } else {
            Exit::Unreachable
        }
    }

    fn request(&self) -> FactRequest {
        let which = if self.filter.denied { "denied" } else { "all" };
        FactRequest {
            audit: Some([
                self.filter.since.as_secs().to_string(),
                self.filter.count.to_string(),
                self.filter.identity.clone().unwrap_or_default(),
                which.to_owned(),
            ]),
            ..FactRequest::default()
        }
    }
}

/// What journalctl printed: a JSON object a line. One that cannot be read is left out.
fn entries_of(host: &str, journal: &[u8]) -> Vec<Audited> {
    let lines = journal.split(|byte| *byte == b'\n');
    let values = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let entries = values.filter_map(|value| {
        let text = |field: &str| Some(value.get(field)?.as_str()?.to_owned());
        let microseconds: i128 = text("__REALTIME_TIMESTAMP")?.parse().ok()?;
        let at = OffsetDateTime::from_unix_timestamp_nanos(microseconds.checked_mul(1000)?);
        Some(Audited {
            host: host.to_owned(),
            at: at.ok()?,
            decision: text("DTLS_DECISION"),
            reason: text("DTLS_REASON"),
            identity: text("DTLS_IDENTITY"),
            role: text("DTLS_ROLE"),
            serial: text("DTLS_SERIAL"),
            method: text("DTLS_METHOD"),
            path: text("DTLS_PATH"),
            message: text("MESSAGE").unwrap_or_default(),
        })
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::entries_of;

    #[test]
    fn entries_are_read_and_what_is_none_is_left_out() {
        let journal = br#"{"__REALTIME_TIMESTAMP":"1800000000123456","DTLS_DECISION":"rejected","DTLS_REASON":"revoked","DTLS_IDENTITY":"laptop","DTLS_METHOD":"GET","DTLS_PATH":"/info","MESSAGE":"rejected GET /info for laptop (revoked)"}
not JSON
{"MESSAGE":"no time"}
{"__REALTIME_TIMESTAMP":"99999999999999999999999999999999999999","MESSAGE":"too late"}
{"__REALTIME_TIMESTAMP":"1800000001000000","MESSAGE":[1,2]}
"#;
        let entries = entries_of("docker1", journal);
        assert_eq!(entries.len(), 2, "{entries:?}");
        let first = &entries[0];
        assert_eq!(first.identity.as_deref(), Some("laptop"));
        assert_eq!(first.at.to_string(), "2027-01-15 8:00:00.123456 +00:00:00");
        assert_eq!((first.serial.as_ref(), first.role.as_ref()), (None, None));
        assert_eq!(
            (entries[1].decision.as_ref(), entries[1].message.as_str()),
            (None, "")
        );
    }
}
