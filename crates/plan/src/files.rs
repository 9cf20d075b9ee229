//! Compares a wanted file with the one on the node.

use std::borrow::Cow;

use super::change::{Action, AttributeFault, Change, Content, FileChange, TextDiff};
use super::place::{Kind, Place};
use super::readable::{unreadable, word};
use super::resolved::check_resolved;
use super::shown::shown;
use super::{Planner, Refusal};
use crate::playbook::Task;
use inventory::Host;
use node::facts::{File, FileFact, NodeFacts};
use pki::{Bundle, private_key_hint, sha256_hex};

/// The wanted state of a file.
#[derive(Debug, Clone)]
pub struct Desired {
    /// As in the inventory: a leading `~/` is the login account's home.
    pub directory: String,
    /// Permission bits of the directory if it must be created.
    pub directory_mode: u32,
    pub name: String,
    /// The only kind of file that is replaced there.
    pub place: Place,
    pub mode: FileMode,
    pub content: Content,
    /// Why the content changes, if the module knows more than "the content differs".
    pub reasons: Vec<String>,
}

impl Desired {
    /// A file with the usual modes for its place.
    pub(crate) fn new(
        place: Place,
        directory: impl Into<String>,
        name: impl Into<String>,
        content: Content,
    ) -> Self {
        let (directory_mode, mode) = match place {
            Place::DaemonJson | Place::DropIn | Place::Policy | Place::Program | Place::Profile => {
                (0o755, 0o644)
            }
            _ => (0o700, 0o600),
        };
        Self {
            directory: directory.into(),
            directory_mode,
            name: name.into(),
            place,
            mode: FileMode::IfMissing(mode),
            content,
            reasons: Vec::new(),
        }
    }

    /// An existing file gets these permission bits too.
    pub(crate) fn exactly(mut self, mode: u32) -> Self {
        self.mode = FileMode::Exact(mode);
        self
    }

    pub(crate) fn because(mut self, reasons: Vec<String>) -> Self {
        self.reasons = reasons;
        self
    }
}

/// Permission bits of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    Exact(u32),
    /// For a new file only; an existing one keeps its own.
    IfMissing(u32),
}

impl FileMode {
    fn bits(self) -> u32 {
        match self {
            Self::Exact(bits) | Self::IfMissing(bits) => bits,
        }
    }
}

impl Planner<'_> {
    /// What is at a path after everything planned so far.
    pub fn found(&self, host: &Host, path: &str) -> Result<Option<Cow<'_, FileFact>>, Refusal> {
        let facts = self.facts(&host.name)?;
        let path = facts.expand(path);
        let Some(file) = self.written.get(&(host.name.clone(), path.clone())) else {
            return Ok(facts.file(&path).map(Cow::Borrowed));
        };
        let text = match &file.content {
            Content::Text(text) | Content::Certificates(text) => text,
            Content::Gone { .. } => return Ok(Some(Cow::Owned(FileFact::Absent))),
            Content::Kept { copy, .. } => {
                return Ok(facts.regular(copy).map(|kept| {
                    Cow::Owned(FileFact::File(File {
                        mode: file.mode,
                        owner: file.account.clone(),
                        uid: u32::from(file.account != "root"),
                        link: false,
                        ..kept.clone()
                    }))
                }));
            }
            _ => return Ok(facts.file(&path).map(Cow::Borrowed)),
        };
        Ok(Some(Cow::Owned(FileFact::File(File {
            mode: file.mode,
            owner: file.account.clone(),
            uid: u32::from(file.account != "root"),
            size: text.len() as u64,
            changed: facts.clock.saturating_mul(1_000_000_000),
            sha256: sha256_hex(text.as_bytes()),
            content: Some(text.clone().into_bytes()),
            private_key: false,
            link: false,
        }))))
    }

    /// The bytes of the regular file there after everything planned so far.
    pub fn bytes(&self, host: &Host, path: &str) -> Result<Option<Vec<u8>>, Refusal> {
        Ok(match self.found(host, path)?.as_deref() {
            Some(FileFact::File(file)) => file.content.clone(),
            _ => None,
        })
    }

    /// The change that makes `desired` true, if one is needed.
    ///
    /// # Errors If the path holds something other than a regular file, or its directory must not be
    /// written to.
    pub fn compare(
        &self,
        host: &Host,
        task: &Task,
        mut desired: Desired,
    ) -> Result<Option<Change>, Refusal> {
        let facts = self.facts(&host.name)?;
        let directory = facts.expand(&desired.directory);
        let account = facts.account_for(&directory)?;
        check_directory(facts, &directory, desired.place)?;
        if !matches!(desired.content, Content::Gone { .. }) {
            check_way(facts, &directory, desired.place)?;
        }
        if desired.place.is_declared() {
            check_resolved(facts, &directory)?;
        }
        let path = format!("{directory}/{}", desired.name);
        let mut reasons = std::mem::take(&mut desired.reasons);
        let mut mode = desired.mode.bits();
        let mut before = None;
        let mut attributes = Vec::new();
        let mut diff = None;
        let found = self.found(host, &path)?;
        match comparable(found.as_deref(), &path, facts)? {
            None => {
                if matches!(desired.content, Content::Gone { .. }) {
                    return Ok(None);
                }
                if desired.content == Content::Same {
                    return Err(Refusal::new(format!("{path} is missing")));
                }
                if reasons.is_empty() {
                    reasons.push("none present".to_owned());
                }
                if let Content::Text(text) | Content::Certificates(text) = &desired.content {
                    diff = drawn(desired.place, "", text);
                }
            }
            Some(file) => {
                before = Some(file.sha256.clone());
                self.check_kind(facts, &path, file, &desired.content, desired.place)?;
                diff = difference(self, &desired, file, &mut reasons);
                if file.link && is_operators(&desired) {
                    if reasons.is_empty() {
                        return Ok(None);
                    }
                    return Err(link(&path));
                }
                if account != "root" && file.uid == 0 && facts.uid == 0 {
                    return Err(Refusal::new(format!(
                        "{path} belongs to root, in a directory of {account}"
                    ))
                    .hint(format!(
                        "look at it, then give it back: chown {account}: {path}"
                    )));
                }
                if matches!(desired.mode, FileMode::IfMissing(_)) {
                    mode = file.mode;
                }
                if !matches!(desired.content, Content::Gone { .. }) {
                    attributes = faults(desired.place, file, desired.mode, &account);
                    reasons.extend(attributes.iter().map(ToString::to_string));
                }
            }
        }
        if reasons.is_empty() {
            return Ok(None);
        }
        // Bytes that are already right are not sent again.
        let same = match (&desired.content, &before) {
            (Content::Text(text), Some(hash)) => sha256_hex(text.as_bytes()) == *hash,
            (Content::Certificates(text), Some(_)) => match found.as_deref() {
                Some(FileFact::File(file)) => self.authority.is_delivered(file, text),
                _ => false,
            },
            (Content::Kept { sha256, .. }, Some(hash)) => sha256 == hash,
            (Content::Program(program), Some(hash)) => program.sha256 == *hash,
            _ => false,
        };
        Ok(Some(Change {
            host: host.name.clone(),
            task: task.name.clone(),
            subject: path,
            reasons,
            diff,
            action: Action::File(FileChange {
                directory,
                directory_mode: desired.directory_mode,
                name: desired.name,
                mode,
                account,
                before,
                attributes,
                content: if same { Content::Same } else { desired.content },
            }),
        }))
    }
}

