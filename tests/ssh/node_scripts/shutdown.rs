//! A node that shuts down in the middle of a transaction is not mistaken for a daemon that does not start.

use node::transaction::Undo;

use super::fixture::Fixture;
use crate::shell::in_every_shell;

in_every_shell! {
    a_node_that_shuts_down_is_known_as_that,
    what_cannot_be_put_back_then_is_left_to_the_next_boot,
}

/// systemctl as `answers` has it: a shell command for each time that it is asked.
fn systemctl(answers: &[&str]) -> String {
    let cases = answers.iter().zip(1..);
    let cases: Vec<String> = cases
        .map(|(answer, number)| format!("{number}) {answer} ;;"))
        .collect();
    let cases = cases.join(" ");
    format!(
        "sleep() {{ :; }}\ntimeout() {{ asked=$(($(cat \"$STATE/asked\" 2>/dev/null || echo 0) + 1)); echo $asked >\"$STATE/asked\"; case $asked in {cases} esac; }}\nmkdir -p \"$STATE\" \"$UNITS\"\n"
    )
}

fn a_node_that_shuts_down_is_known_as_that(shell: &[&str]) {
    let fixture = Fixture::new;
    let is_known = |answers: &[&str]| {
        let body = format!("{}shuts_down || :", systemctl(answers));
        fixture().run(shell, &body).stopping
    };
    // systemctl ends with the session that it runs in.
    let ended = "return 143";
    assert!(is_known(&["echo stopping"]), "{shell:?}");
    assert!(is_known(&[ended, ended, "echo stopping"]), "{shell:?}");
    assert!(is_known(&["echo unknown; return 1", "echo offline"]));
    assert!(!is_known(&["echo running"]), "{shell:?}");
    assert!(!is_known(&[
        ended,
        "echo degraded; return 1",
        "echo stopping"
    ]));
    // What hangs is not asked ten times.
    assert!(!is_known(&["return 124", "echo stopping"]), "{shell:?}");
}

fn what_cannot_be_put_back_then_is_left_to_the_next_boot(shell: &[&str]) {
    let undo = |answer: &str, is_armed: bool| {
        let armed = if is_armed {
            ": >\"$UNITS/$RESTORE\"\n"
        } else {
            ""
        };
        let body = format!(
            "{}{armed}UNIT=docker.service\nclaimed=yes\nunswap_all() {{ return 1; }}\nmkdir -p \"$STATE/armed/$RUN\"\n(give_up restart) || :",
            systemctl(&[answer])
        );
        let report = Fixture::new().run(shell, &body);
        (report.undo, report.stopping)
    };
    assert_eq!(undo("echo stopping", true), (Undo::Done, true));
    assert_eq!(undo("echo running", true), (Undo::Failed, false));
    assert_eq!(undo("echo stopping", false), (Undo::Failed, false));
}
