//! `dtls-deploy ca backup` and `ca restore`: one encrypted file.
//!
//! The CA's key in it is encrypted with its own passphrase, and the whole file with the backup's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::unlock::until_accepted;
use super::{Exit, Run, RunError, World};
use crate::agent::Program;
use crate::passphrase;
use crate::session::{Gathered, close, gather};
use base::event::{Event, Events, PlannedChange};
use base::secret::Secret;
use inventory::Host;
use node::facts::FactRequest;
use pki::{CaFile, Certificate, Ledger, Request, Response, SealedError, seal, unseal};
use plan::host::leaf::location as leaf_location;
use plan::{Authority, InForce, Refusal, judge_older, leaves_of};

/// The options of `ca backup`.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    pub to: PathBuf,
    pub passphrase_file: Option<PathBuf>,
    /// Replaces an existing file.
    pub force: bool,
}

/// The options of `ca restore`.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    pub from: PathBuf,
    pub passphrase_file: Option<PathBuf>,
}

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    /// Incremented when the format changes.
    version: u32,
    #[serde(with = "time::serde::rfc3339")]
    made_at: OffsetDateTime,
    files: Vec<CaFile>,
}

const VERSION: u32 = 1;
const BACK_UP: &str = "back up the CA";
const NEXT_CERTIFICATE: &str = "next/ca.pem";
const RESTORE: &str = "restore the CA";

impl Content {
    fn bytes(&self, name: &str) -> &[u8] {
        let file = self.files.iter().find(|file| file.name == name);
        file.map(|file| file.content.expose()).unwrap_or_default()
    }

    /// The CA's name and the number of certificates in its ledger.
    fn described(&self) -> String {
        let certificate = Certificate::from_pem(self.bytes(pki::CA_CERTIFICATE));
        let subject = certificate.map_or_else(
            |_| "?".to_owned(),
            |certificate| certificate.subject().to_owned(),
        );
        let ledger = Ledger::parse_bytes(self.bytes(pki::LEDGER)).unwrap_or_default();
        format!(
            "CA {subject}, ledger of {} certificates",
            ledger.entries().len()
        )
    }
}

/// Most successors of a backup's CA that are followed: the files of an account can hold any number.
const FOLLOWERS: usize = 16;

/// Maximum bytes of a backup: its ledger has one line per certificate.
const LARGEST: u64 = 1 << 30;

