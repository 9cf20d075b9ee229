//! The program itself, where no node is needed: its streams, its log, its exit
//! codes, and what it draws on a terminal.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use base::event::Renderer as _;
use run::report::Verbosity;
use run::report::live::Live;

use super::{events, text};

/// Tells this test binary to draw instead of testing.
const SCENE: &str = "DTLS_TEST_SCENE";

fn tool(directory: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dtls-deploy"))
        .args(arguments)
        .current_dir(directory)
        .env("HOME", directory)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn lines(bytes: &[u8]) -> Vec<serde_json::Value> {
    String::from_utf8_lossy(bytes)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

const INVENTORY: &str = "all:
  children:
    ca: {hosts: {authority: {}}}
    daemons: {hosts: {docker1: {}, docker2: {}}}
    clients: {hosts: {laptop: {}}}
";

/// As people type who come from Ansible, Terraform or kubectl.
#[test]
fn the_words_may_stand_in_any_order() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("i.yaml"), INVENTORY).unwrap();
    let list = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let run = tool(directory.path(), &words);
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        let errors = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(0), "{line}: {errors}");
        said
    };
    let deploy = list("i.yaml --list-hosts");
    for line in [
        "deploy i.yaml --list-hosts",
        "plan i.yaml --list-hosts",
        "--list-hosts -i i.yaml",
        "i.yaml deploy --list-hosts -vv -C -D -f 5",
        "deploy --dry-run --list-hosts --inventory=i.yaml",
    ] {
        assert_eq!(list(line), deploy, "{line}");
    }
    let rotate = list("rotate i.yaml --list-hosts --limit docker*");
    assert!(rotate.contains("docker2"), "{rotate}");
    assert_eq!(list("i.yaml rotate --limit docker? --list-hosts"), rotate);

    for (line, said) in [
        ("depoly i.yaml", "did you mean `dtls-deploy deploy`?"),
        ("i.yaml rotaet", "did you mean `dtls-deploy rotate`?"),
        ("apply i.yaml", "did you mean `dtls-deploy deploy`?"),
        ("-i i.yaml -i j.yaml", "one inventory at a time"),
        ("history -i i.yaml", "takes no inventory"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let run = tool(directory.path(), &words);
        let errors = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{line}: {errors}");
        assert!(errors.contains(said), "{line}: {errors}");
    }
    let run = tool(directory.path(), &[]);
    assert_eq!(run.status.code(), Some(2));
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(
        said.contains("Everyday:") && said.contains("Examples:"),
        "{said}"
    );
}

#[test]
fn mistakes_are_events_too() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("i.yaml"),
        "all:\n  vars:\n    dtls_key_tipe: x\n",
    )
    .unwrap();
    let run = tool(
        directory.path(),
        &["i.yaml", "--output", "json", "--log", "log"],
    );
    assert_eq!(run.status.code(), Some(2));
    let shown = lines(&run.stdout);
    assert!(!shown.is_empty());
    assert_eq!(shown[0]["event"], "error");
    assert_eq!(shown[0]["kind"], "inventory");
    assert!(
        shown.iter().any(|event| event["place"]["line"] == 3),
        "{shown:?}"
    );
    let log = directory.path().join("log");
    assert_eq!(
        std::fs::metadata(&log).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let count = shown.len();
    assert_eq!(lines(&std::fs::read(&log).unwrap()).len(), count);
    // Appended, and beside what people are shown.
    let run = tool(directory.path(), &["i.yaml", "--log", "log"]);
    assert!(run.stdout.is_empty());
    assert!(String::from_utf8_lossy(&run.stderr).contains("dtls_key_type"));
    assert_eq!(lines(&std::fs::read(&log).unwrap()).len(), 2 * count);
}

#[test]
fn a_log_that_cannot_be_written_is_said_before_anything_else() {
    let directory = tempfile::tempdir().unwrap();
    let run = tool(directory.path(), &["missing.yaml", "--log", "/nowhere/log"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&run.stderr).contains("/nowhere/log"));
}

