//! Renewal by age: which certificates are due, and what to warn about well before one expires.

use crate::host::address::daemon_address;
use crate::playbook::{Playbook, Renewals};
use time::{Duration, OffsetDateTime};

use super::{Authority, Note, Planner, UnderWay, issued::leaves_of, modes, outside_of};
use docker::tls::DaemonMode;
use inventory::{Host, Inventory, Settings};
use node::facts::NodeFacts;
use pki::{Certificate, Role};

/// Whether a certificate is renewed because of its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    NotDue,
    /// The reason, as the plan shows it.
    Due(String),
    /// It expires within days, and is renewed although the new one expires with the CA soon after:
    /// a new CA is due as well.
    LastTime(String),
    /// It is due, but a new one would expire too soon after it, because the CA expires: a new CA is
    /// due instead.
    EndsWithAuthority,
}

/// A clock is noted if it differs by at least this many seconds.
const SKEW: i64 = 5;
/// A CA that expires within this many days is noted, whatever its validity period.
const AUTHORITY_SOON: i64 = 180;
/// A certificate that expires within this many days is renewed even for the short time that the CA
/// has left: a weekly maintenance window occurs within them.
const LAST_DAYS: i64 = 8;
/// The minimum that such a renewal must gain.
const LEAST_GAIN: Duration = Duration::HOUR;
/// At most this many certificates are named; the others are counted.
const NAMED: usize = 5;

/// Decides it. With a validity period of a year, the last third begins after eight months;
/// `dtls_renew_before` overrides that. The new certificate must expire at least a quarter of
/// `dtls_validity_days` later: no leaf outlives the CA, so near the CA's end every run would renew.
/// In its last days a certificate is renewed for the time that the CA has left, which happens once,
/// because the new one expires with the CA. An expired one is always renewed.
#[must_use]
pub fn renewal(
    certificate: &Certificate,
    settings: &Settings,
    authority: Option<&Certificate>,
    now: OffsetDateTime,
) -> Renewal {
    let end = certificate.not_after();
    if end <= now {
        return Renewal::Due(format!("expired on {}", end.date()));
    }
    let renew_before = settings.renew_before.map(|renew| renew.days);
    let window = renewal_window(certificate.not_before(), end, renew_before);
    let validity = Duration::days(settings.validity_days.into());
    let least = end + validity / 4;
    if now < end - window || now + validity < least {
        return Renewal::NotDue;
    }
    if let Some(authority) = authority.filter(|authority| authority.not_after() < least) {
        let until = authority.not_after();
        if end - now <= Duration::days(LAST_DAYS) && until >= end + LEAST_GAIN {
            return Renewal::LastTime(format!(
                "expires on {}, and the CA on {}: renewed for the last time",
                end.date(),
                until.date()
            ));
        }
        return Renewal::EndsWithAuthority;
    }
    Renewal::Due(format!("expires on {}, due for renewal", end.date()))
}

