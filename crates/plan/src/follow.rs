//! Clients follow their daemons: which of a client's changes wait for which daemon.
//!
//! Changes that only add (another CA in the bundle, a first pair) run in place. Changes that
//! replace or remove something a daemon in service may need are bound to that daemon's own change
//! (`Batch::follows`), and are dropped if the daemon will not change. Pure.

mod targets;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use targets::{Context, Scope, Set, Target, targets};
use verdict::{Fits, Rest, Verdict, gives_way};

use super::not_followed::{NotFollowed, Why};
use super::reach::{Bundle, Daemon, Leaf, Serving, bundle_after, leaf_after};
use super::{Action, Batch, Change, Content, Forget, Plan, Planner};
use crate::host::address::daemon_address;
use crate::host::client::own_block;
use crate::host::leaf::location as leaf_location;
use crate::playbook::Playbook;
use docker::context;
use docker::tls::DaemonMode;
use inventory::{Files, Host};
use node::facts::{FileFact, NodeFacts};
use pki::{Certificate, Role};

/// Splits the changes of every client; returns what is dropped.
pub fn split(planner: &Planner<'_>, playbook: &Playbook, plan: &mut Plan) -> Vec<NotFollowed> {
    let has_files = |host: &&Host| {
        host.client_holders().next().is_some()
            && plan.changes().any(|change| is_file_of(change, &host.name))
    };
    let clients: Vec<&Host> = planner.inventory.hosts.iter().filter(has_files).collect();
    if clients.is_empty() {
        return Vec::new();
    }
    let in_run = |host: &Host| playbook.plays.iter().any(|play| play.includes(host));
    let daemons = planner.inventory.daemons().map(|host| {
        let daemon = Daemon::read(planner, plan, in_run(host), host);
        (host, daemon)
    });
    let daemons: Vec<(&Host, Daemon)> = daemons.collect();
    let mut kept = Vec::new();
    let mut dropped = Vec::new();
    for client in clients {
        let Some(facts) = planner.facts.get(&client.name) else {
            continue;
        };
        let files: Vec<Change> = plan
            .changes()
            .filter(|change| is_file_of(change, &client.name))
            .cloned()
            .collect();
        let scene = Scene {
            planner,
            client,
            facts,
            targets: targets(planner, client, facts),
            changes: files.iter().collect(),
            daemons: &daemons,
        };
        for play in &mut plan.plays {
            for planned in play.hosts.iter_mut().filter(|one| one.host == client.name) {
                let (batches, left) = scene.split(std::mem::take(&mut planned.batches));
                planned.batches = batches;
                kept.extend(scene.said(&left));
                dropped.extend(left.into_iter().map(|(change, _)| change));
            }
        }
    }
    issue_nothing_for(&dropped, plan);
    for play in &mut plan.plays {
        play.hosts.retain(|planned| !planned.batches.is_empty());
    }
    kept
}

fn is_file_of(change: &Change, host: &str) -> bool {
    change.host == host && matches!(change.action, Action::File(_))
}

/// A pair that is not delivered is not issued either.
fn issue_nothing_for(dropped: &[Change], plan: &mut Plan) {
    let holder_of = |change: &Change| match &change.action {
        Action::File(file) => match &file.content {
            Content::Leaf { holder, .. } => Some(holder.clone()),
            _ => None,
        },
        _ => None,
    };
    let mut holders: BTreeSet<String> = dropped.iter().filter_map(holder_of).collect();
    for change in plan.changes() {
        if let Some(holder) = holder_of(change) {
            holders.remove(&holder);
        }
    }
    let is_wanted = |change: &Change| match &change.action {
        Action::Issue(request) => request.role != Role::Client || !holders.contains(&request.host),
        Action::Fetch { holder, role, .. } => *role != Role::Client || !holders.contains(holder),
        _ => true,
    };
    let hosts = plan.plays.iter_mut().flat_map(|play| &mut play.hosts);
    for host in hosts {
        for batch in &mut host.batches {
            batch.changes.retain(is_wanted);
        }
        host.batches.retain(|batch| !batch.changes.is_empty());
    }
}

type Left = Vec<(Change, Verdict)>;

struct Scene<'a> {
    planner: &'a Planner<'a>,
    client: &'a Host,
    facts: &'a NodeFacts,
    targets: BTreeMap<String, Target<'a>>,
    /// Every file that changes on the client.
    changes: Vec<&'a Change>,
    daemons: &'a [(&'a Host, Daemon)],
}

