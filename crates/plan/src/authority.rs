//! The CA as the facts of its node show it, and as the plan leaves it.

use super::Refusal;
use super::change::Content;
use super::issued::{issued_names, leaves_of};
use crate::host::ca::{CERTIFICATE, KEY, LEDGER, NEXT_CERTIFICATE, NEXT_KEY, retired};
use inventory::{Host, Inventory};
use node::facts::{Component, FactRequest, File, FileFact, NodeFacts};
use pki::{
    Bundle, Certificate, Chain, DirectoryError, Ledger, ROLLED_OVER, ca_key_hint, has_private_key,
    sha256_hex,
};

// Read from its node; each is independent of the others.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug)]
pub struct Authority {
    /// The certificate of the CA; none if there is no CA yet.
    pub certificate: Option<Certificate>,
    /// The certificates of ca.pem, the CA's own first.
    pub bundle: Vec<Certificate>,
    /// The same certificates as they are delivered: the file itself may hold other text.
    pub pem: Option<String>,
    /// SHA-256 of ca.pem on the CA node.
    pub file_sha256: Option<String>,
    /// The CA that will follow this one, during a rollover.
    pub next: Option<Certificate>,
    /// The certificates of its file, as they are delivered.
    pub next_pem: Option<String>,
    /// CAs that were replaced, if they were requested.
    pub retired: Vec<Certificate>,
    /// The last rollover is complete, but its leftovers are still there.
    pub is_rolled_over: bool,
    /// What was issued so far.
    pub ledger: Ledger,
    /// A key file is there.
    pub has_key: bool,
    /// The ledger's file is there.
    pub has_ledger: bool,
    /// A `ca` task has planned a new CA.
    pub planned: bool,
    /// Its ledger was read, or it has none.
    pub is_read: bool,
    /// Why nothing that needs the CA can be planned.
    pub problem: Option<AuthorityProblem>,
}

/// Why the CA is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityProblem {
    #[error("the CA node {0} could not be reached")]
    Unreachable(String),
    #[error("{0} cannot be read")]
    Unreadable(String),
    #[error("{path} is damaged: {reason}")]
    Damaged { path: String, reason: String },
    /// The file is delivered to every daemon and client.
    #[error("{0} holds a private key")]
    PrivateKey(String),
    /// dockerd would trust clients of each of these CAs; the text names them.
    #[error("{path}: {reason}")]
    Foreign {
        path: String,
        reason: String,
        hint: &'static str,
    },
    /// The CA node's certificates could not be read reliably.
    #[error("{message}")]
    Names {
        message: String,
        hint: Option<String>,
    },
    /// There is no daemon that could follow to another CA.
    #[error("no daemon of the inventory has a certificate of the CA that would be replaced")]
    Undeployed,
    /// A daemon of the inventory does not serve a certificate of the CA; the text names it.
    #[error("{message}")]
    Unready {
        message: String,
        hint: Option<String>,
    },
    /// It is unknown who else holds certificates of the CA.
    #[error(
        "the CA's ledger {0} is missing or lists no certificate: who holds certificates of this CA is not known"
    )]
    NoLedger(String),
    #[error("{present} is there, but {missing} is not")]
    Half { present: String, missing: String },
    /// The CA agent would refuse its directory.
    #[error("{message}")]
    Owner { message: String, hint: String },
    /// There was a CA before.
    #[error("there is no CA in {directory}, and {seen}")]
    Lost { directory: String, seen: String },
}

