//! `known_hosts` files: reading, matching, judging a key, adding one.
//!
//! Called while connecting, by the host key check. The rules are those of `sshd(8)`,
//! "`SSH_KNOWN_HOSTS` file format", and where they differ stricter: a host of which any key is
//! known is never taken for a new one.

use base::wildcard;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use russh::keys::ssh_key::known_hosts::{HostPatterns, Marker};
use russh::keys::{HashAlg, PublicKey};

use super::error::RecordedKey;
use base::file::{self, FileFault};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 64 << 20;

/// One line that concerns the server.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub file: PathBuf,
    pub line: usize,
    pub marker: Option<Marker>,
    pub key: PublicKey,
}

impl Entry {
    pub(super) fn recorded(&self) -> RecordedKey {
        RecordedKey {
            file: self.file.clone(),
            line: self.line,
            algorithm: self.key.algorithm().to_string(),
            fingerprint: self.key.fingerprint(HashAlg::Sha256).to_string(),
        }
    }
}

/// All lines of all files that concern one server.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    /// Under the name that counts (`[host]:port`, or `host` for port 22).
    pub entries: Vec<Entry>,
    /// Under the bare name of a server on another port: they vouch for a key
    /// or revoke it, but a different key is no contradiction.
    pub vouching: Vec<Entry>,
    /// Keys of a kind that is no longer used (`ssh-dss`): never equal to what a
    /// server shows, but they show that the server is not new.
    outdated: Vec<RecordedKey>,
}

/// A file, parsed; found in it is a host by its name, not by looking at every
/// line: there may be as many lines as hosts.
#[derive(Debug, Default)]
pub(super) struct KnownHosts {
    path: PathBuf,
    lines: Vec<Line>,
    /// Lines whose names stand for themselves, by each of those.
    by_name: HashMap<String, Vec<usize>>,
    /// Lines with patterns or hashed names: they may be about anyone.
    others: Vec<usize>,
}

#[derive(Debug)]
struct Line {
    number: usize,
    marker: Option<Marker>,
    patterns: HostPatterns,
    /// Algorithm and key, not parsed yet.
    key: String,
}

impl KnownHosts {
    /// A missing file is an empty one, an unreadable one is an error (it may
    /// hold the line that revokes the key).
    pub(super) fn read(path: &Path) -> Result<Self, Unreadable> {
        // How ssh_config says that there are no records.
        if path == Path::new("/dev/null") {
            return Ok(Self::default());
        }
        match file::read(path, LARGEST) {
            Ok(bytes) => Ok(Self::parse(path, &String::from_utf8_lossy(&bytes))),
            Err(FileFault::Missing) => Ok(Self::default()),
            Err(fault) => Err(Unreadable {
                path: path.to_owned(),
                reason: fault.to_string(),
            }),
        }
    }

    fn parse(path: &Path, text: &str) -> Self {
        let mut file = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        for (index, line) in text.lines().enumerate() {
            let Some((marker, patterns, key)) = parse_line(line) else {
                continue;
            };
            let place = file.lines.len();
            match &patterns {
                HostPatterns::Patterns(names)
                    if names.iter().all(|name| !name.contains(['*', '?', '!'])) =>
                {
                    for name in names {
                        let lines = file.by_name.entry(name.to_lowercase()).or_default();
                        lines.push(place);
                    }
                }
                _ => file.others.push(place),
            }
            file.lines.push(Line {
                number: index + 1,
                marker,
                patterns,
                key,
            });
        }
        file
    }

    /// Lines that may be about a server with these names, in the file's order.
    fn about(&self, names: &[String]) -> impl Iterator<Item = &Line> {
        let by_name = names.iter().filter_map(|name| self.by_name.get(name));
        let places: BTreeSet<usize> = by_name.flatten().chain(&self.others).copied().collect();
        places.into_iter().filter_map(|place| self.lines.get(place))
    }
}

/// A file that exists and cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub path: PathBuf,
    pub reason: String,
}

