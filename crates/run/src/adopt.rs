//! `dtls-deploy adopt`: adopts a CA and certificates that were made elsewhere.
//!
//! It changes no daemon and no client.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use time::OffsetDateTime;

use super::{Exit, Run, RunError, World};
use crate::agent::Program;
use crate::passphrase;
use crate::session::close;
use crate::verify::pair::{self, Fit};
use base::event::{Event, PlannedChange};
use base::secret::Secret;
use inventory::Host;
use node::facts::NodeFacts;
use pki::{
    AuthorityError, AuthorityFiles, Bundle, Certificate, Chain, Ledger, Request, Response, Role,
    ca_key_hint, is_encrypted, readable,
};
use plan::adopt::{Candidate, Standing, candidates, lines, more_facts};
use plan::host::address::{DaemonAddress, daemon_address};
use plan::{Authority, AuthorityProblem, Refusal, leaves_of, wanted_sans};

/// The options of `adopt`.
#[derive(Debug, Clone, Default)]
pub struct AdoptOptions {
    /// The CA's certificate and key on the controller.
    pub files: Option<(PathBuf, PathBuf)>,
    /// Sets a damaged ledger aside and rebuilds it.
    pub rebuild_ledger: bool,
}

/// The CA to adopt.
struct Source {
    certificate: Certificate,
    /// All certificates in ca.pem.
    bundle: Vec<Certificate>,
    ledger: Ledger,
    /// Unreadable lines of the ledger.
    lost: usize,
    /// The key is already encrypted.
    encrypted: bool,
    /// Files on the controller.
    files: Option<AuthorityFiles>,
}

const STEP: &str = "adopt the CA";

