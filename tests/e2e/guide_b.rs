//! The guide for one daemon host with several addresses, row by row, and the CA
//! subject of the guide about modes: files in /etc/docker/keys under the guide's
//! names, several names and addresses, TLS as flags, a plain port to begin with.

use crate::lab::{Lab, PASSPHRASE, openssl};

const INVENTORY: &str = "\
dtls_key_type: rsa-4096
dtls_ca_validity_days: 365
dtls_validity_days: 365
dtls_ca_subject: {C: DE, ST: Nordrhein-Westfalen, L: Köln, O: Bücher + Söhne, OU: Betrieb, CN: Docker-CA für alle, emailAddress: ops@example.com}
dtls_ca_dir: /etc/docker/keys
dtls_daemon_dir: /etc/docker/keys
dtls_daemon_files: {ca: ca.pem, cert: server-cert.pem, key: server-key.pem}
dtls_config_style: flags
dtls_listen: [\"tcp://0.0.0.0:2376\"]
dtls_sans: [\"DNS:dockerhost.example.com\", \"DNS:node3\", \"IP:10.0.0.12\", \"IP:192.168.33.101\", \"IP:127.0.0.1\"]
dtls_client_env: [profile]
";

#[test]
fn the_one_host_guide_comes_out_row_by_row() {
    let lab = Lab::fresh();
    for node in ["node1", "node3"] {
        lab.exec(node, "echo '10.0.0.12 dockerhost.example.com' >>/etc/hosts");
    }
    let _second = SecondAddress::new(&lab);
    lab.exec(
        "node3",
        "echo 'DOCKER_OPTS=\"-H tcp://0.0.0.0:2375\"' >/etc/default/docker; systemctl restart docker",
    );
    plain_port(&lab, true);

    lab.deploy(&[&lab.inventory(INVENTORY)]);

    row_1_the_ca_is_encrypted_lives_a_year_and_has_its_whole_subject(&lab);
    row_2_every_name_and_address_is_in_the_certificate(&lab);
    row_3_keys_are_0400_and_certificates_0444(&lab);
    row_4_tls_is_on_the_command_line_and_nowhere_else(&lab);
    row_5_docker_and_curl_are_let_in_by_every_address(&lab);
    plain_port(&lab, false);
}

/// Another address of the daemon's node; the lab's networks outlive a reset.
struct SecondAddress<'a>(&'a Lab);

impl<'a> SecondAddress<'a> {
    fn new(lab: &'a Lab) -> Self {
        lab.exec("node3", "ip address replace 192.168.33.101/32 dev lo");
        lab.exec("node1", "ip route replace 192.168.33.101 via 10.0.0.12");
        Self(lab)
    }
}

impl Drop for SecondAddress<'_> {
    fn drop(&mut self) {
        self.0
            .try_exec("node3", "ip address del 192.168.33.101/32 dev lo");
        self.0.try_exec("node1", "ip route del 192.168.33.101");
    }
}

fn plain_port(lab: &Lab, open: bool) {
    let (answers, said) = lab.try_exec("node1", "curl -sS -m 5 http://node3:2375/version");
    assert_eq!(answers, open, "{said}");
}

fn row_1_the_ca_is_encrypted_lives_a_year_and_has_its_whole_subject(lab: &Lab) {
    let key = lab.exec("node2", "cat /etc/docker/keys/ca-key.pem") + "\n";
    assert!(openssl(&["asn1parse"], &key).contains("aes-256-cbc"));
    let pass = format!("pass:{PASSPHRASE}");
    let opened = openssl(&["pkey", "-noout", "-text", "-passin", &pass], &key);
    assert!(opened.contains("4096 bit"));
    let pem = lab.exec("node2", "cat /etc/docker/keys/ca.pem") + "\n";
    let show = [
        "x509",
        "-noout",
        "-subject",
        "-nameopt",
        "utf8,sep_comma_plus_space",
    ];
    let subject = openssl(&show, &pem);
    for part in [
        "C=DE",
        "ST=Nordrhein-Westfalen",
        "L=Köln",
        "O=Bücher + Söhne",
        "OU=Betrieb",
        "CN=Docker-CA für alle",
        "emailAddress=ops@example.com",
    ] {
        assert!(subject.contains(part), "{part}: {subject}");
    }
    // 364 days on it is valid, 366 days on it is not.
    let ends = |days: u32| {
        let seconds = (days * 86_400).to_string();
        lab.try_exec(
            "node2",
            &format!("openssl x509 -noout -checkend {seconds} -in /etc/docker/keys/ca.pem"),
        )
        .0
    };
    assert!(ends(364) && !ends(366));
}

fn row_2_every_name_and_address_is_in_the_certificate(lab: &Lab) {
    let text = lab.exec(
        "node3",
        "openssl x509 -noout -ext subjectAltName,extendedKeyUsage -in /etc/docker/keys/server-cert.pem",
    );
    assert!(
        text.contains(
            "DNS:dockerhost.example.com, DNS:node3, IP Address:10.0.0.12, IP Address:127.0.0.1, IP Address:192.168.33.101"
        ),
        "{text}"
    );
    assert!(text.contains("TLS Web Server Authentication"), "{text}");
    // No request and no extension file is left anywhere.
    let left = "find / -xdev \\( -name '*.csr' -o -name '*extfile*' \\) -newer /etc/hostname 2>/dev/null; true";
    for node in ["node1", "node2", "node3"] {
        assert_eq!(lab.exec(node, left), "", "{node}");
    }
}

fn row_3_keys_are_0400_and_certificates_0444(lab: &Lab) {
    assert_eq!(
        lab.modes("node3", "/etc/docker/keys"),
        ". 700 root\nca.pem 444 root\nserver-cert.pem 444 root\nserver-key.pem 400 root"
    );
    assert_eq!(
        lab.modes("node1", "~ubuntu/.docker"),
        ". 700 ubuntu\nca.pem 444 ubuntu\ncert.pem 444 ubuntu\nkey.pem 400 ubuntu"
    );
    assert_eq!(
        lab.exec("node2", "stat -c '%a %U' /etc/docker/keys/ca-key.pem"),
        "400 root"
    );
}

fn row_4_tls_is_on_the_command_line_and_nowhere_else(lab: &Lab) {
    let line = lab.exec("node3", "ps -C dockerd -o args=");
    for flag in [
        "--tlsverify",
        "--tlscacert=/etc/docker/keys/ca.pem",
        "--tlscert=/etc/docker/keys/server-cert.pem",
        "--tlskey=/etc/docker/keys/server-key.pem",
        "-H tcp://0.0.0.0:2376",
    ] {
        assert!(line.contains(flag), "{flag}: {line}");
    }
    lab.exec("node3", "! grep -s tls /etc/docker/daemon.json");
}

fn row_5_docker_and_curl_are_let_in_by_every_address(lab: &Lab) {
    for name in [
        "dockerhost.example.com",
        "node3",
        "10.0.0.12",
        "192.168.33.101",
    ] {
        let said = lab.exec_as(
            "node1",
            "ubuntu",
            &format!(
                "cd ~/.docker && docker --tlsverify --tlscacert=ca.pem --tlscert=cert.pem --tlskey=key.pem -H={name}:2376 version && curl -sS --cacert ca.pem --cert cert.pem --key key.pem https://{name}:2376/version"
            ),
        );
        assert!(
            said.contains("Server:") && said.contains("ApiVersion"),
            "{name}: {said}"
        );
    }
}
