//! The guard on a real dockerd: roles, revocation, and what happens to the local
//! socket and to a revoked client while the guard is in trouble.

use std::path::Path;

use policy::{Role, endpoints};

use crate::lab::Lab;
use crate::revoke::inventory;

const SOCKET: &str = "/run/docker/plugins/dtls-deploy-guard.sock";

/// What curl needs on a client; a request that streams ends after a second.
const CURL: &str =
    "cd ~/.docker; curl -s -m 1 --cacert ca.pem --cert cert.pem --key key.pem -w '%{http_code}\\n'";

fn serial(lab: &Lab, node: &str) -> String {
    let command = "openssl x509 -noout -serial -in ~/.docker/cert.pem | cut -d = -f 2";
    lab.exec_as(node, "ubuntu", command)
}

/// Replaces the policy of node3: node1 has the role `full`.
fn write_policy(lab: &Lab, role: &str, is_revoked: bool) {
    let (one, two) = (serial(lab, "node1"), serial(lab, "node2"));
    let revoked = if is_revoked {
        format!(r#"{{"serial": "{two}", "name": "laptop"}}"#)
    } else {
        String::new()
    };
    let policy = format!(
        r#"{{"version": 1, "identities": [{{"serial": "{one}", "name": "node1", "role": "full"}}, {{"serial": "{two}", "name": "laptop", "role": "{role}"}}], "revoked": [{revoked}]}}"#
    );
    let command = format!(
        "cd /etc/dtls-deploy && echo '{policy}' >guard.json.new && mv guard.json.new guard.json"
    );
    lab.exec("node3", &command);
}

/// As docs/guard.md describes it.
fn install(lab: &Lab) {
    let program = Path::new(env!("CARGO_BIN_EXE_dtls-deploy")).with_file_name("dtls-deploy-guard");
    lab.exec("node3", "mkdir -p /usr/local/libexec /etc/dtls-deploy");
    let target = "/usr/local/libexec/dtls-deploy-guard";
    lab.put("node3", program.to_str().unwrap(), target);
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/guard");
    for entry in std::fs::read_dir(units).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        lab.put(
            "node3",
            path.to_str().unwrap(),
            &format!("/etc/systemd/system/{name}"),
        );
    }
    write_policy(lab, "read", false);
    let pid = "systemctl show docker.service -p MainPID --value";
    let before = lab.exec("node3", pid);
    let command = format!(
        "chmod 0755 {target}; systemctl daemon-reload
        systemctl --quiet enable --now dtls-deploy-guard.socket dtls-deploy-guard.path
        curl -sS --unix-socket {SOCKET} -X POST http://guard/Plugin.Activate
        sed -i '0,/{{/s//{{\"authorization-plugins\": [\"dtls-deploy-guard\"],/' /etc/docker/daemon.json
        systemctl kill --signal HUP --kill-who main docker.service"
    );
    let answer = lab.exec("node3", &command);
    assert!(answer.contains(r#"{"Implements":["authz"]}"#), "{answer}");
    let asked = "for i in $(seq 50); do journalctl -q -t dtls-deploy-guard DTLS_IDENTITY=local | grep -q . && exit; docker version >/dev/null; sleep 0.1; done; exit 1";
    lab.exec("node3", asked);
    assert_eq!(lab.exec("node3", pid), before, "docker is not restarted");
}

/// One request to every endpoint with the laptop's certificate. dockerd answers 404
/// by itself for routes that its version does not have.
fn every_endpoint(lab: &Lab, role: Role) {
    write_policy(lab, role.name(), false);
    let all: Vec<_> = endpoints::all().collect();
    let (directory, curl) = CURL.split_once("curl ").unwrap();
    let requests = all.iter().map(|endpoint| {
        let method = match endpoint.method {
            "HEAD" => "-I".to_owned(),
            method => format!("-X {method}"),
        };
        let path = endpoint.example();
        format!("{curl} -o /dev/null {method} https://10.0.0.12:2376{path}")
    });
    let requests: Vec<String> = requests.collect();
    let command = format!("{directory} curl {}", requests.join(" --next "));
    let (_, answers) = lab.try_exec_as("node2", "ubuntu", &command);
    let codes: Vec<&str> = answers.lines().collect();
    assert_eq!(codes.len(), all.len(), "{answers}");
    for (endpoint, code) in all.iter().zip(&codes) {
        let is_good = if endpoint.is_allowed(role) {
            *code != "403" && *code != "000"
        } else {
            *code == "403" || *code == "404"
        };
        assert!(is_good, "{}: {endpoint:?}: {code}", role.name());
    }
    let rejected = codes.iter().filter(|code| **code == "403").count();
    assert!(rejected > 70, "{rejected}");
}

/// Causes trouble while the laptop, which is revoked, tries to get in all the
/// time: the local socket answers again by itself, and the laptop never gets in.
fn in_trouble(lab: &Lab, trouble: &str) {
    let knock = format!(
        "end=$(($(date +%s) + 3)); while [ $(date +%s) -lt $end ]; do ({CURL} -o /dev/null https://10.0.0.12:2376/_ping); done"
    );
    let knocking = lab.begin("node2", "ubuntu", &["bash", "-c", &knock]);
    let local =
        format!("{trouble}; timeout 10 docker version >/dev/null && timeout 2 docker version");
    let version = lab.exec("node3", &local);
    assert!(version.contains("Server"), "{trouble}: {version}");
    let output = knocking.wait_with_output().unwrap();
    let codes = String::from_utf8(output.stdout).unwrap();
    assert!(codes.contains("403"), "{trouble}: {codes}");
    assert!(!codes.contains("200"), "{trouble}: {codes}");
}

#[test]
fn a_certificate_does_what_its_role_says_and_a_revoked_one_nothing() {
    let lab = Lab::fresh();
    lab.deploy(&[&inventory(&lab, "two.yaml", true)]);
    install(&lab);
    every_endpoint(&lab, Role::Read);
    every_endpoint(&lab, Role::Logs);

    write_policy(&lab, "full", true);
    let ping = format!("{CURL} https://10.0.0.12:2376/_ping");
    let answer = lab.exec_as("node2", "ubuntu", &ping);
    assert!(
        answer.contains("the certificate of laptop (serial"),
        "{answer}"
    );
    assert!(answer.ends_with("403"), "{answer}");
    assert_eq!(lab.exec_as("node1", "ubuntu", &ping), "OK200");

    for signal in ["KILL", "STOP"] {
        let send = format!("systemctl kill --signal {signal} dtls-deploy-guard.service");
        in_trouble(&lab, &send);
    }
    in_trouble(&lab, &format!("rm {SOCKET}"));

    lab.exec("node3", "echo '{' >/etc/dtls-deploy/guard.json");
    let answer = lab.exec_as("node2", "ubuntu", &ping);
    assert!(answer.ends_with("403"), "{answer}");
    let journal = lab.exec(
        "node3",
        "journalctl -q -t dtls-deploy-guard -p warning -o cat",
    );
    assert!(
        journal.contains("the last good policy stays in force"),
        "{journal}"
    );

    let entry = "journalctl -q -t dtls-deploy-guard -o json DTLS_REASON=revoked | tail -n 1";
    let entry = lab.exec("node3", entry);
    assert!(entry.contains(r#""DTLS_IDENTITY":"laptop""#), "{entry}");
    assert_eq!(lab.exec_as("node1", "ubuntu", &ping), "OK200");
}
