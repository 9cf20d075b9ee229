//! Completion as the shells themselves see it: bash, zsh and fish.

use std::path::Path;
use std::process::Command;

/// Asks a shell that has read the program's lines and then runs `script`.
fn ask(shell: &str, script: &str) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_dtls-deploy"));
    let lines = Command::new(program)
        .args(["completions", shell])
        .output()
        .unwrap();
    assert!(lines.status.success());
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("_dtls-deploy");
    std::fs::write(&file, lines.stdout).unwrap();
    let directories = [
        program.parent().unwrap().to_str().unwrap(),
        &std::env::var("PATH").unwrap(),
    ]
    .join(":");
    let output = Command::new(shell)
        .args(if shell == "fish" { &["-N"][..] } else { &[] })
        .arg("-c")
        .arg(script)
        .env("PATH", directories)
        .env("HOME", home.path())
        .env("LINES_OF_PROGRAM", &file)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap_or_else(|error| panic!("the Debian package {shell} is needed: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

/// `words` as bash takes a line apart; the last one is being completed.
fn bash(words: &str) -> Vec<String> {
    let script = format!(
        r#". "$LINES_OF_PROGRAM"
COMP_WORDS=(dtls-deploy {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
_dtls_deploy dtls-deploy "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
printf '%s\n' "${{COMPREPLY[@]}}"
complete -p dtls-deploy >/dev/null"#
    );
    ask("bash", &script)
}

#[test]
fn bash_completes_hosts_groups_and_tags() {
    let everything = ["all", "ca", "clients", "daemons", "node1", "node2", "node3"];
    assert_eq!(bash("inventory/lab.yaml --limit ''"), everything);
    assert_eq!(
        bash("status inventory/lab.yaml -l node1,node2,cl"),
        ["node1,node2,clients"]
    );
    // bash takes these apart at `=` and the colon.
    assert_eq!(
        bash("inventory/lab.yaml --limit = ca : '!node3'"),
        ["!node3"]
    );
    assert_eq!(bash("inventory/lab.yaml --limit ="), everything);
    assert_eq!(bash("rotate inventory/lab.yaml --tags cl"), ["clients"]);
    assert_eq!(bash("verify inven"), ["inventory/"]);
    assert_eq!(bash("check"), ["check-access"]);
    // An inventory that cannot be read offers nothing, and says nothing.
    assert_eq!(
        bash("tests/inventory/broken/tab-indentation.yaml --limit ''"),
        [""]
    );
}

#[test]
fn fish_completes_hosts_groups_and_tags() {
    let fish = |line: &str| {
        let script = format!("source $LINES_OF_PROGRAM; complete -C 'dtls-deploy {line}'");
        ask("fish", &script)
    };
    assert_eq!(
        fish("inventory/lab.yaml --limit node"),
        ["node1", "node2", "node3"]
    );
    assert_eq!(
        fish("inventory/lab.yaml --limit=node1,da"),
        ["--limit=node1,daemons"]
    );
    assert_eq!(fish("rotate inventory/lab.yaml --tags cl"), ["clients"]);
    assert_eq!(
        fish("check"),
        ["check-access\tTest SSH, sudo, the CA's lock and passphrase"]
    );
}

/// The first use, with which zsh loads the file, completes.
#[test]
fn zsh_completes_hosts_groups_and_tags() {
    let zsh = |words: &str| {
        let script = format!(
            r#"_describe() {{ print -l -- "${{(@P)3}}" }}
fpath=(${{LINES_OF_PROGRAM:h}} $fpath); autoload -Uz _dtls-deploy
words=(dtls-deploy {words}); CURRENT=$#words
_dtls-deploy"#
        );
        ask("zsh", &script)
    };
    assert_eq!(
        zsh("inventory/lab.yaml --limit node"),
        ["node1", "node2", "node3"]
    );
    assert_eq!(zsh("rotate inventory/lab.yaml --tags cl"), ["clients"]);
}
