//! Accounts as operators have them: sudo with a password, root without sudo,
//! several roles on one machine, a CA on the machine that runs the tool.

use std::process::Stdio;

use crate::lab::{Lab, Run};
use crate::watch::Watch;

const PASSWORD: &str = "Tr0ub4dor & '3\"; $(id)";

/// The line of sudo's settings that is tried, for all that follows.
fn want_password(lab: &Lab, node: &str, settings: &str) {
    let script = format!(
        "printf 'ubuntu:%s\\n' '{}' | chpasswd; printf 'Defaults lecture=always{settings}\\nubuntu ALL=(ALL:ALL) ALL\\n' >/etc/sudoers.d/ubuntu; visudo -cq",
        PASSWORD.replace('\'', "'\\''"),
    );
    lab.exec(node, &script);
}

fn yaml(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// How often `pam_unix` has refused a password of ubuntu's.
fn refusals(lab: &Lab, node: &str) -> usize {
    let journal = lab.exec(node, "journalctl --no-pager -o cat -t sudo; true");
    journal
        .lines()
        .filter(|line| line.contains("authentication failure"))
        .count()
}

fn said(run: &Run) -> String {
    format!("exit {}\n{}{}", run.code, run.stdout, run.stderr)
}

#[test]
fn sudo_with_a_password_from_the_inventory_and_nobody_sees_it() {
    let lab = Lab::fresh();
    // The CA node too, and with a terminal of sudo's own.
    for (node, settings) in [("node2", ",use_pty"), ("node3", "")] {
        want_password(&lab, node, settings);
    }
    let inventory = lab.inventory(&format!("ansible_become_password: {}", yaml(PASSWORD)));
    let watch = Watch::start(&[PASSWORD]);
    let run = lab.deploy(&[&inventory, "-v", "--diff", "--output", "json"]);
    let (seen, looks) = watch.finish();
    assert!(looks > 20, "only {looks} looks at /proc");
    assert!(seen.is_empty(), "shown by processes: {seen:?}");
    assert!(!said(&run).contains("Tr0ub4dor"), "printed by the tool");
    for node in ["node1", "node2", "node3"] {
        let found = lab.exec(
            node,
            "journalctl --no-pager -o export | grep -c Tr0ub4dor; grep -rlF Tr0ub4dor /var/log /var/lib/dtls-deploy /home /root /tmp /run/sudo 2>/dev/null; true",
        );
        assert_eq!(found, "0", "{node}");
        assert_eq!(refusals(&lab, node), 0, "{node}");
    }
    lab.exec(
        "node3",
        "echo 'LogLevel VERBOSE' >/etc/ssh/sshd_config.d/log.conf; systemctl restart ssh",
    );
    let again = lab.deploy(&[&inventory]);
    assert!(again.stdout.contains("changed=0"), "{}", said(&again));
    let begun = lab.exec(
        "node3",
        "journalctl --no-pager -u ssh | grep -c 'Starting session: command for ubuntu'",
    );
    assert!(begun.parse::<u32>().unwrap() <= 3, "{begun} commands");
    // The program was pushed through sudo, whole, into root's directory.
    assert_eq!(
        lab.exec("node2", "stat -c '%U %a' /var/lib/dtls-deploy/bin/*"),
        "root 700"
    );
}

#[test]
fn a_wrong_password_for_sudo_is_sent_once() {
    let lab = Lab::fresh();
    want_password(&lab, "node3", "");
    let inventory = lab.inventory("ansible_become_password: not the one");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}", said(&run));
    assert!(run.stdout.contains("node3"), "{}", said(&run));
    assert!(
        run.stdout.contains("sudo refused the password"),
        "{}",
        said(&run)
    );
    assert!(
        run.stdout.contains("sent once and not again"),
        "{}",
        said(&run)
    );
    assert!(!said(&run).contains("not the one"), "{}", said(&run));
    assert_eq!(refusals(&lab, "node3"), 1);

    assert!(
        run.stdout
            .lines()
            .any(|line| line.trim_start().starts_with("node3")
                && !line.contains(" failed=0")
                && line.contains("unreachable=0")),
        "{}",
        said(&run)
    );

    // Where sudo itself asks only once.
    want_password(&lab, "node3", ",passwd_tries=1");
    let run = lab.run(&[&inventory]);
    assert!(
        run.stdout.contains("sudo refused the password"),
        "{}",
        said(&run)
    );
    assert_eq!(refusals(&lab, "node3"), 2);

    // The CA's account: nothing is asked of sudo again for the agent.
    want_password(&lab, "node2", "");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}", said(&run));
    assert_eq!(refusals(&lab, "node2"), 1);
}

