//! The CA is replaced without rejecting any client: two daemons, two
//! clients, and on each client a loop that asks both daemons all the time.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::lab::Lab;

const CLIENTS: [&str; 2] = ["node1", "node5"];
const DAEMONS: [&str; 2] = ["10.0.0.12", "10.0.0.13"];

/// What the loop writes: when, curl's exit code, the daemon, what curl said.
const LOOP: &str = r#"cd ~/.docker
while [ ! -e /tmp/loop-stop ]; do
    for daemon in 10.0.0.12 10.0.0.13; do
        said=$(curl -sS -o /dev/null --connect-timeout 2 --max-time 5 --cacert ca.pem --cert cert.pem --key key.pem https://$daemon:2376/_ping 2>&1)
        code=$?
        echo "$(date +%s.%N) $code $daemon $said"
    done
    sleep 0.03
done >/tmp/loop-log
touch /tmp/loop-ended"#;

/// curl's codes while a daemon restarts: no one listens (7), or what was begun
/// is cut off (52, 55, 56, and 35 in the middle of a handshake). Whether it was
/// an alert of TLS its text says.
const RESTARTING: [&str; 4] = ["7", "52", "55", "56"];

fn inventory(lab: &Lab, variables: &str, clients: &[&str]) -> String {
    let lines = variables
        .lines()
        .fold(String::new(), |text, line| text + "    " + line + "\n");
    let address = |name: &&str| {
        if *name == "node1" {
            "10.0.0.10"
        } else {
            "10.0.0.14"
        }
    };
    let clients = clients.iter().fold(String::new(), |text, name| {
        text + &format!("        {name}: {{ansible_host: {}}}\n", address(name))
    });
    lab.file(
        "two.yaml",
        &format!(
            "all:\n  vars:\n    ansible_user: ubuntu\n{lines}  children:\n    ca:\n      hosts:\n        node2: {{ansible_host: 10.0.0.11}}\n    daemons:\n      hosts:\n        node3: {{ansible_host: 10.0.0.12}}\n        node4: {{ansible_host: 10.0.0.13}}\n    clients:\n      hosts:\n{clients}"
        ),
    )
}

fn start_loops(lab: &Lab) {
    let script = lab.file("loop.sh", LOOP);
    for client in CLIENTS {
        lab.put(client, &script, "/tmp/loop.sh");
        lab.exec(
            client,
            "systemd-run -q --uid=ubuntu --setenv=HOME=/home/ubuntu bash /tmp/loop.sh; timeout 20 sh -c 'until [ -s /tmp/loop-log ]; do sleep 0.1; done'",
        );
    }
}

/// Ends the loops, and holds what they saw against what is allowed. `restarts`
/// is how often each daemon may have been away.
fn judge_loops(lab: &Lab, restarts: std::ops::RangeInclusive<usize>) {
    for client in CLIENTS {
        lab.exec(
            client,
            "touch /tmp/loop-stop; timeout 20 sh -c 'until [ -e /tmp/loop-ended ]; do sleep 0.1; done'",
        );
        let log = lab.exec(client, "cat /tmp/loop-log");
        let mut seen: BTreeMap<&str, Vec<(f64, &str, &str)>> = BTreeMap::new();
        for line in log.lines() {
            let mut words = line.splitn(4, ' ');
            let mut word = || words.next().unwrap_or_default();
            let (at, code, daemon, said) = (word(), word(), word(), word());
            seen.entry(daemon)
                .or_default()
                .push((at.parse().unwrap(), code, said));
        }
        for daemon in DAEMONS {
            let answers = &seen[daemon];
            let (first, last) = (answers[0].0, answers[answers.len() - 1].0);
            let mut outages = Vec::new();
            let mut since = None;
            let mut before = first;
            let mut mixed = 0;
            for (at, code, said) in answers {
                // The certificate was read before the set was switched and the
                // key after: nothing was sent, and no one rejected it.
                if *code == "58" && said.to_lowercase().contains("private key") {
                    mixed += 1;
                    continue;
                }
                assert!(
                    *code == "0"
                        || RESTARTING.contains(code)
                        || (*code == "35"
                            && (said.contains("reset by peer")
                                || said.contains("SSL_ERROR_SYSCALL"))),
                    "{client} to {daemon}: curl ended with {code}: {said}"
                );
                assert!(
                    !said.contains("alert") && !said.contains("certificate"),
                    "{client} to {daemon}: {said}"
                );
                match (*code, since) {
                    ("0", Some(begun)) => {
                        outages.push(at - begun);
                        since = None;
                    }
                    (code, None) if code != "0" => since = Some(before),
                    _ => {}
                }
                before = *at;
            }
            println!(
                "{client} to {daemon}: {} requests in {:.1} s; away {} times, {:.2} s in all; {mixed} read a set that was being switched",
                answers.len(),
                last - first,
                outages.len(),
                outages.iter().sum::<f64>(),
            );
            assert!(mixed <= 1, "{client} to {daemon}: {mixed} mixed sets");
            assert_eq!(since, None, "{client} to {daemon}: it did not come back");
            assert!(restarts.contains(&outages.len()), "{outages:?}");
            // The loops ran beside the whole rollover.
            assert!(answers.len() >= 20, "{client} to {daemon}: {answers:?}");
        }
    }
}

fn subject(lab: &Lab, node: &str, path: &str) -> String {
    lab.exec(node, &format!("openssl x509 -noout -subject -in {path}"))
}

#[test]
fn a_ca_is_replaced_and_no_client_is_rejected() {
    let lab = Lab::with_two_of_each();
    let before = inventory(&lab, "dtls_key_type: rsa-4096", &CLIENTS);
    lab.deploy(&[&before]);
    let inventory = inventory(&lab, "dtls_key_type: ecdsa-p256", &CLIENTS);
    start_loops(&lab);
    let run = lab.deploy(&["rotate", "--ca", "--destroy-old-ca", &inventory]);
    judge_loops(&lab, 0..=2);
    assert!(run.stdout.contains("next CA in"), "{}", run.stdout);
    for node in ["node3", "node4"] {
        let line = run.stdout.lines().rfind(|line| line.starts_with(node));
        let line = line.unwrap_or_default();
        println!("{line}");
        assert!(line.contains(" restarts=2 away="), "{line}");
    }
    // One restart to trust both, one to drop the old: the other type of key
    // comes with the new leaves.
    assert_eq!(
        run.stdout.matches("changed node3: docker.service").count(),
        2,
        "{}",
        run.stdout
    );
    let directory = "/etc/dtls-deploy/ca";
    let names = "find . -name '*.pem' | sort | tr '\\n' ' '";
    assert_eq!(
        lab.exec("node2", &format!("cd {directory}; {names}")),
        "./ca-key.pem ./ca.pem ./retired/1/ca.pem"
    );
    for (node, bundle) in [
        ("node1", "/home/ubuntu/.docker/ca.pem"),
        ("node5", "/home/ubuntu/.docker/ca.pem"),
        ("node3", "/etc/docker/tls/ca.pem"),
        ("node4", "/etc/docker/tls/ca.pem"),
    ] {
        assert!(subject(&lab, node, bundle).ends_with("CA 2"), "{node}");
        let count = lab.exec(node, &format!("grep -c BEGIN {bundle}"));
        assert_eq!(count, "1", "{node}");
    }
    // No one goes back to what trusts the old CA.
    let run = lab.run(&["rollback", &inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("trust CN=two CA 1 again") && run.stdout.contains("--readmit-ca"),
        "{}",
        run.stdout
    );
    let run = lab.deploy(&[&inventory, "--check", "--exit-code"]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
}

/// Kills the run after each of its plans; a deployment in between changes
/// nothing; the same command goes on, and at the end the CA is the new one.
/// An account that points its own directory elsewhere holds no one up: it can be left behind.
#[test]
fn an_account_that_spoils_its_own_files_is_let_go() {
    let lab = Lab::fresh();
    lab.exec("node1", "useradd -m alice; useradd -m mallory");
    let two =
        lab.inventory("dtls_identities:\n  alice: {owner: alice}\n  mallory: {owner: mallory}");
    lab.deploy(&[&two]);
    lab.exec(
        "node1",
        "cp -a /home/mallory/.docker /home/mallory/kept
mv /home/alice/.docker /home/alice/real; ln -s /home/mallory/kept /home/alice/.docker",
    );
    let one = lab.inventory("dtls_identities:\n  alice: {owner: alice}");
    let run = lab.run(&["revoke", &one, "mallory@node1", "--yes"]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    let hint = "--abandon alice@node1";
    assert!(run.stdout.contains(hint), "{}{}", run.stdout, run.stderr);
    let run = lab.run(&[
        "revoke",
        &one,
        "mallory@node1",
        "--yes",
        "--abandon",
        "alice@node1",
    ]);
    let ask = "cd ~/kept; curl -sS --cacert ca.pem --cert cert.pem --key key.pem https://10.0.0.12:2376/_ping 2>&1";
    let (is_in, said) = lab.try_exec_as("node1", "mallory", ask);
    assert!(!is_in, "{said}{}{}", run.stdout, run.stderr);
    let own = "cd ~/.docker; curl -sS --cacert ca.pem --cert cert.pem --key key.pem https://10.0.0.12:2376/_ping 2>&1";
    assert_eq!(lab.exec_as("node1", "ubuntu", own), "OK");
}

#[test]
fn a_rollover_begins_when_every_daemon_runs() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let before = lab.exec("node2", "ls -A /etc/dtls-deploy/ca");
    lab.exec("node3", "systemctl stop docker.socket docker.service");
    // It cannot be started.
    lab.exec("node3", "chmod 000 /usr/sbin/dockerd");
    let run = lab.run(&["rotate", "--ca", &inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(!run.stdout.contains("Step "), "{}", run.stdout);
    assert_eq!(lab.exec("node2", "ls -A /etc/dtls-deploy/ca"), before);
    lab.exec(
        "node3",
        "chmod 755 /usr/sbin/dockerd; systemctl reset-failed docker.service",
    );
    let run = lab.deploy(&["rotate", "--ca", &inventory]);
    let steps: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("Step "))
        .collect();
    assert_eq!(steps.len(), 7, "{}", run.stdout);
    assert!(steps[0].starts_with("Step 0 of 6: "), "{steps:?}");
    assert!(steps[6].starts_with("Step 6 of 6: "), "{steps:?}");
    // The key is open since the first step.
    let (_, later) = run.stdout.split_once("Step 0 of 6: ").unwrap();
    assert!(!later.contains("without a test connection"), "{later}");
    assert!(!run.stdout.contains("incomplete:"), "{}", run.stdout);
}

#[test]
fn a_killed_rollover_goes_on_where_it_was() {
    let lab = Lab::with_two_of_each();
    let inventory = inventory(&lab, "", &CLIENTS);
    lab.deploy(&[&inventory]);
    start_loops(&lab);
    // The plans of one whole rollover: each run is killed in its second step.
    for round in 0..8 {
        let mut child = lab
            .tool(&["rotate", "--ca", &inventory, "--output", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut plans = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            plans += usize::from(line.contains("\"event\":\"plan\""));
            if plans == 2 {
                std::thread::sleep(Duration::from_millis(100 + 150 * round));
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lab.deploy(&[&inventory]);
        let over = lab.exec(
            "node2",
            "cd /etc/dtls-deploy/ca; if [ -e retired/1/ca.pem ] && [ ! -e next ]; then echo over; fi",
        );
        if over == "over" {
            break;
        }
    }
    lab.deploy(&["rotate", "--ca", &inventory]);
    // A run that was killed in the middle of a restart may have had it twice.
    judge_loops(&lab, 0..=16);
    lab.deploy(&[&inventory, "--check", "--exit-code"]);
}

#[test]
fn a_node_that_is_away_or_unknown_holds_the_old_ca() {
    let lab = Lab::with_two_of_each();
    let both = inventory(&lab, "", &CLIENTS);
    lab.deploy(&[&both]);
    lab.control(&["stop", "node5", "--cut"]);
    let restarts = lab.invocation();
    let run = lab.run(&["rotate", "--ca", &both]);
    assert_eq!(run.code, 5, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("node5: CA rollover: before daemons are given leaves of the new CA, every client trusts it, and here: it could not be reached"),
        "{}",
        run.stdout
    );
    let incomplete =
        "incomplete: the CA rollover has stopped at step 1 of 6: clients trust both CAs";
    assert!(run.stdout.contains(incomplete), "{}", run.stdout);
    assert_eq!(lab.invocation(), restarts, "no daemon was touched");

    // Taken out of the inventory, its certificate is still one of the old CA: nothing happens
    // that it would notice.
    let one = inventory(&lab, "", &["node1"]);
    let run = lab.run(&["rotate", "--ca", &one]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("step 2 is not taken")
            && run.stdout.contains("the client certificate of node5")
            && run.stdout.contains("--abandon node5"),
        "{}",
        run.stdout
    );
    assert_eq!(lab.invocation(), restarts, "no daemon was touched");
    // It comes back meanwhile, with the certificate it has always had.
    lab.control(&["start", "node5"]);
    let ask = "cd ~/.docker; curl -sS --cacert ca.pem --cert cert.pem --key key.pem https://10.0.0.12:2376/_ping 2>&1";
    assert_eq!(lab.exec_as("node5", "ubuntu", ask), "OK");
    lab.deploy(&["rotate", "--ca", &one, "--abandon", "node5"]);
    let count = lab.exec("node3", "grep -c BEGIN /etc/docker/tls/ca.pem");
    assert_eq!(count, "1");
    let (is_in, said) = lab.try_exec_as("node5", "ubuntu", ask);
    assert!(!is_in, "{said}");
    let part = lab.run(&["rotate", "--ca", &one, "--limit", "node1"]);
    assert!(part.stderr.contains("--limit"), "{}", part.stderr);
}

/// Neither the command nor a schedule begins a rollover that would cut off someone outside; and
/// a ledger that says nothing is no ledger that says "no one".
#[test]
fn a_rollover_that_would_cut_off_others_does_not_begin() {
    let lab = Lab::with_two_of_each();
    lab.deploy(&[&inventory(&lab, "", &CLIENTS)]);
    let one = inventory(&lab, "", &["node1"]);
    let before = lab.exec("node2", "ls -A /etc/dtls-deploy/ca");
    let restarts = lab.invocation();
    let run = lab.run(&["rotate", "--ca", &one]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("it does not begin"), "{}", run.stdout);
    // A name that no holder has abandons no holder, and is an error.
    for check in [&[][..], &["--check"]] {
        for (name, hint) in [
            ("nod5", "did you mean node5?"),
            ("node3", "did you mean node5?"),
        ] {
            let command = ["rotate", "--ca", &one, "--abandon", name];
            let run = lab.run(&[&command[..], check].concat());
            assert_eq!(run.code, 2, "{}{}", run.stdout, run.stderr);
            assert!(
                run.stderr.contains(&format!("--abandon {name}: ")),
                "{}",
                run.stderr
            );
            assert!(run.stderr.contains(hint), "{}", run.stderr);
        }
    }
    // It does not begin automatically either, and what is due is renewed as usual.
    lab.deploy(&["revoke", &one, "node1", "--mark-only", "--yes"]);
    let serial = "openssl x509 -noout -serial -in /home/ubuntu/.docker/cert.pem";
    let revoked = lab.exec("node1", serial);
    let by_itself = ["-e", "dtls_auto_ca_rollover=true"];
    let run = lab.run(&[&["rotate", &one][..], &by_itself].concat());
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("it does not begin"), "{}", run.stdout);
    assert_ne!(lab.exec("node1", serial), revoked);
    let ask = "cd ~/.docker; curl -sS --cacert ca.pem --cert cert.pem --key key.pem https://10.0.0.12:2376/_ping 2>&1";
    assert_eq!(lab.exec_as("node5", "ubuntu", ask), "OK");
    assert_eq!(lab.exec("node2", "ls -A /etc/dtls-deploy/ca"), before);
    assert_eq!(lab.invocation(), restarts, "no daemon was touched");

    let ledger = "/etc/dtls-deploy/ca/.ledger.jsonl";
    lab.exec("node2", &format!("cp {ledger} /root/ledger; : >{ledger}"));
    for command in [
        &["rotate", "--ca", &one, "--abandon", "node5"][..],
        &["revoke", &one, "node5", "--yes"],
    ] {
        let run = lab.run(command);
        assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains("lists no certificate"), "{said}");
    }
    assert_eq!(lab.exec_as("node5", "ubuntu", ask), "OK");
}

/// Every command reports the same step and the same next command.
#[test]
fn a_rollover_that_was_not_finished_is_named_by_every_command() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    lab.exec("node3", "sha256sum /etc/docker/tls/cert.pem >/root/sums; mkdir -p /etc/systemd/system/docker.service.d; printf '[Service]\\nExecStartPre=sha256sum -c /root/sums\\n' >/etc/systemd/system/docker.service.d/10-guard.conf; systemctl daemon-reload");
    let run = lab.run(&["rotate", "--ca", &inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    let next = format!("dtls-deploy rotate --ca {inventory}");
    let stopped = "the CA rollover has stopped at step 2 of 6";
    assert!(run.stdout.contains(stopped), "{}", run.stdout);
    assert_eq!(run.stdout.matches(&next).count(), 1, "{}", run.stdout);
    assert!(run.stdout.trim_end().ends_with(&next), "{}", run.stdout);
    let both = "both CAs are valid, and clients keep their access";
    assert!(run.stdout.contains(both), "{}", run.stdout);
    for command in ["status", "doctor", "rollback"] {
        let check = if command == "rollback" {
            &["--check"][..]
        } else {
            &[]
        };
        let run = lab.run(&[&[command, &inventory], check].concat());
        let said = &run.stdout;
        assert!(
            said.contains("under way, and step 2 of 6 is next"),
            "{command}: {said}"
        );
        assert!(said.contains(&next), "{command}: {said}");
        assert!(said.contains(both), "{command}: {said}");
        // What the rollover changes next is no finding of its own.
        let other = "the inventory or the node has changed";
        assert!(!said.contains(other), "{command}: {said}");
        assert!(!said.contains("broken"), "{command}: {said}");
    }
    let run = lab.run(&["rotate", "--ca", &inventory, "--check"]);
    assert!(run.stdout.contains("Step 2 of 6:"), "{}", run.stdout);
    lab.unguard("node3");
    lab.deploy(&["rotate", "--ca", &inventory]);
    for command in ["status", "doctor"] {
        let run = lab.run(&[command, &inventory]);
        assert_eq!(run.code, 0, "{}", run.stdout);
        assert!(!run.stdout.contains("rollover"), "{}", run.stdout);
    }
}

/// Names that the inventory does not list any more are the next deployment's, and the end of the
/// rollover restarts nothing for them.
#[test]
fn a_pending_change_of_names_is_left_to_deploy() {
    let lab = Lab::fresh();
    lab.deploy(&[&lab.inventory("")]);
    let inventory = lab.inventory("dtls_sans: [extra.example.com]");
    let run = lab.deploy(&["rotate", "--ca", &inventory]);
    for text in [
        "SAN DNS:node3 not wanted",
        "the next deploy changes it",
        "restarts=2 ",
    ] {
        assert!(run.stdout.contains(text), "{text}: {}", run.stdout);
    }
    assert!(
        !run.stdout.contains("nothing was changed"),
        "{}",
        run.stdout
    );
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    let why = "would not be valid for 10.0.0.12";
    assert!(run.stdout.contains(why), "{}", run.stdout);
}

/// An empty ledger, a damaged one and none are one case: who else holds certificates is not known.
#[test]
fn without_a_ledger_no_ca_is_replaced() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let ledger = "/etc/dtls-deploy/ca/.ledger.jsonl";
    lab.exec("node2", &format!("cp -a {ledger} /root/ledger"));
    let state = "sha256sum /etc/docker/tls/* /etc/dtls-deploy/ca/*.pem 2>/dev/null | sort; systemctl show docker -P InvocationID";
    let all = || [lab.exec("node2", state), lab.exec("node3", state)];
    let before = all();
    for damage in [": >", "rm -f", "echo nonsense >"] {
        lab.exec("node2", &format!("{damage} {ledger}"));
        let run = lab.run(&["rotate", "--ca", &inventory]);
        assert_ne!(run.code, 0, "{damage}: {}", run.stdout);
        assert!(
            run.stdout.contains("ledger") || run.stderr.contains("ledger"),
            "{damage}: {}{}",
            run.stdout,
            run.stderr
        );
        assert_eq!(all(), before, "{damage}");
        lab.exec("node2", &format!("cp -a /root/ledger {ledger}"));
    }
    lab.deploy(&[&inventory]);
}