impl Records {
    /// What `files` say of a server that goes by these names.
    pub(super) fn of<'a>(
        files: impl IntoIterator<Item = &'a KnownHosts>,
        names: &[String],
    ) -> Self {
        let mut records = Self::default();
        for file in files {
            records.add(file, names);
        }
        // They are kept as long as the connection, for its next key exchange.
        records.entries.shrink_to_fit();
        records.vouching.shrink_to_fit();
        records
    }

    fn add(&mut self, file: &KnownHosts, names: &[String]) {
        for line in file.about(names) {
            let found: Vec<Match> = names
                .iter()
                .map(|name| matches(&line.patterns, name))
                .collect();
            if found.contains(&Match::Excluded) {
                continue;
            }
            let Some(place) = found.iter().position(|found| *found == Match::Yes) else {
                continue;
            };
            let authoritative = place == 0;
            match parse_key(&line.key) {
                Some(key) => {
                    let entry = Entry {
                        file: file.path.clone(),
                        line: line.number,
                        marker: line.marker,
                        key,
                    };
                    if authoritative {
                        self.entries.push(entry);
                    } else {
                        self.vouching.push(entry);
                    }
                }
                None if authoritative
                    && line.marker.is_none()
                    && line.key.starts_with("ssh-dss ") =>
                {
                    self.outdated.push(RecordedKey {
                        file: file.path.clone(),
                        line: line.number,
                        algorithm: "ssh-dss".to_owned(),
                        fingerprint: "(a kind no longer used)".to_owned(),
                    });
                }
                None => {}
            }
        }
    }

    pub(super) fn authorities(&self) -> impl Iterator<Item = &Entry> {
        self.all()
            .filter(|entry| entry.marker == Some(Marker::CertAuthority))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Entry> {
        self.all().filter(|entry| entry.marker.is_none())
    }

    pub(super) fn revoked(&self, key: &PublicKey) -> Option<&Entry> {
        self.all().find(|entry| {
            entry.marker == Some(Marker::Revoked) && entry.key.key_data() == key.key_data()
        })
    }

    fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().chain(&self.vouching)
    }

    /// Judges a plain key.
    pub(super) fn judge(&self, key: &PublicKey) -> Verdict {
        if let Some(entry) = self.revoked(key) {
            return Verdict::Revoked(entry.recorded());
        }
        if self
            .keys()
            .any(|entry| entry.key.key_data() == key.key_data())
        {
            return Verdict::Trusted;
        }
        let expected: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| entry.marker != Some(Marker::Revoked))
            .map(Entry::recorded)
            .chain(self.outdated.iter().cloned())
            .collect();
        if expected.is_empty() {
            Verdict::Unknown
        } else {
            Verdict::Mismatch(expected)
        }
    }
}

/// What the records say about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Trusted,
    /// No record at all under the server's name.
    Unknown,
    /// There are records, and this key is not among them.
    Mismatch(Vec<RecordedKey>),
    Revoked(RecordedKey),
}

/// Marker, host patterns, and key as text; `None` for comments and for lines
/// that OpenSSH would not understand either.
fn parse_line(line: &str) -> Option<(Option<Marker>, HostPatterns, String)> {
    let mut fields = line.split_whitespace();
    let mut first = fields.next().filter(|field| !field.starts_with('#'))?;
    let mut marker = None;
    if first.starts_with('@') {
        marker = Some(first.parse().ok()?);
        first = fields.next()?;
    }
    let patterns = first.parse().ok()?;
    let algorithm = fields.next()?;
    let blob = fields.next()?;
    Some((marker, patterns, format!("{algorithm} {blob}")))
}

fn parse_key(text: &str) -> Option<PublicKey> {
    PublicKey::from_openssh(text).ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Yes,
    No,
    /// By a pattern with `!`; the line then concerns the host under no name.
    Excluded,
}

fn matches(patterns: &HostPatterns, name: &str) -> Match {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            if hash_name(salt, name).as_ref() == hash {
                Match::Yes
            } else {
                Match::No
            }
        }
        HostPatterns::Patterns(patterns) => {
            let mut found = Match::No;
            for pattern in patterns {
                let (negated, pattern) = match pattern.strip_prefix('!') {
                    Some(pattern) => (true, pattern),
                    None => (false, pattern.as_str()),
                };
                if wildcard::is_match(&pattern.to_lowercase(), name) {
                    if negated {
                        return Match::Excluded;
                    }
                    found = Match::Yes;
                }
            }
            found
        }
    }
}

/// HMAC-SHA1, the format's own choice; it hides names, it proves nothing.
fn hash_name(salt: &[u8], name: &str) -> hmac::Tag {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
    hmac::sign(&key, name.as_bytes())
}

