//! What the tool prints, and its exit codes.

use crate::lab::Lab;

#[test]
fn json_lines_tell_the_whole_run() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let run = lab.deploy(&[&inventory, "--output", "json"]);
    let events: Vec<serde_json::Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!(events[0]["event"], "run");
    assert_eq!(events[0]["schema"], 1);
    assert_eq!(of("connected"), 3);
    assert_eq!(of("plan"), 1);
    assert!(of("proof") >= 7);
    let recap = events.last().unwrap();
    assert_eq!(recap["event"], "recap");
    assert_eq!(recap["hosts"].as_array().unwrap().len(), 3);
}

#[test]
fn an_unknown_host_key_is_refused() {
    let lab = Lab::fresh();
    let empty = lab.file("known_hosts", "");
    let inventory = lab.inventory("");
    let run = lab.run(&[&inventory, "--known-hosts", &empty]);
    assert!(
        run.stdout.contains("host key"),
        "{}{}",
        run.stdout,
        run.stderr
    );
    assert!(run.stdout.contains("ssh-keyscan"), "a hint: {}", run.stdout);
    assert_ne!(run.code, 0);
}

#[test]
fn mistakes_are_explained_before_anything_is_touched() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_key_tipe: rsa-4096");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 2, "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("dtls_key_type"), "{}", run.stderr);
    assert!(run.stderr.contains("nothing was touched"), "{}", run.stderr);
}
