//! Private keys and passphrases are where they belong, and nowhere else.

use std::collections::BTreeSet;

use crate::lab::{Lab, PASSPHRASE};
use crate::watch::Watch;

/// Each secret, and the places on node1, node2 and node3 where it belongs.
fn belongs(secrets: &[String]) -> [(&str, [BTreeSet<String>; 3]); 4] {
    let set = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    [
        (&secrets[0], [set(&[]), set(&[]), set(&[])]),
        (
            &secrets[1],
            [set(&[]), set(&["/etc/dtls-deploy/ca/ca-key.pem"]), set(&[])],
        ),
        (
            &secrets[2],
            [
                set(&[]),
                set(&["/etc/dtls-deploy/ca/node3/daemon-key.pem"]),
                set(&["/etc/docker/tls/key.pem"]),
            ],
        ),
        (
            &secrets[3],
            [
                set(&["/home/ubuntu/.docker", "/home/ubuntu/.docker/key.pem"]),
                set(&["/etc/dtls-deploy/ca/node1/client-key.pem"]),
                set(&[]),
            ],
        ),
    ]
}

#[test]
fn no_secret_is_anywhere_it_does_not_belong() {
    let lab = Lab::fresh();
    let passphrase = lab.secret("passphrase", &format!("{PASSPHRASE}\n"));
    // Keys stay on the CA node, so that there is something to look for.
    let inventory =
        lab.inventory("dtls_keep_issued_keys: true\ndtls_client_env: [profile, context]");
    for node in ["node1", "node2", "node3"] {
        lab.exec(node, "touch /tmp/begun; sleep 0.02");
    }
    let begun = lab.file("begun", "");
    let watch = Watch::start(&["PRIVATE KEY", PASSPHRASE]);
    let mut command = lab.tool(&[
        &inventory,
        "--output",
        "json",
        "--diff",
        "-v",
        "--ca-passphrase-file",
        &passphrase,
    ]);
    let output = command.env_remove("DTLS_CA_PASSPHRASE").output().unwrap();
    let (seen, looks) = watch.finish();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(looks > 20, "only {looks} looks at /proc");
    assert_eq!(seen, BTreeSet::new(), "shown by processes");

    // A line out of the middle of each key is as good as the key.
    let mut secrets = vec![PASSPHRASE.to_owned()];
    for path in [
        "/etc/dtls-deploy/ca/ca-key.pem",
        "/etc/dtls-deploy/ca/node3/daemon-key.pem",
        "/etc/dtls-deploy/ca/node1/client-key.pem",
    ] {
        let pem = lab.exec("node2", &format!("cat {path}"));
        secrets.push(pem.lines().nth(1).unwrap().to_owned());
    }
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    for secret in &secrets {
        assert!(!said.contains(secret.as_str()), "printed by the tool");
    }

    // The journal holds as much as the run said, and no more.
    let journals = lab.journals();
    assert_eq!(journals.len(), 1);
    let journal = std::fs::read_to_string(&journals[0]).unwrap();
    assert!(journal.contains("docker.service"), "{journal}");
    for secret in secrets.iter().map(String::as_str).chain(["PRIVATE KEY"]) {
        assert!(!journal.contains(secret), "in the journal");
    }

    // On disk: exactly the places where each key belongs, among all files that
    // are not the installed system's.
    let mut patterns = String::new();
    for secret in &secrets {
        patterns.push_str(" -e '");
        patterns.push_str(secret);
        patterns.push('\'');
    }
    let search = format!(
        "(find / -xdev -newer /tmp/begun -type f -print0; find /tmp /run /dev/shm /var/lib/docker -type f -print0) 2>/dev/null | xargs -0 grep -oHF{patterns} -- 2>/dev/null; journalctl --no-pager | grep -oF{patterns} | sed s/^/journal:/; true"
    );
    let places = |node: &str| -> Vec<(String, String)> {
        lab.exec(node, &search)
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(path, secret)| {
                let path = path.split("/contexts/tls/").next().unwrap();
                (secret.to_owned(), path.to_owned())
            })
            .collect()
    };
    let expected = belongs(&secrets);
    for (position, node) in ["node1", "node2", "node3"].into_iter().enumerate() {
        let found = places(node);
        for (index, (secret, nodes)) in expected.iter().enumerate() {
            let found: BTreeSet<String> = found
                .iter()
                .filter(|(found, _)| found == *secret)
                .map(|(_, path)| path.clone())
                .collect();
            assert_eq!(found, nodes[position], "secret {index} on {node}");
        }
    }
    // And never on the controller's disk.
    let mut search = std::process::Command::new("sh");
    search.arg("-c").arg(
        "begun=$1; shift; find /tmp /root /var/tmp /run /home -xdev -newer \"$begun\" -type f -print0 2>/dev/null | xargs -0 grep -lF \"$@\" -- 2>/dev/null; true",
    );
    search.args(["sh", &begun]);
    for secret in &secrets[1..] {
        search.args(["-e", secret]);
    }
    let output = search.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "controller");
}

