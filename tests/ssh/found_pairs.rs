//! The node's part of `adopt`, in every shell that a node may have: whether a
//! key belongs to a certificate, and whether a key file is encrypted.

use std::path::Path;
use std::process::{Command, Stdio};

use node::script::Script;
use node::transaction::Report;

use crate::shell::{self, in_every_shell};

in_every_shell! {
    pairs_and_key_files_are_told_apart,
}

/// The second word of the record that the call prints.
fn said(shell: &[&str], function: &str, arguments: &[&str]) -> String {
    let mut script = Script::default();
    script.call(function, arguments);
    let output = shell::run(shell, &script, "test", Vec::new());
    let text = String::from_utf8_lossy(&output).into_owned();
    assert!(!text.contains("PRIVATE"), "{text}");
    let report = Report::parse(&output);
    let record = report
        .records
        .iter()
        .find(|fields| ["pair", "keyfile"].contains(&fields[0].as_str()))
        .unwrap_or_else(|| panic!("{shell:?}: {text}"));
    record[1].clone()
}

fn openssl(directory: &Path, script: &str) {
    let status = Command::new("sh")
        .args(["-ec", script])
        .current_dir(directory)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
}

fn pairs_and_key_files_are_told_apart(shell: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    // A name that a shell would take apart.
    let at = directory.path().join("it's a $HOME");
    std::fs::create_dir(&at).unwrap();
    openssl(
        &at,
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout rsa.key -out rsa.pem -days 9 -subj /CN=x
        openssl ecparam -name prime256v1 -genkey -out ec.key
        openssl req -x509 -new -key ec.key -out ec.pem -days 9 -subj /CN=x
        openssl rsa -in rsa.key -traditional -aes256 -passout pass:secret -out old.key
        openssl pkcs8 -topk8 -in rsa.key -passout pass:secret -out new.key
        echo rubbish >rubbish; mkfifo pipe",
    );
    let file = |name: &str| at.join(name).to_str().unwrap().to_owned();
    for (certificate, key, expected) in [
        ("rsa.pem", "rsa.key", "fits"),
        ("ec.pem", "ec.key", "fits"),
        ("rsa.pem", "ec.key", "differs"),
        ("rsa.pem", "old.key", "unknown"),
        ("rsa.pem", "rubbish", "unknown"),
        ("rsa.pem", "missing", "unknown"),
        ("rsa.pem", "pipe", "unknown"),
    ] {
        assert_eq!(
            said(shell, "fact_pair", &[&file(certificate), &file(key)]),
            expected,
            "{shell:?} {certificate} {key}"
        );
    }
    for (key, expected) in [
        ("rsa.key", "plain"),
        ("ec.key", "plain"),
        ("old.key", "encrypted"),
        ("new.key", "encrypted"),
        ("missing", "absent"),
    ] {
        assert_eq!(
            said(shell, "fact_key_file", &[&file(key)]),
            expected,
            "{shell:?} {key}"
        );
    }
}
