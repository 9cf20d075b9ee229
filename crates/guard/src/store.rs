//! The policy file, read again whenever it has changed. A file that cannot be
//! used changes nothing: the last good policy stays in force.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use policy::Policy;

/// Bytes of a policy file: 10,000 identities take about one million.
const LONGEST: u64 = 8 * 1024 * 1024;

/// What changes when a file is replaced or written.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

/// What the last check of the file found.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    NoFile,
    File(Stamp),
}

#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// The only account that may own the file.
    owner: u32,
    seen: Seen,
    policy: Option<Policy>,
}

/// What a check of the file found.
#[derive(Debug)]
pub enum News {
    Loaded { identities: usize, revoked: usize },
    Broken { problem: String, has_policy: bool },
}

impl fmt::Display for News {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded {
                identities,
                revoked,
            } => write!(
                formatter,
                "loaded the policy: {identities} certificates with a role, {revoked} revoked"
            ),
            Self::Broken {
                problem,
                has_policy,
            } => {
                let consequence = if *has_policy {
                    "the last good policy stays in force"
                } else {
                    "there is no earlier policy, so that every client certificate is rejected"
                };
                write!(formatter, "{problem}; {consequence}")
            }
        }
    }
}

impl Store {
    pub const fn new(path: PathBuf, owner: u32) -> Self {
        Self {
            path,
            owner,
            seen: Seen::Nothing,
            policy: None,
        }
    }

    pub const fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// Reads the file if it has changed since the last look.
    pub fn refresh(&mut self) -> Option<News> {
        let data = std::fs::metadata(&self.path);
        let now = data.map_or(Seen::NoFile, |data| Seen::File(stamp(&data)));
        if self.seen == now {
            return None;
        }
        self.seen = now;
        Some(match self.read() {
            Ok((stamp, policy)) => {
                let (identities, revoked) = policy.size();
                self.seen = Seen::File(stamp);
                self.policy = Some(policy);
                News::Loaded {
                    identities,
                    revoked,
                }
            }
            Err(problem) => News::Broken {
                problem: format!("{}: {problem}", self.path.display()),
                has_policy: self.policy.is_some(),
            },
        })
    }

    fn read(&self) -> Result<(Stamp, Policy), String> {
        let said = |error: io::Error| error.to_string();
        // A pipe would block the open.
        let before = std::fs::metadata(&self.path).map_err(said)?;
        self.check(&before)?;
        let file = File::open(&self.path).map_err(said)?;
        let opened = file.metadata().map_err(said)?;
        self.check(&opened)?;
        let mut text = Vec::new();
        file.take(LONGEST + 1)
            .read_to_end(&mut text)
            .map_err(said)?;
        if u64::try_from(text.len()).is_ok_and(|length| length > LONGEST) {
            return Err(format!("has more than {LONGEST} bytes"));
        }
        let policy = Policy::parse(&text).map_err(|problem| problem.to_string())?;
        Ok((stamp(&opened), policy))
    }

    fn check(&self, data: &Metadata) -> Result<(), String> {
        if !data.is_file() {
            Err("is not a regular file".to_owned())
        } else if data.uid() != self.owner {
            Err(format!(
                "belongs to the account {} and not to {}",
                data.uid(),
                self.owner
            ))
        } else if data.mode() & 0o022 != 0 {
            Err(format!(
                "can be written by others: mode {:04o}",
                data.mode() & 0o7777
            ))
        } else {
            Ok(())
        }
    }
}

fn stamp(data: &Metadata) -> Stamp {
    (
        data.dev(),
        data.ino(),
        data.size(),
        data.mtime(),
        data.mtime_nsec(),
        data.ctime(),
        data.ctime_nsec(),
    )
}

#[cfg(test)]
mod tests {
    use super::{News, Store};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::path::Path;

    const GOOD: &str = r#"{"version": 1, "identities": []}"#;

    fn put(path: &Path, text: &str) {
        let staged = path.with_extension("new");
        std::fs::write(&staged, text).unwrap();
        std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::rename(staged, path).unwrap();
    }

    fn store(directory: &tempfile::TempDir) -> Store {
        let path = directory.path().join("guard.json");
        Store::new(path, directory.path().metadata().unwrap().uid())
    }

    fn is_loaded(news: Option<&News>) -> bool {
        matches!(news, Some(News::Loaded { .. }))
    }

    #[test]
    fn a_change_is_seen_once_and_a_broken_file_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = store(&directory);
        let path = directory.path().join("guard.json");
        let missing = store.refresh();
        assert!(matches!(
            missing,
            Some(News::Broken {
                has_policy: false,
                ..
            })
        ));
        assert!(store.refresh().is_none() && store.policy().is_none());

        put(&path, GOOD);
        assert!(is_loaded(store.refresh().as_ref()));
        assert!(store.refresh().is_none());

        let revoked = r#""revoked": [{"serial": "1", "name": "a"}]"#;
        put(&path, &GOOD.replace('}', &format!(", {revoked}}}")));
        assert!(is_loaded(store.refresh().as_ref()));
        assert_eq!(store.policy().unwrap().size(), (0, 1));

        for text in ["", "{", &format!("{GOOD}{GOOD}")] {
            put(&path, text);
            let news = store.refresh();
            assert!(
                matches!(
                    news,
                    Some(News::Broken {
                        has_policy: true,
                        ..
                    })
                ),
                "{text}"
            );
            assert!(store.refresh().is_none());
            assert_eq!(store.policy().unwrap().size(), (0, 1));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(store.refresh(), Some(News::Broken { .. })));
        assert_eq!(store.policy().unwrap().size(), (0, 1));

        put(&path, GOOD);
        assert!(is_loaded(store.refresh().as_ref()));
        assert_eq!(store.policy().unwrap().size(), (0, 0));
    }

    #[test]
    fn a_file_that_others_could_have_written_is_no_policy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("guard.json");
        put(&path, GOOD);
        let mut foreign = Store::new(path.clone(), 4_000_000);
        let news = foreign.refresh().unwrap().to_string();
        assert!(news.contains("belongs to the account"), "{news}");

        for (mode, problem) in [(0o664, "0664"), (0o646, "0646")] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let news = store(&directory).refresh().unwrap().to_string();
            assert!(news.contains(problem), "{news}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let news = store(&directory).refresh().unwrap().to_string();
        assert!(news.contains("not a regular file"), "{news}");
    }

    #[test]
    fn ten_thousand_serials_are_read() {
        use std::fmt::Write as _;
        let directory = tempfile::tempdir().unwrap();
        let mut list = String::new();
        for number in 0..10_000 {
            write!(
                list,
                r#",{{"serial":"{:032X}","name":"node{number}","role":"read"}}"#,
                number + 1
            )
            .unwrap();
        }
        let text = GOOD.replace("[]", &format!("[{}]", list.trim_start_matches(',')));
        put(&directory.path().join("guard.json"), &text);
        let mut store = store(&directory);
        assert!(is_loaded(store.refresh().as_ref()));
        assert_eq!(store.policy().unwrap().size(), (10_000, 0));
    }
}
