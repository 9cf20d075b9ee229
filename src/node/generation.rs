//! A generation: what a change on a node replaced, as the node keeps it.
//!
//! Comes in: the facts of a node whose newest generation was asked for. Goes
//! out: where each file was, with its mode and what is kept of it. The prelude
//! writes the form and describes it; `rollback` reads it.

use std::collections::BTreeMap;

use super::facts::NodeFacts;

/// The newest generation of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its directory on the node.
    pub path: String,
    /// The run whose change replaced these files.
    pub run: String,
    pub files: Vec<KeptFile>,
    /// What was not there before that change.
    pub absent: Vec<String>,
    /// Directories that were not there, with the first on the way to each that
    /// was not.
    pub missing: BTreeMap<String, String>,
}

/// One file of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFile {
    /// Where it was.
    pub path: String,
    /// Permission bits that it had.
    pub mode: u32,
    /// The copy.
    pub copy: String,
    /// SHA-256 of the copy, lower-case hex.
    pub sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerationError {
    #[error("{0} cannot be read")]
    Unreadable(String),
    #[error("{path}, line {line}: {text:?} is not what was written there")]
    Malformed {
        path: String,
        line: usize,
        text: String,
    },
    #[error("what was kept of {0} is not there any more")]
    Missing(String),
}

impl Generation {
    /// The newest generation in these facts; none where none is kept.
    ///
    /// # Errors
    /// When what is there is not whole.
    pub fn newest(facts: &NodeFacts) -> Result<Option<Self>, GenerationError> {
        let Some(path) = facts.generation.clone() else {
            return Ok(None);
        };
        let manifest_path = format!("{path}/manifest");
        let manifest = facts
            .text(&manifest_path)
            .ok_or_else(|| GenerationError::Unreadable(manifest_path.clone()))?;
        let sums: BTreeMap<&str, &str> = facts
            .text(&format!("{path}/sums"))
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.split_once("  "))
            .map(|(sum, name)| (name, sum))
            .collect();
        let mut generation = Self {
            path: path.clone(),
            run: String::new(),
            files: Vec::new(),
            absent: Vec::new(),
            missing: BTreeMap::new(),
        };
        for (index, line) in manifest.lines().enumerate() {
            let malformed = || GenerationError::Malformed {
                path: manifest_path.clone(),
                line: index + 1,
                text: line.to_owned(),
            };
            match line.split('\t').collect::<Vec<_>>().as_slice() {
                ["run", run] => (*run).clone_into(&mut generation.run),
                ["expires" | "directory", _] => {}
                ["missing", directory, top] => {
                    let (directory, top) = ((*directory).to_owned(), (*top).to_owned());
                    generation.missing.insert(directory, top);
                }
                ["absent", file] => generation.absent.push((*file).to_owned()),
                ["file", mode, _, _, file] => {
                    let number = (generation.files.len() + 1).to_string();
                    let sha256 = sums
                        .get(number.as_str())
                        .ok_or_else(|| GenerationError::Missing((*file).to_owned()))?;
                    generation.files.push(KeptFile {
                        path: (*file).to_owned(),
                        mode: u32::from_str_radix(mode, 8).map_err(|_| malformed())?,
                        copy: format!("{path}/{number}"),
                        sha256: (*sha256).to_owned(),
                    });
                }
                _ => return Err(malformed()),
            }
        }
        Ok(Some(generation))
    }

    /// How many levels of a directory were not there.
    #[must_use]
    pub fn levels(&self, directory: &str) -> u8 {
        let depth = |path: &str| path.matches('/').count();
        let levels = self
            .missing
            .get(directory)
            .map_or(0, |top| depth(directory).saturating_sub(depth(top)) + 1);
        u8::try_from(levels).unwrap_or(u8::MAX)
    }

    /// The number and the run, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::facts::{File, FileFact};

    fn facts(manifest: &str, sums: &str) -> NodeFacts {
        let mut facts = NodeFacts {
            generation: Some("/s/generations/000002-r.01".to_owned()),
            ..NodeFacts::default()
        };
        for (name, text) in [("manifest", manifest), ("sums", sums)] {
            facts.files.insert(
                format!("/s/generations/000002-r.01/{name}"),
                FileFact::File(File {
                    mode: 0o600,
                    owner: "root".to_owned(),
                    uid: 0,
                    size: 0,
                    changed: 0,
                    sha256: String::new(),
                    content: Some(text.as_bytes().to_vec()),
                    link: false,
                }),
            );
        }
        facts
    }

    #[test]
    fn files_are_numbered_in_their_order() {
        let manifest = "run\tr\ndirectory\t/d\nmissing\t/a/b/c\t/a/b\nabsent\t/d/new\nexpires\t0\nfile\t400\t0\t0\t/d/key.pem\nfile\t644\t0\t0\t/d/b\n";
        let generation = Generation::newest(&facts(manifest, "aa  1\nbb  2\n"))
            .unwrap()
            .unwrap();
        assert_eq!(generation.absent, ["/d/new"]);
        assert_eq!(
            (generation.levels("/a/b/c"), generation.levels("/d")),
            (2, 0)
        );
        assert_eq!(generation.files[0].mode, 0o400);
        assert_eq!(generation.files[1].copy, "/s/generations/000002-r.01/2");
        assert_eq!(generation.files[1].sha256, "bb");
        assert_eq!(generation.name(), "000002-r.01");
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        assert_eq!(Generation::newest(&NodeFacts::default()), Ok(None));
        let missing = Generation::newest(&facts("run\tr\nfile\t400\t0\t0\t/d/k\n", ""));
        assert_eq!(missing, Err(GenerationError::Missing("/d/k".to_owned())));
        let malformed = Generation::newest(&facts("run\tr\nwhat\n", ""));
        assert!(matches!(
            malformed,
            Err(GenerationError::Malformed { line: 2, .. })
        ));
    }
}
