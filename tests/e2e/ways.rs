//! Ways to the hosts as operators have them: keys in an agent, hosts in
//! `~/.ssh/config`, a bastion, a host key that is not the known one.

use crate::lab::Lab;

#[test]
fn a_key_that_only_an_agent_holds_is_enough() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    // The key goes to the agent, and its file away for the time of the run.
    let script = lab.file(
        "agent.sh",
        "set -e\neval \"$(ssh-agent)\" >/dev/null\ntrap 'kill $SSH_AGENT_PID' EXIT\nssh-add -q ~/.ssh/id_ed25519\nmount -t tmpfs none /mnt\ncp ~/.ssh/known_hosts /mnt\nmount --bind /mnt ~/.ssh\n[ ! -e ~/.ssh/id_ed25519 ]\n\"$@\"\n",
    );
    let output = lab
        .command(&["sh", &script, env!("CARGO_BIN_EXE_dtls-deploy"), &inventory])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
}

#[test]
fn hosts_that_only_the_ssh_configuration_knows() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        "printf 'Port 22\\nPort 2222\\n' >/etc/ssh/sshd_config.d/port.conf; systemctl restart ssh",
    );
    let config = lab.file(
        "ssh_config",
        "Host the-*\n  User ubuntu\nHost the-ca\n  HostName 10.0.0.11\nHost the-daemon\n  HostName 10.0.0.12\n  Port 2222\n  HostKeyAlias node3\nHost the-client\n  HostName 10.0.0.10\n",
    );
    let inventory = lab.file(
        "aliases.yaml",
        "all:\n  children:\n    ca:\n      hosts: {the-ca: }\n    daemons:\n      hosts: {the-daemon: {dtls_listen: ['tcp://10.0.0.12:2376']}}\n    clients:\n      hosts: {the-client: }\n",
    );
    let script = lab.file(
        "config.sh",
        "set -e\nmount -t tmpfs none /mnt\ncp -p ~/.ssh/* /mnt\ncp \"$1\" /mnt/config\nmount --bind /mnt ~/.ssh\nshift\n\"$@\"\n",
    );
    let output = lab
        .command(&[
            "sh",
            &script,
            &config,
            env!("CARGO_BIN_EXE_dtls-deploy"),
            &inventory,
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_bastion_named_in_the_inventory() {
    let lab = Lab::fresh();
    // From the controller itself node3 lets no one in.
    lab.exec(
        "node3",
        "printf 'Match Address 10.0.0.1\n  DenyUsers *\n' >/etc/ssh/sshd_config.d/deny.conf; systemctl restart ssh",
    );
    let inventory = lab.inventory("");
    let direct = lab.run(&[&inventory]);
    assert_eq!(direct.code, 5, "{}{}", direct.stdout, direct.stderr);
    let with_jump = |arguments: &str| {
        let text = std::fs::read_to_string(&inventory).unwrap();
        let line = "          ansible_host: 10.0.0.12\n";
        let more = format!("{line}          ansible_ssh_common_args: '{arguments}'\n");
        lab.file("jump.yaml", &text.replace(line, &more))
    };
    for arguments in [
        "-o ProxyJump=ubuntu@node1",
        "-J ubuntu@10.0.0.10,ubuntu@10.0.0.11:22",
    ] {
        let run = lab.deploy(&[&with_jump(arguments)]);
        assert!(!run.stdout.contains("FAILED"), "{}", run.stdout);
    }
    // A bastion that is not there is named as what it is.
    let run = lab.run(&[&with_jump("-J ubuntu@node1:2")]);
    assert_eq!(run.code, 5, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("jump host"), "{}", run.stdout);
}

#[test]
fn a_host_key_that_is_not_the_known_one_is_said_in_full() {
    let lab = Lab::fresh();
    let known = std::fs::read_to_string(lab.state("ssh/known_hosts")).unwrap();
    // node3 is known by the keys of node2.
    let wrong: String = known
        .lines()
        .filter(|line| !line.starts_with("node3,"))
        .flat_map(|line| {
            let as_node3 = line
                .strip_prefix("node2,10.0.0.11 ")
                .map(|key| format!("node3,10.0.0.12 {key}\n"));
            [Some(format!("{line}\n")), as_node3]
        })
        .flatten()
        .collect();
    let file = lab.file("known_hosts", &wrong);
    let inventory = lab.inventory("");
    let run = lab.run(&[&inventory, "--known-hosts", &file]);
    assert_eq!(run.code, 5, "{}{}", run.stdout, run.stderr);
    for words in [
        "node3",
        "10.0.0.12",
        file.as_str(),
        "SHA256:",
        "ssh-keygen -R",
    ] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    // Nothing was run there, and nothing was written.
    assert_eq!(std::fs::read_to_string(&file).unwrap(), wrong);
    let sessions = lab.exec(
        "node3",
        "journalctl --no-pager -u ssh | grep -c Accepted; true",
    );
    assert_eq!(sessions, "0");
}
