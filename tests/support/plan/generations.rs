//! What a machine keeps of earlier changes, as the prelude keeps it.

use std::fmt::Write as _;

use node::facts::{KeptGeneration, NodeFacts, STATE};
use pki::sha256_hex;
use plan::FileChange;

use super::machine::{Item, Machine, Stored};

const OF_LOGIN: &str = "/home/ubuntu/.local/state/dtls-deploy";

impl Machine {
    fn state(&self) -> &'static str {
        if self.account == "root" {
            STATE
        } else {
            OF_LOGIN
        }
    }

    fn keep_file(&mut self, path: &str, bytes: Vec<u8>, at: i64) {
        let stored = Stored {
            bytes,
            mode: 0o600,
            owner: self.account.clone(),
            changed: at,
            link: false,
        };
        self.disk.insert(path.to_owned(), Item::File(stored));
    }

    /// Keeps what a batch is about to replace.
    pub fn keep_generation(&mut self, run: &str, sequence: usize, files: &[&FileChange], at: i64) {
        let (state, account) = (self.state(), self.account.clone());
        self.make(state, &account, 0o700);
        let number = self.generations_in(state).len() + 1;
        let directory = format!("{state}/generations/{number:06}-{run}.{sequence:02}");
        self.mkdir(&directory, &account, 0o700);
        let (mut manifest, mut sums, mut count) = (format!("run\t{run}\n"), String::new(), 0);
        for file in files {
            if self.directories.contains_key(&file.directory) {
                writeln!(manifest, "directory\t{}", file.directory).unwrap();
            } else {
                writeln!(manifest, "missing\t{0}\t{0}", file.directory).unwrap();
            }
            let Some(old) = self.stored(&file.path()).cloned() else {
                writeln!(manifest, "absent\t{}", file.path()).unwrap();
                continue;
            };
            count += 1;
            writeln!(manifest, "file\t{:o}\t0\t0\t{}", old.mode, file.path()).unwrap();
            writeln!(sums, "{}  {count}", sha256_hex(&old.bytes)).unwrap();
            self.keep_file(&format!("{directory}/{count}"), old.bytes, at);
        }
        self.keep_file(&format!("{directory}/manifest"), manifest.into_bytes(), at);
        self.keep_file(&format!("{directory}/sums"), sums.into_bytes(), at);
    }

    /// The generations that are kept in a place, the oldest first.
    fn generations_in(&self, state: &str) -> Vec<String> {
        let above = format!("{state}/generations/");
        let manifests = self.disk.keys().filter(|path| path.starts_with(&above));
        manifests
            .filter_map(|path| Some(path.strip_suffix("/manifest")?.to_owned()))
            .collect()
    }

    pub fn forget_generation(&mut self, kept: &KeptGeneration) {
        let below = format!("{}/", kept.path);
        self.disk.retain(|path, _| !path.starts_with(&below));
    }

    /// What `remove` does at last: root forgets what the login keeps, too.
    pub fn forget_everything(&mut self) {
        let is_root = self.account == "root";
        self.disk.retain(|path, _| {
            let is_root_s = path.starts_with(&format!("{STATE}/"));
            let is_login_s = path.starts_with(&format!("{OF_LOGIN}/"));
            !(is_login_s || is_root && is_root_s)
        });
    }

    /// As `fact_generations` reports them.
    pub fn generations(&self, facts: &mut NodeFacts) {
        if self.account != "root" && self.directories.contains_key(STATE) {
            facts.hidden_generations = Some(STATE.to_owned());
        }
        let places: &[(&str, &str)] = if self.account == "root" {
            &[(OF_LOGIN, "ubuntu"), (STATE, "root")]
        } else {
            &[(OF_LOGIN, "ubuntu")]
        };
        for (state, account) in places {
            let all = self.generations_in(state);
            let kept = all.into_iter().map(|path| KeptGeneration {
                path,
                account: (*account).to_owned(),
            });
            let kept: Vec<KeptGeneration> = kept.collect();
            let last = kept.last().and_then(KeptGeneration::run).map(str::to_owned);
            for kept in kept {
                if kept.run() == last.as_deref() {
                    self.generation(&kept.path, facts);
                    facts.generations.push(kept);
                }
            }
        }
    }

    fn generation(&self, directory: &str, facts: &mut NodeFacts) {
        let below = format!("{directory}/");
        for (path, _) in self.disk.range(below.clone()..) {
            if !path.starts_with(&below) {
                break;
            }
            let bytes = &self.stored(path).unwrap().bytes;
            let is_key = String::from_utf8_lossy(bytes).contains("PRIVATE KEY");
            let mut owner = self.clone();
            "root".clone_into(&mut owner.account);
            facts.files.insert(path.clone(), owner.file(path, !is_key));
        }
        let manifest = &self.stored(&format!("{directory}/manifest")).unwrap().bytes;
        for line in String::from_utf8_lossy(manifest).lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            match fields.as_slice() {
                ["directory", path] | ["missing", path, _] => {
                    facts
                        .directories
                        .insert((*path).to_owned(), self.components(path));
                }
                ["absent", path] | ["file", _, _, _, path] => {
                    facts
                        .files
                        .insert((*path).to_owned(), self.file(path, false));
                }
                _ => {}
            }
        }
    }
}
