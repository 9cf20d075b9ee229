//! The files through which a client reaches daemons.

use std::collections::BTreeMap;

use crate::Planner;
use crate::former;
use crate::host::client::PROFILES;
use crate::host::client::{context_name, context_paths, has_contexts};
use crate::host::leaf::location as leaf_location;
use inventory::Host;
use node::facts::NodeFacts;
use pki::Role;

/// What a file of a client is for.
#[derive(Debug, Clone)]
pub(super) enum Target<'a> {
    /// The CA bundle that the client trusts.
    Trust(&'a Host, Scope),
    /// What it presents: a certificate or its key.
    Pair(Scope, Set),
    /// The endpoint of a context.
    Endpoint(Scope),
    Profile,
}

/// A CA and a certificate that are used together.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub ca: String,
    pub certificate: String,
}

/// The daemons that a file is for.
#[derive(Debug, Clone)]
pub(super) enum Scope {
    All,
    /// Only the one that this context leads to.
    One(Context),
}

/// What a client keeps for one daemon.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub daemon: String,
    pub name: String,
    /// Its meta.json: docker ignores a context without one.
    pub metadata: String,
}

impl Scope {
    pub(super) fn has(&self, daemon: &Host) -> bool {
        match self {
            Self::All => true,
            Self::One(context) => context.daemon == daemon.name,
        }
    }
}

impl Target<'_> {
    /// Its name for people: the context, or the path.
    pub(super) fn called(&self, path: &str) -> String {
        match self {
            Self::Trust(_, Scope::One(context))
            | Self::Pair(Scope::One(context), _)
            | Self::Endpoint(Scope::One(context)) => format!("context {}", context.name),
            _ => path.to_owned(),
        }
    }
}

/// Every file through which a client reaches daemons, except those of an identity that is removed
/// by name and those of a daemon on the same host.
pub(super) fn targets<'a>(
    planner: &Planner<'a>,
    client: &'a Host,
    facts: &NodeFacts,
) -> BTreeMap<String, Target<'a>> {
    let mut targets = BTreeMap::new();
    for holder in client.client_holders() {
        let (directory, files) = leaf_location(holder, Role::Client);
        let own = [files.ca, files.cert, files.key]
            .map(|name| facts.expand(&format!("{directory}/{name}")));
        put(&mut targets, holder, own, &Scope::All);
        // Identities that are no longer requested are removed whatever the state of their daemons.
        for daemon in planner.inventory.daemons().filter(|_| has_contexts(holder)) {
            let paths = context_paths(holder, daemon);
            let metadata = facts.expand(&format!("{}/meta.json", paths.metadata));
            let scope = Scope::One(Context {
                daemon: daemon.name.clone(),
                name: context_name(holder, daemon),
                metadata: metadata.clone(),
            });
            let copies = ["ca.pem", "cert.pem", "key.pem"]
                .map(|name| facts.expand(&format!("{}/{name}", paths.tls)));
            put(&mut targets, holder, copies, &scope);
            targets.insert(metadata, Target::Endpoint(scope));
        }
    }
    for holder in client.client_holders() {
        // Until a deployment has moved them.
        if let Some(former) = former(holder) {
            let (directory, files) = leaf_location(&former, Role::Client);
            let own = [files.ca, files.cert, files.key]
                .map(|name| facts.expand(&format!("{directory}/{name}")));
            let mut before = BTreeMap::new();
            put(&mut before, holder, own, &Scope::All);
            for (path, target) in before {
                targets.entry(path).or_insert(target);
            }
        }
    }
    for profile in PROFILES {
        targets.insert(facts.expand(&format!("~/{profile}")), Target::Profile);
    }
    if client.is_daemon {
        let (directory, files) = leaf_location(client, Role::Daemon);
        for name in [files.ca, files.cert, files.key] {
            targets.remove(&facts.expand(&format!("{directory}/{name}")));
        }
    }
    targets
}

fn put<'a>(
    targets: &mut BTreeMap<String, Target<'a>>,
    holder: &'a Host,
    [ca, certificate, key]: [String; 3],
    scope: &Scope,
) {
    let set = Set {
        ca: ca.clone(),
        certificate: certificate.clone(),
    };
    targets.insert(ca, Target::Trust(holder, scope.clone()));
    targets.insert(key, Target::Pair(scope.clone(), set.clone()));
    targets.insert(certificate, Target::Pair(scope.clone(), set));
}
