//! CAs that a node would trust again although they were replaced.
//!
//! dockerd has no list of revoked certificates, so a revoked certificate is rejected only because
//! its CA is no longer trusted.

use crate::launch::launched;
use crate::playbook::{Allowed, Playbook};
use crate::reach::{Bundle, bundle_after};
use time::{Date, OffsetDateTime};

use super::{
    Action, Authority, Change, Content, Note, Plan, PlanProblem, Planner, Refusal, revoked,
};
use inventory::Host;
use pki::{BACKDATE, Certificate, Entry, Role, generation_of};

/// The option that names a CA, for a shell.
fn option(authority: &Certificate) -> String {
    match shlex::try_quote(authority.subject()) {
        Ok(subject) => format!("--readmit-ca {subject}"),
        Err(_) => format!("--readmit-ca {}", authority.sha256()),
    }
}

/// When a CA was created: its validity begins a little earlier.
fn made(authority: &Certificate) -> Date {
    (authority.not_before() + BACKDATE).date()
}

/// The certificates of a CA's files: its own first, then the others in its bundle, then the next
/// CA's.
#[derive(Debug, Clone)]
pub struct InForce(Vec<Certificate>);

impl InForce {
    /// From the texts of `ca.pem` and `next/ca.pem`.
    #[must_use]
    pub fn read(present: &[u8], next: &[u8]) -> Self {
        let texts = [present, next].into_iter();
        Self(
            texts
                .flat_map(|text| Certificate::bundle_from_pem(text).unwrap_or_default())
                .collect(),
        )
    }

    pub(super) fn of(authority: &Authority) -> Self {
        let text = |pem: &Option<String>| pem.clone().unwrap_or_default().into_bytes();
        Self::read(&text(&authority.pem), &text(&authority.next_pem))
    }

    /// The other CAs of a file.
    #[must_use]
    pub fn others(&self, file: &[u8]) -> Vec<Certificate> {
        let is_in_force =
            |found: &Certificate| self.0.iter().any(|known| known.der() == found.der());
        Certificate::bundle_from_pem(file)
            .unwrap_or_default()
            .into_iter()
            .filter(|found| found.is_ca() && !is_in_force(found))
            .collect()
    }
}

/// Which certificates of a CA are accepted, according to its ledger: the revoked ones, and the
/// number of others.
fn lets_in(authority: &Authority, of: &Certificate, now: OffsetDateTime) -> Option<String> {
    let issuer = of.sha256();
    let entries = authority.ledger.entries().iter();
    let valid: Vec<&Entry> = entries
        .filter(|entry| entry.issuer_sha256 == issuer && entry.not_after > now)
        .collect();
    let (marked, others): (Vec<&Entry>, Vec<&Entry>) = valid
        .into_iter()
        .partition(|entry| authority.ledger.revocation(&entry.serial).is_some());
    let mut said = Vec::new();
    if !marked.is_empty() {
        said.push(format!("REVOKED, {}", revoked::listed(&marked)));
    }
    let clients = others.iter().filter(|entry| entry.role == Role::Client);
    match clients.count() {
        0 => {}
        1 => said.push("1 client certificate that was replaced".to_owned()),
        count => said.push(format!("{count} client certificates that were replaced")),
    }
    (!said.is_empty()).then(|| said.join("; "))
}

/// Whether a node that trusts the CAs of `file` may get an older CA instead, possibly a replaced
/// one restored from an old backup. Returns a note if that CA was named, and nothing if it is not
/// older.
pub fn judge_older(
    in_force: &InForce,
    allowed: &Allowed,
    file: &[u8],
    path: &str,
) -> Result<Option<String>, Refusal> {
    let Some(own) = in_force.0.first() else {
        return Ok(None);
    };
    let mut others = in_force.others(file).into_iter();
    let is_newer = |found: &Certificate| {
        // One with another kind of name was made elsewhere, and is not backdated.
        let is_numbered = generation_of(found.subject()).is_some();
        let since = if is_numbered {
            own.not_before()
        } else {
            own.not_before() + BACKDATE
        };
        found.not_before() > since
    };
    let Some(newer) = others.find(is_newer) else {
        return Ok(None);
    };
    let (older, newer_is) = (own.subject(), newer.subject());
    if allowed.readmits(own) {
        return Ok(Some(format!(
            "{older} is trusted again in place of the newer {newer_is}, as --readmit-ca says"
        )));
    }
    Err(Refusal::new(format!(
        "{path} trusts {newer_is} (made on {}), and {older} (made on {}) is older: everything that was revoked or replaced with it would be accepted again",
        made(&newer),
        made(own),
    ))
    .hint(format!(
        "restore a newer backup of the CA: dtls-deploy ca restore INVENTORY --from FILE; if {older} is to be trusted again, or if {newer_is} is not yours and someone has changed {path}, name it: {}",
        option(own)
    )))
}

/// Whether the present CA is older than one that a node trusts.
#[must_use]
pub fn is_older(authority: &Authority, file: &[u8]) -> bool {
    judge_older(&InForce::of(authority), &Allowed::default(), file, "").is_err()
}