/// The line that records `key` under `name`.
pub(super) fn line(name: &str, key: &PublicKey, hashed: bool) -> io::Result<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let encoded = PublicKey::new(key.key_data().clone(), "")
        .to_openssh()
        .map_err(io::Error::other)?;
    let name = if hashed {
        let mut salt = [0_u8; 20];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| io::Error::other("no randomness"))?;
        let hash = hash_name(&salt, name);
        format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hash))
    } else {
        name.to_owned()
    };
    Ok(format!("{name} {}\n", encoded.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHBPW7iOD23TUiYLio";
    const B: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn judge(text: &str, names: &[&str], key: &str) -> Verdict {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let file = KnownHosts::parse(Path::new("kh"), text);
        let records = Records::of([&file], &names);
        records.judge(&parse_key(key).expect("a key"))
    }

    /// Text that no one wrote is read, and takes no key for another one.
    #[test]
    fn known_hosts_are_fuzzed() {
        let seeds = [
            format!("node1 {A}\n@revoked * {B}\n"),
            format!("[node1]:2222,!x,*.example {A} comment\n@cert-authority *.example {B}\n"),
            format!("|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= {A}\n# x\n"),
        ]
        .map(String::into_bytes);
        let names = ["node1".to_owned(), "x.example".to_owned()];
        let stranger = parse_key(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHKrCzZJyuNHXZyt1C5QhXmyFSrBZMYuHyEGKkCVzeyK",
        )
        .expect("a key");
        fuzz::run("known_hosts", &seeds, |input| {
            let file = KnownHosts::parse(Path::new("kh"), &String::from_utf8_lossy(input));
            let records = Records::of([&file], &names);
            for entry in records.keys() {
                assert!(!matches!(records.judge(&entry.key), Verdict::Unknown));
            }
            assert!(!matches!(records.judge(&stranger), Verdict::Trusted));
        });
    }

    #[test]
    fn names_are_matched_as_openssh_does() {
        let table = [
            ("node1", "node1", true),
            ("NODE1", "node1", true),
            ("a,node1,b", "node1", true),
            ("*.example", "x.example", true),
            ("*.example,!x.example", "x.example", false),
            ("!x.example,*.example", "x.example", false),
            ("node?", "node1", true),
            ("node?", "node12", false),
            ("[node1]:2200", "[node1]:2200", true),
            ("[*]:2200", "[node1]:2200", true),
            ("node1", "[node1]:2200", false),
            ("*", "[node1]:2200", true),
            ("10.0.0.*", "10.0.0.12", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("*a*", "b", false),
        ];
        for (patterns, name, expected) in table {
            let patterns: HostPatterns = patterns.parse().expect("patterns");
            assert_eq!(
                matches(&patterns, name) == Match::Yes,
                expected,
                "{patterns:?} {name}"
            );
        }
    }

    #[test]
    fn hashed_names_are_found_and_made() {
        let key = parse_key(A).expect("a key");
        let text = line("[node1]:2200", &key, true).expect("a line");
        assert!(text.starts_with("|1|"), "{text}");
        assert_eq!(
            judge(&text, &["[node1]:2200", "node1"], A),
            Verdict::Trusted
        );
        assert_eq!(judge(&text, &["node1"], A), Verdict::Unknown);
        // Made by ssh-keygen -H.
        let known = format!("|1|JfKTdBh7rNbXkVAQCRp4OQoPfmI=|USECr3SWf1JUPsms5AqfD5QfxkM= {A}");
        assert_eq!(judge(&known, &["other"], A), Verdict::Unknown);
    }

    #[test]
    fn any_recorded_key_is_good_and_any_other_is_not() {
        let two = format!("node {A}\n\n# node {B}\nnode\t{B} comment\n");
        assert_eq!(judge(&two, &["node"], A), Verdict::Trusted);
        assert_eq!(judge(&two, &["node"], B), Verdict::Trusted);
        let one = format!("node {A}\n");
        assert!(matches!(judge(&one, &["node"], B), Verdict::Mismatch(keys) if keys[0].line == 1));
        assert_eq!(judge(&one, &["other"], B), Verdict::Unknown);
    }

    #[test]
    fn an_authority_on_record_makes_a_bare_key_a_mismatch() {
        let text = format!("@cert-authority node {A}\n");
        assert!(matches!(judge(&text, &["node"], B), Verdict::Mismatch(_)));
        assert!(matches!(judge(&text, &["node"], A), Verdict::Mismatch(_)));
    }

    #[test]
    fn revocation_wins_over_everything() {
        let text = format!("node {A}\n@revoked * {A}\n");
        assert!(matches!(judge(&text, &["node"], A), Verdict::Revoked(key) if key.line == 2));
        assert_eq!(
            judge(&format!("@revoked * {A}"), &["node"], B),
            Verdict::Unknown
        );
        let bare = format!("@revoked node {A}\n[node]:2200 {A}\n");
        assert!(matches!(
            judge(&bare, &["[node]:2200", "node"], A),
            Verdict::Revoked(_)
        ));
    }

    #[test]
    fn the_bare_name_vouches_for_another_port_but_does_not_contradict() {
        let text = format!("node {A}\n");
        assert_eq!(judge(&text, &["[node]:2200", "node"], A), Verdict::Trusted);
        assert_eq!(judge(&text, &["[node]:2200", "node"], B), Verdict::Unknown);
    }

    #[test]
    fn nonsense_lines_are_passed_over() {
        let text = format!("@gibberish node {A}\nnode\nnode ssh-foo AAAA\n|1|x node\n@revoked\n");
        assert_eq!(judge(&text, &["node"], A), Verdict::Unknown);
    }
}
