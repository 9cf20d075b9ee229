//! The rows of `status`: what is on the nodes, and what the ledger lists.

use std::collections::BTreeSet;

use super::judge::{Faults, Judged, age, days_left, judge, text, used};
use base::event::{
    CertificateRole, CertificateSource, CertificateState, CertificateStatus, CertificateText,
};
use inventory::{ClientEnv, Host, Inventory, host_of, identity_of};
use node::facts::{FactRequest, FileFact, NodeFacts};
use pki::{Certificate, Entry, Role};
use plan::host::client::{context_name, context_paths};
use plan::host::leaf::location as leaf_location;
use plan::{
    Authority, AuthorityProblem, FormerRole, Renewal, Rollover, UPDATE_POLICIES, UnderWay,
    authority_warning, deploy_or_drop, former_roles, is_undeployed, leaves_of, left_keys,
    look_at_leaf, lost_since, request_leaf, request_undeployed, unnamed,
};
use run::look::Observation;

/// Requests what `status` needs in addition to verification.
pub(super) fn request(inventory: &Inventory, host: &Host, request: &mut FactRequest) {
    request_undeployed(host, request);
    for (holder, role) in leaves(host) {
        request_leaf(holder, role, request);
    }
    if host.is_ca {
        Authority::request_retired(inventory, request);
    }
    // Whether a daemon has read its CA bundle, and the step of a rollover.
    Rollover::request(inventory, host, request);
    for holder in host.certificate_holders().filter(|of| has_contexts(of)) {
        for daemon in inventory.daemons() {
            let tls = context_paths(holder, daemon).tls;
            for name in ["ca.pem", "cert.pem"] {
                request.bundles.insert(format!("{tls}/{name}"));
            }
            request.hashed.insert(format!("{tls}/key.pem"));
        }
    }
}

/// What lies on the nodes, and what the ledger remembers.
pub(super) fn all(observed: &Observation<'_>, listed: &Inventory) -> Vec<CertificateStatus> {
    let mut rows = vec![authority(observed)];
    rows.extend(listed.hosts.iter().flat_map(|one| host(observed, one)));
    rows.extend(unlisted(observed));
    add_rejections(observed, listed, &mut rows);
    rows
}

/// The leaves of a host: of its daemon, its client and each of its identities.
fn leaves(host: &Host) -> impl Iterator<Item = (&Host, Role)> {
    let daemon = host.is_daemon.then_some((host, Role::Daemon));
    let clients = host.certificate_holders().map(|of| (of, Role::Client));
    daemon.into_iter().chain(clients)
}

fn has_contexts(host: &Host) -> bool {
    host.settings.client_env.contains(&ClientEnv::Context)
}

pub(super) const fn role_of(role: Role) -> CertificateRole {
    match role {
        Role::Daemon => CertificateRole::Daemon,
        Role::Client => CertificateRole::Client,
    }
}

/// The CA itself.
fn authority(observed: &Observation<'_>) -> CertificateStatus {
    let ca = observed.inventory.ca();
    let facts = observed.facts.get(&ca.name);
    let path = |name: &str| {
        let path = format!("{}/{name}", ca.settings.ca_dir);
        facts.map_or_else(|| path.clone(), |facts| facts.expand(&path))
    };
    let certificate = observed.authority.certificate.as_ref();
    let mut faults = Faults::default();
    if let Some(problem) = &observed.authority.problem {
        let is_unknown = matches!(
            problem,
            AuthorityProblem::Unreachable(_) | AuthorityProblem::Unreadable(_)
        );
        let of = if is_unknown {
            &mut faults.unknown
        } else {
            &mut faults.broken
        };
        of.push(problem.to_string());
    } else if certificate.is_none() {
        faults.broken.push("none present".to_owned());
    }
    let left = left_keys(
        &observed.authority,
        observed.inventory,
        &observed.facts,
        observed.now,
    );
    for key in left {
        faults.drift.push(key.described());
        faults.drift.extend(key.removal());
    }
    let warning =
        certificate.and_then(|ca| authority_warning(ca, observed.inventory, observed.now));
    // As long as there is a problem, a rollover does not go on.
    let next = match &observed.authority.problem {
        Some(problem) => Some(problem.hint()),
        None => under_way(observed).map(|found| found.said()),
    };
    let due: Vec<String> = next.into_iter().chain(warning).collect();
    let renewal = if due.is_empty() {
        Renewal::NotDue
    } else {
        Renewal::Due(due.join("; "))
    };
    let judged = judge(certificate, faults, renewal, observed.now);
    CertificateStatus {
        host: ca.name.clone(),
        identity: None,
        role: CertificateRole::Ca,
        source: CertificateSource::Disk,
        place: path("ca.pem"),
        holder: facts.map_or_else(unknown, |facts| holder(facts, ca, &path("ca-key.pem"))),
        state: judged.state,
        drift: judged.drift,
        allowed: None,
        due: judged.due,
        certificate: certificate.map(|certificate| text(certificate, observed.now)),
    }
}

