//! The worked example for Ansible, by Ansible itself.

use crate::lab::Lab;

#[test]
fn an_ansible_playbook_deploys_with_one_task() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let home = lab.directory("ansible");
    let play = |more: &[&str]| {
        let program = format!("deploy_program={}", env!("CARGO_BIN_EXE_dtls-deploy"));
        let mut words = vec!["ansible-playbook", "-i", &inventory, "-e", &program];
        words.extend(more);
        words.push("examples/ansible/docker-tls.yaml");
        let output = lab
            .command(&words)
            .env("ANSIBLE_HOME", &home)
            .env("ANSIBLE_LOCAL_TEMP", &home)
            .env("ANSIBLE_REMOTE_TEMP", &home)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    };
    let recap = |text: &str, changed: u8| {
        let line = text.lines().find(|line| line.starts_with("localhost  "));
        assert!(
            line.is_some_and(|line| line.contains(&format!(" changed={changed} "))),
            "{text}"
        );
    };

    let (well, text) = play(&["--check"]);
    assert!(well, "{text}");
    recap(&text, 1);
    assert!(text.contains("node3: docker.service ("), "{text}");
    lab.exec("node3", "test ! -e /etc/docker/tls");

    let (well, text) = play(&[]);
    assert!(well, "{text}");
    recap(&text, 1);
    lab.exec_as("node1", "ubuntu", "docker --context node3 version");

    let (well, text) = play(&[]);
    assert!(well, "{text}");
    recap(&text, 0);

    // What fails in dtls-deploy fails in Ansible.
    let (well, text) = play(&["-e", r#"{"deploy_arguments": ["--no-such-option"]}"#]);
    assert!(!well && text.contains("--no-such-option"), "{text}");
}
