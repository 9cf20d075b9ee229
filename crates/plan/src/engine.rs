//! How restarting a daemon affects its running containers.

use super::{Planner, Refusal};
use crate::host::daemon_json::PATH;
use crate::host::read::has_read;
use docker::live_restore::has_live_restore;
use inventory::Host;
use node::facts::{EngineFact, NodeFacts};
use pki::Certificate;

/// Running containers when their daemon restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Containers {
    /// They are shut down with the daemon. `None` if their number is unknown.
    Stop(Option<usize>),
    /// They keep running: live-restore.
    GoOn(Option<usize>),
}

impl Containers {
    /// How a restart affects them after everything planned so far.
    pub(crate) fn when_restarted(planner: &Planner<'_>, host: &Host) -> Result<Self, Refusal> {
        let facts = planner.facts(&host.name)?;
        let after = planner.bytes(host, PATH)?;
        let is_reloaded = planner.reloaded.contains(&host.name);
        Ok(Self::with(facts, is_reloaded, after.as_deref()))
    }

    /// How a restart affects them in the current state.
    #[must_use]
    pub fn now(facts: &NodeFacts) -> Self {
        let text = facts.regular(PATH).and_then(|file| file.content.as_deref());
        Self::with(facts, false, text)
    }

    fn with(facts: &NodeFacts, is_reloaded: bool, after: Option<&[u8]>) -> Self {
        let Some(engine) = &facts.engine else {
            return Self::Stop(Some(0));
        };
        let flag = engine.live_restore_flag;
        let text = facts.regular(PATH).and_then(|file| file.content.as_deref());
        // The stopping daemon leaves them running.
        let now =
            flag == Some(true) || is_reloaded || (has_live_restore(text) && has_read(PATH, facts));
        // A daemon that starts without live-restore shuts down the containers it finds.
        let then = flag == Some(true) || has_live_restore(after);
        if now && then && !engine.swarm {
            Self::GoOn(engine.containers())
        } else {
            Self::Stop(engine.containers())
        }
    }

    /// How many of them stop; `None` if unknown, which is not zero.
    #[must_use]
    pub fn stopped(self) -> Option<usize> {
        match self {
            Self::Stop(running) => running,
            Self::GoOn(_) => Some(0),
        }
    }

    /// For the plan; nothing if no container runs.
    #[must_use]
    pub fn said(self) -> Option<String> {
        let count = |running: usize| match running {
            1 => "1 running container".to_owned(),
            running => format!("{running} running containers"),
        };
        match self {
            Self::Stop(Some(0)) | Self::GoOn(Some(0) | None) => None,
            Self::Stop(None) => {
                Some("may stop running containers: what runs there could not be told".to_owned())
            }
            Self::Stop(Some(running)) => Some(format!("stops {}", count(running))),
            Self::GoOn(Some(1)) => Some("1 running container goes on: live-restore".to_owned()),
            Self::GoOn(Some(running)) => Some(format!("{} go on: live-restore", count(running))),
        }
    }
}

/// Whether the node is a manager of its swarm. Swarm writes the role into the certificate's OU
/// (moby/swarmkit ca/certificates.go); if it cannot be read, the node counts as a manager, which
/// only makes the run slower.
#[must_use]
pub(crate) fn is_swarm_manager(engine: &EngineFact) -> bool {
    if !engine.swarm {
        return engine.unknown;
    }
    let pem = engine.swarm_certificate.as_bytes();
    Certificate::from_pem(pem).map_or(true, |certificate| {
        !certificate
            .subject()
            .split(',')
            .any(|part| part == "OU=swarm-worker")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As docker 20.10 wrote it for the first manager of a swarm.
    const MANAGER: &str = "-----BEGIN CERTIFICATE-----
MIICNDCCAdugAwIBAgIUFYr2lRLuW6IgDAEZkxYkl29a7TcwCgYIKoZIzj0EAwIw
EzERMA8GA1UEAxMIc3dhcm0tY2EwHhcNMjYxMTIyMTM1MzAwWhcNMjcwMjIwMTQ1
MzAwWjBgMSIwIAYDVQQKExk2NXh6bXBoZTNocnQzbGF0aHVuYjYxbDVlMRYwFAYD
VQQLEw1zd2FybS1tYW5hZ2VyMSIwIAYDVQQDExlic21kM2s4enE4dTUxYjA1MWdy
cW9oYzhtMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeCSvJr84Nin/Wibt6/Sl
yYzLM1LGnUCOL7bQR4eZnOnwBde5/hpxtWK5t0t68J+W1liqY6sXVY14yY9fIML7
KaOBvzCBvDAOBgNVHQ8BAf8EBAMCBaAwHQYDVR0lBBYwFAYIKwYBBQUHAwEGCCsG
AQUFBwMCMAwGA1UdEwEB/wQCMAAwHQYDVR0OBBYEFIf6CH1Y+HZ60ia4xJchtBDo
NBpIMB8GA1UdIwQYMBaAFMMRYHQ3y2WK6CkJ1eoGL0LXjydiMD0GA1UdEQQ2MDSC
DXN3YXJtLW1hbmFnZXKCGWJzbWQzazh6cTh1NTFiMDUxZ3Jxb2hjOG2CCHN3YXJt
LWNhMAoGCCqGSM49BAMCA0cAMEQCIEtjFxW/huUN9YxexNv9dDCvsy/c42CKsGxm
IoyXqUrwAiBCMlIJLfh0XynCdDH3fsVTxymyN6x84FvjcQPq6qmrrw==
-----END CERTIFICATE-----
";

    #[test]
    fn the_role_is_in_the_certificate() {
        let alone = EngineFact::default();
        assert!(!is_swarm_manager(&alone));
        let manager = EngineFact {
            swarm: true,
            swarm_certificate: MANAGER.to_owned(),
            ..EngineFact::default()
        };
        assert!(is_swarm_manager(&manager));
        assert!(
            Certificate::from_pem(MANAGER.as_bytes())
                .unwrap()
                .subject()
                .contains("OU=swarm-manager")
        );
        let worker = rcgen_worker();
        let worker = EngineFact {
            swarm: true,
            swarm_certificate: worker,
            ..EngineFact::default()
        };
        assert!(!is_swarm_manager(&worker));
        let torn = EngineFact {
            swarm: true,
            swarm_certificate: "torn".to_owned(),
            ..EngineFact::default()
        };
        assert!(is_swarm_manager(&torn));
    }

    /// A worker's certificate: the same names, another role.
    fn rcgen_worker() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in [
            (rcgen::DnType::OrganizationName, "65xzmphe3hrt3lathunb61l5e"),
            (rcgen::DnType::OrganizationalUnitName, "swarm-worker"),
            (rcgen::DnType::CommonName, "bsmd3k8zq8u51b051grqohc8m"),
        ] {
            parameters.distinguished_name.push(kind, value);
        }
        parameters.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn the_plan_counts() {
        assert_eq!(Containers::Stop(Some(0)).said(), None);
        assert_eq!(
            Containers::Stop(Some(1)).said().unwrap(),
            "stops 1 running container"
        );
        assert_eq!(
            Containers::GoOn(Some(3)).said().unwrap(),
            "3 running containers go on: live-restore"
        );
        assert_eq!(Containers::GoOn(Some(3)).stopped(), Some(0));
        // Unknown is not zero.
        assert_eq!(Containers::Stop(None).stopped(), None);
        assert!(Containers::Stop(None).said().is_some());
    }
}
