//! The collection for Ansible, by Ansible itself.

use std::path::Path;
use std::process::Command;

use crate::lab::{Lab, PASSPHRASE};

/// The archive that users unpack, made from the program under test.
fn archive(directory: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("packaging/archive"))
        .arg(env!("CARGO_BIN_EXE_dtls-deploy"))
        .arg(directory)
        // An archive for release is smaller, and takes longer.
        .env("GZIP_LEVEL", "-1")
        .output()
        .unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problem}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_role_of_the_collection_installs_and_deploys() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let home = lab.directory("ansible");
    let archive = archive(Path::new(&home));
    let prefix = lab.directory("prefix");
    let collections = Path::new(&home).join("ansible_collections/dtls_deploy");
    std::fs::create_dir_all(&collections).unwrap();
    let collection = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/ansible");
    std::os::unix::fs::symlink(collection, collections.join("docker_tls")).unwrap();
    let play = |more: &[&str]| {
        let variables = serde_json::json!({
            "deploy_package": archive,
            "deploy_prefix": prefix,
            "deploy_install_become": false,
            "deploy_inventory": inventory,
            "deploy_passphrase": PASSPHRASE,
        });
        let variables = variables.to_string();
        let mut words = vec!["ansible-playbook", "-e", &variables];
        words.extend(more);
        words.push("dtls_deploy.docker_tls.deploy");
        let output = lab
            .command(&words)
            .env_remove("DTLS_CA_PASSPHRASE")
            .env("ANSIBLE_COLLECTIONS_PATH", &home)
            .env("ANSIBLE_HOME", &home)
            .env("ANSIBLE_LOCAL_TEMP", &home)
            .env("ANSIBLE_REMOTE_TEMP", &home)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains(PASSPHRASE), "{text}");
        (output.status.success(), text)
    };
    let recap = |text: &str, changed: u8| {
        let line = text.lines().find(|line| line.starts_with("localhost  "));
        assert!(
            line.is_some_and(|line| line.contains(&format!(" changed={changed} "))),
            "{text}"
        );
    };

    // Before the installation, no program can make a plan, and nothing is installed for it.
    let (well, text) = play(&["--check"]);
    assert!(well, "{text}");
    recap(&text, 0);
    assert!(!Path::new(&prefix).join("bin").exists());

    let (well, text) = play(&[]);
    assert!(well, "{text}");
    recap(&text, 2);
    assert!(text.contains("node3: docker.service ("), "{text}");
    lab.exec_as("node1", "ubuntu", "docker --context node3 version");
    // The agent of the archive is the one that the CA node was sent.
    let agent = Path::new(&prefix).join("lib/dtls-deploy/dtls-deploy-agent");
    let agent = Command::new("sha256sum").arg(agent).output().unwrap();
    let agent = String::from_utf8(agent.stdout).unwrap();
    let sent = lab.exec("node2", "ls /var/lib/dtls-deploy/bin");
    assert_eq!(agent.split_whitespace().next(), Some(sent.as_str()));

    let (well, text) = play(&["--check"]);
    assert!(well, "{text}");
    recap(&text, 0);

    // What fails in dtls-deploy fails in Ansible.
    let (well, text) = play(&["-e", r#"{"deploy_arguments": ["--no-such-option"]}"#]);
    assert!(!well && text.contains("--no-such-option"), "{text}");
}
