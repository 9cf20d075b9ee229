//! A CA and certificates that were made by hand, with the guides' commands and
//! others, are adopted: nothing is replaced, no daemon restarts.

use crate::lab::{Lab, PASSPHRASE};

/// Guide C in shell: CA on node2 with this command for its key; pairs for node3
/// and node1, delivered; daemon.json and the drop-in written by hand.
struct Guide<'a> {
    lab: &'a Lab,
    /// Writes ca-key.pem; `pass` holds the passphrase.
    ca_key: &'a str,
    /// Of every openssl command that opens ca-key.pem.
    pass: &'a str,
    /// Of the daemon's certificate, without the extendedKeyUsage.
    sans: &'a str,
}

const ALT_NAMES: &str = "subjectAltName = DNS:node3,IP:10.0.0.12\\n";
const PASS: &str = "-passin file:pass";

fn by_hand<'a>(lab: &'a Lab, ca_key: &'a str) -> Guide<'a> {
    Guide {
        lab,
        ca_key,
        pass: PASS,
        sans: ALT_NAMES,
    }
}

impl Guide<'_> {
    fn follow(&self) {
        let Self {
            lab,
            ca_key,
            pass,
            sans,
        } = self;
        let steps = format!(
            "set -e; mkdir -p ~/.docker; chmod 700 ~/.docker; cd ~/.docker; echo '{PASSPHRASE}' >pass
            {ca_key}
            openssl req -new -x509 -days 730 -key ca-key.pem {pass} -sha256 -out ca.pem -subj /C=DE/O=Example/CN=node2
            leaf() {{
                openssl genrsa -out $1-key.pem 2048 2>/dev/null
                openssl req -subj /CN=$2 -sha256 -new -key $1-key.pem -out $1.csr
                printf \"$3\" >extfile.cnf
                openssl x509 -req -days 730 -sha256 -in $1.csr -CA ca.pem -CAkey ca-key.pem {pass} -CAcreateserial -out $1-cert.pem -extfile extfile.cnf 2>/dev/null
                rm $1.csr extfile.cnf
            }}
            leaf daemon node3 '{sans}extendedKeyUsage = serverAuth\\n'
            leaf client node1 'extendedKeyUsage = clientAuth\\n'
            chmod 0400 ca-key.pem daemon-key.pem client-key.pem; rm pass; chmod 755 ~/.docker"
        );
        lab.exec_as("node2", "ubuntu", &steps);
        self.deliver();
        lab.exec("node2", "chmod 700 /home/ubuntu/.docker");
        lab.exec(
            "node3",
            r#"mkdir -p /etc/docker /etc/systemd/system/docker.service.d
            printf '%s' '{"tls": true, "tlsverify": true, "tlscacert": "/home/ubuntu/.docker/ca.pem", "tlscert": "/home/ubuntu/.docker/cert.pem", "tlskey": "/home/ubuntu/.docker/key.pem"}' >/etc/docker/daemon.json
            printf '[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H tcp://node3:2376 --containerd=/run/containerd/containerd.sock $DOCKER_OPTS\n' >/etc/systemd/system/docker.service.d/override.conf
            sleep 2; systemctl daemon-reload && systemctl restart docker"#,
        );
    }

    /// What scp does in the guide.
    fn deliver(&self) {
        for (node, role) in [("node3", "daemon"), ("node1", "client")] {
            self.lab
                .exec_as(node, "ubuntu", "mkdir -p ~/.docker && chmod 700 ~/.docker");
            for (from, to, mode) in [
                ("ca.pem".to_owned(), "ca.pem", "444"),
                (format!("{role}-cert.pem"), "cert.pem", "444"),
                (format!("{role}-key.pem"), "key.pem", "400"),
            ] {
                let text = self
                    .lab
                    .exec("node2", &format!("base64 -w0 /home/ubuntu/.docker/{from}"));
                self.lab.exec_as(
                    node,
                    "ubuntu",
                    &format!(
                        "echo {text} | base64 -d >~/.docker/{to}; chmod {mode} ~/.docker/{to}"
                    ),
                );
            }
        }
    }
}

/// Hashes and modes of everything that a CA, a daemon and a client have.
fn snapshot(lab: &Lab, node: &str) -> String {
    lab.exec(
        node,
        "cd /home/ubuntu/.docker && stat -c '%n %a %U %Y' * && sha256sum *",
    )
}

