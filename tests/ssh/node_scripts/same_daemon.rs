//! What a restart may change of a daemon, and what it may not.

use super::fixture::Fixture;
use crate::shell::in_every_shell;

in_every_shell! {
    a_restart_changes_listeners_and_nothing_else,
}

const BEFORE: &str = "word\tdockerd\nword\t--data-root\nword\t/srv/x\nroot\t/srv/x\nsocket\t/run/docker.sock\nsocket\t/run/b.sock\nenabled\tenabled\nenabled\tenabled\ncontainer\tshim a\ncontainer\tshim b\n";

/// What is reported of a restart after which the daemon is like that.
fn said(shell: &[&str], after: &str, arguments: &str) -> Option<String> {
    let fixture = Fixture::new();
    let write = |text: &str| format!("printf '%s' '{text}'");
    let body = format!(
        "sleep() {{ :; }}\nrunning_seen() {{ {after}; }}\nmkdir -p \"$STATE/armed/$RUN\" && {before} >\"$STATE/armed/$RUN/before\"\nsame_daemon docker.service {arguments}",
        after = write(after),
        before = write(BEFORE),
    );
    fixture.run(shell, &body).failed.map(|(_, message)| message)
}

fn a_restart_changes_listeners_and_nothing_else(shell: &[&str]) {
    let changed = |from: &str, to: &str, arguments: &str| {
        assert!(BEFORE.contains(from), "{from}");
        said(shell, &BEFORE.replace(from, to), arguments)
    };
    assert_eq!(said(shell, BEFORE, "kept go-on"), None, "{shell:?}");
    for (from, to, expected) in [
        (
            "word\t--data-root\nword\t/srv/x\n",
            "",
            "its command line lost --data-root (a value)",
        ),
        (
            "word\tdockerd\n",
            "word\tdockerd\nword\t--log-opt=token=secret\nword\t-lsecret\n",
            "its command line gained --log-opt -l",
        ),
        (
            "root\t/srv/x",
            "root\t/var/lib/docker",
            "its data root was \"/srv/x\" and is \"/var/lib/docker\"",
        ),
        (
            "root\t/srv/x\n",
            "",
            "its data root was \"/srv/x\" and is \"\"",
        ),
        (
            "enabled\tenabled\nenabled\tenabled",
            "enabled\tdisabled\nenabled\tenabled",
            "its start at boot",
        ),
        (
            "socket\t/run/b.sock\n",
            "",
            "it does not listen on /run/b.sock any more",
        ),
        (
            "container\tshim a\ncontainer\tshim b\n",
            "container\tshim c\n",
            "no container that ran before still runs",
        ),
    ] {
        let message = changed(from, to, "kept go-on").unwrap_or_default();
        assert!(message.contains(expected), "{shell:?} {from:?}: {message}");
        assert!(!message.contains("secret"), "{message}");
    }
    // What is meant to go may go, and one container may end by itself.
    assert_eq!(changed("socket\t/run/b.sock\n", "", "taken go-on"), None);
    assert_eq!(
        changed("container\tshim a\ncontainer\tshim b\n", "", "kept stop"),
        None
    );
    assert_eq!(changed("container\tshim a\n", "", "kept go-on"), None);
    // Someone has changed the unit since: what it gives now is expected.
    let expected = "kept go-on dockerd -H tcp://a:1 --tlsverify --debug --tlscacert /x";
    let line = "word\t--data-root\nword\t/srv/x\n";
    assert_eq!(changed(line, "word\t--debug\n", expected), None);
    assert!(changed(line, "", expected).is_some());
}
