//! The status as one HTML page, for example for an auditor.
//!
//! The page loads nothing from elsewhere, and every text in it is cleaned and escaped in one place,
//! [`render`]. Pure.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::value::{Serde, Value};
use minijinja::{Environment, UndefinedBehavior, escape_formatter};
use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::StatusReport;
use super::holders::Holder;
use base::event::{
    CertificateCounts, CertificateRole, CertificateState, CertificateStatus, CertificateText,
};
use node::visible;
use plan::renewal_window;
use run::report::contexts::Contexts;

/// The name ends in .html, so that minijinja escapes values.
const NAME: &str = "page.html";
const TEMPLATE: &str = include_str!("page.html");
/// Units of a bar's whole width.
const WIDTH: i64 = 1000;
/// The timeline extends at most this far into the past and the future, whatever a certificate says.
const PAST: Duration = Duration::days(2 * 365);
const FUTURE: Duration = Duration::days(3 * 365);

#[derive(Serialize)]
struct Page<'a> {
    verdict: &'static str,
    /// A CSS class.
    tone: &'static str,
    inventory: &'a str,
    written: String,
    version: &'static str,
    answered: usize,
    inventory_hosts: usize,
    /// Hosts that did not answer.
    silent: Vec<&'a str>,
    /// State, meaning and number.
    counts: Vec<(&'static str, &'static str, usize)>,
    scale: Scale,
    sections: [Section; 2],
    authorities: Vec<Authority<'a>>,
    /// Daemons that accept clients without a certificate.
    open: Vec<&'a str>,
    /// Holders whose CA bundle could not be read.
    unread: Vec<String>,
}

#[derive(Serialize)]
struct Section {
    title: &'static str,
    rows: Vec<Row>,
}

/// A certificate in one place.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    one: CertificateStatus,
    holder_name: String,
    validity: Option<Validity>,
}

/// The dates of a certificate, and its bar.
#[derive(Serialize)]
struct Validity {
    begin: String,
    end: String,
    /// When it becomes due; none for a CA.
    due: Option<String>,
    days_left: i64,
    bar: (i64, i64),
    window: (i64, i64),
}

/// A generation of the CA, or a foreign one.
#[derive(Default, Serialize)]
struct Authority<'a> {
    subject: &'a str,
    kind: &'static str,
    begin: Option<String>,
    end: Option<String>,
    /// Daemons that accept its clients.
    daemons: BTreeSet<&'a str>,
    /// Clients that accept its daemons.
    clients: BTreeSet<&'a str>,
    issued_daemons: BTreeSet<String>,
    issued_clients: BTreeSet<String>,
}

/// The timeline.
#[derive(Serialize)]
struct Scale {
    begin: OffsetDateTime,
    end: OffsetDateTime,
    first: String,
    last: String,
    today: String,
    now: i64,
}

/// The page's text.
pub fn page(
    found: &StatusReport,
    inventory: &str,
    now: OffsetDateTime,
) -> Result<String, minijinja::Error> {
    let counts = CertificateCounts::of(&found.certificates);
    let hosts = &found.hosts;
    let silent = hosts.iter().filter(|(_, up)| !up);
    let silent: Vec<&str> = silent.map(|(name, _)| name.as_str()).collect();
    let answered = hosts.len() - silent.len();
    let (verdict, tone) = verdict(&counts, answered >= found.inventory_hosts);
    let scale = Scale::of(&found.certificates, now);
    let sections = sections(found, &scale);
    let holders = found.holders.iter();
    let open = holders.clone().filter(|holder| holder.accepts_anyone);
    let unread = holders.filter(|holder| holder.trusts.is_none());
    render(&Page {
        verdict,
        tone,
        inventory,
        written: format!("{} {:02}:{:02} UTC", now.date(), now.hour(), now.minute()),
        version: env!("CARGO_PKG_VERSION"),
        answered,
        inventory_hosts: found.inventory_hosts,
        silent,
        counts: counted(&counts),
        scale,
        sections,
        authorities: authorities(found),
        open: open.map(|holder| holder.name.as_str()).collect(),
        unread: unread
            .map(|holder| format!("{} ({})", holder.name, holder.role.word()))
            .collect(),
    })
}

/// Whatever a node has reported, a reader sees it and a browser interprets none of it.
fn render(page: &Page<'_>) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(text) => escape_formatter(out, state, &Value::from(visible(text))),
        None => escape_formatter(out, state, value),
    });
    environment.render_named_str(NAME, TEMPLATE, Serde(page))
}

fn date(time: OffsetDateTime) -> String {
    time.date().to_string()
}

fn verdict(counts: &CertificateCounts, all_checked: bool) -> (&'static str, &'static str) {
    if counts.revoked + counts.expired + counts.broken > 0 {
        ("Action is required", "bad")
    } else if counts.unknown > 0 || !all_checked {
        ("Some certificates were not checked", "warn")
    } else if counts.due > 0 {
        ("Changes are due", "warn")
    } else {
        ("No action is needed", "fine")
    }
}

fn counted(counts: &CertificateCounts) -> Vec<(&'static str, &'static str, usize)> {
    use CertificateState::{Broken, Due, Expired, Fine, Revoked, Unknown, Unlisted};
    let all = [
        (Revoked, "revoked and still accepted", counts.revoked),
        (Expired, "expired", counts.expired),
        (Broken, "missing or not working", counts.broken),
        (Unknown, "could not be checked", counts.unknown),
        (Due, "renewal or change due", counts.due),
        (Unlisted, "no longer in the inventory", counts.unlisted),
        (Fine, "fine", counts.fine),
    ];
    let all = all.into_iter().filter(|(.., count)| *count > 0);
    all.map(|(state, meaning, count)| (state.word(), meaning, count))
        .collect()
}

