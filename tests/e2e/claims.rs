//! A path of the inventory is a claim: what is there stays unless it is of the kind that
//! belongs there, nothing of it is shown, and what dockerd trusts is root's.

use crate::lab::{Lab, openssl};

/// With the daemon's files in this directory.
fn with_directory(lab: &Lab, directory: &str) -> String {
    lab.inventory(&format!("dtls_daemon_dir: {directory}\n"))
}

#[test]
fn what_is_of_another_kind_stays_and_is_not_shown() {
    let lab = Lab::fresh();
    let hash = lab.exec(
        "node3",
        "grep ^root: /etc/shadow | cut -d: -f2- | cut -c1-20",
    );
    lab.exec(
        "node3",
        "mkdir -m 0700 /etc/foreign && cp /etc/shadow /etc/foreign/ca.pem && cp /etc/motd /etc/foreign/cert.pem && printf canary >/etc/foreign/key.pem",
    );
    let sums = "cd /etc/foreign && stat -c '%n %a %U' . * && sha256sum *";
    let before = lab.exec("node3", sums);
    let inventory = with_directory(&lab, "/etc/foreign");
    for arguments in [
        &["--check", "--diff"][..],
        &["--check", "--diff", "--output", "json"],
        &[],
    ] {
        let run = lab.run(&[&[inventory.as_str()], arguments].concat());
        let said = format!("{}{}", run.stdout, run.stderr);
        assert_eq!(run.code, 4, "{said}");
        assert!(
            said.contains("/etc/foreign/ca.pem is not a certificate in PEM but a text file"),
            "{said}"
        );
        assert!(!said.contains("canary") && !said.contains(&hash), "{said}");
    }
    assert_eq!(lab.exec("node3", sums), before);
    // Links on the node lead where the inventory may not.
    lab.exec("node3", "ln -s /etc/ssh /opt/docker-tls");
    let before = lab.exec("node3", "ls -la /etc/ssh");
    let run = lab.run(&[&with_directory(&lab, "/opt/docker-tls")]);
    assert_eq!(run.code, 4, "{}", run.stdout);
    assert_eq!(lab.exec("node3", "ls -la /etc/ssh"), before);
}

#[test]
fn the_mode_of_a_directory_that_was_there_stays() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        "mkdir -p /etc/docker/keys && chmod 0777 /etc/docker/keys",
    );
    let inventory = with_directory(&lab, "/etc/docker/keys");
    let run = lab.run(&[&inventory]);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.code, 4, "{said}");
    assert!(said.contains("chmod go-w /etc/docker/keys"), "{said}");
    lab.exec("node3", "chmod go-w /etc/docker/keys");
    let run = lab.deploy(&[&inventory]);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(
        said.contains("/etc/docker/keys can be read by others (mode 0755): chmod 0700"),
        "{said}"
    );
    let modes = lab.exec("node3", "cd /etc/docker/keys && stat -c '%n %a' . *");
    assert_eq!(modes, ". 755\nca.pem 444\ncert.pem 444\nkey.pem 400");
    // One that is made is readable by its owner only.
    assert_eq!(lab.exec("node1", "stat -c %a /home/ubuntu/.docker"), "700");
}

#[test]
fn settings_of_other_people_are_in_no_output_and_no_journal() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        r#"printf '{"labels": ["token=canary"], "log-opts": {"tag": "canary"}, "debug": false}' >/etc/docker/daemon.json
mkdir -p /etc/systemd/system/docker.service.d
printf '[Service]\nEnvironment=TOKEN=canary\n' >/etc/systemd/system/docker.service.d/override.conf"#,
    );
    lab.exec_as(
        "node1",
        "ubuntu",
        "echo export AWS_SECRET_ACCESS_KEY=canary >>~/.profile",
    );
    let inventory =
        lab.inventory("dtls_client_env: [profile, context]\ndtls_dropin: override.conf\n");
    let log = format!("{}/run.log", lab.directory("logs"));
    let mut said = String::new();
    for arguments in [
        &["--check", "--diff"][..],
        &["--check", "--diff", "--output", "json"],
        &["--diff", "-v", "--output", "json", "--log", &log],
    ] {
        let run = lab.run(&[&[inventory.as_str()], arguments].concat());
        assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("tlsverify"), "{}", run.stdout);
        said.push_str(&run.stdout);
        said.push_str(&run.stderr);
    }
    let kept = std::fs::read_to_string(&log).unwrap();
    assert!(kept.contains("(not shown)"), "{kept}");
    let journal = std::fs::read_to_string(&lab.journals()[0]).unwrap();
    assert!(!journal.contains("\"diff\""), "{journal}");
    let told = lab.run(&["history", "last"]).stdout;
    assert!(told.contains("daemon.json"), "{told}");
    let doctor = lab.run(&["doctor", &inventory]);
    for text in [&said, &kept, &journal, &told, &doctor.stdout] {
        assert!(!text.contains("canary"), "{text}");
    }
    // They are still in force.
    let settings = lab.exec("node3", "cat /etc/docker/daemon.json");
    assert!(settings.contains("token=canary") && settings.contains("tlsverify"));
    let drop_in = lab.exec(
        "node3",
        "cat /etc/systemd/system/docker.service.d/override.conf",
    );
    assert!(drop_in.contains("Environment=TOKEN=canary"), "{drop_in}");
}