/// What cannot be printed is no success; a reader that has read enough is.
#[test]
fn output_that_does_not_arrive_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("inventory.yaml"), INVENTORY).unwrap();
    for arguments in [
        &["--help"][..],
        &["schema"],
        &["completions", "bash"],
        &["env", "inventory.yaml", "laptop", "--daemon", "docker1"],
        &["deploy", "inventory.yaml", "--list-hosts"],
        &["deploy", "inventory.yaml", "--list-tasks"],
    ] {
        let ends_with = |output: Stdio| {
            Command::new(env!("CARGO_BIN_EXE_dtls-deploy"))
                .args(arguments)
                .current_dir(directory.path())
                .env("HOME", directory.path())
                .stdin(Stdio::null())
                .stdout(output)
                .stderr(Stdio::piped())
                .output()
                .unwrap()
        };
        let full = std::fs::File::options().write(true).open("/dev/full");
        let run = ends_with(full.unwrap().into());
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("standard output cannot be written"), "{said}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = ends_with(writer.into());
        assert_eq!(run.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&run.stderr), "", "{arguments:?}");
    }
}

/// Errors that no one can read end the run with the same exit code.
#[test]
fn errors_that_do_not_arrive_change_no_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bad.yaml"), "all: [").unwrap();
    for arguments in [
        &[][..],
        &["bad.yaml"],
        &["missing.yaml"],
        &["deploy"],
        &["depoly"],
        &["rotate", "bad.yaml", "--ca", "--limit", "x"],
        &["bad.yaml", "--log", "/nowhere/log"],
        &["history", "no-such-run"],
        &["schedule", "remove", "no-such-schedule"],
        &["man", "--to", "/dev/null/man"],
    ] {
        let ends_with = |errors: Stdio| {
            let mut program = Command::new(env!("CARGO_BIN_EXE_dtls-deploy"));
            program.args(arguments).current_dir(directory.path());
            program.env("HOME", directory.path()).stdin(Stdio::null());
            program.stdout(Stdio::null()).stderr(errors);
            program.status().unwrap().code()
        };
        let full = std::fs::File::options().write(true).open("/dev/full");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let expected = ends_with(Stdio::null());
        assert!(
            matches!(expected, Some(2 | 4)),
            "{arguments:?}: {expected:?}"
        );
        assert_eq!(ends_with(full.unwrap().into()), expected, "{arguments:?}");
        assert_eq!(ends_with(writer.into()), expected, "{arguments:?}");
    }
}

#[test]
fn usage_is_2() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [
        &["--no-such-option"][..],
        &["missing.yaml"],
        &["i.yaml", "--exit-code"],
        &["i.yaml", "-q", "-v"],
        &["i.yaml", "--timeout", "0"],
    ] {
        let run = tool(directory.path(), arguments);
        assert_eq!(run.status.code(), Some(2), "{arguments:?}");
    }
}

const LOCAL: &str = "all:\n  vars:\n    ansible_connection: local\n    ansible_become: false\n    dtls_ca_dir: /nonexistent/ca\n  children:\n    ca:\n      hosts:\n        here:\n    daemons:\n      hosts:\n        there:\n          ansible_connection: ssh\n          ansible_host: 127.0.0.1\n          ansible_port: 1\n    clients:\n      hosts:\n        here:\n";

/// Colours only where they are wanted; nothing moves where no one looks.
#[test]
fn without_a_terminal_there_is_no_escape_sequence() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("i.yaml"), LOCAL).unwrap();
    let run = tool(directory.path(), &["i.yaml", "--check", "-v"]);
    assert!(!run.stdout.contains(&0x1b), "{run:?}");
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(said.contains("there: unreachable"), "{run:?}");
    assert_eq!(run.status.code(), Some(5), "{run:?}");
    let forced = Command::new(env!("CARGO_BIN_EXE_dtls-deploy"))
        .args(["i.yaml", "--check"])
        .current_dir(directory.path())
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    assert!(forced.stdout.contains(&0x1b), "{forced:?}");
}