impl AuthorityProblem {
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Undeployed => "deploy first: dtls-deploy INVENTORY".to_owned(),
            Self::Unreachable(host) => format!(
                "every run needs the CA node: find out why it does not answer with dtls-deploy check-access INVENTORY --limit {host}"
            ),
            Self::Unreadable(_) => {
                "set ansible_become: true for the CA's host, or ansible_user to the account that owns the directory".to_owned()
            }
            Self::Damaged { path, .. } if path.ends_with(LEDGER) => format!(
                "rebuild it from the certificates that are in use: dtls-deploy adopt INVENTORY --rebuild-ledger; or put {path} back from a backup; nothing was changed"
            ),
            Self::Damaged { path, .. } => format!("put {path} back from a backup; nothing was changed"),
            Self::PrivateKey(path) => ca_key_hint(path),
            Self::Foreign { hint, .. } => (*hint).to_owned(),
            Self::NoLedger(_) => "rebuild it from the certificates that are in use: dtls-deploy adopt INVENTORY; or put it back from a backup".to_owned(),
            Self::Owner { hint, .. } => hint.clone(),
            Self::Names { hint, .. } | Self::Unready { hint, .. } => {
                hint.clone().unwrap_or_default()
            }
            Self::Lost { .. } => "if these files are of another inventory, give this one its own on its clients (dtls_client_dir); if the CA is in another directory of the CA node, set dtls_ca_dir to that directory and run dtls-deploy adopt INVENTORY; if it is in a backup: dtls-deploy ca restore INVENTORY --from FILE; if its files are on this machine: dtls-deploy adopt INVENTORY --ca-cert FILE --ca-key FILE; --new-ca makes a new CA and locks out all others that hold certificates of the old one".to_owned(),
            Self::Half { missing, .. } if missing.ends_with(NEXT_KEY) => format!(
                "put {missing} back from a backup: nodes may trust the next CA already"
            ),
            Self::Half { missing, .. } => format!(
                "put {missing} back from a backup (dtls-deploy ca restore INVENTORY --from FILE), or move the other file away and begin with a new CA: dtls-deploy INVENTORY --new-ca"
            ),
        }
    }
}

impl Authority {
    /// Requests the facts of the CA's node. Every run needs them, because without them a key on a
    /// node cannot be checked.
    pub fn request(inventory: &Inventory, request: &mut FactRequest) {
        let settings = &inventory.ca().settings;
        let directory = &settings.ca_dir;
        request.directories.insert(directory.clone());
        request.content.insert(format!("{directory}/{LEDGER}"));
        for name in [CERTIFICATE, NEXT_CERTIFICATE] {
            request.certificates.insert(format!("{directory}/{name}"));
        }
        for name in [KEY, NEXT_KEY, ROLLED_OVER] {
            request.hashed.insert(format!("{directory}/{name}"));
        }
        for (subject, role) in leaves_of(inventory) {
            // A template that cannot be rendered is reported when it is planned.
            if let Ok((key, certificate)) = issued_names(&settings.issued_name, subject, role) {
                request.hashed.insert(format!("{directory}/{key}"));
                request.bundles.insert(format!("{directory}/{certificate}"));
            }
        }
    }

    /// Requests the files that name the replaced CAs.
    pub fn request_retired(inventory: &Inventory, request: &mut FactRequest) {
        let directory = &inventory.ca().settings.ca_dir;
        request.certificates.extend(retired(directory, CERTIFICATE));
    }

    /// The CA, present, next or replaced, whose certificate has this SHA-256.
    #[must_use]
    pub fn issuer(&self, sha256: &str) -> Option<&Certificate> {
        let known = self.bundle.iter().chain(&self.next).chain(&self.retired);
        known.into_iter().find(|known| known.sha256() == sha256)
    }

    /// Whether it can be used to check certificates.
    pub(crate) fn usable(&self) -> Result<(), Refusal> {
        match &self.problem {
            Some(problem) => Err(problem.clone().into()),
            None => Ok(()),
        }
    }

    /// Reads the CA's state from the facts of its node. If its key or certificate is missing,
    /// nothing else is read: the CA cannot issue.
    #[must_use]
    pub fn read(host: &Host, facts: Option<&NodeFacts>) -> Self {
        Self::read_by(host, facts, Reader::Plans)
    }

    /// The same for read-only commands: what a CA has issued stays valid without its key, so its
    /// certificate and ledger are enough.
    #[must_use]
    pub fn look_at(host: &Host, facts: Option<&NodeFacts>) -> Self {
        Self::read_by(host, facts, Reader::Looks)
    }

    fn read_by(host: &Host, facts: Option<&NodeFacts>, reader: Reader) -> Self {
        let mut state = Self {
            certificate: None,
            bundle: Vec::new(),
            pem: None,
            file_sha256: None,
            next: None,
            next_pem: None,
            retired: Vec::new(),
            is_rolled_over: false,
            ledger: Ledger::default(),
            has_key: false,
            has_ledger: false,
            is_read: false,
            planned: false,
            problem: None,
        };
        let Some(facts) = facts else {
            state.problem = Some(AuthorityProblem::Unreachable(host.name.clone()));
            return state;
        };
        if let Err(problem) = state.fill(host, facts, reader) {
            state.problem = Some(problem);
        }
        state
    }

