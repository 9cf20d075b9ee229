//! Replaces the hashes of docker contexts with their names: the CLI stores each context under the
//! SHA-256 of its name.

use std::collections::HashMap;

use base::event::{CertificateStatus, Error, Event, Failure, Finding, PlannedChange};
use docker::context;
use node::visible;

/// The directory of the login account: it is not mentioned.
const OWN: &str = "~/.docker";

/// The names of contexts, by their directories.
#[derive(Debug, Default)]
pub struct Contexts(HashMap<String, String>);

/// A file of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContextFile<'a> {
    pub(super) name: &'a str,
    /// The CLI's directory.
    pub(super) directory: &'a str,
    file: &'a str,
}

impl ContextFile<'_> {
    fn shown(&self) -> String {
        format!("context {} ({})", self.name, self.beneath(self.file))
    }

    /// A number of its files.
    pub(super) fn of_several(&self, count: usize) -> String {
        let files = format!("{count} files");
        format!("context {} ({})", self.name, self.beneath(&files))
    }

    fn beneath(&self, what: &str) -> String {
        match self.directory {
            OWN => what.to_owned(),
            directory => format!("{what} in {directory}"),
        }
    }
}

impl Contexts {
    #[must_use]
    pub fn of(names: &[String]) -> Self {
        let ids = names.iter().map(|name| (context::id(name), visible(name)));
        Self(ids.collect())
    }

    /// The context file at a path, if the path is one.
    pub(super) fn file<'a>(&'a self, path: &'a str) -> Option<ContextFile<'a>> {
        if path.contains(' ') || !path.starts_with(['~', '/']) {
            return None;
        }
        let (directory, path) = path.split_once("/contexts/")?;
        let path = path
            .strip_prefix("meta/")
            .or_else(|| path.strip_prefix("tls/"))?;
        let (id, path) = path.split_once('/')?;
        let file = path.strip_prefix("docker/").unwrap_or(path);
        (!file.contains('/')).then_some(ContextFile {
            name: self.0.get(id)?,
            directory,
            file,
        })
    }

    /// A text in which each path of a context's file is replaced by the context's name.
    pub(super) fn named(&self, text: &str) -> String {
        if !text.contains("/contexts/") {
            return text.to_owned();
        }
        let words = text.split(' ').map(|word| {
            let begin = word.find(['~', '/']).unwrap_or_default();
            let (before, path) = word.split_at(begin);
            let trimmed = path.trim_end_matches(|letter: char| !letter.is_alphanumeric());
            let after = path.get(trimmed.len()..).unwrap_or_default();
            // A fragment of a path that contains spaces is not a path.
            let is_whole = !before.contains(char::is_alphanumeric);
            self.file(trimmed).filter(|_| is_whole).map_or_else(
                || word.to_owned(),
                |file| format!("{before}{}{after}", file.shown()),
            )
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Does the same for the texts of an event. Hints stay, because they are commands; so do a
    /// plan's changes, which [`super::plan`] draws.
    pub(super) fn name(&self, event: &mut Event) {
        match event {
            Event::Warning { text, .. } | Event::Danger { text, .. } => self.all([text]),
            Event::Plan { changes, .. } => {
                for PlannedChange { reasons, .. } in changes {
                    self.all(reasons);
                }
            }
            Event::Started { what, .. }
            | Event::Changed { what, .. }
            | Event::Checked { what, .. } => self.all([what]),
            Event::Failed(Failure {
                message, causes, ..
            })
            | Event::Error(Error {
                message, causes, ..
            }) => {
                self.all([message]);
                self.all(causes);
            }
            Event::Stopped { hosts, .. } => {
                for host in hosts {
                    self.all(&mut host.done);
                    self.all(&mut host.not_done);
                }
            }
            Event::Certificate(certificate) => self.name_in(certificate),
            Event::Finding(finding) => {
                let Finding { seen, .. } = &mut **finding;
                self.all([seen]);
            }
            _ => {}
        }
    }

    /// Does the same for the texts of a certificate.
    pub fn name_in(&self, certificate: &mut CertificateStatus) {
        self.all([&mut certificate.place]);
        self.all(&mut certificate.drift);
    }

    fn all<'a>(&self, texts: impl IntoIterator<Item = &'a mut String>) {
        for text in texts {
            *text = self.named(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_contexts_have_the_names_of_these_and_other_paths_stay() {
        let contexts = Contexts::of(&["node3".to_owned(), "lab-node4".to_owned()]);
        let paths = |directory: &str, name| {
            let paths = context::paths(directory, name);
            (format!("{}/meta.json", paths.metadata), paths.tls)
        };
        let (meta, tls) = paths(OWN, "node3");
        assert_eq!(contexts.named(&meta), "context node3 (meta.json)");
        assert_eq!(
            contexts.named(&format!("`{tls}/key.pem`: mode 0644, want 0400")),
            "`context node3 (key.pem)`: mode 0644, want 0400"
        );
        let (other, _) = paths("/home/ci/.docker", "lab-node4");
        assert_eq!(
            contexts.named(&format!("{other} changes")),
            "context lab-node4 (meta.json in /home/ci/.docker) changes"
        );
        let (unknown, _) = paths(OWN, "node5");
        let (spaced, _) = paths("/home/my account/.docker", "node3");
        for text in [&*unknown, &spaced, "/etc/docker/daemon.json", ""] {
            assert_eq!(contexts.named(text), text);
        }
    }
}
