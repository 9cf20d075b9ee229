//! A generation: the files that a change replaced, as the node keeps them.
//!
//! The prelude writes and documents the format; `rollback` reads it.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{KeptGeneration, NodeFacts};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    pub kept: KeptGeneration,
    /// The run whose change replaced these files.
    pub run: String,
    pub files: Vec<KeptFile>,
    /// What did not exist before that change.
    pub absent: Vec<String>,
    /// Directories that did not exist, each with the first missing one on its path.
    pub missing: BTreeMap<String, String>,
}

/// One file of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFile {
    /// Where it was.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
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
    pub fn read(facts: &NodeFacts, kept: &KeptGeneration) -> Result<Self, GenerationError> {
        let path = &kept.path;
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
            kept: kept.clone(),
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
        Ok(generation)
    }

    /// Every path in it.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let files = self.files.iter().map(|file| file.path.as_str());
        files.chain(self.absent.iter().map(String::as_str))
    }
}

/// The state before all changes of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeforeRun {
    pub run: String,
    /// The run's generations, the oldest first.
    pub generations: Vec<KeptGeneration>,
    /// Each with the account that keeps it.
    pub files: Vec<(KeptFile, String)>,
    /// What did not exist.
    pub absent: Vec<String>,
    missing: BTreeMap<String, String>,
}

impl BeforeRun {
    /// Combines a run's generations, the oldest first: for a path in two of them, the older one
    /// counts. None if there is none.
    #[must_use]
    pub fn of(generations: Vec<Generation>) -> Option<Self> {
        let mut before = Self {
            run: generations.first()?.run.clone(),
            generations: Vec::new(),
            files: Vec::new(),
            absent: Vec::new(),
            missing: BTreeMap::new(),
        };
        let mut known = BTreeSet::new();
        for generation in generations {
            for file in generation.files {
                if known.insert(file.path.clone()) {
                    before.files.push((file, generation.kept.account.clone()));
                }
            }
            let absent = generation.absent.into_iter();
            before
                .absent
                .extend(absent.filter(|path| known.insert(path.clone())));
            for (directory, top) in generation.missing {
                before.missing.entry(directory).or_insert(top);
            }
            before.generations.push(generation.kept);
        }
        Some(before)
    }

    /// How many levels of a directory did not exist.
    #[must_use]
    pub fn levels(&self, directory: &str) -> u8 {
        let depth = |path: &str| path.matches('/').count();
        let levels = self
            .missing
            .get(directory)
            .map_or(0, |top| depth(directory).saturating_sub(depth(top)) + 1);
        u8::try_from(levels).unwrap_or(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{File, FileFact};

    const PATH: &str = "/s/generations/000002-r.01";

    fn read(manifest: &str, sums: &str) -> Result<Generation, GenerationError> {
        let mut facts = NodeFacts::default();
        for (name, text) in [("manifest", manifest), ("sums", sums)] {
            facts.files.insert(
                format!("{PATH}/{name}"),
                FileFact::File(File {
                    mode: 0o600,
                    owner: "root".to_owned(),
                    uid: 0,
                    size: 0,
                    changed: 0,
                    sha256: String::new(),
                    content: Some(text.as_bytes().to_vec()),
                    private_key: false,
                    link: false,
                }),
            );
        }
        let kept = KeptGeneration {
            path: PATH.to_owned(),
            account: "root".to_owned(),
        };
        Generation::read(&facts, &kept)
    }

    #[test]
    fn files_are_numbered_in_their_order() {
        let manifest = "run\tr\ndirectory\t/d\nmissing\t/a/b/c\t/a/b\nabsent\t/d/new\nexpires\t0\nfile\t400\t0\t0\t/d/key.pem\nfile\t644\t0\t0\t/d/b\n";
        let generation = read(manifest, "aa  1\nbb  2\n").unwrap();
        assert_eq!(generation.absent, ["/d/new"]);
        let paths: Vec<&str> = generation.paths().collect();
        assert_eq!(paths, ["/d/key.pem", "/d/b", "/d/new"]);
        assert_eq!(generation.files[0].mode, 0o400);
        assert_eq!(generation.files[1].copy, "/s/generations/000002-r.01/2");
        assert_eq!(generation.files[1].sha256, "bb");
        assert_eq!(generation.kept.name(), "000002-r.01");
        assert_eq!(generation.kept.run(), Some("r"));
        let before = BeforeRun::of(vec![generation]).unwrap();
        assert_eq!((before.levels("/a/b/c"), before.levels("/d")), (2, 0));
    }

    #[test]
    fn what_two_changes_of_a_run_replaced_was_as_the_first_found_it() {
        let first = read("run\tr\nabsent\t/d/b\nfile\t644\t0\t0\t/d/a\n", "aa  1\n");
        let text = "run\tr\nabsent\t/d/c\nfile\t644\t0\t0\t/d/b\nfile\t600\t0\t0\t/d/a\n";
        let second = read(text, "bb  1\ncc  2\n");
        let before = BeforeRun::of(vec![first.unwrap(), second.unwrap()]).unwrap();
        let files: Vec<(&str, &str)> = before
            .files
            .iter()
            .map(|(file, _)| (file.path.as_str(), file.sha256.as_str()))
            .collect();
        assert_eq!(files, [("/d/a", "aa")]);
        assert_eq!(before.absent, ["/d/b", "/d/c"]);
        assert_eq!(before.generations.len(), 2);
        assert_eq!(BeforeRun::of(Vec::new()), None);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let missing = read("run\tr\nfile\t400\t0\t0\t/d/k\n", "");
        assert_eq!(missing, Err(GenerationError::Missing("/d/k".to_owned())));
        let malformed = read("run\tr\nwhat\n", "");
        assert!(matches!(
            malformed,
            Err(GenerationError::Malformed { line: 2, .. })
        ));
    }
}