/// How long before it expires a certificate is due: `dtls_renew_before` in days, or the last third.
#[must_use]
pub fn renewal_window(
    begin: OffsetDateTime,
    end: OffsetDateTime,
    renew_before: Option<u32>,
) -> Duration {
    match renew_before {
        Some(days) => Duration::days(days.into()),
        None => (end - begin) / 3,
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

/// The reason of a certificate that is replaced at once because it was revoked.
#[must_use]
pub fn revoked(authority: &Authority, certificate: &Certificate) -> Option<String> {
    let revocation = authority.ledger.revocation(certificate.serial())?;
    Some(format!("revoked on {}", revocation.at.date()))
}

impl Planner<'_> {
    /// What its age requires in this run.
    pub(super) fn renewal(&self, host: &Host, certificate: &Certificate) -> Renewal {
        // During a rollover, the CA that signed it.
        let rollover = self.rollover.as_ref();
        let authority = rollover
            .and_then(|rollover| rollover.signer_of(certificate))
            .or(self.authority.certificate.as_ref())
            .filter(|_| !self.authority.planned);
        match self.renewals {
            Renewals::Left => Renewal::NotDue,
            Renewals::Due => match revoked(&self.authority, certificate) {
                Some(reason) => Renewal::Due(reason),
                None => renewal(certificate, &host.settings, authority, self.now),
            },
            Renewals::Forced => Renewal::Due("asked for with --force".to_owned()),
        }
    }

    /// A leaf that is due but needs a new CA first.
    pub(super) fn waits_for_authority(&mut self, host: &Host, role: Role) {
        let text = format!("{role} certificate of {}", host.holder());
        if !self.waiting_for_authority.contains(&text) {
            self.waiting_for_authority.push(text);
        }
    }

    /// A leaf that this CA renews for the last time.
    pub(super) fn renewed_for_the_last_time(&mut self, host: &Host, role: Role) {
        let text = format!("{role} certificate of {}", host.holder());
        if !self.last_of_authority.contains(&text) {
            self.last_of_authority.push(text);
        }
    }

    /// Why the CA must be replaced now; none if this run does so.
    #[must_use]
    pub fn rollover_due(&self) -> Option<String> {
        let authority = self.authority.certificate.as_ref()?;
        if self.rolls_over || self.authority.planned || self.authority.problem.is_some() {
            return None;
        }
        let end = authority.not_after();
        let revoked = self.revoked_of_present().len();
        let waiting = self.waiting_for_authority.len() + self.last_of_authority.len();
        if self.rollover.is_some() {
            Some("a rollover of the CA is under way".to_owned())
        } else if end <= self.now {
            Some(format!("the CA has expired on {}", end.date()))
        } else if revoked > 0 {
            Some(format!(
                "{} of it",
                counted(
                    revoked,
                    "revoked certificate is",
                    "revoked certificates are"
                )
            ))
        } else if waiting > 0 {
            Some(format!(
                "{} due, and the CA ends on {}",
                counted(waiting, "certificate is", "certificates are"),
                end.date()
            ))
        } else {
            None
        }
    }

    /// The note about a rollover that this run does not continue.
    fn note_under_way(&self) -> Option<Note> {
        if self.rolls_over {
            return None;
        }
        let found = UnderWay::read(&self.authority, self.rollover.as_ref())?;
        let auto = if self.inventory.ca().settings.auto_ca_rollover {
            "a scheduled dtls-deploy rotate INVENTORY finishes it, too (dtls_auto_ca_rollover)"
        } else {
            "with dtls_auto_ca_rollover: true in the inventory, a schedule finishes it"
        };
        Some(Note {
            danger: false,
            host: self.inventory.ca().name.clone(),
            text: format!("{}; {auto}", found.said()),
        })
    }

    /// How to replace the CA, for a note.
    pub(super) fn advice(&self) -> String {
        if self.inventory.ca().settings.auto_ca_rollover {
            "dtls-deploy rotate INVENTORY replaces the CA (dtls_auto_ca_rollover)".to_owned()
        } else {
            "dtls-deploy rotate --ca INVENTORY; with dtls_auto_ca_rollover: true in the inventory, a schedule does it".to_owned()
        }
    }

    /// Whether the daemon may be restarted now for a renewal; notes it if not.
    pub(super) fn may_restart(&mut self, host: &Host, reason: &str) -> bool {
        let Some(window) = &host.settings.maintenance_window else {
            return true;
        };
        if self.renewals == Renewals::Forced || window.is_open(self.now) {
            return true;
        }
        let opens = window.opens_next(self.now).unwrap_or_default();
        let text = format!(
            "its daemon certificate {reason}: it waits for the maintenance window {window}, which opens on {opens}; rotate --force does not wait"
        );
        self.note(host, text);
        false
    }

    /// Notes a restart outside the maintenance window.
    pub(crate) fn note_closed_window(&mut self, host: &Host) {
        if let Some(window) = &host.settings.maintenance_window
            && !window.is_open(self.now)
            && !self.keeps_windows
        {
            let text = format!(
                "docker is restarted outside of its maintenance window {window}: only rotate without --force keeps to it"
            );
            self.note(host, text);
        }
    }

    /// The notes of every run, whatever it does.
    #[must_use]
    pub(crate) fn early_warnings(&self, playbook: &Playbook) -> Vec<Note> {
        let mut notes = clocks(self.inventory, |host| self.facts.get(host));
        let ca = self.inventory.ca();
        let authority = self.authority.certificate.as_ref();
        if let Some(authority) = authority.filter(|_| !self.authority.planned) {
            let text = if self.waiting_for_authority.is_empty() && self.last_of_authority.is_empty()
            {
                // A run that replaces it needs no advice to do so.
                let warning = authority_warning(authority, self.inventory, self.now);
                warning.filter(|_| !self.rolls_over)
            } else {
                Some(self.overdue(authority))
            };
            notes.extend(self.note_revoked(playbook));
            notes.extend(self.note_lost_marks());
            notes.extend(self.note_under_way());
            notes.extend(self.note_outside());
            notes.extend(text.map(|text| Note {
                danger: false,
                host: ca.name.clone(),
                text,
            }));
        }
        notes.extend(self.note_former_roles());
        notes.extend(self.open_daemons());
        notes.extend(modes::notes(self.inventory));
        notes
    }

    /// Notes accepted clients that are not in the inventory. A rollover reports them itself.
    fn note_outside(&self) -> Option<Note> {
        const NAMED: usize = 5;
        let mut outside = outside_of(&self.authority, self.inventory, self.now);
        outside.retain(|one| one.role == Role::Client);
        let first = outside.first().filter(|_| !self.rolls_over)?;
        // A guard rejects certificates that its policy does not name.
        let accepts =
            |daemon: &Host| !daemon.is_guarded() || daemon.settings.guard_default.is_some();
        let accepting: Vec<&str> = self
            .inventory
            .daemons()
            .filter(|daemon| accepts(daemon))
            .map(|daemon| daemon.name.as_str())
            .collect();
        let who = match accepting.len() {
            0 => return None,
            count if count == self.inventory.daemons().count() => "every daemon accepts".to_owned(),
            1 => format!("{} accepts", accepting.join("")),
            _ => format!("{} accept", accepting.join(", ")),
        };
        let named = outside.iter().take(NAMED);
        let mut named: Vec<String> = named
            .map(|one| format!("{} (valid until {})", one.host, one.until))
            .collect();
        if outside.len() > NAMED {
            named.push(format!("{} more", outside.len() - NAMED));
        }
        Some(Note {
            danger: false,
            host: self.inventory.ca().name.clone(),
            text: format!(
                "{who} clients that are not in the inventory: {}. To reject one, run dtls-deploy revoke INVENTORY {}",
                named.join(", "),
                first.host
            ),
        })
    }

    /// Daemons that the inventory declares open to everyone.
    fn open_daemons(&self) -> impl Iterator<Item = Note> {
        let daemons = self.inventory.daemons();
        daemons
            .filter(|daemon| daemon.settings.daemon_mode == DaemonMode::Tls)
            .map(|daemon| Note {
                danger: true,
                host: daemon.name.clone(),
                text: format!(
                    "ANYONE WHO CAN CONNECT TO {} IS ROOT ON THIS HOST: with dtls_daemon_mode: tls Docker asks for no certificate",
                    daemon_address(daemon).url()
                ),
            })
    }

    fn overdue(&self, authority: &Certificate) -> String {
        let is_last = self.waiting_for_authority.is_empty();
        let waiting = if is_last {
            &self.last_of_authority
        } else {
            &self.waiting_for_authority
        };
        let mut named = waiting.iter().take(NAMED).cloned().collect::<Vec<_>>();
        if waiting.len() > NAMED {
            named.push(format!("{} more", waiting.len() - NAMED));
        }
        let (what, which) = match waiting.len() {
            1 => ("1 certificate is".to_owned(), "a new one"),
            count => (format!("{count} certificates are"), "new ones"),
        };
        let (named, end) = (named.join(", "), authority.not_after().date());
        if self.rollover.is_some() {
            return format!(
                "{what} due ({named}), and {which} would end with the CA, on {end}: the rollover of the CA that is under way has to come to its end before that day: dtls-deploy rotate --ca INVENTORY goes on with it"
            );
        }
        let gains = if is_last {
            format!("renewed for the last time, until {end}, when the CA ends")
        } else {
            format!("and {which} would end with the CA, on {end}, too soon to be worth a restart")
        };
        format!(
            "{what} due ({named}), {gains}: A NEW CA IS DUE before that day: {}",
            self.advice()
        )
    }
}

/// Clocks that differ from this machine's, of hosts whose facts are known.
#[must_use]
pub fn clocks<'a>(
    inventory: &Inventory,
    facts: impl Fn(&str) -> Option<&'a NodeFacts>,
) -> Vec<Note> {
    let hosts = inventory.hosts.iter();
    hosts
        .filter_map(|host| {
            let skew = facts(&host.name)?.skew;
            (skew.abs() >= SKEW).then(|| Note {
                danger: false,
                host: host.name.clone(),
                text: format!("its clock is {} this machine's", super::clocks::apart(skew)),
            })
        })
        .collect()
}

