//! A refusal whose alert is lost on the way: with TLS 1.3 the client's request
//! may reset the connection before the alert is read.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use node::script::Script;

use super::fixture::RUN;
use crate::shell::{self, in_every_shell};

in_every_shell! {
    a_connection_that_is_reset_is_tried_again_until_the_alert_is_read,
    a_client_without_its_own_files_says_nothing_of_the_daemon,
}

/// The result of the check with a curl that prints `said` that many times and is rejected
/// with an alert after that; and how often it was asked.
fn proof(shell: &[&str], said: &str, times: u32) -> (String, u32) {
    let root = tempfile::tempdir().unwrap();
    for name in FILES {
        std::fs::write(root.path().join(name), "").unwrap();
    }
    proof_with(shell, said, times, root.path())
}

const FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

fn proof_with(shell: &[&str], said: &str, times: u32, root: &Path) -> (String, u32) {
    let (curl, count) = (root.join("curl"), root.join("count"));
    let text = format!(
        r#"#!/bin/sh
echo >>"{count}"
if [ "$(wc -l <"{count}")" -le {times} ]; then echo 'curl: {said}'; else echo 'curl: (56) alert bad certificate'; fi >&2
exit 56
"#,
        count = count.display()
    );
    std::fs::write(&curl, text).unwrap();
    std::fs::set_permissions(&curl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut script = Script::default();
    // After the prelude has set its own.
    script.statement(format!("PATH={}:$PATH", root.display()));
    let url = "tcp://node3:2376";
    let files = FILES.map(|name| root.join(name).display().to_string());
    script.call(
        "prove_identity",
        &[
            "tlsverify",
            "curl",
            url,
            "node3",
            "2376",
            &files[0],
            &files[1],
            &files[2],
        ],
    );
    let answer = shell::run(shell, &script, RUN, Vec::new());
    let tries = std::fs::read_to_string(&count).unwrap_or_default();
    let tries = tries.lines().count();
    (
        String::from_utf8_lossy(&answer).into_owned(),
        u32::try_from(tries).unwrap(),
    )
}

fn a_connection_that_is_reset_is_tried_again_until_the_alert_is_read(shell: &[&str]) {
    for lost in [
        "(55) Send failure: Connection reset by peer",
        "(55) Send failure: Broken pipe",
        "(56) OpenSSL SSL_read: Connection reset by peer, errno 104",
    ] {
        let (said, tries) = proof(shell, lost, 2);
        assert!(said.contains("alert bad certificate"), "{shell:?}: {said}");
        assert_eq!(tries, 3, "{shell:?}: {lost}");
    }
    // Not for ever; and what is no such thing is asked once.
    let (said, tries) = proof(shell, "(55) Send failure: Connection reset by peer", 99);
    assert!(said.contains("reset by peer"), "{shell:?}: {said}");
    assert_eq!(tries, 6, "{shell:?}");
    let (said, tries) = proof(shell, "(7) Connection refused", 99);
    assert!(said.contains("Connection refused"), "{shell:?}: {said}");
    assert_eq!(tries, 1, "{shell:?}");
    // curl's own advice is left out.
    let untrusted = "(60) SSL certificate problem\nMore details here: https://curl.se/docs/sslcerts.html\n\ncurl failed to verify the server. To learn more about this situation and\nhow to fix it, please visit the web page mentioned above.";
    let (said, _) = proof(shell, untrusted, 99);
    assert!(
        said.contains("SSL certificate problem"),
        "{shell:?}: {said}"
    );
    assert!(!said.contains("how to fix it"), "{shell:?}: {said}");
}

fn a_client_without_its_own_files_says_nothing_of_the_daemon(shell: &[&str]) {
    for name in FILES {
        for instead in ["", "mkfifo", "mkdir", "ln -s /dev/zero"] {
            let root = tempfile::tempdir().unwrap();
            for other in FILES {
                if other != name {
                    std::fs::write(root.path().join(other), "").unwrap();
                }
            }
            let path = root.path().join(name).display().to_string();
            if !instead.is_empty() {
                let mut words = instead.split(' ');
                let mut command = Command::new(words.next().unwrap());
                command.args(words).arg(&path);
                assert!(command.status().unwrap().success());
            }
            let (said, tries) = proof_with(shell, "(7) Connection refused", 99, root.path());
            assert!(
                said.contains("unusable"),
                "{shell:?} {instead} {name}: {said}"
            );
            assert!(said.contains(&path), "{shell:?} {instead} {name}: {said}");
            assert_eq!(tries, 0, "{shell:?} {instead} {name}: no tool is started");
        }
    }
}
