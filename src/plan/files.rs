//! Comparing a wanted file with the one on the node.
//!
//! Called by every module that owns files; gives the change, with each reason
//! spelled out, or none.

use std::borrow::Cow;

use super::change::{Action, Change, Content, FileChange, Mode, TextDiff};
use super::{Planner, Refusal};
use crate::inventory::Host;
use crate::node::facts::{File, FileFact};
use crate::pki::sha256_hex;
use crate::playbook::Task;

/// A file as it should be.
#[derive(Debug, Clone)]
pub struct Desired {
    /// As in the inventory: a leading `~/` is the login account's home.
    pub directory: String,
    pub directory_mode: Mode,
    pub name: String,
    pub mode: FileMode,
    pub content: Content,
    /// Why the content changes, where the module knows better than
    /// "the content differs".
    pub reasons: Vec<String>,
}

/// Permission bits of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    Exact(u32),
    /// These when the file is new; an existing one keeps its own.
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
    /// What is at a path once everything is done that is planned so far.
    ///
    /// # Errors
    /// When the host was not reached.
    pub fn found(&self, host: &Host, path: &str) -> Result<Option<Cow<'_, FileFact>>, Refusal> {
        let facts = self.facts(&host.name)?;
        let path = facts.expand(path);
        let written = self.written.get(&(host.name.clone(), path.clone()));
        let Some((file, text)) = written.and_then(|file| match &file.content {
            Content::Text(text) => Some((file, text)),
            _ => None,
        }) else {
            return Ok(facts.file(&path).map(Cow::Borrowed));
        };
        Ok(Some(Cow::Owned(FileFact::File(File {
            mode: file.mode,
            owner: file.account.clone(),
            uid: u32::from(file.account != "root"),
            size: text.len() as u64,
            changed: facts.clock,
            sha256: sha256_hex(text.as_bytes()),
            content: Some(text.clone().into_bytes()),
            link: false,
        }))))
    }

    /// The bytes of the regular file that is there then.
    ///
    /// # Errors
    /// As [`Planner::found`].
    pub fn bytes(&self, host: &Host, path: &str) -> Result<Option<Vec<u8>>, Refusal> {
        Ok(match self.found(host, path)?.as_deref() {
            Some(FileFact::File(file)) => file.content.clone(),
            _ => None,
        })
    }

    /// The change that makes `desired` true, if one is needed.
    ///
    /// # Errors
    /// When the node holds something else than a regular file there, or the
    /// directory is not one to write in.
    pub fn compare(
        &self,
        host: &Host,
        task: &Task,
        desired: Desired,
    ) -> Result<Option<Change>, Refusal> {
        let facts = self.facts(&host.name)?;
        let directory = facts.expand(&desired.directory);
        let account = facts.account_for(&directory)?;
        let path = format!("{directory}/{}", desired.name);
        let mut reasons = desired.reasons;
        let mut mode = desired.mode.bits();
        let mut before = None;
        let mut diff = None;
        let found = self.found(host, &path)?;
        match found.as_deref() {
            None => return Err(Refusal::new(format!("nothing was asked about {path}"))),
            Some(FileFact::Unreadable) => {
                return Err(
                    Refusal::new(format!("{path} cannot be read as {}", facts.account))
                        .hint("set ansible_become for this host"),
                );
            }
            Some(FileFact::Exposed) => {
                return Err(Refusal::new(format!(
                    "the way to {path} leads through a directory that others than root can write"
                ))
                .hint("give that directory to root alone (chmod go-w), or use another path"));
            }
            Some(FileFact::Other) => {
                return Err(Refusal::new(format!("{path} is not a regular file"))
                    .hint("look at what it is and move it away"));
            }
            Some(FileFact::Absent) => {
                if matches!(desired.content, Content::Gone { .. }) {
                    return Ok(None);
                }
                if desired.content == Content::Same {
                    return Err(Refusal::new(format!("{path} is missing")));
                }
                if reasons.is_empty() {
                    reasons.push("none present".to_owned());
                }
                if let Content::Text(text) = &desired.content {
                    diff = Some(TextDiff {
                        before: String::new(),
                        after: text.clone(),
                    });
                }
            }
            Some(FileFact::File(file)) => {
                before = Some(file.sha256.clone());
                diff = difference(&desired.content, file, &mut reasons);
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
                    reasons.extend(faults(file, desired.mode, &account));
                }
            }
        }
        if let (Mode::Exact(want), Some(found)) =
            (desired.directory_mode, facts.directory(&directory))
            && found.mode != want
        {
            reasons.push(format!(
                "directory mode {:04o}, want {want:04o}",
                found.mode
            ));
        }
        if reasons.is_empty() {
            return Ok(None);
        }
        // Bytes that are right already are not sent again.
        let same = match (&desired.content, &before) {
            (Content::Text(text), Some(hash)) => sha256_hex(text.as_bytes()) == *hash,
            (Content::Kept { sha256, .. }, Some(hash)) => sha256 == hash,
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
                content: if same { Content::Same } else { desired.content },
            }),
        }))
    }
}

/// Whether the bytes are to be others, with the reason and a diff of texts that
/// hold no secret.
fn difference(content: &Content, file: &File, reasons: &mut Vec<String>) -> Option<TextDiff> {
    let text = || String::from_utf8(file.content.clone()?).ok();
    let mut because = |reason: &str| {
        if reasons.is_empty() {
            reasons.push(reason.to_owned());
        }
    };
    match content {
        Content::Gone { .. } => {
            because("to be removed");
            let before = text().filter(|text| !text.contains("-----BEGIN"))?;
            Some(TextDiff {
                before,
                after: String::new(),
            })
        }
        Content::Kept { sha256, .. } if *sha256 != file.sha256 => {
            because("the content differs");
            None
        }
        Content::Text(after) if sha256_hex(after.as_bytes()) != file.sha256 => {
            because("the content differs");
            Some(TextDiff {
                before: text().unwrap_or_default(),
                after: after.clone(),
            })
        }
        _ => None,
    }
}

/// What is wrong with a file besides its bytes.
fn faults(file: &File, mode: FileMode, account: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if let FileMode::Exact(want) = mode
        && file.mode != want
    {
        faults.push(format!("mode {:04o}, want {want:04o}", file.mode));
    }
    if file.owner != account {
        faults.push(format!("owner {}, want {account}", file.owner));
    }
    if file.link {
        faults.push("a symbolic link, want a file".to_owned());
    }
    faults
}
