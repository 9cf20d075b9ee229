//! Whom a daemon accepts, and where that is written: the guides' modes.

use crate::lab::Lab;

const DROP_IN: &str = "/etc/systemd/system/docker.service.d/50-dtls-deploy.conf";
const UNDERSTOOD: &str = "dtls_daemon_mode: tls\ndtls_i_understand_anyone_can_connect: true\n";

/// A plain run of what was just deployed finds nothing, and the daemon still
/// runs as it was started.
fn nothing_left(lab: &Lab, inventory: &str) {
    let before = lab.invocation();
    let run = lab.deploy(&[inventory]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
    assert_eq!(lab.invocation(), before);
}

/// What a caller without any certificate gets from the daemon.
fn without_certificate(lab: &Lab) -> String {
    let (_, said) = lab.try_exec_as(
        "node1",
        "ubuntu",
        "curl -sk -m 5 -o /dev/null -w '%{http_code} %{exitcode}' https://node3:2376/version",
    );
    said.lines().last().unwrap_or_default().to_owned()
}

/// What `env` prints is enough for the docker CLI, and can be undone.
fn a_shell_is_told(lab: &Lab, inventory: &str) {
    let set = lab
        .deploy(&["env", inventory, "node1", "--shell", "bash"])
        .stdout;
    let unset = lab.deploy(&["env", inventory, "--unset"]).stdout;
    let said = lab.exec_as(
        "node1",
        "ubuntu",
        &format!("cd /; {set}docker version; {unset}env | grep DOCKER || echo nothing left"),
    );
    assert!(said.contains("Server:"), "{said}");
    assert!(said.ends_with("nothing left"), "{said}");
}

#[test]
fn settings_move_between_daemon_json_and_the_command_line() {
    let lab = Lab::fresh();
    lab.exec("node3", "echo '{\"debug\": true}' >/etc/docker/daemon.json");
    let as_flags = lab.inventory("dtls_config_style: flags\ndtls_daemon_dir: /etc/docker/keys\n");
    let run = lab.deploy(&[&as_flags]);
    assert!(!run.stdout.contains("FAILED"), "{}", run.stdout);
    let drop_in = lab.exec("node3", &format!("cat {DROP_IN}"));
    assert!(drop_in.contains(" --tlsverify --tlscacert=/etc/docker/keys/ca.pem --tlscert=/etc/docker/keys/cert.pem --tlskey=/etc/docker/keys/key.pem "), "{drop_in}");
    assert_eq!(
        lab.exec("node3", "cat /etc/docker/daemon.json"),
        "{\"debug\": true}"
    );
    nothing_left(&lab, &as_flags);
    a_shell_is_told(&lab, &as_flags);
    assert!(without_certificate(&lab).starts_with("000"));

    // The other way round, and back: nothing is reported twice.
    let in_file = lab.inventory("dtls_daemon_dir: /etc/docker/keys\n");
    lab.deploy(&[&in_file]);
    assert!(
        !lab.exec("node3", &format!("cat {DROP_IN}"))
            .contains("--tls")
    );
    assert!(
        lab.exec("node3", "cat /etc/docker/daemon.json")
            .contains("\"tlsverify\": true")
    );
    nothing_left(&lab, &in_file);
    let as_flags = lab.inventory("dtls_config_style: flags\ndtls_daemon_dir: /etc/docker/keys\n");
    lab.deploy(&[&as_flags]);
    assert!(
        !lab.exec("node3", "cat /etc/docker/daemon.json")
            .contains("tls")
    );
    // Removed, nothing of it stays.
    lab.deploy(&["remove", &as_flags]);
    assert!(
        !lab.exec("node3", "ps -o args= -C dockerd").contains("tls"),
        "dockerd still has our flags"
    );
}

#[test]
fn a_daemon_is_open_to_everybody_only_where_that_is_understood() {
    let lab = Lab::fresh();
    let refused = lab.run(&[&lab.inventory("dtls_daemon_mode: tls\n")]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("dtls_i_understand_anyone_can_connect: true"),
        "{}",
        refused.stderr
    );

    for style in ["daemon_json", "flags"] {
        let open = lab.inventory(&format!("{UNDERSTOOD}dtls_config_style: {style}\n"));
        let run = lab.deploy(&[&open]);
        assert!(
            run.stdout.contains("danger: node3: ANYONE WHO CAN CONNECT"),
            "{}",
            run.stdout
        );
        assert!(
            run.stdout.contains("accepts everyone, as declared"),
            "{}",
            run.stdout
        );
        assert!(!run.stdout.contains("FAILED"), "{}", run.stdout);
        assert_eq!(without_certificate(&lab), "200 0");
        nothing_left(&lab, &open);
    }

    // The way back is proved like any other change; what was there before is
    // what comes back.
    let closed = lab.inventory("");
    lab.deploy(&[&closed]);
    assert!(without_certificate(&lab).starts_with("000"));
    lab.deploy(&["rollback", &closed]);
    assert_eq!(without_certificate(&lab), "200 0");
    let verify = lab.run(&["verify", &closed]);
    assert_eq!(verify.code, 6, "{}", verify.stdout);
    lab.deploy(&[&closed]);
    assert!(without_certificate(&lab).starts_with("000"));
}

/// A rotation changes no mode, and checks the one that is deployed.
#[test]
fn a_mode_that_is_not_deployed_yet_is_left_to_deploy() {
    let lab = Lab::fresh();
    let open = format!("{UNDERSTOOD}dtls_client_mode: tlsverify-ca\n");
    for (deployed, pending, served) in [("", open.as_str(), "000"), (&open, "", "200")] {
        lab.deploy(&[&lab.inventory(deployed)]);
        let pending = lab.inventory(pending);
        for rotate in [&["rotate", "--force"][..], &["rotate", "--ca"]] {
            let run = lab.run(&[rotate, &[&pending, "--yes"]].concat());
            let said = &run.stdout;
            assert_eq!(run.code, 0, "{said}{}", run.stderr);
            assert!(!said.contains("FAILED"), "{said}");
            let note = "its dtls_daemon_mode is not deployed yet";
            assert!(said.contains(note), "{said}");
            assert!(without_certificate(&lab).starts_with(served));
        }
        lab.deploy(&[&pending]);
    }
}

/// The guide's four kinds of clients, as curl has them: what they check, what they
/// show, with the files that were delivered.
const CLIENTS: [(&str, bool, bool, &str); 4] = [
    (
        "tlsverify",
        true,
        true,
        "--cacert ca.pem --cert cert.pem --key key.pem",
    ),
    ("tlsverify-ca", true, false, "--cacert ca.pem"),
    (
        "tls-cert",
        false,
        true,
        "--insecure --cert cert.pem --key key.pem",
    ),
    ("tls", false, false, "--insecure"),
];

/// What one client gets from the daemon: by its profile, by its context, and by a
/// TLS connection that no docker has a part in.
fn from_client(lab: &Lab, curl: &str) -> [(bool, String); 3] {
    let version = "docker version --format '{{.Server.Version}}'";
    let said = |command: &str| {
        let (ok, said) = lab.try_exec_as("node1", "ubuntu", command);
        (ok, said.lines().last().unwrap_or_default().to_owned())
    };
    let raw = format!("cd ~/.docker && curl -sS -m 5 {curl} https://10.0.0.12:2376/version");
    let (ok, answer) = said(&raw);
    [
        said(&format!("bash -lc \"{version}\"")),
        said(&format!("cd /; docker --context node3 {}", &version[7..])),
        (ok && answer.contains("ApiVersion"), answer),
    ]
}

#[test]
fn every_kind_of_client_gets_from_every_kind_of_daemon_what_the_two_modes_say() {
    let lab = Lab::fresh();
    for (daemon, is_open) in [("", false), (UNDERSTOOD, true)] {
        for (client, checks, shows, curl) in CLIENTS {
            let inventory = lab.inventory(&format!(
                "{daemon}dtls_client_mode: {client}\ndtls_client_env: [profile, context]\n"
            ));
            let run = lab.deploy(&[&inventory]);
            let let_in = shows || is_open;
            for (way, (ok, said)) in ["profile", "context", "curl"]
                .iter()
                .zip(from_client(&lab, curl))
            {
                let cell = format!("{client}, open: {is_open}, {way}: {said}");
                assert_eq!(ok, let_in, "{cell}");
                assert!(ok || said.contains("bad certificate"), "{cell}");
            }
            let files = lab.exec_as(
                "node1",
                "ubuntu",
                "ls ~/.docker/ ~/.docker/contexts/tls/*/docker",
            );
            let keys = files.matches("key.pem").count();
            assert_eq!(keys, if shows { 2 } else { 0 }, "{client}: {files}");
            let proof = match (let_in, shows) {
                (true, true) => "accepts the client's certificate",
                (true, false) => "accepts the client without a certificate, as declared",
                (false, _) => "rejects the client without a certificate, as declared",
            };
            let proof = |line: &str| line.starts_with("ok ") && line.contains(proof);
            let stdout = &run.stdout;
            assert!(stdout.lines().any(proof), "{client}: {stdout}");
            assert!(!stdout.contains("FAILED"), "{stdout}");
            assert!(!stdout.contains("not checked"), "{stdout}");
            let danger = format!("danger: node1: WITH dtls_client_mode: {client} ");
            assert_eq!(stdout.contains(&danger), !checks, "{stdout}");
        }
        // Nothing is left to do, and the ledger is not asked for a certificate.
        nothing_left(
            &lab,
            &lab.inventory(&format!(
                "{daemon}dtls_client_mode: tls\ndtls_client_env: [profile, context]\n"
            )),
        );
    }
    // The last client is of mode tls, whatever its ca.pem holds: the CLI wants the
    // file and does not check it. With tlsverify it does.
    lab.exec_as("node1", "ubuntu", "mkdir other && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=other -keyout /dev/null -out other/ca.pem 2>/dev/null && mkdir none");
    let with = |directory: &str, flag: &str| {
        let command =
            format!("DOCKER_CERT_PATH=~/{directory} docker -H tcp://10.0.0.12:2376 {flag} version");
        lab.try_exec_as("node1", "ubuntu", &command)
    };
    assert!(with("other", "--tls").0, "{:?}", with("other", "--tls"));
    let (ok, said) = with("other", "--tlsverify");
    assert!(!ok && said.contains("unknown authority"), "{said}");
    let (ok, said) = with("none", "--tls");
    assert!(!ok && said.contains("none/ca.pem"), "{said}");

    // Without docker, curl makes the check; without curl, openssl.
    for (hidden, tool, client) in [
        ("docker", "curl", "tlsverify"),
        ("curl", "openssl", "tlsverify"),
        ("", "openssl", "tlsverify-ca"),
    ] {
        lab.exec(
            "node1",
            &format!("[ -z '{hidden}' ] || mv /usr/bin/{hidden} /root/"),
        );
        let run = lab.deploy(&[&lab.inventory(&format!("dtls_client_mode: {client}\n"))]);
        let proof = |line: &str| line.starts_with("ok ") && line.contains(tool);
        assert!(run.stdout.lines().any(proof), "{tool}: {}", run.stdout);
    }
}

#[test]
fn a_daemon_is_proved_under_every_name_of_its_certificate() {
    let lab = Lab::fresh();
    // The guide's four, of which one is an address that only the node itself has.
    lab.in_network(
        "node3",
        "ip address replace 10.0.2.15/32 dev lo; ip address replace 10.0.0.112/24 dev eth0; ip address replace 10.99.0.1/32 dev docker0",
    );
    lab.exec(
        "node1",
        "echo 10.0.0.12 dockerhost.example.com >>/etc/hosts",
    );
    let guides = lab.inventory(
        "dtls_sans: [\"DNS:dockerhost.example.com\", \"IP:10.0.0.12\", \"IP:10.0.2.15\", \"IP:127.0.0.1\"]\n",
    );
    let run = lab.deploy(&[&guides]);
    let line = |run: &crate::lab::Run, begin: &str| {
        let mut lines = run.stdout.lines();
        let found = lines.find(|line| line.starts_with(begin) && line.contains("serves it under "));
        found.unwrap_or_default().to_owned()
    };
    let proved = line(&run, "ok ");
    assert!(
        proved.contains("from node1, node3  dockerhost.example.com, 10.0.2.15, 127.0.0.1"),
        "{}",
        run.stdout
    );

    // Names that lead nowhere are said and not counted; one that leads to someone
    // else is a failure.
    let own =
        lab.inventory("dtls_own_addresses: true\ndtls_extra_sans: [\"DNS:nowhere.example.com\"]\n");
    let run = lab.deploy(&[&own]);
    assert!(
        run.stdout.contains("SAN IP:10.0.0.112 missing"),
        "{}",
        run.stdout
    );
    let proved = line(&run, "ok ");
    assert!(proved.contains("10.0.0.112, "), "{}", run.stdout);
    for address in ["172.17.0.1", "10.99.0.1"] {
        assert!(!run.stdout.contains(address), "{}", run.stdout);
    }
    assert!(!run.stdout.contains("not reached"), "{}", run.stdout);
    let run = lab.deploy(&["verify", &own, "-v"]);
    assert!(
        line(&run, "not reached").contains("nowhere.example.com"),
        "{}",
        run.stdout
    );
    nothing_left(&lab, &own);

    // An address that has gone is to be taken out of the certificate.
    lab.in_network("node3", "ip address del 10.0.0.112/24 dev eth0");
    let check = lab.deploy(&[&own, "--check"]);
    assert!(
        check.stdout.contains("SAN IP:10.0.0.112 not wanted"),
        "{}",
        check.stdout
    );
    lab.exec("node1", "echo 10.0.0.10 nowhere.example.com >>/etc/hosts; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=other -addext basicConstraints=critical,CA:FALSE -keyout /root/other.pem 2>/dev/null >>/root/other.pem; systemd-run -q openssl s_server -www -accept 2376 -cert /root/other.pem -key /root/other.pem; until openssl s_client -connect 127.0.0.1:2376 </dev/null 2>/dev/null | grep -q CN; do sleep 0.1; done");
    let elsewhere = lab.run(&["verify", &own]);
    lab.in_network(
        "node3",
        "ip address del 10.0.2.15/32 dev lo; ip address del 10.99.0.1/32 dev docker0",
    );
    assert_eq!(elsewhere.code, 6, "{}", elsewhere.stdout);
    assert!(
        line(&elsewhere, "FAILED").contains(
            "nowhere.example.com: another machine answers there (its certificate is of another CA)"
        ),
        "{}",
        elsewhere.stdout
    );
}
