use super::*;

#[test]
fn every_shipped_playbook_is_valid() {
    for (name, text) in crate::playbook::SHIPPED {
        let playbook = parse(name, text).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        assert!(!playbook.plays.is_empty());
    }
}

#[test]
fn the_deployment_is_one_transaction() {
    let playbook = parse("deploy", crate::playbook::SHIPPED[0].1).unwrap();
    let transactions: Vec<Vec<&str>> = playbook
        .plays
        .iter()
        .flat_map(|play| &play.steps)
        .filter_map(|step| match step {
            Step::Transaction { tasks, .. } => {
                Some(tasks.iter().map(|task| task.module.name).collect())
            }
            Step::Task(_) => None,
        })
        .collect();
    assert_eq!(
        transactions,
        [[
            "push",
            "guard",
            "daemon_json",
            "systemd_override",
            "restart"
        ]]
    );
}

fn errors(text: &str) -> Vec<String> {
    parse("book.yaml", text)
        .expect_err("it is broken")
        .iter()
        .map(|problem| {
            format!(
                "{}:{} {} | {}",
                problem.line,
                problem.column,
                problem.message,
                problem.help.clone().unwrap_or_default()
            )
        })
        .collect()
}

#[test]
fn all_errors_come_at_once_with_their_places() {
    let found = errors(
        "- hosts: daemons\n  becom: true\n  tasks:\n    - pusch:\n        role: daemon\n    - push:\n        role: deamon\n    - transaction:\n        - verify:\n    - certificate:\n",
    );
    assert_eq!(
        found,
        [
            "2:3 unknown word `becom` in a play | did you mean `become`?",
            "4:7 unknown word `pusch` in a task | did you mean `push`?",
            "7:15 `deamon` is not a value of `role` | one of: daemon, client",
            "9:11 `verify` cannot be undone and may not stand in a transaction | these may: daemon_json, forget, guard, push, restart, rollback, systemd_override",
            "10:7 `certificate` needs `role`: whether the certificate is the daemon's or a client's | one of: daemon, client",
        ]
    );
}

#[test]
fn what_is_no_playbook_is_refused() {
    assert_eq!(errors("")[0], "0:0 the playbook is empty | ");
    let text = errors("hosts: x")[0].clone();
    assert!(text.contains("a playbook is a list of plays"), "{text}");
    let inventory = errors("all: {hosts: {a: }}")[0].clone();
    assert!(
        inventory.contains("this is an inventory, not a playbook"),
        "{inventory}"
    );
    assert!(errors("- tasks: []")[0].contains("a play needs `hosts`"));
}

#[test]
fn batches_are_read_and_wrong_sizes_refused() {
    use inventory::BatchSize::{Hosts, Percent};
    let text = "- hosts: daemons\n  serial: [1, 25%]\n  max_fail_percentage: 30\n  tasks: []\n- hosts: all\n  serial: 100%\n  tasks: []\n";
    let playbook = parse("book", text).unwrap();
    assert_eq!(playbook.plays[0].serial, Some(vec![Hosts(1), Percent(25)]));
    assert_eq!(playbook.plays[0].max_fail_percentage, Some(30));
    assert_eq!(playbook.plays[1].serial, Some(vec![Percent(100)]));
    assert_eq!(
        errors(
            "- hosts: daemons\n  serial: [0, half]\n  max_fail_percentage: 30%\n  tasks: []\n- hosts: all\n  serial: []\n"
        ),
        [
            "2:12 `0` is not the size of a batch | a number of hosts from 1, or a percentage like 25%; all hosts at one time are 100%",
            "2:15 `half` is not the size of a batch | a number of hosts from 1, or a percentage like 25%; all hosts at one time are 100%",
            "3:24 `30%` is not a percentage | a number from 0 to 100: 0 stops at the first failure, 100 never does",
            "6:11 `serial` is an empty list | ",
        ]
    );
}