fn serial(lab: &Lab, node: &str, name: &str) -> String {
    lab.exec(
        node,
        &format!("openssl x509 -noout -serial -in /home/ubuntu/.docker/{name}"),
    )
}

/// The whole of guide C by hand; adopted; deployed: no new certificate, no
/// restart, and all checks pass.
fn is_adopted_and_left_alone(lab: &Lab) {
    let before = lab.invocation();
    let nodes = ["node1", "node3"].map(|node| snapshot(lab, node));
    let check = lab.deploy(&["adopt", "inventory/lab.yaml", "--check"]);
    assert!(
        check
            .stdout
            .contains("daemon certificate of node3 into the ledger"),
        "{}",
        check.stdout
    );
    let (ok, _) = lab.try_exec("node2", "test -e /home/ubuntu/.docker/.ledger.jsonl");
    assert!(!ok, "--check wrote a ledger");
    lab.deploy(&["adopt", "inventory/lab.yaml", "--yes"]);
    assert_eq!(
        ["node1", "node3"].map(|node| snapshot(lab, node)),
        nodes,
        "a node was changed"
    );
    let again = lab.deploy(&["adopt", "inventory/lab.yaml"]);
    assert!(
        again.stdout.contains("Nothing to change."),
        "{}",
        again.stdout
    );

    let serials = (
        serial(lab, "node3", "cert.pem"),
        serial(lab, "node1", "cert.pem"),
    );
    let run = lab.deploy(&["inventory/lab.yaml"]);
    assert!(!run.stdout.contains("not checked"), "{}", run.stdout);
    assert!(!run.stdout.contains("certificate for"), "{}", run.stdout);
    assert!(!run.stdout.contains("docker.service"), "{}", run.stdout);
    assert_eq!(
        serials,
        (
            serial(lab, "node3", "cert.pem"),
            serial(lab, "node1", "cert.pem")
        )
    );
    assert_eq!(lab.invocation(), before, "docker was restarted");
    lab.deploy(&["verify", "inventory/lab.yaml"]);
}

#[test]
fn guide_c_by_hand_is_adopted_without_a_restart() {
    let lab = Lab::fresh();
    by_hand(
        &lab,
        "openssl genrsa -aes256 -passout file:pass -out ca-key.pem 4096",
    )
    .follow();
    let public = format!(
        "openssl pkey -pubout -passin 'pass:{PASSPHRASE}' -in /home/ubuntu/.docker/ca-key.pem"
    );
    let key = lab.exec("node2", &public);
    is_adopted_and_left_alone(&lab);
    assert_eq!(lab.exec("node2", &public), key, "under its own passphrase");
    let how = "openssl asn1parse -in /home/ubuntu/.docker/ca-key.pem";
    assert!(lab.exec("node2", how).contains(":scrypt"), "with more work");
    // The adopted CA goes on issuing, and the old one's client stays.
    lab.deploy(&[
        "inventory/lab.yaml",
        "-e",
        "{dtls_sans: ['DNS:node3', 'IP:10.0.0.12', 'DNS:daemon.example.com']}",
    ]);
    let text = lab.exec(
        "node3",
        "openssl x509 -noout -ext subjectAltName -in /home/ubuntu/.docker/cert.pem",
    );
    assert!(text.contains("daemon.example.com"), "{text}");
    let verified = lab.exec(
        "node3",
        "cd /home/ubuntu/.docker && openssl verify -CAfile ca.pem cert.pem",
    );
    assert!(verified.contains("OK"), "{verified}");
}