/// The guide's place for the daemon's files, and what it takes.
#[test]
fn an_anchor_that_is_not_roots_is_accepted_by_name_alone_and_moves() {
    let lab = Lab::fresh();
    let home = "dtls_daemon_dir: /home/ubuntu/daemon\n";
    let trusted = |name: &str| format!("{home}dtls_daemon_dir_trusted_owner: {name}\n");
    let run = lab.run(&[&lab.inventory(home)]);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.code, 4, "{said}");
    assert!(
        said.contains("dtls_daemon_dir_trusted_owner: ubuntu"),
        "{said}"
    );
    let run = lab.run(&[&lab.inventory(&trusted("nobody"))]);
    assert_eq!(run.code, 4, "{}", run.stdout);
    lab.exec("node3", "test ! -e /home/ubuntu/daemon");

    let inventory = lab.inventory(&trusted("ubuntu"));
    for arguments in [&[][..], &["--output", "json"], &["--check"]] {
        let run = lab.deploy(&[&[inventory.as_str()], arguments].concat());
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains("can become root on this host"), "{said}");
    }

    // To root's own place, and what lay in the home goes.
    let moved = lab.inventory("");
    let run = lab.deploy(&[&moved]);
    assert!(run.stdout.contains("files have moved"), "{}", run.stdout);
    lab.exec(
        "node3",
        "test ! -e /home/ubuntu/daemon && test -f /etc/docker/tls/key.pem",
    );
    let run = lab.deploy(&[&moved]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
}

/// Its owner lets dockerd read another bundle and puts the old one back: the file, its
/// hash and its times are as before.
#[test]
fn a_ca_that_dockerd_was_made_to_trust_is_found_and_restarted_away() {
    let lab = Lab::fresh();
    let inventory = lab
        .inventory("dtls_daemon_dir: /home/ubuntu/daemon\ndtls_daemon_dir_trusted_owner: ubuntu\n");
    lab.deploy(&[&inventory]);
    let evil = openssl(
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "/dev/null",
            "-subj",
            "/CN=evil",
            "-days",
            "2",
        ],
        "",
    );
    let evil = lab.file("evil.pem", &evil);
    lab.put("node3", &evil, "/tmp/evil.pem");
    lab.exec_as(
        "node3",
        "ubuntu",
        "cd ~ && mv daemon kept && cp -r kept daemon && chmod u+w daemon/ca.pem && cat /tmp/evil.pem >>daemon/ca.pem",
    );
    lab.exec(
        "node3",
        "systemctl reset-failed docker.service; systemctl restart docker.service",
    );
    lab.exec_as("node3", "ubuntu", "cd ~ && rm -rf daemon && mv kept daemon");
    let before = lab.exec("node3", "systemctl show docker -p InvocationID --value");

    let doctor = lab.run(&["doctor", &inventory]);
    assert_eq!(doctor.code, 6, "{}", doctor.stdout);
    assert!(doctor.stdout.contains("CN=evil"), "{}", doctor.stdout);
    let verify = lab.run(&["verify", &inventory]);
    assert_eq!(verify.code, 6, "{}", verify.stdout);
    let status = lab.run(&["status", &inventory]);
    assert!(status.stdout.contains("CN=evil"), "{}", status.stdout);

    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("dockerd has read another CA bundle"),
        "{}",
        run.stdout
    );
    let after = lab.exec("node3", "systemctl show docker -p InvocationID --value");
    assert_ne!(before, after);
    assert_eq!(lab.run(&["verify", &inventory]).code, 0);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
}

#[test]
fn a_sudo_that_records_what_is_sent_to_it_is_named() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let warning = "sudo records what is sent to it";
    for command in ["doctor", "check-access"] {
        let run = lab.run(&[command, &inventory]);
        assert!(!run.stdout.contains(warning), "{}", run.stdout);
    }
    lab.exec("node2", "echo 'Defaults:ubuntu log_input' >/etc/sudoers.d/zz-records && chmod 0440 /etc/sudoers.d/zz-records");
    for arguments in [
        &["doctor", &inventory][..],
        &["check-access", &inventory],
        &[&inventory],
    ] {
        let run = lab.run(arguments);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(
            said.contains(warning) && said.contains("log_input"),
            "{said}"
        );
    }
}