#[test]
fn a_wrong_password_for_all_hosts_is_not_sent_to_all_of_them() {
    let lab = Lab::fresh();
    let nodes = ["node1", "node2", "node3"];
    for node in nodes {
        want_password(&lab, node, "");
    }
    let inventory = lab.inventory("ansible_become: true\nansible_become_password: not the one");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}", said(&run));
    let hints = run
        .stdout
        .lines()
        .filter(|line| line.contains("Hint: it was not sent here"));
    assert_eq!(hints.count(), 1, "{}", said(&run));
    let sent: usize = nodes.iter().map(|node| refusals(&lab, node)).sum();
    assert_eq!(sent, 2, "{}", said(&run));
}

#[test]
fn a_password_for_sudo_that_nobody_gave_is_asked_for_by_name() {
    let lab = Lab::fresh();
    want_password(&lab, "node3", "");
    let inventory = lab.inventory("");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}", said(&run));
    for words in [
        "sudo wants a password",
        "ansible_become_password",
        "--ask-become-pass",
    ] {
        assert!(run.stdout.contains(words), "{words}: {}", said(&run));
    }
    assert_eq!(refusals(&lab, "node3"), 0);

    // A right password does not help who is not in sudoers.
    lab.exec("node3", "echo >/etc/sudoers.d/ubuntu");
    let inventory = lab.inventory(&format!("ansible_become_password: {}", yaml(PASSWORD)));
    let run = lab.run(&[&inventory]);
    assert!(
        run.stdout.contains("not in the sudoers file"),
        "{}",
        said(&run)
    );

    lab.exec(
        "node3",
        "printf 'Defaults requiretty\\nubuntu ALL=(ALL) NOPASSWD: ALL\\n' >/etc/sudoers.d/ubuntu",
    );
    let run = lab.run(&[&inventory]);
    assert!(run.stdout.contains("!requiretty"), "{}", said(&run));
}

/// The tool on a terminal, with what is typed there.
fn typed(lab: &Lab, arguments: &[&str], lines: &str) -> Run {
    let tool = lab.tool(arguments);
    let words: Vec<String> = std::iter::once(tool.get_program())
        .chain(tool.get_args())
        .map(|word| {
            shlex::try_quote(word.to_str().unwrap())
                .unwrap()
                .into_owned()
        })
        .collect();
    let mut command = std::process::Command::new("script");
    command
        .args([
            "--quiet",
            "--return",
            "--command",
            &words.join(" "),
            "/dev/null",
        ])
        .env("DTLS_CA_PASSPHRASE", crate::lab::PASSPHRASE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut terminal = child.stdin.take().unwrap();
    let answers: Vec<String> = lines.lines().map(|line| format!("{line}\n")).collect();
    let typist = std::thread::spawn(move || {
        use std::io::Write as _;
        for answer in answers {
            // Each question discards what was typed before it.
            std::thread::sleep(std::time::Duration::from_millis(1500));
            terminal.write_all(answer.as_bytes()).unwrap();
        }
        terminal
    });
    let output = child.wait_with_output().unwrap();
    drop(typist.join());
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::new(),
    }
}

#[test]
fn passwords_are_asked_for_once_for_all_hosts() {
    let lab = Lab::fresh();
    for node in ["node1", "node2", "node3"] {
        want_password(&lab, node, "");
        lab.exec(node, "rm /home/ubuntu/.ssh/authorized_keys");
    }
    let inventory = lab.inventory("");
    // The second answer is empty: sudo's is the login's.
    let run = typed(
        &lab,
        &[&inventory, "--yes", "-k", "-K", "--output", "plain"],
        &format!("{PASSWORD}\n\n"),
    );
    assert_eq!(run.code, 0, "{}", said(&run));
    assert_eq!(run.stdout.matches("SSH password:").count(), 1);
    assert!(!run.stdout.contains("Tr0ub4dor"), "{}", said(&run));

    // Without a terminal there is no one to ask, and that is reported at once.
    let mut command = std::process::Command::new("setsid");
    let tool = lab.tool(&[&inventory, "-K"]);
    let output = command
        .arg(tool.get_program())
        .args(tool.get_args())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("need a terminal"), "{text}");
}

#[test]
fn root_needs_no_sudo() {
    let lab = Lab::fresh();
    for node in ["node1", "node2", "node3"] {
        lab.exec(
            node,
            "install -d -m 700 /root/.ssh && cp /home/ubuntu/.ssh/authorized_keys /root/.ssh/ && chown root: /root/.ssh/authorized_keys && mv /usr/bin/sudo /usr/bin/sudo.gone",
        );
    }
    let inventory = lab.inventory("");
    let as_ubuntu = lab.run(&[&inventory]);
    assert!(
        as_ubuntu.stdout.contains("install sudo on the node"),
        "{}",
        said(&as_ubuntu)
    );
    lab.deploy(&[&inventory, "-e", "ansible_user=root"]);
    let again = lab.deploy(&[&inventory, "-e", "ansible_user=root"]);
    assert!(again.stdout.contains("changed=0"), "{}", said(&again));
}

