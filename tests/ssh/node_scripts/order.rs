//! The order in which bytes reach the disk, from the system calls of a run: a
//! power cut that keeps only what was fsynced finds the old set or the new one.

use std::collections::BTreeMap;

use node::script::Script;

use super::fixture::{Fixture, RUN};

const TRACED: &str = "trace=fsync,fdatasync,sync,syncfs,rename,renameat,renameat2,execve";

/// What a system call did, as far as the disk is concerned.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    Synced(String),
    /// Everything at once.
    SyncedAll,
    Renamed(String, String),
    Restarted,
}

/// Calls that strace has cut in two, because another process came between, put
/// together where they ended.
fn whole(trace: &str) -> Vec<String> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut lines = Vec::new();
    for line in trace.lines() {
        let (pid, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        if let Some(beginning) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, beginning);
        } else if call.starts_with("<... ") {
            let (_, ending) = call.split_once(" resumed>").unwrap();
            lines.push(format!("{}{ending}", begun.remove(pid).unwrap_or_default()));
        } else {
            lines.push(call.to_owned());
        }
    }
    lines
}

/// The texts in double quotes, and those that strace -y puts after descriptors.
fn parse(line: &str) -> Option<Call> {
    let (name, rest) = line.split_once('(')?;
    let is_done = rest.ends_with("= 0");
    let texts: Vec<&str> = rest.split('"').skip(1).step_by(2).collect();
    match name {
        "fsync" | "fdatasync" if is_done => {
            let path = rest.split_once('<')?.1.split_once('>')?.0;
            Some(Call::Synced(path.to_owned()))
        }
        "sync" | "syncfs" => Some(Call::SyncedAll),
        "rename" | "renameat" | "renameat2" if is_done => {
            let [from, to] = texts.as_slice() else {
                return None;
            };
            // mv gives the name below a descriptor of the target's directory.
            let to = match rest
                .split_once(", ")
                .map(|(_, rest)| rest)
                .and_then(|rest| rest.split_once('<'))
            {
                Some((_, rest)) if !to.starts_with('/') => {
                    format!("{}/{to}", rest.split_once('>')?.0)
                }
                _ => (*to).to_owned(),
            };
            Some(Call::Renamed((*from).to_owned(), to))
        }
        "execve"
            if is_done && rest.contains("\"systemctl\", \"restart\"")
                || rest.contains("/systemctl\", \"restart\"") =>
        {
            Some(Call::Restarted)
        }
        _ => None,
    }
}

/// What a script does, in its order.
fn calls(fixture: &Fixture, script: &Script) -> Vec<Call> {
    let trace = fixture.path("trace");
    let shell = [
        "strace",
        "-f",
        "-y",
        "-s",
        "4096",
        "-e",
        TRACED,
        "-o",
        trace.to_str().unwrap(),
        "dash",
    ];
    let report = fixture.run(&shell, &script.body());
    assert!(report.done && report.failed.is_none(), "{report:?}");
    let text = std::fs::read_to_string(&trace).unwrap();
    whole(&text).iter().filter_map(|line| parse(line)).collect()
}

fn is_synced(path: &str, calls: &[Call]) -> bool {
    calls.iter().any(|call| {
        *call == Call::SyncedAll
            || matches!(call, Call::Synced(synced) if synced.trim_end_matches('/') == path)
    })
}

#[test]
fn what_is_renamed_was_synced_and_is_synced_before_the_restart() {
    let fixture = Fixture::new();
    let calls = calls(&fixture, &fixture.transaction().execute());
    let at = |what: &Call| calls.iter().position(|call| call == what);
    let synced = |path: &str, from: usize, until: usize| is_synced(path, &calls[from..until]);
    let restarted = at(&Call::Restarted).expect("the restart");
    let mut targets = Vec::new();
    let mut first = None;
    for (index, call) in calls.iter().enumerate() {
        if let Call::Renamed(from, to) = call
            && from.contains(&format!(".dtls-deploy.{RUN}/new/"))
        {
            first.get_or_insert(index);
            targets.push((index, from.clone(), to.clone()));
        }
    }
    let first = first.expect("a rename");
    assert_eq!(targets.len(), 4, "{targets:?}");
    for (index, from, to) in &targets {
        let (staged, _) = from.rsplit_once('/').unwrap();
        let (stage, _) = staged.rsplit_once('/').unwrap();
        let (directory, _) = to.rsplit_once('/').unwrap();
        for path in [from, staged, stage, &format!("{stage}/old")] {
            assert!(
                synced(path, 0, first),
                "{path} is not synced before the first rename"
            );
        }
        assert!(
            synced(directory, *index, restarted),
            "{directory} is not synced between the rename of {to} and the restart"
        );
    }
    // A directory that was made is a name in the one above it.
    for above in ["node", "node/made"] {
        let above = fixture.path(above);
        let above = above.to_str().unwrap();
        assert!(
            synced(above, 0, restarted),
            "{above}: the name of a directory that was made in it is not synced"
        );
    }
}

#[test]
fn what_a_confirmed_restart_leaves_was_synced_before_it_has_its_name() {
    let fixture = Fixture::new();
    let transaction = fixture.transaction();
    let report = fixture.run(&["dash"], &transaction.execute().body());
    assert!(report.done, "{report:?}");
    let calls = calls(&fixture, &transaction.confirm());
    let state = fixture.path("node/state");
    let state = state.to_str().unwrap();
    for name in ["confirmed", "owner"] {
        let (from, to) = (format!("{state}/.{name}"), format!("{state}/{name}"));
        let renamed = Call::Renamed(from.clone(), to);
        let at = calls.iter().position(|call| *call == renamed);
        let at = at.unwrap_or_else(|| panic!("{name}: {calls:?}"));
        assert!(is_synced(&from, &calls[..at]), "{name}: {calls:?}");
        assert!(is_synced(state, &calls[at..]), "{name}: {calls:?}");
    }
}