impl Planner<'_> {
    /// Whether the file at a path may be replaced: it is already as wanted, it is a key that this
    /// CA issued, or it is of the kind that belongs there.
    fn check_kind(
        &self,
        facts: &NodeFacts,
        path: &str,
        file: &File,
        content: &Content,
        place: Place,
    ) -> Result<(), Refusal> {
        let is_same = match content {
            Content::Text(text) => sha256_hex(text.as_bytes()) == file.sha256,
            Content::Certificates(text) => self.authority.is_delivered(file, text),
            Content::Same => true,
            _ => false,
        };
        let kind = match &file.content {
            _ if file.private_key => Some(Kind::CertificatesAndKey),
            Some(bytes) => Some(Kind::of(bytes)),
            // Keys are never read: the node reports whether a file is one.
            None => facts.claims.keys.contains(path).then_some(Kind::Key),
        };
        let is_issued = || self.authority.ledger.by_key_sha256(&file.sha256).is_some();
        let is_fine = is_same
            || !place.is_told_by_content()
            || kind.is_some_and(|kind| place.accepts(kind))
            || (place == Place::Key && is_issued());
        is_fine
            .then_some(())
            .ok_or_else(|| not_of_kind(path, kind, place))
    }
}

/// The file at a path, if there is one.
fn comparable<'a>(
    found: Option<&'a FileFact>,
    path: &str,
    facts: &NodeFacts,
) -> Result<Option<&'a File>, Refusal> {
    Err(match found {
        Some(FileFact::File(file)) => return Ok(Some(file)),
        Some(FileFact::Absent) => return Ok(None),
        None => Refusal::new(format!("nothing was asked about {path}")),
        Some(FileFact::Unreadable) => unreadable(facts, path),
        Some(FileFact::Exposed) => Refusal::new(format!(
            "the way to {path} leads through a directory that others than root can write"
        ))
        .hint("make that directory writable by root only (chmod go-w), or use another path"),
        Some(FileFact::Other) => Refusal::new(format!("{path} is not a regular file"))
            .hint("look at what it is and move it away"),
    })
}

/// Why a path is left unchanged: names what is there, never its content.
fn not_of_kind(path: &str, kind: Option<Kind>, place: Place) -> Refusal {
    if (place, kind) == (Place::Certificates, Some(Kind::CertificatesAndKey)) {
        return Refusal::new(format!("{path} holds a private key")).hint(private_key_hint(path));
    }
    let there = kind.map_or_else(String::new, |kind| format!(" but {}", kind.described()));
    let quoted = word(path);
    Refusal::new(format!("{path} is not {}{there}: it is not replaced", place.described())).hint(format!(
        "check the path in the inventory; if it is right, look at the file and move it away: mv {quoted} {quoted}.before"
    ))
}