impl Planner<'_> {
    /// Refuses to give a node an older CA than the one it trusts.
    ///
    /// # Errors If the present CA is older and the command line does not name it.
    pub(crate) fn check_older(&mut self, host: &Host, path: &str) -> Result<(), Refusal> {
        if self.authority.planned {
            return Ok(());
        }
        let facts = self.facts(&host.name)?;
        let path = facts.expand(path);
        let content = facts.regular(&path).and_then(|file| file.content.clone());
        let Some(content) = content else {
            return Ok(());
        };
        if let Some(text) =
            judge_older(&InForce::of(&self.authority), self.allowed, &content, &path)?
        {
            self.danger(host, text);
        }
        Ok(())
    }

    /// Checks which CAs the node would trust again with a restored file.
    pub(crate) fn check_readmitted(
        &self,
        path: &str,
        kept: &[u8],
        in_place: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        for found in self.readmitted_by(kept, in_place) {
            if self.allowed.readmits(&found) {
                continue;
            }
            let subject = found.subject();
            let why = match (
                &self.authority.certificate,
                lets_in(&self.authority, &found, self.now),
            ) {
                (_, Some(whom)) => format!("it would accept again: {whom}"),
                (Some(own), None) => format!("the CA is {} now", own.subject()),
                (None, None) => "whether it was replaced is not known".to_owned(),
            };
            return Err(Refusal::new(format!(
                "going back would make {path} trust {subject} again: {why}"
            ))
            .hint(format!(
                "deploy instead of going back: dtls-deploy deploy INVENTORY; or, if {subject} is to be trusted again, add this option: {}",
                option(&found)
            )));
        }
        Ok(())
    }

    /// The replaced CAs that a node trusts once a file is restored, and does not trust now.
    fn readmitted_by(&self, kept: &[u8], in_place: Option<&[u8]>) -> Vec<Certificate> {
        let trusted = Certificate::bundle_from_pem(in_place.unwrap_or_default());
        let trusted = trusted.unwrap_or_default();
        let mut found = InForce::of(&self.authority).others(kept);
        found.retain(|found| trusted.iter().all(|known| known.der() != found.der()));
        found
    }

    /// A replaced CA returns on all daemons of the run, or on none: otherwise one daemon accepts a
    /// client again that another rejects. Notes which hosts trust it again; returns the hosts that
    /// may not.
    pub fn readmit(&mut self, playbook: &Playbook, plan: &Plan) -> Vec<PlanProblem> {
        let (known, about) = (self.facts, playbook.limited(self.inventory));
        let mut problems: Vec<PlanProblem> = Vec::new();
        for change in plan.changes() {
            let (Action::File(file), Some(facts)) = (&change.action, known.get(&change.host))
            else {
                continue;
            };
            let Content::Kept { copy, .. } = &file.content else {
                continue;
            };
            let (path, bytes) = (file.path(), |path: &str| {
                facts.regular(path)?.content.as_deref()
            });
            for found in self.readmitted_by(bytes(copy).unwrap_or_default(), bytes(&path)) {
                let mut daemons = about.daemons();
                let Some(other) = daemons.find(|one| self.stays_without(one, plan, &found)) else {
                    let subject = found.subject();
                    self.notes.push(Note {
                        host: change.host.clone(),
                        text: format!("{path} trusts {subject} again, as --readmit-ca says"),
                        danger: true,
                    });
                    continue;
                };
                if problems.iter().all(|known| known.host != change.host) {
                    problems.push(PlanProblem {
                        host: change.host.clone(),
                        task: change.task.clone(),
                        refusal: self.alone(&found, other, plan),
                    });
                }
            }
        }
        problems
    }

    /// Whether a daemon is in service and does not trust a CA once the plan is carried out.
    fn stays_without(&self, daemon: &Host, plan: &Plan, authority: &Certificate) -> bool {
        let Some(facts) = self.facts.get(&daemon.name) else {
            return true;
        };
        let own = plan.changes().filter(|change| change.host == daemon.name);
        let own: Vec<Change> = own.cloned().collect();
        let path = launched(daemon, facts, &own).paths.ca;
        match bundle_after(facts, &own.iter().collect::<Vec<_>>(), &path) {
            Some(Bundle::These(trusted)) => {
                trusted.iter().all(|known| known.der() != authority.der())
            }
            Some(Bundle::New) => true,
            None => false,
        }
    }

    /// Why a host does not go back: another daemon would not trust the CA.
    fn alone(&self, authority: &Certificate, other: &Host, plan: &Plan) -> Refusal {
        let (subject, name) = (authority.subject(), &other.name);
        let keep = "to keep the present CA on every host, run dtls-deploy INVENTORY";
        let mut problems = plan.problems.iter();
        let hint = if !self.facts.contains_key(name) {
            format!("run the same command when {name} answers; {keep}")
        } else if problems.any(|problem| problem.host == *name) {
            format!("fix what keeps {name} from going back; {keep}")
        } else {
            format!(
                "take {name} back first: dtls-deploy rollback INVENTORY --limit {name} {}; {keep}",
                option(authority)
            )
        };
        Refusal::new(format!(
            "going back would make it trust {subject} again, and the daemon {name} would not trust it"
        ))
        .hint(hint)
    }
}
