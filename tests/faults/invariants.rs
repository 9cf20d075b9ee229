//! What has to hold after every fault, checked without the program under
//! test: by openssl, docker, curl and the files themselves.

use std::collections::BTreeMap;
use std::process::Command;

use crate::lab::Lab;
use crate::node::Node;
use crate::scenario::Scenario;

/// Path to SHA-256; a file that is not there has none.
pub type Files = BTreeMap<String, Option<String>>;

/// What a node answers, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The files that the scenario changes.
    pub files: Files,
    /// SHA-256 of the certificate that dockerd serves; none: it does not listen.
    pub served: Option<String>,
    /// docker on the client, with the client's files, is accepted.
    pub is_let_in: bool,
    pub socket_answers: bool,
}

pub fn sha256(node: &Node<'_>, path: &str) -> Option<String> {
    Some(pki::sha256_hex(&node.read(path)?))
}

pub fn look(lab: &Lab, scenario: Scenario) -> Seen {
    let client = Node { lab, name: "node1" };
    let daemon = Node { lab, name: "node3" };
    let files_on = Node {
        lab,
        name: if scenario == Scenario::Client {
            "node1"
        } else {
            "node3"
        },
    };
    let files = scenario
        .files(lab)
        .into_iter()
        .map(|path| {
            let hash = sha256(&files_on, &path);
            (path, hash)
        })
        .collect();
    let said = client.sh(
        "cd /home/ubuntu/.docker; timeout 10 openssl s_client -connect 10.0.0.12:2376 -CAfile ca.pem -cert cert.pem -key key.pem </dev/null 2>/dev/null | openssl x509 -outform der 2>/dev/null | sha256sum | cut -d' ' -f1; timeout 15 docker --tlsverify --tlscacert ca.pem --tlscert cert.pem --tlskey key.pem -H tcp://node3:2376 version --format 'let in by {{.Server.Version}}' 2>&1 | tail -n 1",
    );
    let (served, docker) = said.split_once('\n').unwrap_or_default();
    // SHA-256 of nothing.
    let served = Some(served.to_owned()).filter(|hash| !hash.starts_with("e3b0c44298fc1c14"));
    let socket = daemon.sh(
        "timeout 10 curl -sS --unix-socket /var/run/docker.sock http://localhost/_ping 2>&1; true",
    );
    Seen {
        files,
        served,
        is_let_in: docker.starts_with("let in by"),
        socket_answers: socket == "OK",
    }
}

/// SHA-256 over the certificate in a file, as [`Seen::served`] has it.
pub fn certificate_hash(lab: &Lab, name: &'static str, path: &str) -> Option<String> {
    let pem = Node { lab, name }.read(path)?;
    let parsed = pem::parse(pem).ok()?;
    Some(pki::sha256_hex(parsed.contents()))
}

/// A pair whose halves belong together, under a CA that signed it.
pub fn is_pair(node: &Node<'_>, directory: &str) -> Result<(), String> {
    let path = |name: &str| {
        node.path(&format!("{directory}/{name}"))
            .to_str()
            .unwrap()
            .to_owned()
    };
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        (output.status.success(), output.stdout)
    };
    let (certificate, key, ca) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
    let (has_certificate, in_certificate) =
        run(&["x509", "-in", &certificate, "-noout", "-pubkey"]);
    let (has_key, in_key) = run(&["pkey", "-in", &key, "-pubout"]);
    if !has_certificate || !has_key || in_certificate != in_key {
        return Err(format!(
            "{directory}: certificate and key do not belong together"
        ));
    }
    if !run(&["verify", "-CAfile", &ca, &certificate]).0 {
        return Err(format!("{directory}: the certificate is not its CA's"));
    }
    Ok(())
}

/// Files of runs that are over, and private keys where none belong.
pub fn leftovers(lab: &Lab) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["node1", "node2", "node3"] {
        let node = Node { lab, name };
        let said = node.sh(
            "find / -xdev \\( -path /proc -o -path /sys \\) -prune -o -name '.dtls-deploy.*' -print 2>/dev/null; for d in /etc /home /var/lib/dtls-deploy /run; do find $d -xdev -name '.dtls-deploy.*' 2>/dev/null; done; grep -rlsIE -e '-----BEGIN [A-Z ]*PRIVATE KEY' /etc /home /root /run /tmp /var/tmp /var/lib --exclude-dir=docker.d --exclude-dir=dpkg --exclude-dir=containerd; true",
        );
        for path in said.lines() {
            let is_declared = [
                "/etc/docker/tls/key.pem",
                "/etc/dtls-deploy/ca/",
                "/etc/ssh/",
                "/home/ubuntu/.docker/key.pem",
                "/home/ubuntu/.docker/contexts/tls/",
                "/home/ubuntu/.local/state/dtls-deploy/generations/",
                "/var/lib/dtls-deploy/generations/",
                "/etc/docker/key.json",
            ]
            .iter()
            .any(|declared| path.starts_with(declared))
                && !path.contains("/.dtls-deploy.");
            if !is_declared {
                found.push(format!("left on {name}: {path}"));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}