/// Requires that no other account can write to the directory of a key: it could exchange the files.
/// The node owner chose the mode, so dtls-deploy refuses it instead of changing it.
fn check_directory(facts: &NodeFacts, directory: &str, place: Place) -> Result<(), Refusal> {
    if let Some(path) = facts.blocked.get(&facts.expand(directory)) {
        let text = format!("{directory} cannot be created, because {path} is not a directory");
        return Err(Refusal::new(text).hint("name another directory, or move what is there"));
    }
    match facts.directory(directory) {
        Some(found) if place.is_declared() && found.mode & 0o022 != 0 => {
            Err(Refusal::new(format!(
                "{directory} can be written by others than {} (mode {:04o})",
                found.owner, found.mode
            ))
            .hint(format!("chmod go-w {}", word(directory))))
        }
        _ => Ok(()),
    }
}

/// Delivers nothing below a directory that every account can write to, even with the sticky bit:
/// once the directory is emptied, for example by a reboot, any account can create the rest of the
/// path.
fn check_way(facts: &NodeFacts, directory: &str, place: Place) -> Result<(), Refusal> {
    let way = facts.directories.get(&facts.expand(directory));
    let everybodys = way
        .into_iter()
        .flatten()
        .find(|found| found.mode & 0o1002 == 0o1002);
    match everybodys {
        Some(found) if place.is_declared() => Err(Refusal::new(format!(
            "{directory} lies below {}, in which every account can write (mode {:04o})",
            found.path, found.mode
        ))
        .hint("use a directory below /etc, or in the home of the account that uses the files")),
        _ => Ok(()),
    }
}

/// The diff of both texts; nothing if they differ only in masked parts.
fn drawn(place: Place, before: &str, after: &str) -> Option<TextDiff> {
    let diff = TextDiff {
        before: shown(place, before),
        after: shown(place, after),
    };
    (diff.before != diff.after).then_some(diff)
}

/// Whether the bytes change, with the reason and a diff of what may be shown.
fn difference(
    planner: &Planner<'_>,
    desired: &Desired,
    file: &File,
    reasons: &mut Vec<String>,
) -> Option<TextDiff> {
    let place = desired.place;
    let text = || String::from_utf8(file.content.clone()?).ok();
    let mut because = |reason: &str| {
        if reasons.is_empty() {
            reasons.push(reason.to_owned());
        }
    };
    match &desired.content {
        Content::Gone { .. } => {
            because("to be removed");
            drawn(place, &text()?, "")
        }
        Content::Kept { sha256, .. } if *sha256 != file.sha256 => {
            because("the content differs");
            None
        }
        Content::Program(program) if program.sha256 != file.sha256 => {
            because("the content differs");
            None
        }
        Content::Text(after) if sha256_hex(after.as_bytes()) != file.sha256 => {
            because("the content differs");
            drawn(place, &text().unwrap_or_default(), after)
        }
        Content::Certificates(after) if !planner.authority.is_delivered(file, after) => {
            let bytes = file.content.as_deref().unwrap_or_default();
            because("the content differs");
            let before = Bundle::read(bytes).map_or_else(|_| String::new(), |found| found.to_pem());
            drawn(place, &before, after)
        }
        _ => None,
    }
}

/// Whether the file is a link that an operator made to another place. Its target is never written,
/// and replacing the link with a file would separate the two: a rollback would not restore the
/// link.
fn is_operators(desired: &Desired) -> bool {
    let is_settings = matches!(
        desired.place,
        Place::DaemonJson | Place::DropIn | Place::Profile
    );
    let is_text = matches!(desired.content, Content::Text(_) | Content::Certificates(_));
    is_settings || (is_text && desired.place != Place::Kept)
}

fn link(path: &str) -> Refusal {
    let path = word(path);
    Refusal::new(format!(
        "{path} is a symbolic link, and its content would have to change: dtls-deploy does not replace links"
    ))
    .hint(format!(
        "make it a file of its own on the node: cp --remove-destination \"$(readlink -f {path})\" {path}"
    ))
}

fn faults(place: Place, file: &File, mode: FileMode, account: &str) -> Vec<AttributeFault> {
    let mut faults = Vec::new();
    if let FileMode::Exact(want) = mode
        && file.mode != want
    {
        faults.push(AttributeFault::Mode {
            found: file.mode,
            want,
        });
    }
    // It keeps the owner that an operator gave it.
    if file.owner != account && place != Place::DaemonJson {
        faults.push(AttributeFault::Owner {
            found: file.owner.clone(),
            want: account.to_owned(),
        });
    }
    if file.link {
        faults.push(AttributeFault::Link);
    }
    faults
}
