//! Playbooks of an operator's own, on real nodes.

use crate::lab::Lab;

const DEPLOY: &str = include_str!("../../playbooks/deploy.yaml");
const TRANSACTION: &str = "    - name: TLS, or everything as it was\n";
const LAST: &str = "        - name: Restart of the daemon\n          restart:\n";

/// deploy.yaml with steps around its transaction.
fn deploy_with(before: &str, after: &str) -> String {
    let text = DEPLOY.replacen(TRANSACTION, &format!("{before}{TRANSACTION}"), 1);
    let text = text.replacen(LAST, &format!("{LAST}{after}"), 1);
    assert!(text.contains(before) && text.contains(after));
    text
}

#[test]
fn steps_of_ones_own_stand_around_the_transaction() {
    let lab = Lab::fresh();
    let hostile = "a'b\"c`id`$(id)\\ \n\u{1b}[31m*?~ ;|&<>é\t!x";
    let braces = "{{ 7 * 7 }}";
    let before = format!(
        "    - name: drain
      command:
        argv:
          - /bin/sh
          - -c
          - printf '%s\\0' \"$@\" >/tmp/argv; id -un >>/tmp/argv; umask >>/tmp/argv
          - sh
          - {}
          - !unsafe '{braces}'
          - '{{{{ label }}}}'
          - '{{{{ inventory_hostname }}}}/{{{{ facts.kernel }}}}'
      tags: drain
    - command:
        argv: [touch, /tmp/never]
      when: facts.kernel == 'Plan 9'
    - command:
        argv: [sh, -c, 'echo once >>/tmp/once']
        creates: /tmp/once
",
        serde_json::to_string(hostile).unwrap()
    );
    let after = "    - wait_for: {port: 2376, timeout: 30}
    - wait_for: {path: /run/docker.pid, timeout: 30}
    - service: {name: cron, state: restarted}
      when: false
    - service: {name: docker.socket, state: started}
    - wait_for: {port: 2375, state: stopped, timeout: 10}
";
    let playbook = lab.file("own.yaml", &deploy_with(&before, after));
    let inventory = lab.inventory("label: '!x {% raw'");
    let shown = lab.run(&[&inventory, &playbook, "--check"]);
    assert_eq!(shown.code, 0, "{}{}", shown.stdout, shown.stderr);
    assert!(!shown.stdout.contains('\u{1b}'), "{}", shown.stdout);
    lab.exec("node3", "test ! -e /tmp/argv");

    let run = lab.deploy(&[&inventory, &playbook]);
    assert!(
        run.stdout.contains("wait until 127.0.0.1:2376 is open"),
        "{}",
        run.stdout
    );
    let found = lab.exec("node3", "base64 -w 0 /tmp/argv");
    let wanted = format!("{hostile}\0{braces}\0!x {{% raw\0node3/Linux\0root\n0022\n");
    let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, found).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
    lab.exec("node3", "test ! -e /tmp/never");

    // A command is a change each time, unless what it creates is there.
    let invocation = lab.invocation();
    let run = lab.deploy(&[&inventory, &playbook, "--tags", "drain"]);
    assert!(run.stdout.contains("runs every time"), "{}", run.stdout);
    let run = lab.deploy(&[&inventory, &playbook, "--skip-tags", "drain"]);
    assert!(!run.stdout.contains("once"), "{}", run.stdout);
    assert_eq!(lab.exec("node3", "cat /tmp/once"), "once");
    assert_eq!(lab.invocation(), invocation);
}

#[test]
fn a_command_that_fails_stops_its_host_alone() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let text = "- name: Own
  hosts: [daemons, clients]
  max_fail_percentage: 50
  become: true
  tasks:
    - name: breaks
      command:
        argv: [sh, -c, 'echo said; printf \"\\033[31moops\\n\" >&2; exit 3']
      when: inventory_hostname == 'node3'
    - name: after
      command: {argv: [touch, /tmp/after]}
- name: Later
  hosts: all
  tasks:
    - command: {argv: [touch, /tmp/later]}
";
    // As long as no one says that half of them may fail, nothing comes after it.
    let strict = lab.file(
        "strict.yaml",
        &text.replace("  max_fail_percentage: 50\n", ""),
    );
    let run = lab.run(&[&inventory, &strict]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    let said = "skipped: node1, node2 (Later), because node3 failed before";
    assert!(run.stdout.contains(said), "{}", run.stdout);
    lab.exec("node1", "test ! -e /tmp/later && rm /tmp/after");

    let playbook = lab.file("fails.yaml", text);
    let run = lab.run(&[&inventory, &playbook]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("it ended with exit code 3"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("stdout: said"), "{}", run.stdout);
    assert!(
        run.stdout.contains("stderr: \\u{1b}[31moops"),
        "{}",
        run.stdout
    );
    lab.exec("node1", "test -e /tmp/after && test -e /tmp/later");
    lab.exec("node2", "test -e /tmp/later");
    lab.exec("node3", "test ! -e /tmp/after && test ! -e /tmp/later");
}

#[test]
fn what_does_not_come_fails_in_time() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let playbook = |task: &str| {
        lab.file(
            "task.yaml",
            &format!("- hosts: node3\n  become: true\n  tasks:\n    - command: {{argv: ['true']}}\n    - {task}\n"),
        )
    };
    for (task, said) in [
        (
            "command: {argv: [sleep, 60], timeout: 1}",
            "did not end within 1 seconds",
        ),
        (
            "command: {argv: [/no/such/program]}",
            "there is no such program",
        ),
        ("wait_for: {port: 1, timeout: 1}", "not after 1 seconds"),
        (
            "wait_for: {path: /etc/passwd, state: absent, timeout: 1}",
            "/etc/passwd is not gone after 1 seconds",
        ),
        (
            "service: {name: no-such-unit, state: started}",
            "there is no unit no-such-unit.service",
        ),
    ] {
        let run = lab.run(&[&inventory, &playbook(task)]);
        assert_eq!(run.code, 4, "{task}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains(said), "{task}: {}", run.stdout);
    }
    let unit = "printf '[Service]\\nExecStart=/bin/false\\nType=oneshot\\n' >/etc/systemd/system/breaks.service; systemctl daemon-reload";
    lab.exec("node3", unit);
    let run = lab.run(&[
        &inventory,
        &playbook("service: {name: breaks, state: started}"),
    ]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("it ended with exit code 1"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("breaks.service"), "{}", run.stdout);
}
