//! What is shipped beside the program, held to the program and to the tools
//! that read it.

use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The settings of the sandbox are those that `schedule install` writes.
#[test]
fn the_template_unit_has_the_sandbox_of_a_schedule() {
    let ours = read("packaging/systemd/dtls-deploy@.service");
    let theirs = read("src/schedule/run.service");
    let (_, sandbox) = theirs.split_once("\nProtectSystem=").unwrap();
    let settings: Vec<&str> = sandbox
        .lines()
        .skip(1)
        .filter(|line| line.contains('=') && !line.starts_with("ReadWritePaths="))
        .collect();
    assert!(settings.len() >= 20, "{settings:?}");
    for line in settings {
        assert!(ours.lines().any(|other| other == line), "{line}");
    }
    let timer = read("packaging/systemd/dtls-deploy@.timer");
    assert!(timer.contains("Persistent=true"));
}

/// Whatever systemd starts of ours leaves no core dump: those of a program that has
/// held a key, or that has read one.
#[test]
fn no_unit_of_ours_dumps_core() {
    let units = [
        "packaging/systemd/dtls-deploy@.service",
        "src/schedule/run.service",
        "src/schedule/failed.service",
        "crates/node/src/prelude/daemon.sh",
    ];
    let mut sections = 0;
    for path in units {
        let text = read(path);
        for section in text.split("\n[Service]\n").skip(1) {
            let section = section.split("\n[").next().unwrap();
            assert!(section.contains("\nLimitCORE=0\n"), "{path}: {section}");
            sections += 1;
        }
        let runs = text.matches("systemd-run --quiet").count();
        assert_eq!(
            text.matches("--property=LimitCORE=0").count(),
            runs,
            "{path}"
        );
    }
    assert_eq!(sections, units.len());
}

/// The machines are the lab's, as Vagrant itself reads them.
#[test]
fn the_vagrantfile_is_valid() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new("vagrant")
        // No provider is installed where tests run.
        .args(["validate", "--ignore-provider"])
        .env("VAGRANT_HOME", home.path())
        .env("VAGRANT_DOTFILE_PATH", home.path().join("dotfile"))
        .env("VAGRANT_CHECKPOINT_DISABLE", "1")
        .current_dir(root().join("vagrant"))
        .output()
        .expect("vagrant of the Debian package is needed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("validated successfully"), "{text}");
    let file = read("vagrant/Vagrantfile");
    for (node, address, role) in [
        ("node1", "10.0.0.10", "client"),
        ("node2", "10.0.0.11", "ca"),
        ("node3", "10.0.0.12", "daemon"),
    ] {
        let line = format!("{{ name: \"{node}\", address: \"{address}\", role: \"{role}\" }}");
        assert!(file.contains(&line), "{line}");
        assert!(text.contains(node), "{text}");
    }
}

/// Each page of the manual is one that man can show, and every command has one.
#[test]
fn manual_pages_are_whole() {
    let directory = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_dtls-deploy"))
        .args(["man", "--to"])
        .arg(directory.path())
        .status()
        .unwrap();
    assert!(status.success());
    let page = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let first = page("dtls-deploy.1");
    let mut commands = 0;
    for line in first.lines() {
        if let Some(name) = line
            .strip_prefix("dtls\\-deploy\\-")
            .and_then(|line| line.strip_suffix("(1)"))
        {
            page(&format!("dtls-deploy-{}.1", name.replace("\\-", "-")));
            commands += 1;
        }
    }
    assert!(commands >= 10, "{first}");
    assert!(!first.contains("ca\\-agent"), "an inner command is shown");
    assert!(page("dtls-deploy-rotate.1").contains("\\-\\-clients\\-only"));
}