/// The variable is for CI, and is gone before anything else is started.
#[test]
fn a_passphrase_in_the_environment_does_not_stay_there() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let mut child = lab
        .tool(&[&inventory])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // `lab run` becomes the tool: same process. It starts itself again at once;
    // from then on nothing shows it.
    let pid = child.id();
    let mut after = 0;
    while child.try_wait().unwrap().is_none() {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        if name.trim() == "exe" || environment.contains("DTLS_CA_PASSPHRASE_FD") {
            after += 1;
            assert!(!environment.contains(PASSPHRASE), "after {after} looks");
        }
    }
    assert!(child.wait().unwrap().success());
    assert!(after > 10, "the run was looked at {after} times");
}

/// `cat key cert >ca.pem`: every check of the CA names it, and no one is given the key.
#[test]
fn a_key_in_ca_pem_stays_on_the_ca_node() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let backup = lab.directory("backups") + "/ca.backup";
    let pass = lab.secret("backup-pass", "a passphrase of its own\n");
    lab.exec(
        "node2",
        "cd /etc/dtls-deploy/ca && cp ca.pem /root/before && openssl genrsa -out /root/extra.pem 2048 2>/dev/null && { cat /root/extra.pem; echo '# hunter2-hunter2'; cat /root/before; } >new && chmod 444 new && mv -f new ca.pem",
    );
    let line = lab.exec("node2", "sed -n 5p /root/extra.pem");
    let told = "/etc/dtls-deploy/ca/ca.pem holds a private key";
    let mut said = String::new();
    let mut look = |arguments: &[&str], names_it: bool| {
        let run = lab.run(arguments);
        assert_ne!(run.code, 0, "{arguments:?}: {}", run.stdout);
        let text = run.stdout + &run.stderr;
        assert!(!names_it || text.contains(told), "{arguments:?}: {text}");
        said.push_str(&text);
    };
    let sans = "{dtls_extra_sans: [DNS:other.example.com]}";
    look(&[&inventory, "--check", "--diff", "-v"], true);
    look(&[&inventory, "--diff", "-v", "-e", sans], true);
    look(&[&inventory, "--check", "--output", "json", "--diff"], true);
    look(&["doctor", &inventory, "-v"], true);
    look(&["adopt", &inventory, "--check"], true);
    look(&["adopt", &inventory], true);
    look(&["rotate", &inventory, "--force"], true);
    look(
        &[
            "ca",
            "backup",
            &inventory,
            "--to",
            &backup,
            "--backup-passphrase-file",
            &pass,
        ],
        true,
    );
    assert!(!std::path::Path::new(&backup).exists());
    for journal in lab.journals() {
        said.push_str(&std::fs::read_to_string(journal).unwrap());
    }
    for secret in [line.as_str(), "hunter2-hunter2", "BEGIN PRIVATE KEY"] {
        assert!(!said.contains(secret), "{secret} was shown");
    }
    for node in ["node1", "node3"] {
        let found = lab.exec(
            node,
            &format!("grep -rlF -e '{line}' -e hunter2-hunter2 /etc/docker /home /var/lib/dtls-deploy /tmp 2>/dev/null; true"),
        );
        assert_eq!(found, "", "{node}");
    }
    // The command of the hint puts it right, and then there is nothing to do.
    let hint = said.split_once("keep only the certificates: ").unwrap().1;
    lab.exec("node2", hint.split_once(';').unwrap().0);
    let run = lab.deploy(&[&inventory, "--check"]);
    assert!(!run.stdout.contains("/ca.pem"), "{}", run.stdout);
}