#[test]
fn a_traditional_key_a_des_key_and_an_ec_key_are_adopted() {
    let lab = Lab::fresh();
    for (name, ca_key) in [
        (
            "traditional AES-256",
            "openssl genrsa -traditional -aes256 -passout file:pass -out ca-key.pem 2048",
        ),
        (
            "traditional DES-EDE3",
            "openssl genrsa -traditional -des3 -passout file:pass -out ca-key.pem 2048",
        ),
        (
            "PKCS#8 DES-EDE3",
            "openssl genrsa -des3 -passout file:pass -out ca-key.pem 2048",
        ),
        (
            "SEC 1",
            "openssl ecparam -name prime256v1 -genkey | openssl ec -aes256 -passout file:pass -out ca-key.pem 2>/dev/null",
        ),
    ] {
        by_hand(&lab, ca_key).follow();
        let run = lab.deploy(&["adopt", "inventory/lab.yaml"]);
        assert!(
            run.stdout
                .contains("client certificate of node1 into the ledger"),
            "{name}: {}",
            run.stdout
        );
        let said = run.stdout + &run.stderr;
        assert!(
            said.contains("ca-key.pem is encrypted again"),
            "{name}: {said}"
        );
        let plan = lab.deploy(&["inventory/lab.yaml", "--check"]);
        assert!(
            !plan.stdout.contains("certificate for"),
            "{name}: {}",
            plan.stdout
        );
        lab.exec("node2", "rm -rf /home/ubuntu/.docker");
        lab.exec(
            "node3",
            "rm -rf /home/ubuntu/.docker; systemctl reset-failed docker docker.socket",
        );
        lab.exec("node1", "rm -rf /home/ubuntu/.docker");
    }
}

#[test]
fn an_unencrypted_key_is_put_under_a_passphrase_where_it_lies() {
    let lab = Lab::fresh();
    Guide {
        pass: "",
        ..by_hand(&lab, "openssl genrsa -out ca-key.pem 2048 2>/dev/null")
    }
    .follow();
    let modulus = "openssl rsa -noout -modulus -passin pass:";
    let before = lab.exec(
        "node2",
        &format!("{modulus} -in /home/ubuntu/.docker/ca-key.pem"),
    );
    // Without openssl the daemon shows it by what it serves, the client by being
    // accepted.
    for node in ["node1", "node3"] {
        lab.exec(node, "mv /usr/bin/openssl /usr/bin/openssl.away");
    }
    let check = lab.deploy(&["adopt", "inventory/lab.yaml", "--check"]);
    assert!(
        check.stdout.contains("put under a passphrase"),
        "{}",
        check.stdout
    );
    let run = lab.deploy(&["adopt", "inventory/lab.yaml"]);
    for what in ["daemon certificate of node3", "client certificate of node1"] {
        assert!(
            run.stdout.contains(&format!("{what} into the ledger")),
            "{}{}",
            run.stdout,
            run.stderr
        );
    }
    assert_eq!(
        lab.exec("node2", "stat -c '%a %U' /home/ubuntu/.docker/ca-key.pem"),
        "400 ubuntu"
    );
    let text = lab.exec("node2", "head -1 /home/ubuntu/.docker/ca-key.pem");
    assert_eq!(text, "-----BEGIN ENCRYPTED PRIVATE KEY-----");
    let after = lab.exec(
        "node2",
        &format!("{modulus}'{PASSPHRASE}' -in /home/ubuntu/.docker/ca-key.pem"),
    );
    assert_eq!(before, after, "it is another key");
    let left = lab.exec(
        "node2",
        "ls -A /home/ubuntu/.docker | grep unfinished || true",
    );
    assert_eq!(left, "");
    let wrong = lab.secret("wrong", "another passphrase\n");
    let run = lab.run(&[
        "adopt",
        "inventory/lab.yaml",
        "--ca-passphrase-file",
        &wrong,
    ]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stderr.contains("does not open the key"),
        "{}",
        run.stderr
    );
}

/// The certificates of `docker-machine create`, its paths and its command line.
const MACHINE: &str = r#"set -e; mkdir -p ~/.docker/machine/certs; chmod 700 ~/.docker/machine/certs; cd ~/.docker/machine/certs
    openssl genrsa -traditional -out ca-key.pem 2048 2>/dev/null
    openssl req -new -x509 -days 1080 -key ca-key.pem -sha256 -out ca.pem -subj /O=ubuntu -addext keyUsage=critical,digitalSignature,keyEncipherment,keyAgreement,keyCertSign
    leaf() {
        openssl genrsa -traditional -out $1 2048 2>/dev/null
        openssl req -subj /O=ubuntu.$3 -new -key $1 -out csr
        printf "$4" >ext
        openssl x509 -req -days 1080 -sha256 -in csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -out $2 -extfile ext 2>/dev/null
        rm csr ext
    }
    leaf key.pem cert.pem desk 'extendedKeyUsage = clientAuth\n'
    leaf server-key.pem server.pem node3 'subjectAltName = DNS:localhost,IP:10.0.0.12\nextendedKeyUsage = serverAuth\n'
    chmod 600 *key.pem; rm -f ca.srl"#;

