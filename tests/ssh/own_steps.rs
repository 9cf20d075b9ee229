//! The prelude's part of `command` and `wait_for`, in every shell that a node
//! may have.

use node::script::Script;

use crate::shell::{self, in_every_shell};

in_every_shell! {
    an_argv_arrives_byte_for_byte_and_nothing_is_left,
    a_failure_is_told_with_what_was_said,
    a_program_may_leave_a_process_behind,
    a_path_is_waited_for,
}

fn run(shell: &[&str], function: &str, arguments: &[&str]) -> String {
    let mut script = Script::default();
    script.call(function, arguments);
    let answer = shell::run(shell, &script, "test", Vec::new());
    let text = String::from_utf8(answer).unwrap();
    let (_, records) = text.split_once("\ndtls-deploy answers\n").unwrap();
    records.to_owned()
}

fn an_argv_arrives_byte_for_byte_and_nothing_is_left(shell: &[&str]) {
    let hostile = "a'b\"c`id`$(id)\\ \n\u{1b}[31m*?~ ;|&<>é\t{{x}} !x";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("argv");
    let write = "printf '%s\\0' \"$@\" >\"$0\"; umask; cat";
    let said = run(
        shell,
        "own_command",
        &[
            "5",
            "sh",
            "-c",
            write,
            file.to_str().unwrap(),
            hostile,
            "",
            "-n",
        ],
    );
    assert_eq!(said, "said\tstdout\t0022\ndone\n", "{shell:?}");
    let found = std::fs::read_to_string(&file).unwrap();
    assert_eq!(found, format!("{hostile}\0\0-n\0"), "{shell:?}");
}

/// What a program prints cannot be taken for what the script says.
fn a_failure_is_told_with_what_was_said(shell: &[&str]) {
    let said = run(
        shell,
        "own_command",
        &["5", "sh", "-c", "echo done; echo 'failed\tx' >&2; exit 3"],
    );
    assert_eq!(
        said,
        "said\tstdout\tdone\nsaid\tstderr\t%6661696c65640978\nfailed\tstep\tit ended with exit code 3\n",
        "{shell:?}"
    );
    let slow = run(shell, "own_command", &["1", "sleep", "20"]);
    assert!(
        slow.contains("it did not end within 1 seconds"),
        "{shell:?}: {slow}"
    );
    let none = run(shell, "own_command", &["5", "/no/such/program"]);
    assert!(
        none.contains("there is no such program"),
        "{shell:?}: {none}"
    );
}

/// A process that stays behind keeps none of the script's pipes open.
fn a_program_may_leave_a_process_behind(shell: &[&str]) {
    let begun = std::time::Instant::now();
    let said = run(
        shell,
        "own_command",
        &["5", "sh", "-c", "sleep 4 & echo started"],
    );
    assert_eq!(said, "said\tstdout\tstarted\ndone\n", "{shell:?}");
    assert!(begun.elapsed().as_secs() < 3, "{shell:?}");
}

fn a_path_is_waited_for(shell: &[&str]) {
    assert_eq!(
        run(shell, "own_wait_path", &["1", "there", "/etc/passwd"]),
        "done\n"
    );
    assert_eq!(
        run(shell, "own_wait_path", &["1", "gone", "/no/such/path"]),
        "done\n"
    );
    let late = run(shell, "own_wait_path", &["1", "gone", "/etc/passwd"]);
    assert_eq!(
        late, "failed\tstep\t/etc/passwd is not gone after 1 seconds\n",
        "{shell:?}"
    );
}
