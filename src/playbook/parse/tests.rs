use super::*;

#[test]
fn every_shipped_playbook_is_valid() {
    for (name, text) in crate::playbook::SHIPPED {
        let playbook = parse(name, text).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        assert!(!playbook.plays.is_empty());
    }
}

#[test]
fn the_deployment_is_one_transaction_of_four() {
    let playbook = parse("deploy", crate::playbook::SHIPPED[0].1).unwrap();
    let transactions: Vec<Vec<&str>> = playbook
        .plays
        .iter()
        .flat_map(|play| &play.steps)
        .filter_map(|step| match step {
            Step::Transaction { tasks, .. } => {
                Some(tasks.iter().map(|task| task.module.name()).collect())
            }
            Step::Task(_) => None,
        })
        .collect();
    assert_eq!(
        transactions,
        [["push", "daemon_json", "systemd_override", "restart"]]
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
            "9:11 `verify` cannot be undone and may not stand in a transaction | these may: daemon_json, push, restart, systemd_override",
            "10:7 `certificate` needs `role`: whether the certificate is the daemon's or a client's | one of: daemon, client",
        ]
    );
}

#[test]
fn what_is_no_playbook_is_refused() {
    assert_eq!(errors("")[0], "0:0 the playbook is empty | ");
    assert!(errors("hosts: x")[0].starts_with("1:1 a playbook is a list of plays"));
    assert!(errors("- tasks: []")[0].contains("a play needs `hosts`"));
}