/// A rollover that was not finished.
fn under_way(observed: &Observation<'_>) -> Option<UnderWay> {
    let (authority, inventory) = (&observed.authority, observed.inventory);
    let rollover = Rollover::read(authority, inventory, &observed.facts, observed.now);
    UnderWay::read(authority, rollover.as_ref())
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The account that owns the key.
fn holder(facts: &NodeFacts, host: &Host, key: &str) -> String {
    match facts.file(key) {
        Some(FileFact::File(file)) => format!("{} on {}", file.owner, host.name),
        Some(FileFact::Absent) | None => "no one: the key is missing".to_owned(),
        Some(_) => unknown(),
    }
}

/// Everything that lies on a host for its daemon and its client.
fn host(observed: &Observation<'_>, host: &Host) -> Vec<CertificateStatus> {
    let mut rows = Vec::new();
    let facts = observed.facts.get(&host.name);
    for (holder, role) in leaves(host) {
        rows.push(match facts {
            Some(facts) => pair(observed, facts, holder, role),
            None => unseen(observed, holder, role),
        });
    }
    let holders = host.certificate_holders().filter(|of| has_contexts(of));
    for (holder, facts) in holders.filter_map(|of| Some((of, facts?))) {
        for daemon in observed.inventory.daemons() {
            rows.push(context(observed, facts, holder, daemon));
        }
    }
    rows
}

fn pair(
    observed: &Observation<'_>,
    facts: &NodeFacts,
    host: &Host,
    role: Role,
) -> CertificateStatus {
    let (directory, files) = leaf_location(host, role);
    let looked = look_at_leaf(facts, host, role, &observed.authority);
    let certificate = looked.certificate.as_deref();
    let said = |is_unknown: bool| {
        let faults = looked.broken.iter();
        let faults = faults.filter(|fault| fault.is_unknown() == is_unknown);
        faults.map(ToString::to_string).collect()
    };
    let mut faults = Faults {
        broken: said(false),
        unknown: said(true),
        drift: looked.drift.clone(),
    };
    let key = facts.regular(&format!("{directory}/{}", files.key));
    if let (Some(owner), Some(key)) = (host.owner(), key)
        && key.owner != owner
    {
        let text = format!("its key is {}'s, and {owner} cannot use it", key.owner);
        faults.broken.push(text);
    }
    let is_undeployed = is_undeployed(host, role, facts);
    if is_undeployed {
        faults.broken.clear();
        let lost = observed.authority.ledger.delivered(&host.holder(), role);
        let lost = lost.map_or_else(String::new, |entry| format!(": {}", lost_since(entry)));
        faults.drift = vec![format!("nothing is deployed there{lost}")];
    }
    if certificate.is_some() {
        faults.drift.extend(bundle(
            facts,
            &format!("{directory}/{}", files.ca),
            &observed.authority,
        ));
    }
    let renewal = if is_undeployed {
        Renewal::Due(if observed.authority.certificate.is_some() {
            deploy_or_drop(&host.name)
        } else {
            // The first deployment is one of all hosts.
            "dtls-deploy deploy INVENTORY".to_owned()
        })
    } else {
        age(observed, host, role, certificate)
    };
    let Judged { state, drift, due } = judge(certificate, faults, renewal, observed.now);
    CertificateStatus {
        host: host.name.clone(),
        identity: host.identity.as_ref().map(|of| of.name.clone()),
        role: role_of(role),
        source: CertificateSource::Disk,
        place: facts.expand(&format!("{directory}/{}", files.cert)),
        holder: holder(facts, host, &format!("{directory}/{}", files.key)),
        state,
        drift,
        allowed: allowed(observed, host, role),
        due,
        certificate: certificate.map(|certificate| text(certificate, observed.now)),
    }
}

/// Adds to the rows of client certificates which guards reject them, because their policies do not
/// name the holder.
fn add_rejections(observed: &Observation<'_>, listed: &Inventory, rows: &mut [CertificateStatus]) {
    let found = unnamed(observed.inventory, listed, &observed.facts, |_| true);
    for one in found {
        let is_its = |row: &&mut CertificateStatus| {
            row.role == CertificateRole::Client
                && row.source == CertificateSource::Disk
                && row.certificate.is_some()
                && row.host == host_of(&one.holder)
                && row.identity.as_deref() == identity_of(&one.holder)
        };
        for row in rows.iter_mut().filter(is_its) {
            row.state = row.state.min(CertificateState::Broken);
            let text = format!("{}: {UPDATE_POLICIES}", one.described());
            row.drift.push(text);
        }
    }
}

/// What the guards of daemons allow it.
fn allowed(observed: &Observation<'_>, holder: &Host, role: Role) -> Option<String> {
    let is_guarded = observed.inventory.daemons().any(Host::is_guarded);
    let is_held = role == Role::Client && is_guarded && holder.shows_certificate();
    is_held.then(|| holder.settings.role.clone())
}

/// Whether the CAs next to a certificate are those that are delivered.
fn bundle(facts: &NodeFacts, path: &str, authority: &Authority) -> Option<String> {
    let present = authority.pem.as_deref()?;
    let mut wanted = vec![present.to_owned()];
    // During a rollover, whatever its step.
    if let Some(next) = &authority.next_pem {
        wanted.extend([format!("{present}{next}"), next.clone()]);
    }
    match facts.regular(path) {
        Some(found) if wanted.iter().any(|one| authority.is_delivered(found, one)) => None,
        Some(_) => Some(format!("{} is not the CA's", facts.expand(path))),
        None => Some(format!("{} is missing", facts.expand(path))),
    }
}

/// The copy that a docker context has of the client's files.
fn context(
    observed: &Observation<'_>,
    facts: &NodeFacts,
    host: &Host,
    daemon: &Host,
) -> CertificateStatus {
    let (directory, files) = leaf_location(host, Role::Client);
    let tls = context_paths(host, daemon).tls;
    let copy = format!("{tls}/cert.pem");
    let found = facts
        .regular(&copy)
        .and_then(|file| Certificate::from_pem(file.content.as_deref()?).ok());
    let mut faults = Faults::default();
    let is_unreadable = |path: &str| facts.file(path) == Some(&FileFact::Unreadable);
    if is_unreadable(&copy) {
        let path = facts.expand(&copy);
        faults.unknown.push(format!("{path} cannot be read"));
    } else if facts.regular(&copy).is_none() {
        faults.drift.push(format!(
            "the context {} has no copy",
            context_name(host, daemon)
        ));
    } else {
        for (name, own) in [
            ("ca.pem", &files.ca),
            ("cert.pem", &files.cert),
            ("key.pem", &files.key),
        ] {
            let hash = |path: &str| facts.regular(path).map(|file| file.sha256.clone());
            let own_path = format!("{directory}/{own}");
            let mut both = [format!("{tls}/{name}"), own_path].into_iter();
            if let Some(path) = both.find(|path| is_unreadable(path)) {
                let path = facts.expand(&path);
                faults.unknown.push(format!("{path} cannot be read"));
            } else if hash(&format!("{tls}/{name}")) != hash(&format!("{directory}/{own}")) {
                faults.drift.push(format!(
                    "{name} of the context {} differs from the client's own",
                    context_name(host, daemon)
                ));
            }
        }
    }
    let Judged { state, drift, due } = judge(found.as_ref(), faults, Renewal::NotDue, observed.now);
    CertificateStatus {
        host: host.name.clone(),
        identity: host.identity.as_ref().map(|of| of.name.clone()),
        role: CertificateRole::Client,
        source: CertificateSource::Context,
        place: facts.expand(&copy),
        holder: holder(facts, host, &format!("{tls}/key.pem")),
        state,
        drift,
        allowed: None,
        due,
        certificate: found.map(|certificate| text(&certificate, observed.now)),
    }
}

/// A certificate of a host that did not answer, as the ledger remembers it.
fn unseen(observed: &Observation<'_>, host: &Host, role: Role) -> CertificateStatus {
    let issued = observed.authority.ledger.delivered(&host.holder(), role);
    let seen = observed.missing.contains_key(&host.name);
    CertificateStatus {
        state: CertificateState::Unknown,
        drift: vec![if seen {
            format!("{} could not be checked", host.name)
        } else {
            format!("{} was not asked", host.name)
        }],
        ..remembered(observed, &host.holder(), role, issued)
    }
}

/// Those that are good, and that no one in the inventory is known to hold.
fn unlisted(observed: &Observation<'_>) -> Vec<CertificateStatus> {
    let listed: BTreeSet<(String, Role)> = leaves_of(observed.inventory)
        .into_iter()
        .filter(|(host, role)| *role == Role::Daemon || host.shows_certificate())
        .map(|(host, role)| (host.holder(), role))
        .collect();
    let entries = observed.authority.ledger.entries().iter();
    let (authority, facts) = (&observed.authority, &observed.facts);
    let former = former_roles(observed.inventory, authority, facts, observed.now);
    let why = |entry: &Entry| {
        let is_its = |one: &&FormerRole| one.host == entry.host && one.role == entry.role;
        match former.iter().find(is_its) {
            Some(former) => format!("{}: {}", former.described(), former.removal()),
            None => why_unlisted(observed, &entry.host, entry.role).to_owned(),
        }
    };
    entries
        .filter(|entry| {
            entry.not_after > observed.now
                && !listed.contains(&(entry.host.clone(), entry.role))
                && observed
                    .authority
                    .ledger
                    .revocation(&entry.serial)
                    .is_none()
        })
        .map(|entry| CertificateStatus {
            state: CertificateState::Unlisted,
            drift: vec![why(entry)],
            ..remembered(observed, &entry.host, entry.role, Some(entry))
        })
        .collect()
}

fn why_unlisted(observed: &Observation<'_>, holder: &str, role: Role) -> &'static str {
    let host = observed.inventory.host(host_of(holder));
    let shown_no_more = observed
        .inventory
        .holder(holder)
        .is_some_and(|of| of.is_client && !of.is_absent() && !of.shows_certificate());
    if shown_no_more && role == Role::Client {
        return "its dtls_client_mode shows no certificate; a copy of it works until it ends";
    }
    match host.zip(identity_of(holder)) {
        None if host.is_none() => "issued for a host that is not in the inventory any more",
        None if role == Role::Daemon => "its host is not among the daemons any more",
        None => "its host is not among the clients any more",
        Some(_) if observed.inventory.holder(holder).is_some() => {
            "its identity is declared absent; a copy of it works until it ends"
        }
        Some(_) => "issued for an identity that dtls_identities does not declare any more",
    }
}

pub(super) fn remembered(
    observed: &Observation<'_>,
    holder: &str,
    role: Role,
    entry: Option<&Entry>,
) -> CertificateStatus {
    let certificate = entry.map(|entry| CertificateText {
        subject: entry.subject.clone(),
        sans: entry.sans.iter().map(ToString::to_string).collect(),
        issuer: observed
            .authority
            .issuer(&entry.issuer_sha256)
            .map_or_else(unknown, |issuer| issuer.subject().to_owned()),
        serial: entry.serial.clone(),
        not_before: entry.not_before,
        not_after: entry.not_after,
        days_left: days_left(entry.not_after, observed.now),
        used: used(entry.not_before, entry.not_after, observed.now),
    });
    CertificateStatus {
        host: host_of(holder).to_owned(),
        identity: identity_of(holder).map(str::to_owned),
        role: role_of(role),
        source: CertificateSource::Ledger,
        place: format!("{}/.ledger.jsonl", observed.inventory.ca().settings.ca_dir),
        holder: unknown(),
        state: CertificateState::Unknown,
        drift: Vec::new(),
        allowed: observed
            .inventory
            .holder(holder)
            .and_then(|holder| allowed(observed, holder, role)),
        due: None,
        certificate,
    }
}
