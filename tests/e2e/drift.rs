//! What someone changed since, or what time changed: found and fixed, and
//! nothing else touched.

use crate::lab::{Lab, openssl};

/// Four nodes: node3 and node4 are daemons, node4 with variables of its own.
pub fn two_daemons(lab: &Lab, node4: &str) -> String {
    lab.file(
        "two.yaml",
        &format!(
            "all:
  vars: {{ansible_user: ubuntu}}
  children:
    ca: {{hosts: {{node2: {{ansible_host: 10.0.0.11}}}}}}
    daemons:
      hosts:
        node3: {{ansible_host: 10.0.0.12}}
        node4: {{ansible_host: 10.0.0.13, {node4}}}
    clients: {{hosts: {{node1: {{ansible_host: 10.0.0.10}}}}}}
"
        ),
    )
}

pub fn invocation(lab: &Lab, node: &str) -> String {
    lab.exec(
        node,
        "systemctl show docker.service -p InvocationID --value",
    )
}

fn certificate(lab: &Lab, node: &str) -> String {
    let pem = lab.exec(node, "cat /etc/docker/tls/cert.pem") + "\n";
    openssl(&["x509", "-noout", "-text"], &pem)
}

#[test]
fn a_new_name_is_one_daemons_certificate_and_restart() {
    let lab = Lab::with_two_daemons();
    lab.deploy(&[&two_daemons(&lab, "")]);
    let before = (invocation(&lab, "node3"), invocation(&lab, "node4"));
    let untouched = certificate(&lab, "node3");

    let inventory = two_daemons(&lab, "dtls_extra_sans: ['DNS:docker.example.com']");
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("SAN DNS:docker.example.com missing"),
        "{}",
        run.stdout
    );
    assert!(certificate(&lab, "node4").contains("DNS:docker.example.com"));
    assert_eq!(certificate(&lab, "node3"), untouched);
    assert_eq!(invocation(&lab, "node3"), before.0);
    assert_ne!(invocation(&lab, "node4"), before.1);

    // Only whom the limit names, though both have drifted.
    for node in ["node3", "node4"] {
        lab.exec(node, "chmod 644 /etc/docker/tls/key.pem");
    }
    let run = lab.deploy(&[&inventory, "--limit", "daemons:!node3"]);
    assert!(!run.stdout.contains("node3"), "{}", run.stdout);
    let mode = |node: &str| lab.exec(node, "stat -c %a /etc/docker/tls/key.pem");
    assert_eq!((mode("node3"), mode("node4")), ("644".into(), "400".into()));
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("mode 0644, want 0400"),
        "{}",
        run.stdout
    );
    assert_eq!(mode("node3"), "400");
    lab.control(&["down"]);
}

#[test]
fn a_replaced_ca_replaces_everything_it_signed() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let before = certificate(&lab, "node3");
    lab.exec(
        "node2",
        "cd /etc/dtls-deploy/ca && mkdir old && mv ca.pem ca-key.pem old/",
    );
    let run = lab.deploy(&[&inventory, "--new-ca"]);
    assert!(run.stdout.contains("the CA is new"), "{}", run.stdout);
    assert_ne!(certificate(&lab, "node3"), before);
    let authority = lab.exec("node2", "sha256sum </etc/dtls-deploy/ca/ca.pem");
    assert_eq!(
        lab.exec("node3", "sha256sum </etc/docker/tls/ca.pem"),
        authority
    );
    assert_eq!(
        lab.exec("node1", "sha256sum </home/ubuntu/.docker/ca.pem"),
        authority
    );
    let invocation = lab.invocation();
    lab.deploy(&[&inventory]);
    assert_eq!(
        lab.invocation(),
        invocation,
        "a second run has nothing to do"
    );
}

#[test]
fn a_later_drop_in_of_somebody_else_is_refused_by_name() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let foreign = "/etc/systemd/system/docker.service.d/99-other.conf";
    lab.exec(
        "node3",
        &format!("printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/dockerd -H fd://\\n' >{foreign}; chmod 644 /etc/docker/tls/key.pem"),
    );
    let state = "find /etc/docker /etc/systemd/system /var/lib/dtls-deploy -type f -exec sha256sum {} + | sort; stat -c '%a %n' /etc/docker/tls/*";
    let before = (lab.exec("node3", state), lab.invocation());
    // Before systemd has read it, and after.
    for reload in [false, true] {
        if reload {
            lab.exec("node3", "systemctl daemon-reload");
        }
        let run = lab.run(&[&inventory]);
        assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains(foreign), "{}", run.stdout);
        assert!(
            run.stdout.contains("sorts after our drop-in"),
            "{}",
            run.stdout
        );
        assert_eq!((lab.exec("node3", state), lab.invocation()), before);
    }
    lab.exec("node3", &format!("rm {foreign}; systemctl daemon-reload"));
    lab.deploy(&[&inventory]);
    assert_eq!(
        lab.exec("node3", "stat -c %a /etc/docker/tls/key.pem"),
        "400"
    );
}

#[test]
fn what_ends_soon_is_renewed() {
    let lab = Lab::fresh();
    lab.deploy(&[&lab.inventory("dtls_validity_days: 10")]);
    let (before, invocation) = (certificate(&lab, "node3"), lab.invocation());
    let inventory = lab.inventory("dtls_validity_days: 90\ndtls_renew_before: 5");
    lab.deploy(&[&inventory]);
    assert_eq!(
        certificate(&lab, "node3"),
        before,
        "ten days are more than five"
    );
    assert_eq!(lab.invocation(), invocation);
    let inventory = lab.inventory("dtls_validity_days: 90\ndtls_renew_before: 20");
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("due for renewal"), "{}", run.stdout);
    assert_ne!(certificate(&lab, "node3"), before);
    assert_ne!(lab.invocation(), invocation);
    let renewed = certificate(&lab, "node3");
    lab.deploy(&[&inventory]);
    assert_eq!(certificate(&lab, "node3"), renewed);
}