impl Scene<'_> {
    /// The batches of one play, and the changes that are dropped.
    fn split(&self, batches: Vec<Batch>) -> (Vec<Batch>, Left) {
        let mut done = Vec::new();
        let mut left = Left::new();
        for batch in batches {
            let is_daemons = batch
                .changes
                .iter()
                .any(|change| matches!(change.action, Action::Restart(_) | Action::Reload(_)));
            if is_daemons {
                done.push(batch);
            } else if batch.transaction {
                self.whole(batch, &mut done, &mut left);
            } else {
                self.in_parts(batch, &mut done, &mut left);
            }
        }
        (done, left)
    }

    /// A transaction is kept or dropped as a whole.
    fn whole(&self, mut batch: Batch, done: &mut Vec<Batch>, left: &mut Left) {
        let mut all = Verdict::default();
        for change in &batch.changes {
            all.join(self.verdict(change));
        }
        if all.because.is_empty() {
            batch.follows = all.after;
            batch.called = batch.changes.iter().map(|of| self.what(of)).collect();
            done.push(batch);
        } else {
            left.extend(
                batch
                    .changes
                    .into_iter()
                    .map(|change| (change, all.clone())),
            );
        }
    }

    fn in_parts(&self, batch: Batch, done: &mut Vec<Batch>, left: &mut Left) {
        let mut groups: BTreeMap<BTreeSet<String>, Vec<Change>> = BTreeMap::new();
        let mut last = Vec::new();
        let (mut all, mut kept) = (BTreeSet::new(), Verdict::default());
        for change in batch.changes {
            if matches!(change.action, Action::Forget(Forget::Everything)) {
                last.push(change);
                continue;
            }
            let verdict = self.verdict(&change);
            if verdict.because.is_empty() {
                all.extend(verdict.after.iter().cloned());
                groups.entry(verdict.after).or_default().push(change);
            } else {
                kept.join(verdict.clone());
                left.push((change, verdict));
            }
        }
        // The node's record of earlier changes is removed last.
        if !kept.because.is_empty() {
            left.extend(last.into_iter().map(|change| (change, kept.clone())));
        } else if !last.is_empty() {
            groups.entry(all).or_default().append(&mut last);
        }
        done.extend(groups.into_iter().map(|(follows, changes)| Batch {
            transaction: false,
            called: changes.iter().map(|change| self.what(change)).collect(),
            changes,
            follows,
        }));
    }

    fn verdict(&self, change: &Change) -> Verdict {
        let Action::File(file) = &change.action else {
            return Verdict::default();
        };
        let path = file.path();
        match self.targets.get(&path) {
            None => Verdict::default(),
            Some(Target::Trust(holder, scope)) => {
                let mut verdict = self.first_context(scope, &file.content);
                verdict.join(self.trust(holder, scope, &path));
                verdict
            }
            Some(Target::Pair(scope, set)) => {
                let mut verdict = self.first_context(scope, &file.content);
                verdict.join(self.pair(scope, set));
                verdict
            }
            Some(Target::Endpoint(scope)) => self.endpoint(scope, &path, &file.content),
            Some(Target::Profile) => self.profile(&path, &file.content),
        }
    }

    /// Combines the decisions about all daemons of a scope.
    fn each(&self, scope: &Scope, decide: impl Fn(&Host, &Daemon) -> Verdict) -> Verdict {
        let mut all = Verdict::default();
        for (host, daemon) in self.daemons {
            if scope.has(host) {
                all.join(decide(host, daemon));
            }
        }
        all
    }

    /// The leaf with its issuer if this CA issued it, so that its signature is not verified again
    /// for each daemon.
    fn known(&self, leaf: Leaf) -> Leaf {
        let Leaf::This(certificate) = &leaf else {
            return leaf;
        };
        let authority = &self.planner.authority;
        let own = authority.certificate.iter().chain(&authority.next);
        match own.into_iter().find(|own| certificate.is_signed_by(own)) {
            Some(own) => Leaf::From(Box::new(own.clone())),
            None => leaf,
        }
    }

    /// Whether the key of a certificate is missing, or known to belong to another one.
    fn lacks_its_key(&self, certificate: &str, leaf: &Certificate) -> bool {
        let Some((directory, _)) = certificate.rsplit_once('/') else {
            return false;
        };
        let path = format!("{directory}/{}", Files::default().key);
        let Some(key) = self.facts.regular(&path) else {
            return matches!(self.facts.file(&path), Some(FileFact::Absent));
        };
        let ledger = &self.planner.authority.ledger;
        let entry = ledger.by_key_sha256(&key.sha256);
        entry.is_some_and(|entry| entry.public_key_sha256 != leaf.public_key_sha256())
    }

    /// What is left of a set of files that has this bundle after the changes.
    fn rest(&self, bundle: Option<&Bundle>) -> Rest {
        match bundle {
            Some(_) => Rest::Kept,
            None if self.planner.goes_back(&self.client.name) => Rest::Undone,
            None => Rest::Removed,
        }
    }

    fn pair(&self, scope: &Scope, Set { ca, certificate }: &Set) -> Verdict {
        let bytes = self.facts.regular(certificate);
        let bytes = bytes.and_then(|file| file.content.as_deref());
        let Some(old) = bytes.and_then(|bytes| Certificate::from_pem(bytes).ok()) else {
            return Verdict::default();
        };
        // No daemon accepts it.
        if old.not_after() <= self.planner.now || self.lacks_its_key(certificate, &old) {
            return Verdict::default();
        }
        let old = self.known(Leaf::This(Box::new(old)));
        let new = leaf_after(self.planner, self.facts, &self.changes, certificate);
        let new = new.map(|leaf| self.known(leaf));
        if let (Leaf::From(old), Some(Leaf::From(new))) = (&old, &new)
            && old.der() == new.der()
        {
            return Verdict::default();
        }
        let bundle = bundle_after(self.facts, &self.changes, ca);
        let rest = self.rest(bundle.as_ref());
        self.each(scope, |host, daemon| {
            // Declared on both sides: a client without a certificate, and a daemon that requires
            // one.
            if let Daemon::Known(known) = daemon
                && known.declared == DaemonMode::TlsVerify
                && new.is_none()
                && rest == Rest::Kept
                && !known.refused
            {
                return match known.after {
                    Some(_) => Verdict::after(host),
                    None => Verdict::default(),
                };
            }
            let fits = |serving: &Serving| Fits {
                old: serving.accepts(Some(&old)),
                new: serving.accepts(new.as_ref()),
            };
            gives_way(host, daemon, fits, (Why::Rejects, rest))
        })
    }

    fn trust(&self, holder: &Host, scope: &Scope, path: &str) -> Verdict {
        let bytes = self.facts.regular(path);
        let bytes = bytes.and_then(|file| file.content.as_deref());
        let old = bytes.and_then(|bytes| Certificate::bundle_from_pem(bytes).ok());
        let Some(old) = old.filter(|old| !old.is_empty()) else {
            return Verdict::default();
        };
        let new = bundle_after(self.facts, &self.changes, path);
        if let Some(Bundle::These(new)) = &new {
            let stays = |old: &Certificate| new.iter().any(|new| new.der() == old.der());
            if old.iter().all(stays) {
                return Verdict::default();
            }
        }
        let checks = holder.settings.client_mode.checks_daemon();
        // The docker CLI needs a CA file in every mode, and reads it in some.
        if !checks && new.is_some() {
            return Verdict::default();
        }
        let old = Bundle::These(old);
        self.each(scope, |host, daemon| {
            let fits = |serving: &Serving| Fits {
                old: if checks {
                    serving.verified_by(&old)
                } else {
                    Some(serving.mode.is_some())
                },
                new: match &new {
                    Some(new) => serving.verified_by(new),
                    None => Some(false),
                },
            };
            gives_way(
                host,
                daemon,
                fits,
                (Why::Untrusted, self.rest(new.as_ref())),
            )
        })
    }

    fn endpoint(&self, scope: &Scope, path: &str, content: &Content) -> Verdict {
        let read = |path: &str| {
            let bytes = self.facts.regular(path)?.content.as_deref()?;
            context::endpoint(bytes)
        };
        let old = read(path);
        let new = match content {
            Content::Text(text) => context::endpoint(text.as_bytes()),
            Content::Kept { copy, .. } => read(copy),
            Content::Gone { .. } => None,
            _ => old.clone(),
        };
        if old == new {
            return Verdict::default();
        }
        let is_free = old.is_none() || new.is_none();
        let leads = leads(content);
        self.each(scope, |host, daemon| {
            let mut verdict = Self::leads_to(host, daemon, is_free, leads);
            // A new one is not in use.
            verdict.after.retain(|_| old.is_some());
            verdict
        })
    }

    /// A context that is not created gets no certificates and no key either: without its meta.json
    /// they would never be found again.
    fn first_context(&self, scope: &Scope, content: &Content) -> Verdict {
        let Scope::One(Context { metadata, .. }) = scope else {
            return Verdict::default();
        };
        let is_there = !matches!(self.facts.file(metadata), Some(FileFact::Absent));
        if is_there || matches!(content, Content::Gone { .. }) {
            return Verdict::default();
        }
        let made = self.changes.iter().find_map(|change| match &change.action {
            Action::File(file) if file.path() == *metadata => Some(&file.content),
            _ => None,
        });
        made.map_or_else(Verdict::default, |made| {
            self.endpoint(scope, metadata, made)
        })
    }

    /// An address of this daemon is written. If it is the first one, or is removed, hosts outside
    /// the run do not matter.
    fn leads_to(host: &Host, daemon: &Daemon, is_free: bool, leads: bool) -> Verdict {
        match daemon {
            Daemon::Unreachable => Verdict::keep(host, Why::Unreachable),
            Daemon::NotInRun if is_free => Verdict::default(),
            Daemon::NotInRun => Verdict::keep(host, Why::NotInRun),
            Daemon::Known(known) if known.refused => Verdict::keep(host, Why::Refused),
            Daemon::Known(known) if leads && !known.listens => Verdict::keep(host, Why::Elsewhere),
            Daemon::Known(known) if known.after.is_some() => Verdict::after(host),
            Daemon::Known(_) => Verdict::default(),
        }
    }

    fn profile(&self, path: &str, content: &Content) -> Verdict {
        let inventory = self.planner.inventory;
        let own = |text: &str| own_block(text, inventory, self.client, self.facts);
        let old = self.facts.text(path).and_then(own);
        let new = match content {
            Content::Text(text) => own(text),
            Content::Kept { copy, .. } => self.facts.text(copy).and_then(own),
            Content::Gone { .. } => None,
            _ => old.clone(),
        };
        if old == new {
            return Verdict::default();
        }
        let led_to = new.as_ref().or(old.as_ref());
        let Some((host, daemon)) = led_to.and_then(|of| self.called(&of.host)) else {
            return Verdict::default();
        };
        let is_free = old.is_none() || new.is_none();
        let leads = new.is_some() && leads(content);
        let mut verdict = Self::leads_to(host, daemon, is_free, leads);
        if new.is_some() {
            verdict.join(self.lets_in(host, daemon));
        }
        verdict
    }

    /// The daemon at an address: by its name, or else by its host, or the client's default.
    fn called(&self, url: &str) -> Option<&(&Host, Daemon)> {
        let mut all = self.daemons.iter();
        let exact = all.find(|(daemon, _)| daemon_address(daemon).url() == url);
        let on_host = || {
            let named =
                |daemon: &Host| url.starts_with(&format!("tcp://{}:", daemon_address(daemon).host));
            self.daemons.iter().find(|(daemon, _)| named(daemon))
        };
        let default = || {
            let default = self.client.settings.default_daemon.as_ref();
            let is_default = |daemon: &Host| default.is_none_or(|name| *name == daemon.name);
            self.daemons.iter().find(|(daemon, _)| is_default(daemon))
        };
        exact.or_else(on_host).or_else(default)
    }

    /// The daemon accepts the pair that a changed profile names.
    fn lets_in(&self, host: &Host, daemon: &Daemon) -> Verdict {
        let (directory, files) = leaf_location(self.client, Role::Client);
        let path = self.facts.expand(&format!("{directory}/{}", files.cert));
        let leaf = leaf_after(self.planner, self.facts, &self.changes, &path);
        let (Some(leaf), Daemon::Known(known)) = (leaf, daemon) else {
            return Verdict::default();
        };
        let rejects = || known.now.accepts(Some(&self.known(leaf))) == Some(false);
        if known.after.is_none() && known.now.mode.is_some() && rejects() {
            return Verdict::keep(host, Why::Rejects);
        }
        Verdict::default()
    }

    /// What is dropped, one line for each daemon and reason.
    fn said(&self, left: &Left) -> Vec<NotFollowed> {
        let mut said: BTreeMap<(String, Why), Vec<String>> = BTreeMap::new();
        for (change, verdict) in left {
            if let Some(because) = verdict.because.first() {
                let what = said.entry(because.clone()).or_default();
                what.push(self.what(change));
            }
        }
        let kept = said
            .into_iter()
            .map(|((daemon, why), what)| NotFollowed::new(&self.client.name, what, daemon, why));
        kept.collect()
    }

    fn what(&self, change: &Change) -> String {
        let target = self.targets.get(&change.subject);
        target.map_or_else(|| change.subject.clone(), |of| of.called(&change.subject))
    }
}

/// Whether this content names an address that the inventory gives a daemon.
fn leads(content: &Content) -> bool {
    matches!(content, Content::Text(_))
}
