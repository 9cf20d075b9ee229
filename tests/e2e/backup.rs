//! A backup brings the CA back on an empty node; a node that went back to an earlier
//! state of its own keeps working.

use crate::lab::Lab;

const LEDGER: &str = "/etc/dtls-deploy/ca/.ledger.jsonl";

#[test]
fn a_backup_restores_the_ca_on_an_empty_node() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let before = lab.invocation();
    let pass = lab.secret("backup-pass", "a passphrase of its own\n");
    let file = lab.file("x", "");
    let file = file.replace("/x", "/ca.backup");
    let backup = [
        "ca",
        "backup",
        &inventory,
        "--to",
        &file,
        "--backup-passphrase-file",
        &pass,
    ];
    lab.deploy(&backup);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("-----BEGIN DTLS-DEPLOY CA BACKUP-----"));
    let again = lab.run(&backup);
    assert_eq!(again.code, 2, "{}", again.stderr);
    assert!(
        again.stderr.contains("is there already"),
        "{}",
        again.stderr
    );

    let restore = [
        "ca",
        "restore",
        &inventory,
        "--from",
        &file,
        "--backup-passphrase-file",
        &pass,
    ];
    let run = lab.run(&restore);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("there is a CA in"), "{}", run.stderr);
    let ledger = lab.exec("node2", &format!("cat {LEDGER}"));
    // The key alone is lost: said by name, and put back.
    lab.exec("node2", "rm /etc/dtls-deploy/ca/ca-key.pem");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("ca restore"), "{said}");
    lab.deploy(&restore);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);

    lab.control(&["reset", "node2"]);
    let wrong = lab.secret("wrong", "wrong\n");
    let run = lab.run(&[&restore[..6], &[&wrong]].concat());
    assert_eq!(run.code, 2, "{}", run.stderr);
    let mut unopened = restore.to_vec();
    unopened.extend(["--ca-passphrase-file", &wrong]);
    assert_eq!(lab.run(&unopened).code, 4);
    let listing = "cd /etc/dtls-deploy/ca && stat -c '%n %a %U' .[!.]* * 2>/dev/null | sort";
    let (is_there, _) = lab.try_exec("node2", "test -e /etc/dtls-deploy/ca");
    assert!(!is_there, "something was changed");
    lab.deploy(&restore);
    assert_eq!(
        lab.exec("node2", listing),
        ".ledger.jsonl 600 root\n.lock 600 root\nca-key.pem 400 root\nca.pem 444 root\nca.srl 444 root"
    );
    assert_eq!(lab.exec("node2", &format!("cat {LEDGER}")), ledger);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
    assert_eq!(lab.invocation(), before, "docker was restarted");
    // And it goes on issuing.
    lab.deploy(&[
        &inventory,
        "-e",
        "{dtls_extra_sans: ['DNS:more.example.com']}",
    ]);
}

/// The older pair is valid: it is reported, and it stays until it is due.
#[test]
fn a_node_that_went_back_to_a_backup_keeps_working() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let serial = "openssl x509 -noout -serial -in /etc/docker/tls/cert.pem";
    let first = lab.exec("node3", serial);
    // What ends within 390 days is due.
    let sooner = "{dtls_validity_days: 800, dtls_renew_before: 390}";
    lab.exec("node3", "tar -cf /root/tls.tar -C /etc/docker tls");
    lab.deploy(&[&inventory, "-e", sooner]);
    assert_ne!(lab.exec("node3", serial), first);
    lab.exec(
        "node3",
        "tar -xf /root/tls.tar -C /etc/docker && sleep 2 && systemctl restart docker",
    );
    let before = lab.invocation();
    let run = lab.deploy(&[&inventory]);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(
        said.contains("is older than the one delivered last"),
        "{said}"
    );
    assert!(!said.contains("not checked"), "{said}");
    assert_eq!(lab.exec("node3", serial), first);
    assert_eq!(lab.invocation(), before, "docker was restarted");
    // When it is due it is replaced like any other.
    lab.deploy(&[&inventory, "-e", sooner]);
    assert_ne!(lab.exec("node3", serial), first);
}
