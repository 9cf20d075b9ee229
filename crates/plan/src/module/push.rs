//! `push`: delivers the CA certificate, leaf certificate and key, with the names and modes that
//! Docker expects. A client whose mode shows no certificate gets only the CA certificate: the
//! docker CLI fails without it in every mode (docker/cli#2468).

use super::identity::{check_owner, check_places};
use super::shared::{Module, holders, is_absent, role_of, waits_for_leaf};
use crate::host::leaf::location as leaf_location;
use crate::playbook::Task;
use crate::{
    Action, Change, Content, Desired, LeafDecision, LeafPart, Place, Planner, Refusal, former,
    former_key, request_leaf,
};
use inventory::{Files, Host, Inventory};
use node::facts::{FactRequest, File, NodeFacts};
use pki::{Certificate, Role};

#[derive(Debug)]
pub struct Push;

/// Certificates are public; the directory around them is not.
const CERTIFICATE_MODE: u32 = 0o444;
const KEY_MODE: u32 = 0o400;

impl Module for Push {
    fn facts(&self, _: &Inventory, host: &Host, task: &Task, request: &mut FactRequest) {
        if let Some(role) = role_of(task, host) {
            // Including those to be removed.
            let absent = host.identities.iter().filter(|of| of.is_absent());
            let absent = absent.filter(|_| role == Role::Client);
            for holder in holders(host, role).into_iter().chain(absent) {
                let (directory, files) = leaf_location(holder, role);
                request.directories.insert(directory.clone());
                if role == Role::Daemon {
                    let files = [&files.ca, &files.cert, &files.key];
                    request.former = files.map(|name| format!("{directory}/{name}")).into();
                }
                request_leaf(holder, role, request);
                if let Some(former) = former(holder).filter(|_| role == Role::Client) {
                    request.directories.insert(former.cli_directory());
                    request_leaf(&former, role, request);
                }
            }
            if role == Role::Client {
                // The directory that the login shell uses.
                let profiles = crate::host::client::PROFILES.map(|name| format!("~/{name}"));
                request.content.extend(profiles);
            }
        }
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        let Some(role) = role_of(task, host) else {
            return Ok(Vec::new());
        };
        if role == Role::Daemon && !is_absent(task) {
            planner.check_anchor(host)?;
        }
        let mut served = holders(host, role);
        served.retain(|holder| is_absent(task) || !waits_for_leaf(planner, holder, task, role));
        // A task that only follows a new certificate removes nothing.
        let takes_away = task.argument("because") != Some("changes");
        if served.is_empty() && !takes_away {
            return Ok(Vec::new());
        }
        let mut changes = sweep(planner.facts(&host.name)?, host, task)?;
        if role == Role::Client {
            check_places(planner, host)?;
            let gone = host.identities.iter().filter(|of| of.is_absent());
            for holder in gone.filter(|_| takes_away) {
                changes.extend(remove(planner, holder, task, role)?);
            }
        }
        for holder in served {
            if role == Role::Client && takes_away && !is_absent(task) {
                planner.note_former_key(holder);
            }
            if is_absent(task) {
                changes.extend(remove(planner, holder, task, role)?);
            } else if role == Role::Client && !holder.shows_certificate() {
                changes.extend(deliver_ca_alone(planner, holder, task)?);
            } else {
                changes.extend(deliver(planner, holder, task, role)?);
            }
        }
        Ok(changes)
    }
}

/// Delivers the CA to a client without a certificate; an existing certificate is removed.
fn deliver_ca_alone(
    planner: &mut Planner<'_>,
    host: &Host,
    task: &Task,
) -> Result<Vec<Change>, Refusal> {
    let role = Role::Client;
    let (directory, files) = leaf_location(host, role);
    check_owner(planner.facts(&host.name)?, host, &directory)?;
    planner.check_client_directory(host)?;
    planner.note_readable(host, &directory);
    planner.check_older(host, &format!("{directory}/{}", files.ca))?;
    let reasons = planner.bundle_reasons(host, role, &format!("{directory}/{}", files.ca));
    let desired = Desired::new(
        Place::Certificates,
        directory,
        files.ca.clone(),
        planner.bundle(host, role),
    )
    .exactly(CERTIFICATE_MODE)
    .because(reasons);
    let ca = planner.compare(host, task, desired)?;
    let mut changes: Vec<Change> = ca.into_iter().collect();
    let because = format!(
        "dtls_client_mode: {} shows no certificate",
        host.settings.client_mode.word()
    );
    changes.extend(remove_files(
        planner,
        host,
        task,
        role,
        &[&files.key, &files.cert],
        &[because],
    )?);
    Ok(changes)
}

/// The three files of one holder.
fn deliver(
    planner: &mut Planner<'_>,
    host: &Host,
    task: &Task,
    role: Role,
) -> Result<Vec<Change>, Refusal> {
    let decision = planner.decided_leaf(host, role)?;
    let (leaf_is_new, reasons) = match decision {
        LeafDecision::Keep { .. } => (false, Vec::new()),
        LeafDecision::Fetch { reasons, .. } | LeafDecision::Issue { reasons, .. } => {
            (true, reasons)
        }
    };
    let (directory, files) = leaf_location(host, role);
    check_owner(planner.facts(&host.name)?, host, &directory)?;
    if role == Role::Client {
        planner.check_client_directory(host)?;
    }
    planner.note_readable(host, &directory);
    planner.check_older(host, &format!("{directory}/{}", files.ca))?;
    let leaf = |part| {
        if leaf_is_new {
            Content::Leaf {
                holder: host.holder(),
                role,
                part,
            }
        } else {
            Content::Same
        }
    };
    let ca_reasons = planner.bundle_reasons(host, role, &format!("{directory}/{}", files.ca));
    let wanted = [
        (
            &files.ca,
            CERTIFICATE_MODE,
            planner.bundle(host, role),
            ca_reasons,
        ),
        (
            &files.cert,
            CERTIFICATE_MODE,
            leaf(LeafPart::Certificate),
            reasons.clone(),
        ),
        (&files.key, KEY_MODE, leaf(LeafPart::Key), reasons),
    ];
    let mut changes = Vec::new();
    for (name, mode, content, reasons) in wanted {
        let desired = Desired::new(
            place_of(&files, name),
            directory.clone(),
            name.clone(),
            content,
        )
        .exactly(mode)
        .because(reasons);
        changes.extend(planner.compare(host, task, desired)?);
    }
    if role == Role::Daemon {
        changes.extend(planner.remove_former(host, task)?);
    }
    Ok(changes)
}