impl Run<'_> {
    pub(super) async fn back_up(&self, options: &BackupOptions) -> Result<Exit, RunError> {
        let begun = Instant::now();
        let hosts = [self.inventory.ca()];
        if !options.force && options.to.exists() {
            return Err(RunError::local(
                BACK_UP,
                format!("{} is there already", options.to.display()),
                Some("name another file, or replace it with --force".to_owned()),
            ));
        }
        // Before other output to the terminal.
        let file = options.passphrase_file.clone();
        let passphrase = self
            .ask(move || passphrase::obtain_for_backup(file, true))
            .await?;
        let program = self.begin_task("ca backup", &hosts)?;
        let world = self.unless(self.look_at_ca(&program)).await?;
        let mut agent = self.unless(self.lock(&world, &program)).await??;
        let answer = self
            .unless(self.call(&mut agent, Request::Export {}))
            .await??;
        let Response::Exported { files } = answer else {
            return Err(self.refused(BACK_UP, "it is not an answer to what was asked", None));
        };
        self.call(&mut agent, Request::Bye).await?;
        let content = Content {
            version: VERSION,
            made_at: OffsetDateTime::now_utc(),
            files,
        };
        let sealed = serde_json::to_vec(&content)
            .map_err(|error| error.to_string())
            .and_then(|bytes| seal(&Secret::new(bytes), &passphrase).map_err(|e| e.to_string()))
            .map_err(|error| RunError::local(BACK_UP, error, None))?;
        write(&options.to, sealed.as_bytes(), options.force).map_err(|error| {
            let message = format!("{} cannot be written: {error}", options.to.display());
            RunError::local(
                BACK_UP,
                message,
                Some("name another file with --to".to_owned()),
            )
        })?;
        self.events.emit(Event::Changed {
            host: self.inventory.ca().name.clone(),
            what: format!("{} in {}", content.described(), options.to.display()),
        });
        let exit = self.end_task(&hosts, &world, 1, begun);
        close(&world.nodes).await;
        Ok(exit)
    }

    pub(super) async fn restore(&self, options: &RestoreOptions) -> Result<Exit, RunError> {
        let begun = Instant::now();
        let hosts = [self.inventory.ca()];
        let sealed = base::file::read(&options.from, LARGEST).map_err(|error| {
            let message = format!("{} cannot be read: {error}", options.from.display());
            RunError::local(RESTORE, message, None)
        })?;
        // Before other output to the terminal.
        let file = options.passphrase_file.clone();
        let tries = passphrase::tries(file.is_some());
        let content = until_accepted(tries, async || {
            let file = file.clone();
            let passphrase = self
                .ask(move || passphrase::obtain_for_backup(file, false))
                .await?;
            let name = options.from.display();
            match unseal(&sealed, &passphrase) {
                Ok(bytes) => read(&bytes)
                    .map_err(|why| RunError::local(RESTORE, format!("{name}: {why}"), None)),
                Err(error @ SealedError::Closed) => Err(RunError::not_opened(
                    None,
                    &name.to_string(),
                    false,
                    error,
                    None,
                )),
                Err(error) => Err(RunError::local(RESTORE, format!("{name}: {error}"), None)),
            }
        })
        .await?;
        let program = self.begin_task("ca restore", &hosts)?;
        let world = self.unless(self.look_at_ca(&program)).await?;
        let facts = self.ca_facts(&world)?;
        let ca = self.inventory.ca();
        let present = Authority::read(ca, Some(facts));
        let directory = facts.expand(&ca.settings.ca_dir);
        if present.certificate.is_some() {
            return Err(self.refused(
                RESTORE,
                format!("there is a CA in {directory}"),
                Some("a CA is never overwritten: name another dtls_ca_dir, or move the old files away".to_owned()),
            ));
        }
        let followed_by = self.check_age(&content).await?;
        let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]");
        let made = content.made_at.format(&format).unwrap_or_default();
        let change = PlannedChange {
            host: ca.name.clone(),
            task: RESTORE.to_owned(),
            what: format!("{} in {directory}", content.described()),
            reasons: vec![format!("from the backup of {made} UTC")],
            diff: None,
        };
        self.events.emit(Event::Plan {
            changes: vec![change.clone()],
            batches: Vec::new(),
        });
        if !self.options.check {
            let key = Secret::new(content.bytes(pki::CA_KEY).to_vec());
            let passphrase = self.unlock_file("the CA's key in the backup", &key).await?;
            let request = Request::Import {
                files: content.files,
                followed_by,
                passphrase,
            };
            self.put_back(&world, &program, request, &change.what)
                .await?;
            self.warn(Some(&ca.name), format!(
                "what was issued or revoked after {made} UTC is not in this backup: dtls-deploy adopt takes in certificates that hosts hold; revoke again what was revoked since"
            ));
        }
        let exit = self.end_task(&hosts, &world, 1, begun);
        close(&world.nodes).await;
        Ok(exit)
    }

    async fn put_back(
        &self,
        world: &World,
        program: &Program,
        request: Request,
        what: &str,
    ) -> Result<(), RunError> {
        let mut agent = self.unless(self.lock(world, program)).await??;
        let ca = &self.inventory.ca().name;
        let _step = self.interrupt.begin(ca).ok_or(RunError::Interrupted)?;
        let _act = self
            .journal
            .act(self.events, ca, "restoring the CA", vec![what.to_owned()])
            .await?;
        let answer = self.call(&mut agent, request).await?;
        if let Response::Authority { warnings, .. } = answer {
            for text in warnings {
                self.warn(Some(ca), text);
            }
        }
        self.call(&mut agent, Request::Bye).await?;
        self.events.emit(Event::Changed {
            host: ca.clone(),
            what: what.to_owned(),
        });
        Ok(())
    }

    /// Refuses a backup of a CA that has been replaced since, judging by what daemons and clients
    /// trust. Names hosts that cannot be reached; a deployment checks them again. Returns the CAs
    /// that followed, in PEM.
    async fn check_age(&self, content: &Content) -> Result<Vec<String>, RunError> {
        let in_force = InForce::read(
            content.bytes(pki::CA_CERTIFICATE),
            content.bytes(NEXT_CERTIFICATE),
        );
        let mut wanted: BTreeMap<&str, (&Host, FactRequest)> = BTreeMap::new();
        let paths: Vec<(&Host, String)> = leaves_of(self.inventory)
            .into_iter()
            .map(|(holder, role)| {
                let (directory, files) = leaf_location(holder, role);
                (holder, format!("{directory}/{}", files.ca))
            })
            .collect();
        for (holder, path) in &paths {
            if let Some(host) = self.inventory.host(&holder.name) {
                let asked = wanted.entry(&host.name);
                let (_, request) = asked.or_insert_with(|| (host, FactRequest::default()));
                request.bundles.insert(path.clone());
                request.accounts.extend(holder.owner().map(str::to_owned));
            }
        }
        let wanted: Vec<(&Host, FactRequest)> = wanted.into_values().collect();
        let gathered = self.unless(self.gather_quietly(&wanted)).await?;
        let mut followed_by = BTreeSet::new();
        for (holder, path) in paths {
            let Some(facts) = gathered.facts.get(&holder.name) else {
                continue;
            };
            let file = facts.regular(&path).and_then(|file| file.content.clone());
            let bytes = file.unwrap_or_default();
            let others = in_force.others(&bytes).into_iter();
            followed_by.extend(others.map(|other| other.to_pem()));
            let path = format!("{} on {}", facts.expand(&path), holder.name);
            match judge_older(&in_force, &self.options.allowed, &bytes, &path) {
                Ok(None) => {}
                Ok(Some(text)) => self.warn(Some(&holder.name), text),
                Err(Refusal { message, hint, .. }) => {
                    return Err(self.refused(RESTORE, message, hint));
                }
            }
        }
        for host in gathered.missing.keys() {
            self.warn(Some(host), "it could not be reached: whether it trusts a newer CA than the one in this backup is not known".to_owned());
        }
        Ok(followed_by.into_iter().take(FOLLOWERS).collect())
    }

    /// Facts of hosts whose failures do not fail this run.
    async fn gather_quietly(&self, hosts: &[(&Host, FactRequest)]) -> Gathered {
        let (aside, _) = Events::aside();
        let gathered = gather(hosts, self.gathering(&aside)).await;
        close(&gathered.nodes).await;
        gathered
    }

    /// Only the CA node's facts.
    async fn look_at_ca(&self, program: &Program) -> World {
        let ca: &Host = self.inventory.ca();
        let mut request = FactRequest::default();
        Authority::request(self.inventory, &mut request);
        request.present.insert(program.path(ca.as_root));
        let gathered = gather(&[(ca, request)], self.gathering(self.events)).await;
        World {
            missing: gathered.kinds(),
            nodes: gathered.nodes,
            facts: gathered.facts,
            plan: plan::Plan::default(),
        }
    }
}

fn read(unsealed: &Secret) -> Result<Content, String> {
    let content: Content = serde_json::from_slice(unsealed.expose())
        .map_err(|_| "its content cannot be read by this version".to_owned())?;
    if content.version != VERSION {
        return Err(format!("it has the version {}", content.version));
    }
    Ok(content)
}

/// Writes the whole file or nothing, readable only by its owner; overwrites only with `force`.
fn write(path: &Path, bytes: &[u8], force: bool) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("it is not the name of a file"))?;
    let unfinished = path.with_file_name(format!(
        ".{}.{}.unfinished",
        name.to_string_lossy(),
        std::process::id()
    ));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    let placed = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| {
            if force {
                std::fs::rename(&unfinished, path)
            } else {
                // Unlike a rename, a link never replaces anything.
                std::fs::hard_link(&unfinished, path)
            }
        });
    let _ = std::fs::remove_file(&unfinished);
    placed?;
    let directory = path.parent().filter(|parent| *parent != Path::new(""));
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_that_is_there_is_replaced_by_force_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.backup");
        write(&path, b"one", false).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(write(&path, b"two", false).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        write(&path, b"two", true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