const MACHINE_UNIT: &str = "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H tcp://0.0.0.0:2376 -H unix:///var/run/docker.sock --tlsverify --tlscacert /etc/docker/ca.pem --tlscert /etc/docker/server.pem --tlskey /etc/docker/server-key.pem --containerd=/run/containerd/containerd.sock\n";

#[test]
fn what_docker_machine_made_is_adopted_where_it_lies() {
    let lab = Lab::fresh();
    lab.exec_as("node2", "ubuntu", MACHINE);
    let copy = |name: &str, node: &str, user: &str, to: &str| {
        let text = lab.exec(
            "node2",
            &format!("base64 -w0 /home/ubuntu/.docker/machine/certs/{name}"),
        );
        lab.exec_as(
            node,
            user,
            &format!("mkdir -p $(dirname {to}) && echo {text} | base64 -d >{to} && chmod 600 {to}"),
        );
    };
    for name in ["ca.pem", "server.pem", "server-key.pem"] {
        copy(name, "node3", "root", &format!("/etc/docker/{name}"));
    }
    for name in ["ca.pem", "cert.pem", "key.pem"] {
        copy(name, "node1", "ubuntu", &format!("~/.docker/{name}"));
    }
    lab.exec(
        "node3",
        &format!("mkdir -p /etc/systemd/system/docker.service.d && printf '{MACHINE_UNIT}' >/etc/systemd/system/docker.service.d/10-machine.conf && sleep 2 && systemctl daemon-reload && systemctl restart docker"),
    );
    let before = lab.invocation();
    let variables = "dtls_ca_dir: /home/ubuntu/.docker/machine/certs\nansible_become: true";
    let inventory = lab.inventory(variables);
    // The CA's directory is the account's own.
    let text = std::fs::read_to_string(&inventory).unwrap().replace(
        "          ansible_host: 10.0.0.11\n",
        "          ansible_host: 10.0.0.11\n          ansible_become: false\n",
    );
    std::fs::write(&inventory, &text).unwrap();
    let run = lab.deploy(&["adopt", &inventory]);
    let said = format!("{}{}", run.stdout, run.stderr).replace("\n ", "");
    for line in [
        "dtls_daemon_dir: /etc/docker",
        "dtls_daemon_files: {ca: ca.pem, cert: server.pem, key: server-key.pem}",
        "dtls_dropin: 10-machine.conf",
        "daemon certificate of node3 into the ledger",
        "client certificate of node1 into the ledger",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("dtls_listen"), "{said}");
    assert_eq!(lab.invocation(), before, "docker was restarted");
    // With the lines it said, nothing is issued again.
    let text = text.replace(
        "          ansible_host: 10.0.0.12\n",
        "          ansible_host: 10.0.0.12\n          dtls_daemon_dir: /etc/docker\n          dtls_daemon_files: {ca: ca.pem, cert: server.pem, key: server-key.pem}\n          dtls_dropin: 10-machine.conf\n",
    );
    std::fs::write(&inventory, text).unwrap();
    let again = lab.deploy(&["adopt", &inventory, "--check"]);
    assert!(
        again.stdout.contains("Nothing to change."),
        "{}",
        again.stdout
    );
    let said = format!("{}{}", again.stdout, again.stderr);
    assert!(!said.contains("put into its variables"), "{said}");
    let serial = "openssl x509 -noout -serial -in /etc/docker/server.pem";
    let found = lab.exec("node3", serial);
    let run = lab.deploy(&[&inventory]);
    assert!(!run.stdout.contains("certificate for"), "{}", run.stdout);
    assert!(!run.stdout.contains("not checked"), "{}", run.stdout);
    assert_eq!(lab.exec("node3", serial), found);
}