/// The kind of file that one of the three is.
fn place_of(files: &Files, name: &str) -> Place {
    if name == files.key {
        Place::Key
    } else {
        Place::Certificates
    }
}

/// Removes those of the three files that are this CA's.
fn remove(
    planner: &mut Planner<'_>,
    host: &Host,
    task: &Task,
    role: Role,
) -> Result<Vec<Change>, Refusal> {
    let (_, files) = leaf_location(host, role);
    let names = [&files.key, &files.cert, &files.ca].map(String::as_str);
    let mut changes = remove_files(planner, host, task, role, &names, &[])?;
    if role == Role::Daemon {
        // Where they are until a deployment moves them.
        changes.extend(planner.remove_former(host, task)?);
    }
    let facts = planner.facts(&host.name)?;
    if role == Role::Client
        && former_key(&planner.authority, host, facts).is_some()
        && let Some(former) = former(host)
    {
        changes.extend(remove_files(planner, &former, task, role, &names, &[])?);
    }
    Ok(changes)
}

fn gone(
    planner: &Planner<'_>,
    host: &Host,
    task: &Task,
    (directory, name): (&str, &str),
    place: Place,
    reasons: &[String],
) -> Result<Option<Change>, Refusal> {
    let desired =
        Desired::new(place, directory, name, Content::Gone { prune: 1 }).because(reasons.to_vec());
    planner.compare(host, task, desired)
}

/// These files, if this CA issued the key; without a key, those that are verifiably this CA's.
fn remove_files(
    planner: &mut Planner<'_>,
    host: &Host,
    task: &Task,
    role: Role,
    names: &[&str],
    reasons: &[String],
) -> Result<Vec<Change>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let (directory, files) = leaf_location(host, role);
    let key = format!("{directory}/{}", files.key);
    let ledger = &planner.authority.ledger;
    let is_issued = facts
        .regular(&key)
        .map(|key| ledger.by_key_sha256(&key.sha256).is_some());
    if is_issued == Some(false) {
        let path = facts.expand(&key);
        planner.note(
            host,
            format!("{path} was not issued by this CA: it stays, and the certificates beside it"),
        );
        return Ok(Vec::new());
    }
    let adopted = facts
        .regular(&key)
        .and_then(|key| ledger.by_key_sha256(&key.sha256))
        .is_some_and(|entry| entry.adopted);
    let mut changes = Vec::new();
    for name in names {
        let path = format!("{directory}/{name}");
        let is_ours = match facts.regular(&path) {
            Some(found) if is_issued.is_none() => is_of_authority(planner, host, role, found),
            found => found.is_some(),
        };
        if is_ours {
            let (at, place) = ((directory.as_str(), *name), place_of(&files, name));
            changes.extend(gone(planner, host, task, at, place, reasons)?);
        }
    }
    if adopted {
        note_adopted(planner, host, &changes);
    }
    Ok(changes)
}

/// Removes files that may have existed before dtls-deploy; no other copy of the key exists.
fn note_adopted(planner: &mut Planner<'_>, host: &Host, changes: &[Change]) {
    let files = changes.iter().filter_map(|change| match &change.action {
        Action::File(file) => Some(file.path()),
        _ => None,
    });
    let files = files.collect::<Vec<_>>().join(", ");
    if !files.is_empty() {
        planner.note(
            host,
            format!(
                "adopted files are removed: {files}. Copy them first if something else uses them"
            ),
        );
    }
}

/// Whether a certificate is this CA's, or a bundle is the one that it delivers.
fn is_of_authority(planner: &Planner<'_>, host: &Host, role: Role, found: &File) -> bool {
    let authority = &planner.authority;
    let bytes = found.content.as_deref().unwrap_or_default();
    let is_leaf = Certificate::from_pem(bytes).is_ok_and(|leaf| {
        let mut signers = authority.certificate.iter().chain(&authority.next);
        !leaf.is_ca() && signers.any(|signer| leaf.is_signed_by(signer))
    });
    is_leaf
        || matches!(planner.bundle(host, role), Content::Certificates(text) if authority.is_delivered(found, &text))
}

/// Removes what interrupted runs left anywhere on the host: it may hold an old key.
fn sweep(facts: &NodeFacts, host: &Host, task: &Task) -> Result<Vec<Change>, Refusal> {
    let mut changes = Vec::new();
    for directory in &facts.leftovers {
        changes.push(Change {
            host: host.name.clone(),
            task: task.name.clone(),
            subject: format!("{directory}/.dtls-deploy.*"),
            reasons: vec!["left by a run that was interrupted".to_owned()],
            diff: None,
            action: Action::Sweep {
                directory: directory.clone(),
                account: facts.account_for(directory)?,
            },
        });
    }
    Ok(changes)
}