/// HOST, or NAME@HOST for an identity.
fn holder_name(one: &CertificateStatus) -> String {
    match &one.identity {
        Some(identity) => format!("{identity}@{}", one.host),
        None => one.host.clone(),
    }
}

fn sections<'a>(found: &'a StatusReport, scale: &Scale) -> [Section; 2] {
    let days = |holder: &'a Holder| ((holder.name.as_str(), holder.role), holder.renew_before);
    let days: BTreeMap<_, _> = found.holders.iter().map(days).collect();
    let contexts = Contexts::of(&found.contexts);
    let rows = found.certificates.iter().map(|one| {
        let mut one = one.clone();
        contexts.name_in(&mut one);
        let holder_name = holder_name(&one);
        let days = days.get(&(holder_name.as_str(), one.role));
        let days = days.copied().flatten();
        let text = one.certificate.as_ref();
        let validity = text.map(|text| Validity::of(text, one.role, days, scale));
        Row {
            one,
            holder_name,
            validity,
        }
    });
    let (fine, findings) = rows.partition(|row| row.one.state == CertificateState::Fine);
    [("Findings", findings), ("Certificates that are fine", fine)]
        .map(|(title, rows)| Section { title, rows })
}

impl Validity {
    fn of(
        text: &CertificateText,
        role: CertificateRole,
        renew_before: Option<u32>,
        scale: &Scale,
    ) -> Self {
        let (begin, end) = (text.not_before, text.not_after);
        let due = (role != CertificateRole::Ca)
            .then(|| end.checked_sub(renewal_window(begin, end, renew_before)))
            .flatten();
        let part = |from, to| {
            let from = scale.at(from);
            (from, (scale.at(to) - from).max(2))
        };
        Self {
            begin: date(begin),
            end: date(end),
            due: due.map(date),
            days_left: text.days_left,
            bar: part(begin, end),
            window: due.map_or((0, 0), |due| part(due.max(begin), end)),
        }
    }
}

impl Scale {
    /// Covers the validity of daemons' and clients' certificates; that of a CA extends past it.
    fn of(certificates: &[CertificateStatus], now: OffsetDateTime) -> Self {
        let leaves = certificates
            .iter()
            .filter(|one| one.role != CertificateRole::Ca);
        let leaves = leaves.filter_map(|one| one.certificate.as_ref());
        let (mut begin, mut end) = (now - Duration::DAY, now + Duration::DAY);
        for text in leaves {
            begin = begin.min(text.not_before.max(now - PAST));
            end = end.max(text.not_after.min(now + FUTURE));
        }
        let mut scale = Self {
            begin,
            end,
            first: date(begin),
            last: date(end),
            today: date(now),
            now: 0,
        };
        scale.now = scale.at(now);
        scale
    }

    fn at(&self, time: OffsetDateTime) -> i64 {
        let whole = (self.end - self.begin).whole_seconds().max(1);
        let part = (time - self.begin).whole_seconds();
        (part.saturating_mul(WIDTH) / whole).clamp(0, WIDTH)
    }
}

/// Every CA that issued something or that a host trusts, the present one first.
fn authorities(found: &StatusReport) -> Vec<Authority<'_>> {
    let mut present = found.certificates.iter();
    let present = present.find(|one| one.role == CertificateRole::Ca);
    let present = present.and_then(|one| one.certificate.as_ref());
    let known = [("current CA", present), ("next CA", found.next.as_ref())];
    let known = known
        .into_iter()
        .filter_map(|(kind, text)| Some((kind, text?)));
    let mut all: BTreeMap<&str, Authority<'_>> = BTreeMap::new();
    for holder in &found.holders {
        for subject in holder.trusts.iter().flatten() {
            let trusted = entry(&mut all, subject);
            let trusting = match holder.role {
                CertificateRole::Daemon => &mut trusted.daemons,
                CertificateRole::Client | CertificateRole::Ca => &mut trusted.clients,
            };
            trusting.insert(&holder.name);
        }
    }
    for one in &found.certificates {
        // A certificate that does not work shows nothing about its issuer.
        let broken = [CertificateState::Broken, CertificateState::Expired].contains(&one.state);
        if let Some(text) = one.certificate.as_ref().filter(|_| !broken) {
            let issuer = &text.issuer;
            match one.role {
                CertificateRole::Daemon => &mut entry(&mut all, issuer).issued_daemons,
                CertificateRole::Client => &mut entry(&mut all, issuer).issued_clients,
                CertificateRole::Ca => continue,
            }
            .insert(holder_name(one));
        }
    }
    let mut sorted = Vec::new();
    for (kind, text) in known {
        entry(&mut all, &text.subject);
        sorted.extend(all.remove(text.subject.as_str()).map(|one| Authority {
            kind,
            begin: Some(date(text.not_before)),
            end: Some(date(text.not_after)),
            ..one
        }));
    }
    sorted.extend(all.into_values());
    sorted
}

fn entry<'a, 'b>(
    all: &'b mut BTreeMap<&'a str, Authority<'a>>,
    subject: &'a str,
) -> &'b mut Authority<'a> {
    all.entry(subject).or_insert_with(|| Authority {
        subject,
        kind: "another CA",
        ..Authority::default()
    })
}