fn groups(ca: &str, daemon: &str, client: &str) -> String {
    format!(
        "all:\n  vars: {{ansible_user: ubuntu}}\n  children:\n    ca: {{hosts: {{{ca}}}}}\n    daemons: {{hosts: {{{daemon}}}}}\n    clients: {{hosts: {{{client}}}}}\n"
    )
}

#[test]
fn one_machine_can_be_everything() {
    let lab = Lab::fresh();
    want_password(&lab, "node3", "");
    let inventory = lab.file(
        "one.yaml",
        &groups("node3: ", "node3: ", "node3: ").replace(
            "ansible_user: ubuntu",
            &format!(
                "ansible_user: ubuntu, ansible_become_password: {}",
                yaml(PASSWORD)
            ),
        ),
    );
    lab.deploy(&[&inventory]);
    let again = lab.deploy(&[&inventory]);
    assert!(again.stdout.contains("changed=0"), "{}", said(&again));
}

#[test]
fn the_ca_can_be_the_machine_that_runs_the_tool() {
    let lab = Lab::fresh();
    // Not below /tmp, which is everyone's.
    let kept = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let directory = kept.path().join("authority").display().to_string();
    let inventory = lab.file(
        "local.yaml",
        &groups(
            &format!("here: {{ansible_connection: local, dtls_ca_dir: {directory}}}"),
            "node3: ",
            "node1: ",
        ),
    );
    lab.deploy(&[&inventory]);
    let again = lab.deploy(&[&inventory]);
    assert!(again.stdout.contains("changed=0"), "{}", said(&again));
    let kept = std::fs::read_to_string(format!("{directory}/ca-key.pem")).unwrap();
    assert!(kept.contains("ENCRYPTED PRIVATE KEY"));
}

/// No one's root: an operator on the CA's machine whose sudo wants a password.
#[test]
fn the_local_ca_is_reached_through_sudo() {
    let lab = Lab::fresh();
    want_password(&lab, "node2", ",use_pty");
    let inventory = groups(
        &format!(
            "here: {{ansible_connection: local, ansible_become_password: {}}}",
            yaml(PASSWORD)
        ),
        "node3: ",
        "node1: ",
    );
    lab.put(
        "node2",
        env!("CARGO_BIN_EXE_dtls-deploy"),
        "/usr/local/bin/dtls-deploy",
    );
    lab.put(
        "node2",
        &lab.file("inventory.yaml", &inventory),
        "/home/ubuntu/inventory.yaml",
    );
    for file in ["id_ed25519", "known_hosts"] {
        let from = lab.state(&format!("ssh/{file}"));
        lab.put("node2", &from, &format!("/home/ubuntu/.ssh/{file}"));
    }
    lab.exec(
        "node2",
        "chown ubuntu: ~ubuntu/.ssh/* ~ubuntu/inventory.yaml; chmod 600 ~ubuntu/.ssh/*; chmod 755 /usr/local/bin/dtls-deploy",
    );
    let run = format!(
        "DTLS_CA_PASSPHRASE='{}' dtls-deploy inventory.yaml",
        crate::lab::PASSPHRASE
    );
    lab.exec_as("node2", "ubuntu", &run);
    let again = lab.exec_as("node2", "ubuntu", &run);
    assert!(again.contains("changed=0"), "{again}");
    assert_eq!(
        lab.exec("node2", "stat -c '%U %a' /etc/dtls-deploy/ca/ca-key.pem"),
        "root 400"
    );
}

/// What a login shell prints at its start does not matter; one that ends there is named, with the
/// file to look at, and nothing is changed.
#[test]
fn a_start_up_file_that_prints_or_ends_does_not_break_anything() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_extra_sans: [10.0.0.99, docker.example.com]");
    let begin = |line: &str| {
        for node in ["node1", "node2", "node3"] {
            let command =
                format!("cd ~ && {{ echo '{line}'; cat .bashrc; }} >new && mv new .bashrc");
            lab.exec_as(node, "ubuntu", &command);
        }
    };
    begin("echo welcome; echo beware >&2");
    lab.deploy(&[&inventory]);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
    // Names without a kind are what they look like.
    let served = lab.exec(
        "node3",
        "openssl x509 -noout -ext subjectAltName -in /etc/docker/tls/cert.pem",
    );
    for name in ["IP Address:10.0.0.99", "DNS:docker.example.com"] {
        assert!(served.contains(name), "{served}");
    }

    begin("exit 0");
    let run = lab.run(&["rotate", &inventory, "--force"]);
    assert_ne!(run.code, 0, "{}", run.stdout);
    assert!(
        run.stdout.contains("~/.bashrc"),
        "{}{}",
        run.stdout,
        run.stderr
    );
    for node in ["node1", "node2", "node3"] {
        lab.exec_as(node, "ubuntu", "sed -i 1d .bashrc");
    }
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
}