/// Draws a scene with the live view; what it draws is checked by the tests
/// below, which start this one on a terminal.
#[test]
fn scene() {
    let Ok(scene) = std::env::var(SCENE) else {
        return;
    };
    let width = dtls_deploy::terminal::width(std::io::stdout());
    let mut live = Live::new(text::style(width, Verbosity::Normal));
    let list = match scene.as_str() {
        "many" => events::many_hosts(),
        _ => events::three_hosts(),
    };
    for event in list {
        live.event(&event);
        if matches!(event, base::event::Event::Started { .. }) && scene != "many" {
            std::thread::sleep(std::time::Duration::from_millis(250));
        }
    }
}

/// The raw bytes of a scene on a terminal so many columns wide.
fn on_terminal(scene: &str, columns: usize) -> String {
    let program = std::env::current_exe().unwrap();
    let line = format!(
        "stty cols {columns} rows 50; exec '{}' --exact report::program::scene --nocapture",
        program.display()
    );
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env(SCENE, scene)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output()
        .expect("apt-get install bsdutils");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What is left on the screen when all is over.
fn screen(raw: &str, columns: usize) -> String {
    let mut rows: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut characters = raw.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => column = 0,
            '\n' => {
                row += 1;
                if row == rows.len() {
                    rows.push(Vec::new());
                }
            }
            '\u{1b}' => {
                characters.next();
                let mut number = String::new();
                while characters
                    .peek()
                    .is_some_and(|next| !next.is_ascii_alphabetic())
                {
                    number.extend(characters.next());
                }
                let count = number.trim_start_matches('?').parse().unwrap_or(1);
                match characters.next() {
                    Some('A') => row = row.saturating_sub(count),
                    Some('B') => row = (row + count).min(rows.len() - 1),
                    Some('K') if number == "2" => rows[row].clear(),
                    Some('K') => rows[row].truncate(column),
                    Some('J') => {
                        rows[row].truncate(column);
                        rows.truncate(row + 1);
                    }
                    _ => {}
                }
            }
            _ => {
                // indicatif fills its lines and counts on the terminal to wrap.
                if column == columns {
                    column = 0;
                    row += 1;
                    if row == rows.len() {
                        rows.push(Vec::new());
                    }
                }
                while rows[row].len() <= column {
                    rows[row].push(' ');
                }
                rows[row][column] = character;
                column += 1;
            }
        }
    }
    let text: Vec<String> = rows
        .into_iter()
        .map(|row| row.into_iter().collect::<String>().trim_end().to_owned())
        .collect();
    let text = text.join("\n");
    // What the test harness itself says stands around it.
    let begin = text.find("deploy inventory").unwrap();
    let end = text
        .find("\ntest report::program::scene")
        .or(text.find("test result"));
    text[begin..end.unwrap_or(text.len())].trim_end().to_owned()
}

#[test]
fn a_terminal_shows_what_goes_on_and_then_only_results() {
    let raw = on_terminal("three", 80);
    assert!(raw.contains("restarting docker"), "{raw:?}");
    let left = screen(&raw, 80);
    assert!(!left.contains("restarting docker"), "{left}");
    insta::assert_snapshot!(left);
}

#[test]
fn a_narrow_terminal_is_not_overrun() {
    let left = screen(&on_terminal("three", 40), 40);
    assert!(
        left.lines().all(|line| line.chars().count() <= 40),
        "{left}"
    );
    insta::assert_snapshot!(left);
}

#[test]
fn many_hosts_are_one_bar() {
    let raw = on_terminal("many", 80);
    assert!(raw.contains("/302 hosts"), "{raw:?}");
    let left = screen(&raw, 80);
    assert!(!left.contains("/302 hosts"), "{left}");
    assert!(left.contains("302 hosts, 295 changed, 5 failed"), "{left}");
}