impl Run<'_> {
    pub(super) async fn adopt(&self, options: &AdoptOptions) -> Result<Exit, RunError> {
        let begun = Instant::now();
        let hosts = self.hosts();
        let program = self.begin_task("adopt", &hosts)?;
        let mut world = self.unless(self.look(&program, BTreeMap::new())).await?;
        let source = self.unless(self.source(&world, options)).await??;
        self.unless(self.look_further(&hosts, &mut world)).await?;
        let mut found = candidates(
            self.inventory,
            &hosts,
            &world.facts,
            &source.certificate,
            &source.ledger,
            OffsetDateTime::now_utc(),
        )
        .map_err(|Refusal { message, hint, .. }| self.refused(STEP, message, hint))?;
        self.unless(self.prove_keys(&world, &source, &mut found))
            .await?;
        let changes = self.changes(&source, &found);
        self.tell(&hosts, &world, &found);
        self.events.emit(Event::Plan {
            changes: changes.clone(),
            batches: Vec::new(),
        });
        // With nothing to adopt, only a given passphrase is tried: there is no prompt.
        let is_adopted = changes.is_empty() && !source.ledger.entries().is_empty();
        let is_idle = is_adopted && !passphrase::is_given(&self.options.passphrase);
        if !self.options.check && !is_idle {
            self.take_in(&world, &program, source, found, &changes)
                .await?;
        }
        let exit = self.end_task(&hosts, &world, changes.len(), begun);
        close(&world.nodes).await;
        Ok(exit)
    }

    /// Finds the CA, and whether it can be adopted according to its certificate.
    async fn source(&self, world: &World, options: &AdoptOptions) -> Result<Source, RunError> {
        let ca = self.inventory.ca();
        let facts = self.ca_facts(world)?;
        let found = Authority::read(ca, Some(facts));
        let directory = facts.expand(&ca.settings.ca_dir);
        let damaged = matches!(&found.problem, Some(AuthorityProblem::Damaged { path, .. }) if path.ends_with(pki::LEDGER));
        if let Some(problem) = &found.problem
            && !(damaged && options.rebuild_ledger)
        {
            return Err(self.refused(STEP, problem.to_string(), Some(problem.hint())));
        }
        let (ledger, lost) = if damaged {
            let path = format!("{}/{}", ca.settings.ca_dir, pki::LEDGER);
            let file = facts
                .regular(&path)
                .and_then(|file| file.content.as_deref());
            let (text, lost) = readable(file.unwrap_or_default());
            (Ledger::parse(&text).unwrap_or_default(), lost)
        } else {
            (found.ledger, 0)
        };
        let (pem, encrypted, files) = match (&options.files, found.pem) {
            (None, Some(pem)) => {
                let path = format!("{directory}/{}", pki::CA_KEY);
                let encrypted = match world.nodes.get(&ca.name) {
                    Some(node) => pair::is_encrypted(node, ca.as_root, &path)
                        .await
                        .map_err(|said| self.refused(STEP, said, None))?,
                    None => None,
                };
                (pem, encrypted.unwrap_or(true), None)
            }
            (None, None) => {
                return Err(self.refused(
                    STEP,
                    format!("there is no CA in {directory}: no ca.pem and no ca-key.pem"),
                    Some("name the directory that holds them with dtls_ca_dir, or the two files on this machine with --ca-cert FILE --ca-key FILE".to_owned()),
                ));
            }
            (Some(_), Some(_)) => {
                return Err(self.refused(
                    STEP,
                    format!("there is a CA in {directory} already"),
                    Some("leave --ca-cert and --ca-key out to adopt that one, or name another dtls_ca_dir".to_owned()),
                ));
            }
            (Some((certificate, key)), None) => {
                let files = AuthorityFiles {
                    certificate_pem: self.certificates_of(certificate)?,
                    key: read(key)?,
                };
                let encrypted = is_encrypted(files.key.expose()).map_err(|error| {
                    RunError::local(STEP, format!("{}: {error}", key.display()), None)
                })?;
                (files.certificate_pem.clone(), encrypted, Some(files))
            }
        };
        let bundle = Certificate::bundle_from_pem(pem.as_bytes())
            .map_err(|error| self.refused(STEP, format!("CA certificate: {error}"), None))?;
        let chain = self.whole_chain(&bundle)?;
        let Some(certificate) = bundle.first().cloned() else {
            return Err(self.refused(STEP, "ca.pem holds no certificate", None));
        };
        let end = certificate.not_after();
        if end <= OffsetDateTime::now_utc() {
            return Err(self.refused(
                STEP,
                format!(
                    "the CA has expired on {}: nothing that it issued is valid",
                    end.date()
                ),
                Some("begin with a new CA: name an empty dtls_ca_dir, and deploy".to_owned()),
            ));
        }
        self.may_issue(&chain)?;
        Ok(Source {
            certificate,
            bundle,
            ledger,
            lost,
            encrypted,
            files,
        })
    }

    /// A CA file on the controller, reduced to its certificates.
    fn certificates_of(&self, path: &Path) -> Result<String, RunError> {
        let file = read(path)?;
        let path = path.display().to_string();
        let bundle = Bundle::read(file.expose())
            .map_err(|error| self.refused(STEP, format!("{path}: {error}"), None))?;
        if bundle.has_private_key() {
            let message = format!("{path} holds a private key");
            return Err(self.refused(STEP, message, Some(ca_key_hint(&path))));
        }
        Ok(bundle.to_pem())
    }

    fn whole_chain<'a>(&self, bundle: &'a [Certificate]) -> Result<Chain<'a>, RunError> {
        Chain::check_alone(bundle)
            .and_then(|()| Chain::whole(bundle))
            .map_err(|error| self.excluded(&error))
    }

    fn excluded(&self, error: &AuthorityError) -> RunError {
        self.refused(STEP, error.to_string(), error.hint().map(str::to_owned))
    }

    /// Requires that every peer would accept what this CA will issue for the inventory.
    fn may_issue(&self, chain: &Chain<'_>) -> Result<(), RunError> {
        let now = OffsetDateTime::now_utc();
        chain
            .check_dates(now)
            .map_err(|error| self.excluded(&error))?;
        for (host, role) in leaves_of(self.inventory) {
            let names = wanted_sans(host, role, None);
            chain
                .check_leaf(role, &host.holder(), &names)
                .map_err(|error| self.excluded(&error))?;
        }
        Ok(())
    }

    /// Daemons may keep their files elsewhere than the inventory says.
    async fn look_further(&self, hosts: &[&Host], world: &mut World) {
        for host in hosts {
            let Some(facts) = world.facts.get_mut(&host.name) else {
                continue;
            };
            let Some(request) = more_facts(host, facts) else {
                continue;
            };
            let Some(node) = world.nodes.get(&host.name) else {
                continue;
            };
            match node.facts(host.as_root, &request).await {
                Ok(more) => facts.files.extend(more.files),
                Err(error) => {
                    let failure = error.failure(&host.name, "read facts");
                    world.missing.insert(host.name.clone(), failure.kind);
                    self.events.emit(Event::Failed(failure));
                }
            }
        }
    }

    /// Drops candidates whose key is not verified to match.
    async fn prove_keys(&self, world: &World, source: &Source, found: &mut [Candidate]) {
        let work = found
            .iter_mut()
            .filter(|candidate| candidate.standing == Standing::New)
            .map(|candidate| async move {
                if candidate.on_ca {
                    // The agent has both files and checks them itself.
                    candidate.leaf.key_sha256 = None;
                    return;
                }
                match self.fit(world, source, candidate).await {
                    Fit::Fits => {}
                    Fit::Differs => {
                        candidate.standing = Standing::Refused(
                            "key and certificate do not belong together".to_owned(),
                        );
                    }
                    Fit::Unknown(seen) => {
                        candidate.standing = Standing::Refused(format!(
                            "whether its key belongs to it could not be found out: {seen}"
                        ));
                    }
                }
            });
        futures::future::join_all(work).await;
    }

    async fn fit(&self, world: &World, source: &Source, candidate: &Candidate) -> Fit {
        let (Some(host), Some(node), Some(facts)) = (
            self.inventory.host(&candidate.host),
            world.nodes.get(&candidate.host),
            world.facts.get(&candidate.host),
        ) else {
            return Fit::Unknown("its host was not reached".to_owned());
        };
        let compared = pair::compared(node, host.as_root, &candidate.paths).await;
        let Fit::Unknown(said) = compared else {
            return compared;
        };
        let shown = if candidate.role == Role::Daemon {
            let is_read = has_read(facts, &candidate.paths.key);
            let address = daemon_address(host);
            let trusted = &source.bundle;
            pair::served(node, &address, &candidate.certificate, trusted, is_read).await
        } else {
            let daemons: Vec<DaemonAddress> =
                self.inventory.daemons().map(daemon_address).collect();
            pair::let_in(node, host.as_root, &candidate.paths, &daemons).await
        };
        match shown {
            Fit::Unknown(seen) => Fit::Unknown(format!("{said}; {seen}")),
            known => known,
        }
    }

    fn changes(&self, source: &Source, found: &[Candidate]) -> Vec<PlannedChange> {
        let ca = &self.inventory.ca().name;
        let change = |what: String, reasons: Vec<String>| PlannedChange {
            host: ca.clone(),
            task: STEP.to_owned(),
            what,
            reasons,
            diff: None,
        };
        let mut changes = Vec::new();
        if source.files.is_some() {
            let name = format!("CA {}", source.certificate.subject());
            changes.push(change(name, vec!["none present".to_owned()]));
        } else if !source.encrypted {
            let reason = "not encrypted: it is put under a passphrase".to_owned();
            changes.push(change("key of the CA".to_owned(), vec![reason]));
        }
        if source.lost > 0 {
            let lost = format!("{} of its lines cannot be read", source.lost);
            changes.push(change("ledger, made anew".to_owned(), vec![lost]));
        }
        for candidate in found {
            if candidate.standing == Standing::New {
                changes.push(change(what(candidate), candidate.remarks.clone()));
            }
        }
        changes
    }

    /// Reports what is not adopted, and the inventory lines that would keep nodes unchanged.
    fn tell(&self, hosts: &[&Host], world: &World, found: &[Candidate]) {
        for candidate in found {
            let Candidate { host, role, .. } = candidate;
            match &candidate.standing {
                Standing::Refused(reason) => self.warn(
                    Some(host),
                    format!(
                        "its {role} certificate is not adopted, and the next run replaces it: {reason}"
                    ),
                ),
                Standing::Shared(other) => self.warn(
                    Some(host),
                    format!(
                        "its {role} certificate and key are those of {other}: to revoke one is to revoke both"
                    ),
                ),
                Standing::Known | Standing::New => {}
            }
        }
        for host in hosts {
            let facts = world.facts.get(&host.name);
            for line in facts.map(|facts| lines(host, facts)).unwrap_or_default() {
                self.warn(
                    Some(&host.name),
                    format!("to leave it as it is, put into its variables: {line}"),
                );
            }
        }
    }

    async fn take_in(
        &self,
        world: &World,
        program: &Program,
        source: Source,
        found: Vec<Candidate>,
        changes: &[PlannedChange],
    ) -> Result<(), RunError> {
        let salvage = (source.lost > 0).then_some(Request::SalvageLedger {});
        let is_salvaged = salvage.is_some();
        // Asked for before the lock is taken: the prompt may wait long.
        let known = match &source.files {
            _ if !source.encrypted => Some(self.new_passphrase().await?),
            Some(files) => Some(self.unlock_file("the CA's key", &files.key).await?),
            None => None,
        };
        let locking = self.lock_after(world, program, salvage);
        let mut agent = self.unless(locking).await??;
        if !is_salvaged
            && self
                .unless(self.moved_on(&mut agent, &world.facts))
                .await??
        {
            return Err(self.refused(
                STEP,
                "another run has changed the CA meanwhile; nothing was adopted",
                Some("run it again".to_owned()),
            ));
        }
        let passphrase = match known {
            Some(known) => known,
            None => self.unlock(&mut agent, false, &[]).await?,
        };
        let ca = &self.inventory.ca().name;
        let _step = self.interrupt.begin(ca).ok_or(RunError::Interrupted)?;
        // Without a change the key is only tried.
        let mut _act = None;
        if !changes.is_empty() {
            let names = changes.iter().map(|change| change.what.clone()).collect();
            let step = "adopting what is there";
            _act = Some(self.journal.act(self.events, ca, step, names).await?);
        }
        let adopted = Request::AdoptAuthority {
            files: source.files,
            passphrase,
        };
        if let Response::Adopted { warnings, .. } = self.call(&mut agent, adopted).await? {
            for text in warnings {
                self.warn(Some(ca), text);
            }
        }
        let leaves = found
            .into_iter()
            .filter(|candidate| candidate.standing == Standing::New)
            .map(|candidate| candidate.leaf)
            .collect();
        self.call(&mut agent, Request::AdoptLeaves { leaves })
            .await?;
        self.call(&mut agent, Request::Bye).await?;
        for change in changes {
            self.events.emit(Event::Changed {
                host: ca.clone(),
                what: change.what.clone(),
            });
        }
        Ok(())
    }
}

/// As the plan shows it.
fn what(candidate: &Candidate) -> String {
    format!(
        "{} certificate of {} into the ledger",
        candidate.role, candidate.host
    )
}

/// Whether the running daemon started after its key file last changed.
fn has_read(facts: &NodeFacts, key: &str) -> bool {
    let changed = facts.regular(key).map(|file| file.changed);
    matches!((changed, facts.started_at()), (Some(changed), Some(started)) if changed < started)
}

/// Maximum bytes of a certificate or key.
const LARGEST: u64 = 1 << 20;

/// Reads a file on the controller.
fn read(path: &std::path::Path) -> Result<Secret, RunError> {
    base::file::read_named(path, LARGEST)
        .map(Secret::new)
        .map_err(|error| {
            let message = format!("{} cannot be read: {error}", path.display());
            RunError::local(STEP, message, None)
        })
}
