//! Age: which certificates are to be renewed because of it, and what has to
//! be said well before one runs out.
//!
//! Comes in: a certificate, its host's settings, the CA, the time. Goes out: a
//! [`Renewal`], or a text. Called where leaves are decided about, by every plan
//! for its notes, and by `status`.

use time::{Duration, OffsetDateTime};

use super::{Authority, Note, Planner, Refusal, issued::leaves_of};
use crate::docker::tls::DaemonMode;
use crate::inventory::{Host, Inventory, Settings};
use crate::node::facts::NodeFacts;
use crate::pki::{Certificate, Role};

/// What a run does about the age of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Renewals {
    /// Those that are due are renewed, where that gains something.
    #[default]
    Due,
    /// All are renewed, and no maintenance window is kept to.
    Forced,
    /// None is: it is another run's business.
    Left,
}

/// Whether a certificate is to be renewed for its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    NotDue,
    /// The reason, in words for the plan.
    Due(String),
    /// It is due, and a new one would end too soon after it, because the CA
    /// ends: what is due is a new CA.
    EndsWithAuthority,
}

/// A clock that differs by so many seconds is worth a word.
const SKEW: i64 = 5;
/// A CA that ends within so many days is worth a word, however long it lives.
const AUTHORITY_SOON: i64 = 180;
/// So many certificates are named; the others are counted.
const NAMED: usize = 5;

/// Decides it. Of one with a life of a year the last third begins after eight
/// months; `dtls_renew_before` says another day. A new one has to end at least
/// a quarter of `dtls_validity_days` later: near the end of the CA, which no
/// leaf outlives, every run would renew otherwise. An expired one is renewed
/// whatever that gains.
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
    let window = match settings.renew_before {
        Some(renew) => Duration::days(renew.days.into()),
        None => (end - certificate.not_before()) / 3,
    };
    let validity = Duration::days(settings.validity_days.into());
    let least = end + validity / 4;
    if now < end - window || now + validity < least {
        return Renewal::NotDue;
    }
    if authority.is_some_and(|authority| authority.not_after() < least) {
        return Renewal::EndsWithAuthority;
    }
    Renewal::Due(format!("expires on {}, due for renewal", end.date()))
}

impl Planner<'_> {
    /// What age asks for, in this run.
    pub(super) fn renewal(&self, host: &Host, certificate: &Certificate) -> Renewal {
        // In a rollover, the one of the two that it is of.
        let rollover = self.rollover.as_ref();
        let authority = rollover
            .and_then(|rollover| rollover.signer_of(certificate))
            .or(self.authority.certificate.as_ref())
            .filter(|_| !self.authority.planned);
        match self.renewals {
            Renewals::Left => Renewal::NotDue,
            Renewals::Due => renewal(certificate, &host.settings, authority, self.now),
            Renewals::Forced => Renewal::Due("asked for with --force".to_owned()),
        }
    }

    /// A leaf that is due, and that a new CA has to come first for.
    pub(super) fn waits_for_authority(&mut self, host: &Host, role: Role) {
        let text = format!("{role} certificate of {}", host.holder());
        if !self.waiting_for_authority.contains(&text) {
            self.waiting_for_authority.push(text);
        }
    }

    /// Whether the daemon may be restarted now for a renewal; says when not.
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

    /// A restart that is made all the same.
    pub fn note_closed_window(&mut self, host: &Host) {
        if let Some(window) = &host.settings.maintenance_window
            && !window.is_open(self.now)
        {
            let text = format!(
                "docker is restarted outside of its maintenance window {window}: only rotate without --force keeps to it"
            );
            self.note(host, text);
        }
    }

    /// What every run says, whatever it does.
    pub(super) fn early_warnings(&self) -> Vec<Note> {
        let mut notes = clocks(self.inventory, |host| self.facts.get(host));
        let ca = self.inventory.ca();
        let authority = self.authority.certificate.as_ref();
        if let Some(authority) = authority.filter(|_| !self.authority.planned) {
            let text = if self.waiting_for_authority.is_empty() {
                authority_warning(authority, self.inventory, self.now)
            } else {
                Some(self.overdue(authority))
            };
            notes.extend(text.map(|text| Note {
                danger: false,
                host: ca.name.clone(),
                text,
            }));
        }
        notes.extend(self.open_daemons());
        notes
    }

    /// Daemons that take commands from everybody, as declared.
    fn open_daemons(&self) -> impl Iterator<Item = Note> {
        let daemons = self.inventory.daemons();
        daemons
            .filter(|daemon| daemon.settings.daemon_mode == DaemonMode::Tls)
            .map(|daemon| Note {
                danger: true,
                host: daemon.name.clone(),
                text: format!(
                    "EVERYBODY WHO REACHES {} IS ROOT ON THIS HOST: with dtls_daemon_mode: tls docker asks nobody for a certificate",
                    super::daemon_address(daemon).url()
                ),
            })
    }

    fn overdue(&self, authority: &Certificate) -> String {
        let waiting = &self.waiting_for_authority;
        let mut named = waiting.iter().take(NAMED).cloned().collect::<Vec<_>>();
        if waiting.len() > NAMED {
            named.push(format!("{} more", waiting.len() - NAMED));
        }
        let (what, which) = match waiting.len() {
            1 => ("1 certificate is".to_owned(), "a new one"),
            count => (format!("{count} certificates are"), "new ones"),
        };
        format!(
            "{what} due ({}), and {which} would end with the CA, on {}, too soon to be worth a restart: A NEW CA IS DUE before that day: dtls-deploy rotate --ca",
            named.join(", "),
            authority.not_after().date()
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
                text: format!(
                    "its clock is {} this machine's",
                    super::preflight::apart(skew)
                ),
            })
        })
        .collect()
}

/// The CA ends soon, or so soon that it cuts short what it issues now.
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
            "THE CA HAS EXPIRED on {}: nothing that it has issued is accepted any more",
            end.date()
        ));
    }
    let longest = leaves_of(inventory)
        .iter()
        .map(|(host, _)| host.settings.validity_days)
        .max()?;
    let days = rest.whole_days();
    let ends = format!("the CA ends on {}, in {days} days", end.date());
    // A CA and leaves of the same life say nothing in their first quarter.
    if rest < Duration::days(longest.into()) * 3 / 4 {
        return Some(format!(
            "{ends}: a certificate issued now is good until then and not for {longest} days; replace the CA before that day: dtls-deploy rotate --ca"
        ));
    }
    let third: Duration = (end - authority.not_before()) / 3;
    let soon = third.min(Duration::days(AUTHORITY_SOON));
    (rest < soon).then(|| format!("{ends}: replace it before that day: dtls-deploy rotate --ca"))
}

/// What another playbook would change besides: said, and left to it.
///
/// `others` is its plan without renewals, `own` the plan of this run.
pub(super) fn left_to_deploy(
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

/// The CA of a run, where it can be used to look at certificates.
///
/// # Errors
/// When it cannot.
pub(super) fn usable(authority: &Authority) -> Result<(), Refusal> {
    match &authority.problem {
        Some(problem) => Err(Refusal::new(problem.to_string()).hint(problem.hint())),
        None => Ok(()),
    }
}