    fn fill(
        &mut self,
        host: &Host,
        facts: &NodeFacts,
        reader: Reader,
    ) -> Result<(), AuthorityProblem> {
        let directory = &host.settings.ca_dir;
        let key = format!("{directory}/{KEY}");
        let certificate = format!("{directory}/{CERTIFICATE}");
        let next_key = format!("{directory}/{NEXT_KEY}");
        let next = format!("{directory}/{NEXT_CERTIFICATE}");
        let ledger = format!("{directory}/{LEDGER}");
        for path in [&key, &certificate, &ledger, &next, &next_key] {
            match facts.file(path) {
                Some(FileFact::Exposed) => return Err(exposed(facts, directory, path)),
                Some(FileFact::Unreadable | FileFact::Other) => {
                    return Err(AuthorityProblem::Unreadable(path.clone()));
                }
                _ => {}
            }
        }
        self.has_key = facts.regular(&key).is_some();
        self.has_ledger = facts.regular(&ledger).is_some();
        let rolled_over = format!("{directory}/{ROLLED_OVER}");
        self.is_rolled_over = facts.regular(&rolled_over).is_some();
        let mut half = half_of(facts, &key, &certificate);
        stop_at(half.as_ref(), reader)?;
        if let Some(file) = facts.regular(&certificate) {
            let path = facts.expand(&certificate);
            let bundle = read_bundle(path.clone(), file)?;
            half = half.or_else(|| foreign(path, &bundle));
            stop_at(half.as_ref(), reader)?;
            self.certificate = bundle.certificates().first().cloned();
            self.file_sha256 = Some(file.sha256.clone());
            self.bundle = bundle.certificates().to_vec();
            let strangers = Chain::strangers(bundle.certificates());
            self.bundle.retain(|known| !strangers.contains(&known));
            self.pem = Some(self.bundle.iter().map(Certificate::to_pem).collect());
        }
        if let Some(file) = facts.regular(&next) {
            let path = facts.expand(&next);
            let bundle = read_bundle(path.clone(), file)?;
            half = half
                .or_else(|| half_of(facts, &next_key, &next))
                .or_else(|| foreign(path, &bundle));
            stop_at(half.as_ref(), reader)?;
            self.next = bundle.certificates().first().cloned();
            self.next_pem = Some(bundle.to_pem());
        }
        for path in retired(directory, CERTIFICATE) {
            // A damaged file names no CA, and blocks nothing.
            let content = facts
                .regular(&path)
                .and_then(|file| file.content.as_deref());
            self.retired
                .extend(content.and_then(|pem| Certificate::from_pem(pem).ok()));
        }
        self.read_ledger(facts, &ledger)?;
        self.is_read = true;
        half.map_or(Ok(()), Err)?;
        match (reader, self.foreign_owner(host, facts)) {
            (Reader::Plans, Some(error)) => Err(AuthorityProblem::Owner {
                message: error.to_string(),
                hint: error.hint().unwrap_or_default(),
            }),
            _ => Ok(()),
        }
    }

    /// What the CA agent would report about the owners of its directory and of the parent
    /// directories.
    fn foreign_owner(&self, host: &Host, facts: &NodeFacts) -> Option<DirectoryError> {
        let way = facts
            .directories
            .get(&facts.expand(&host.settings.ca_dir))?;
        let us = if host.as_root { 0 } else { facts.uid };
        let is_there = self.has_key || self.has_ledger || self.certificate.is_some();
        let last = way.last().filter(|_| is_there);
        let is_foreign = |found: &&Component| {
            let is_own = last.is_some_and(|last| last.path == found.path);
            found.uid != us && (found.uid != 0 || is_own)
        };
        let found = way.iter().find(is_foreign)?;
        let (path, owner) = (found.path.clone().into(), found.uid);
        Some(if found.link {
            DirectoryError::ForeignLink { path, owner }
        } else {
            DirectoryError::Foreign { path, owner, us }
        })
    }