#[test]
fn a_server_certificate_without_a_san_is_due_at_once() {
    let lab = Lab::fresh();
    Guide {
        sans: "",
        ..by_hand(
            &lab,
            "openssl genrsa -aes256 -passout file:pass -out ca-key.pem 2048",
        )
    }
    .follow();
    let client = serial(&lab, "node1", "cert.pem");
    let run = lab.deploy(&["adopt", "inventory/lab.yaml"]);
    assert!(
        run.stdout.contains("it has a CN and no SAN: due at once"),
        "{}",
        run.stdout
    );
    let run = lab.deploy(&["inventory/lab.yaml"]);
    assert!(
        run.stdout
            .contains("it has a CN and no SAN, which docker does not accept"),
        "{}",
        run.stdout
    );
    assert!(!run.stdout.contains("not checked"), "{}", run.stdout);
    assert_eq!(serial(&lab, "node1", "cert.pem"), client);
    let text = lab.exec(
        "node3",
        "openssl x509 -noout -ext subjectAltName -in /home/ubuntu/.docker/cert.pem",
    );
    assert!(text.contains("DNS:node3"), "{text}");
}

/// An intermediate whose files are on the controller: dockerd, docker, curl and
/// openssl follow the chain.
#[test]
fn an_intermediate_of_the_controllers_files_works_to_the_end() {
    let lab = Lab::fresh();
    let directory = lab.directory("pki");
    let output = std::process::Command::new("sh")
        .args(["-ec", "cd \"$0\"
            openssl req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -days 900 -subj /O=Example/CN=root 2>/dev/null
            openssl genrsa -traditional -aes256 -passout env:P -out middle.key 2048 2>/dev/null
            openssl req -new -key middle.key -passin env:P -subj /O=Example/CN=middle -out csr
            printf 'basicConstraints = critical,CA:TRUE,pathlen:0\nkeyUsage = critical,keyCertSign,cRLSign\n' >ext
            openssl x509 -req -days 800 -in csr -CA root.pem -CAkey root.key -CAcreateserial -extfile ext -out middle.pem 2>/dev/null
            cat middle.pem root.pem >chain.pem", &directory])
        .env("P", PASSPHRASE)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let inventory = lab.inventory("dtls_client_env: [profile, context]");
    let (key, alone, chain) = (
        format!("{directory}/middle.key"),
        format!("{directory}/middle.pem"),
        format!("{directory}/chain.pem"),
    );
    let before = std::fs::read(&key).unwrap();
    let run = lab.run(&["adopt", &inventory, "--ca-cert", &alone, "--ca-key", &key]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("is an intermediate"), "{}", run.stderr);
    lab.deploy(&["adopt", &inventory, "--ca-cert", &chain, "--ca-key", &key]);
    assert_eq!(std::fs::read(&key).unwrap(), before, "the file stays");
    let first = lab.exec("node2", "head -1 /etc/dtls-deploy/ca/ca-key.pem");
    assert_eq!(first, "-----BEGIN ENCRYPTED PRIVATE KEY-----");
    let run = lab.deploy(&[&inventory]);
    assert!(!run.stdout.contains("not checked"), "{}", run.stdout);
    let said = lab.exec_as("node1", "ubuntu", "docker --context node3 version");
    assert!(said.contains("Server:"), "{said}");
    let said = lab.exec_as(
        "node1",
        "ubuntu",
        "cd ~/.docker && openssl verify -CAfile ca.pem cert.pem && curl -sS --cacert ca.pem --cert cert.pem --key key.pem https://10.0.0.12:2376/version",
    );
    assert!(said.contains("OK") && said.contains("ApiVersion"), "{said}");
    let again = lab.deploy(&[&inventory]);
    assert!(
        again.stdout.contains("Nothing to change."),
        "{}",
        again.stdout
    );
}

const LEDGER: &str = "/etc/dtls-deploy/ca/.ledger.jsonl";

#[test]
fn a_lost_and_a_damaged_ledger_are_rebuilt_from_what_is_in_use() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let before = lab.invocation();

    lab.exec("node2", &format!("rm {LEDGER}"));
    let plan = lab.deploy(&[&inventory, "--check"]);
    assert!(plan.stdout.contains("dtls-deploy adopt"), "{}", plan.stdout);
    lab.deploy(&["adopt", &inventory]);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);

    lab.exec("node2", &format!("sed -i '1s/serial/ser/' {LEDGER}"));
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(
        format!("{}{}", run.stdout, run.stderr).contains("--rebuild-ledger"),
        "{}{}",
        run.stdout,
        run.stderr
    );
    assert_ne!(lab.run(&["adopt", &inventory]).code, 0);
    lab.deploy(&["adopt", &inventory, "--rebuild-ledger"]);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
    assert_eq!(lab.invocation(), before, "docker was restarted");
}