/// The CA expires soon, or so soon that it shortens what it issues now.
#[must_use]
pub fn authority_warning(
    authority: &Certificate,
    inventory: &Inventory,
    now: OffsetDateTime,
) -> Option<String> {
    let end = authority.not_after();
    let rest = end - now;
    if rest <= Duration::ZERO {
        return Some(format!(
            "THE CA HAS EXPIRED on {}: certificates that it issued are rejected; dtls-deploy rotate --ca INVENTORY replaces it",
            end.date()
        ));
    }
    let longest = leaves_of(inventory)
        .iter()
        .map(|(host, _)| host.settings.validity_days)
        .max()?;
    let days = rest.whole_days();
    let ends = format!("the CA ends on {}, in {days} days", end.date());
    // A CA and leaves of the same validity period are not noted in their first quarter.
    if rest < Duration::days(longest.into()) * 3 / 4 {
        return Some(format!(
            "{ends}: a certificate issued now is good until then and not for {longest} days; replace the CA before that day: dtls-deploy rotate --ca INVENTORY"
        ));
    }
    let third: Duration = (end - authority.not_before()) / 3;
    let soon = third.min(Duration::days(AUTHORITY_SOON));
    (rest < soon)
        .then(|| format!("{ends}: replace it before that day: dtls-deploy rotate --ca INVENTORY"))
}

/// What another playbook would also change: noted, and left to that playbook.
///
/// `others` is its plan without renewals, `own` the plan of this run.
#[must_use]
pub(crate) fn left_to_deploy(
    own: &super::Plan,
    others: &super::Plan,
    inventory: &Inventory,
) -> Vec<Note> {
    let is_own = |host: &str, subject: &str| {
        own.changes()
            .any(|change| change.host == host && change.subject == subject)
    };
    let count = |host: &Host| {
        others
            .changes()
            .filter(|change| change.host == host.name && !is_own(&change.host, &change.subject))
            .count()
    };
    inventory
        .hosts
        .iter()
        .filter_map(|host| {
            let text = match count(host) {
                0 => return None,
                1 => "1 other change is due there, which deploy makes".to_owned(),
                count => format!("{count} other changes are due there, which deploy makes"),
            };
            Some(Note {
                danger: false,
                host: host.name.clone(),
                text,
            })
        })
        .collect()
}