    fn read_ledger(&mut self, facts: &NodeFacts, path: &str) -> Result<(), AuthorityProblem> {
        let file = facts.regular(path);
        let Some(bytes) = file.and_then(|file| file.content.as_deref()) else {
            return Ok(());
        };
        self.ledger = Ledger::parse_bytes(bytes).map_err(|error| AuthorityProblem::Damaged {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(())
    }

    /// Why it is unknown what the CA has issued.
    #[must_use]
    pub fn unread(&self) -> Option<&AuthorityProblem> {
        self.problem.as_ref().filter(|_| !self.is_read)
    }

    /// Whether a file on a node is this bundle, either as delivered or as in ca.pem itself, which
    /// may have comments.
    #[must_use]
    pub fn is_delivered(&self, file: &File, bundle: &str) -> bool {
        let is_verbatim = || {
            self.pem.as_deref() == Some(bundle) && self.file_sha256.as_ref() == Some(&file.sha256)
        };
        !holds_key(file) && (sha256_hex(bundle.as_bytes()) == file.sha256 || is_verbatim())
    }

    /// Whether the ledger lists who holds certificates of the CA. A ledger without a certificate,
    /// such as an empty file, is as good as missing.
    #[must_use]
    pub fn knows_holders(&self) -> bool {
        self.has_ledger && !self.ledger.entries().is_empty()
    }

    /// What is delivered as the CA's certificate: known certificates, or that of the CA that this
    /// run creates.
    #[must_use]
    pub fn content(&self) -> Content {
        match &self.pem {
            Some(pem) if !self.planned => Content::Certificates(pem.clone()),
            _ => Content::Authority,
        }
    }
}

/// What the CA is read for.
#[derive(Debug, Clone, Copy)]
enum Reader {
    Plans,
    Looks,
}

/// Nothing more is read for a plan.
fn stop_at(half: Option<&AuthorityProblem>, reader: Reader) -> Result<(), AuthorityProblem> {
    match (half, reader) {
        (Some(problem), Reader::Plans) => Err(problem.clone()),
        _ => Ok(()),
    }
}

/// A file that root does not read, because others can write in a directory on the way to it.
fn exposed(facts: &NodeFacts, directory: &str, path: &str) -> AuthorityProblem {
    let way = facts.directories.get(&facts.expand(directory));
    let is_open =
        |on_way: &&Component| !on_way.link && on_way.mode & 0o022 != 0 && on_way.mode & 0o1000 == 0;
    let Some(open) = way.and_then(|way| way.iter().find(is_open)) else {
        return AuthorityProblem::Unreadable(path.to_owned());
    };
    let (path, mode) = (open.path.clone().into(), open.mode);
    let error = DirectoryError::Writable { path, mode };
    AuthorityProblem::Owner {
        message: error.to_string(),
        hint: error.hint().unwrap_or_default(),
    }
}

/// The error if either key or certificate is missing.
fn half_of(facts: &NodeFacts, key: &str, certificate: &str) -> Option<AuthorityProblem> {
    let (present, missing) = match (facts.regular(key), facts.regular(certificate)) {
        (Some(_), None) => (key, certificate),
        (None, Some(_)) => (certificate, key),
        _ => return None,
    };
    Some(AuthorityProblem::Half {
        present: present.to_owned(),
        missing: missing.to_owned(),
    })
}

/// Certificates in a CA's file that are unrelated to the CA.
fn foreign(path: String, bundle: &Bundle) -> Option<AuthorityProblem> {
    let error = Chain::check_alone(bundle.certificates()).err()?;
    Some(AuthorityProblem::Foreign {
        path,
        reason: error.to_string(),
        hint: error.hint().unwrap_or_default(),
    })
}

/// Whether a private key is in a file.
pub(super) fn holds_key(file: &File) -> bool {
    file.private_key || has_private_key(file.content.as_deref().unwrap_or_default())
}

fn read_bundle(path: String, file: &File) -> Result<Bundle, AuthorityProblem> {
    let bytes = file.content.as_deref().unwrap_or_default();
    if holds_key(file) {
        return Err(AuthorityProblem::PrivateKey(path));
    }
    Bundle::read(bytes).map_err(|error| AuthorityProblem::Damaged {
        path,
        reason: error.to_string(),
    })
}
