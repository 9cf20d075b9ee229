//! Going back: by the node at boot, by hand as the report says, by `rollback`
//! and by `remove`.

use crate::interrupt::{Running, slow_restart};
use crate::lab::{Lab, Run};

/// Everything that a deployment touches on a daemon's node.
pub const DAEMON_FILES: &str = "cd / && find etc/docker etc/systemd/system/docker.service.d -mindepth 1 -not -name key.json -not -name 90-slow.conf 2>/dev/null | sort | while read -r f; do stat -c '%n %a %U' $f; [ ! -f $f ] || sha256sum <$f; done";

/// The same for a client's account.
pub const CLIENT_FILES: &str = "cd && find .docker .profile -mindepth 0 2>/dev/null | sort | while read -r f; do stat -c '%n %a %U' $f; [ ! -f $f ] || sha256sum <$f; done";

pub fn serial(lab: &Lab) -> String {
    lab.exec(
        "node1",
        "openssl s_client -connect node3:2376 </dev/null 2>/dev/null | openssl x509 -noout -serial",
    )
}

fn nothing_of_ours(lab: &Lab, node: &str) {
    let left = "find / -xdev \\( -name '.dtls-deploy*' -o -name 'dtls-deploy-restore*' \\) 2>/dev/null; ls /var/lib/dtls-deploy/armed 2>/dev/null; systemctl daemon-reload; systemctl list-units --all --no-legend 'dtls-deploy*'; true";
    assert_eq!(lab.exec(node, left), "");
}

/// The power is cut while the daemon restarts with its new files. No one has
/// confirmed them, so the node boots with the old ones.
#[test]
fn a_power_cut_before_the_confirmation_is_undone_at_boot() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let (before, files) = (serial(&lab), lab.exec("node3", DAEMON_FILES));
    slow_restart(&lab, "node3");
    let mut run = Running::start(
        &lab,
        &[
            &inventory,
            "-v",
            "--timeout",
            "20",
            "-e",
            "{dtls_extra_sans: [DNS:more.example]}",
            "-e",
            "{dtls_listen: ['tcp://10.0.0.12:2376']}",
        ],
    );
    run.until("node3: restarting docker");
    // Renamed, and not confirmed.
    lab.exec(
        "node3",
        "timeout 20 sh -c 'until [ -s /var/lib/dtls-deploy/pending ]; do sleep 0.05; done'",
    );
    let swapped = lab.exec("node3", DAEMON_FILES);
    assert_ne!(swapped, files);
    lab.control(&["stop", "node3", "--cut"]);
    let run = run.end();
    assert!([4, 5].contains(&run.code), "{}", run.stdout);
    lab.control(&["start", "node3"]);
    let booted = "until systemctl is-active docker.service >/dev/null; do sleep 0.2; done";
    lab.exec("node3", &format!("timeout 60 sh -c '{booted}'"));
    assert_eq!(lab.exec("node3", DAEMON_FILES), files);
    assert_eq!(serial(&lab), before);
    let journal = lab.exec(
        "node3",
        "journalctl -b -u dtls-deploy-restore.service -o cat",
    );
    assert!(journal.contains("undone"), "{journal}");
    nothing_of_ours(&lab, "node3");
    // What was wanted is done by the next run, and kept over a boot.
    lab.deploy(&[&inventory, "-e", "{dtls_extra_sans: [DNS:more.example]}"]);
    let after = serial(&lab);
    assert_ne!(after, before);
    lab.control(&["stop", "node3", "--cut"]);
    lab.control(&["start", "node3"]);
    lab.exec("node3", &format!("timeout 60 sh -c '{booted}'"));
    assert_eq!(serial(&lab), after);
    let run = lab.deploy(&[&inventory, "-e", "{dtls_extra_sans: [DNS:more.example]}"]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
}

/// The new files keep docker from starting, and the old ones cannot be put back.
#[test]
fn an_undo_that_fails_says_what_to_do_and_that_works_as_written() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.exec(
        "node3",
        "mkdir /tmp/kept && cp -a /etc/docker/. /tmp/kept/ && mount -t tmpfs -o mode=755,size=4m tmpfs /etc/docker && cp -a /tmp/kept/. /etc/docker/",
    );
    lab.deploy(&[&inventory]);
    let (before, files) = (serial(&lab), lab.exec("node3", DAEMON_FILES));
    lab.exec(
        "node3",
        "printf '#!/bin/sh\\n[ ! -e /run/broken ] || { mount -o remount,ro /etc/docker; exit 1; }\\n' >/usr/local/sbin/breaks; chmod 755 /usr/local/sbin/breaks; printf '[Service]\\nExecStartPre=/usr/local/sbin/breaks\\n' >/etc/systemd/system/docker.service.d/90-slow.conf; systemctl daemon-reload; touch /run/broken",
    );
    let run = lab.run(&[&inventory, "-e", "{dtls_extra_sans: [DNS:more.example]}"]);
    assert_eq!(run.code, 4, "{}", run.stdout);
    assert!(
        run.stdout.contains("FAILED AND NOT UNDONE"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("systemctl status docker.service"),
        "{}",
        run.stdout
    );
    let by_hand = run
        .stdout
        .split("sudo sh ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or_else(|| panic!("no command: {}", run.stdout));
    // The next run knows of it, and does not make a plan from such files.
    let again = lab.run(&[&inventory, "--check"]);
    assert_eq!(again.code, 4, "{}", again.stdout);
    assert!(
        again.stdout.contains("could not be put back"),
        "{}",
        again.stdout
    );
    // Its cause is fixed; then the reported step is done, before the node tries again.
    lab.exec("node3", "systemctl stop 'dtls-deploy-rollback-*.service'");
    lab.exec("node3", "rm /run/broken; mount -o remount,rw /etc/docker");
    let said = lab.exec_as("node3", "ubuntu", &format!("sudo sh {by_hand}"));
    assert!(said.contains("undone"), "{said}");
    assert_eq!(lab.exec("node3", DAEMON_FILES), files);
    assert_eq!(serial(&lab), before);
    nothing_of_ours(&lab, "node3");
    lab.deploy(&[&inventory, "-e", "{dtls_extra_sans: [DNS:more.example]}"]);
}

/// `rollback` takes back what the last run changed, and then what the one
/// before it changed.
#[test]
fn rollback_goes_back_one_run_at_a_time() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_client_env: [profile, context]");
    let untouched = lab.exec("node3", DAEMON_FILES);
    let client_untouched = lab.exec_as("node1", "ubuntu", CLIENT_FILES);
    lab.deploy(&[&inventory]);
    let first = lab.exec("node3", DAEMON_FILES);
    let client = lab.exec_as("node1", "ubuntu", CLIENT_FILES);
    let first_serial = serial(&lab);
    lab.deploy(&[&inventory, "-e", "{dtls_extra_sans: [DNS:more.example]}"]);
    assert_ne!(lab.exec("node3", DAEMON_FILES), first);

    // Only the daemon was changed by the last run: the client's files stay.
    let run = lab.deploy(&["rollback", &inventory]);
    assert!(
        run.stdout.contains("node1: stays as it is"),
        "{}",
        run.stdout
    );
    assert_eq!(lab.exec("node3", DAEMON_FILES), first);
    assert_eq!(serial(&lab), first_serial);
    assert_eq!(lab.exec_as("node1", "ubuntu", CLIENT_FILES), client);
    proves(
        &run.stdout,
        &[
            "accepts the client's certificate",
            "serves the issued certificate",
            "answers on its local socket",
        ],
    );

    // Back to before the first one: no TLS, and the local socket answers.
    let run = lab.deploy(&["rollback", &inventory]);
    proves(
        &run.stdout,
        &[
            "does not listen on its TCP port",
            "answers on its local socket",
        ],
    );
    assert_eq!(lab.exec("node3", DAEMON_FILES), untouched);
    assert_eq!(
        lab.exec_as("node1", "ubuntu", CLIENT_FILES),
        client_untouched
    );
    assert!(lab.exec("node3", "docker version").contains("Server:"));
    assert_eq!(lab.exec("node3", "ss -Hltn 'sport = :2376'"), "");
    let run = lab.deploy(&["rollback", &inventory]);
    assert!(
        run.stdout
            .contains("no earlier files are kept there: nothing to roll back"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);

    lab.deploy(&[&inventory]);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
}

#[test]
fn rollback_refuses_a_certificate_of_another_ca() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    lab.exec("node2", "rm -r /etc/dtls-deploy/ca");
    lab.deploy(&[&inventory, "--new-ca"]);
    let files = lab.exec("node3", DAEMON_FILES);
    let before = lab.invocation();
    let run = lab.run(&["rollback", &inventory, "--limit", "node3"]);
    assert_eq!(run.code, 4, "{}", run.stdout);
    assert!(
        run.stdout.contains("--readmit-ca 'CN=test CA 1'"),
        "{}",
        run.stdout
    );
    let named = ["--limit", "node3", "--readmit-ca", "CN=test CA 1"];
    let run = lab.run(&[&["rollback", &inventory][..], &named].concat());
    assert_eq!(run.code, 4, "{}", run.stdout);
    assert!(
        run.stdout.contains("it would not be accepted"),
        "{}",
        run.stdout
    );
    assert_eq!(lab.exec("node3", DAEMON_FILES), files);
    assert_eq!(lab.invocation(), before);
}

/// As many generations as the inventory says, with the modes of the originals,
/// for root alone.
#[test]
fn generations_are_kept_and_are_not_too_many() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_keep_generations: 2");
    for number in 0..4 {
        lab.deploy(&[
            &inventory,
            "-e",
            &format!("{{dtls_extra_sans: [DNS:x{number}.example]}}"),
        ]);
    }
    let kept = lab.exec("node3", "ls /var/lib/dtls-deploy/generations");
    let kept: Vec<&str> = kept.lines().collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(
        kept[0].starts_with("000003-") && kept[1].starts_with("000004-"),
        "{kept:?}"
    );
    let modes = lab.exec(
        "node3",
        "stat -c '%a %U' /var/lib/dtls-deploy /var/lib/dtls-deploy/generations/*; cd /var/lib/dtls-deploy/generations/000004-*; grep -l PRIVATE [0-9]* | wc -l; sha256sum -c --quiet sums; grep -P '^file\\t400\\t0\\t0\\t/etc/docker/tls/key.pem' manifest",
    );
    assert_eq!(
        modes,
        "700 root\n700 root\n700 root\n1\nfile\t400\t0\t0\t/etc/docker/tls/key.pem"
    );
    // The client keeps its own, in its home.
    let client = lab.exec_as(
        "node1",
        "ubuntu",
        "stat -c '%a %U' .local/state/dtls-deploy; ls .local/state/dtls-deploy/generations | wc -l",
    );
    assert_eq!(client, "700 ubuntu\n1");
    // A key whose certificate has expired does not stay.
    lab.exec(
        "node3",
        "sed -i 's/^expires.*/expires\\t1000000000/' /var/lib/dtls-deploy/generations/000004-*/manifest",
    );
    lab.deploy(&[&inventory, "-e", "{dtls_extra_sans: [DNS:y.example]}"]);
    let keys = lab.exec(
        "node3",
        "grep -l PRIVATE /var/lib/dtls-deploy/generations/*/[0-9]*",
    );
    assert!(
        !keys.contains("/000004-") && keys.contains("/000005-"),
        "{keys}"
    );
}

/// A node is what it was before, and what others set stays.
#[test]
fn remove_leaves_nothing_of_ours_and_everything_of_others() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        "printf ' {\"log-level\":\"warn\",\\r\\n\\n\\t\"dns\" : [\"1.1.1.1\"]\\n }' >/etc/docker/daemon.json; systemctl restart docker",
    );
    lab.exec_as(
        "node1",
        "ubuntu",
        "mkdir -m 700 .docker; echo '{}' >.docker/config.json",
    );
    let (daemon, client) = (
        lab.exec("node3", DAEMON_FILES),
        lab.exec_as("node1", "ubuntu", CLIENT_FILES),
    );
    let inventory = lab.inventory("dtls_client_env: [profile, context]");
    lab.deploy(&[&inventory]);
    let checked = lab.deploy(&["remove", &inventory, "--check", "--diff"]);
    assert!(
        checked.stdout.contains("would be made"),
        "{}",
        checked.stdout
    );
    let run = lab.deploy(&["remove", &inventory]);
    proves(
        &run.stdout,
        &[
            "does not listen on its TCP port",
            "answers on its local socket",
            "has no files of the deployment left",
        ],
    );
    assert_eq!(lab.exec("node3", DAEMON_FILES), daemon);
    assert_eq!(lab.exec_as("node1", "ubuntu", CLIENT_FILES), client);
    assert!(lab.exec("node3", "docker version").contains("Server:"));
    assert_eq!(lab.exec("node3", "ss -Hltn 'sport = :2376'"), "");
    for node in ["node1", "node3"] {
        nothing_of_ours(&lab, node);
        let left = "ls -d /var/lib/dtls-deploy /home/ubuntu/.local/state/dtls-deploy 2>/dev/null; grep -rl 'PRIVATE KEY' /etc/docker /home /var/lib/dtls-deploy 2>/dev/null; true";
        assert_eq!(lab.exec(node, left), "", "{node}");
    }
    let run = lab.deploy(&["remove", &inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
    lab.exec("node2", "test -s /etc/dtls-deploy/ca/ca-key.pem");
    lab.deploy(&[&inventory]);
}

/// Put into daemon.json while the unit has -H, `hosts` would have kept dockerd from starting
/// before the deployment, too: what is put back does start.
#[test]
fn hosts_that_dockerd_cannot_start_with_are_not_put_back() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let settings = "cat /etc/docker/daemon.json";
    for command in ["remove", "rollback"] {
        let by_hand = "printf '{\n  \"debug\": true,\n  \"hosts\": [\"fd://\"]\n}\n' >/etc/docker/daemon.json";
        lab.exec("node3", by_hand);
        lab.deploy(&[&inventory]);
        let run = lab.deploy(&[command, &inventory]);
        assert!(
            run.stdout
                .contains("\"hosts\" (fd://) is not put back into daemon.json: /lib/systemd/system/docker.service says with -H"),
            "{command}: {}",
            run.stdout
        );
        assert_eq!(
            lab.exec("node3", settings),
            "{\n  \"debug\": true\n}",
            "{command}"
        );
        // And once more, with what is there by then.
        lab.exec("node3", "systemctl restart docker && docker version");
    }
}

/// A client keeps what a daemon needs that was not removed: then it is not proved that nothing is
/// left, and why.
#[test]
fn remove_names_what_a_client_keeps_for_a_daemon_that_stays() {
    let lab = Lab::with_two_daemons();
    // One of the daemons is a client, too.
    let text = "all: {vars: {ansible_user: ubuntu}, children: {ca: {hosts: {node2: {ansible_host: 10.0.0.11}}}, daemons: {hosts: {node3: {ansible_host: 10.0.0.12}, node4: {ansible_host: 10.0.0.13}}}, clients: {hosts: {node1: {ansible_host: 10.0.0.10}, node4: }}}}\n";
    let inventory = lab.file("both.yaml", text);
    lab.deploy(&[&inventory]);
    let kept = "context node3, /home/ubuntu/.docker/key.pem, /home/ubuntu/.docker/cert.pem, /home/ubuntu/.docker/ca.pem, generations of replaced files, because node3";
    let not_proved = |run: &Run, kept: &str| {
        for client in ["node1", "node4"] {
            let lines = run.stdout.lines();
            let proof = |line: &&str| {
                let from = format!("from {client}");
                line.contains("has no files of the deployment left") && line.contains(&from)
            };
            let line = lines.rev().find(proof).unwrap_or_default();
            let is_said = line.starts_with("not checked") && line.contains(kept);
            assert!(is_said, "{client}: {}", run.stdout);
        }
        assert!(!run.stdout.contains("FAILED"), "{}", run.stdout);
        lab.exec_as("node1", "ubuntu", "test -s .docker/key.pem");
    };

    // It did not answer.
    let address = "{ansible_host: 10.0.0.12}";
    let silent = text.replace(address, "{ansible_host: 10.0.0.12, ansible_port: 1}");
    let run = lab.run(&["remove", &lab.file("both.yaml", &silent)]);
    assert_eq!(run.code, 5, "{}{}", run.stdout, run.stderr);
    not_proved(&run, &format!("{kept} did not answer"));

    // dockerd would not start with it once our drop-in is gone: the daemon is refused.
    lab.deploy(&[&lab.file("both.yaml", text)]);
    let edit = "sed -i.before '1s/{/{ \"hosts\": [\"fd:\\/\\/\"],/' /etc/docker/daemon.json";
    lab.exec("node3", edit);
    let run = lab.run(&["remove", &inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    not_proved(&run, &format!("{kept} was refused"));
    lab.exec(
        "node3",
        "cd /etc/docker && mv daemon.json.before daemon.json",
    );

    let run = lab.deploy(&["remove", &inventory]);
    proves(&run.stdout, &["has no files of the deployment left"]);
    for node in ["node1", "node4"] {
        nothing_of_ours(&lab, node);
        let left =
            "grep -rl 'PRIVATE KEY' /etc/docker /home /var/lib/dtls-deploy 2>/dev/null; true";
        assert_eq!(lab.exec(node, left), "", "{node}");
    }
}

/// docker starts with the old files only some time later. The controller is gone: the node
/// tries again by itself, and says meanwhile what to do, at login too.
#[test]
fn an_undo_that_fails_for_a_passing_reason_is_tried_again() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_confirm_within: 10");
    lab.deploy(&[&inventory]);
    let before = serial(&lab);
    lab.exec("node3", "mkdir -p /etc/systemd/system/docker.service.d; printf '[Service]\\nExecStartPre=/bin/sh -c \"test ! -e /run/not-yet\"\\n' >/etc/systemd/system/docker.service.d/10-wait.conf; systemctl daemon-reload");
    let inventory = lab.inventory(&format!("dtls_confirm_within: 10\n{}", lab.unreached()));
    let said = lab.abandon_before_confirmation(&inventory);
    assert!(said.contains("pending"), "{said}");
    lab.exec("node3", "touch /run/not-yet");
    let failed = "until ls /var/lib/dtls-deploy/armed/*/failed >/dev/null 2>&1 && [ -e /run/motd.d/dtls-deploy ]; do sleep 0.2; done";
    lab.exec("node3", &format!("timeout 90 sh -c '{failed}'"));
    let state = lab
        .try_exec("node3", "systemctl is-active docker.service")
        .1;
    assert!(!state.starts_with("active"), "{state}");
    let notice = lab.exec("node3", "cat /run/motd.d/dtls-deploy");
    let script = lab.exec("node3", "ls /var/lib/dtls-deploy/armed/*/rollback.sh");
    assert!(notice.contains(&format!("sh {script}")), "{notice}");
    lab.exec("node3", "rm /run/not-yet");
    let undone = "while [ -n \"$(ls -A /var/lib/dtls-deploy/armed 2>/dev/null)\" ]; do sleep 0.2; done; systemctl is-active docker.service";
    lab.exec("node3", &format!("timeout 90 sh -c '{undone}'"));
    assert_eq!(serial(&lab), before);
    lab.exec("node3", "test ! -e /run/motd.d/dtls-deploy");
    nothing_of_ours(&lab, "node3");
}

/// The same while the controller is there: the node does not wait for its timer.
#[test]
fn an_undo_that_fails_is_tried_again_before_the_timer_fires() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let before = serial(&lab);
    lab.exec("node3", "mkdir -p /etc/systemd/system/docker.service.d; printf '[Service]\\nExecStartPre=/bin/sh -c \"test ! -e /run/not-yet\"\\n' >/etc/systemd/system/docker.service.d/10-wait.conf; systemctl daemon-reload; touch /run/not-yet");
    let run = lab.run(&["rotate", &inventory, "--force", "--yes"]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("NOT UNDONE"), "{}", run.stdout);
    // Long before the 120 s of the timer.
    let told = "until [ -e /run/motd.d/dtls-deploy ]; do sleep 0.2; done; journalctl -b --no-pager -o cat | grep 'could not be undone (attempt 1)'";
    lab.exec("node3", &format!("timeout 30 sh -c \"{told}\""));
    lab.exec("node3", "rm /run/not-yet");
    let undone = "while [ -n \"$(ls -A /var/lib/dtls-deploy/armed 2>/dev/null)\" ]; do sleep 0.2; done; systemctl is-active docker.service";
    lab.exec("node3", &format!("timeout 60 sh -c '{undone}'"));
    assert_eq!(serial(&lab), before);
    lab.exec("node3", "test ! -e /run/motd.d/dtls-deploy");
}

/// The script that undoes is killed after it has begun: the timer goes on with it.
#[test]
fn an_undo_that_is_killed_is_taken_over() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_confirm_within: 10");
    lab.deploy(&[&inventory]);
    let before = serial(&lab);
    let inventory = lab.inventory(&format!("dtls_confirm_within: 10\n{}", lab.unreached()));
    let said = lab.abandon_before_confirmation(&inventory);
    assert!(said.contains("pending"), "{said}");
    // As a script that is killed right after its claim leaves it.
    lab.exec(
        "node3",
        "cd /var/lib/dtls-deploy/armed/* && mv pending undone",
    );
    let undone = "while [ -n \"$(ls -A /var/lib/dtls-deploy/armed 2>/dev/null)\" ]; do sleep 0.2; done; systemctl is-active docker.service";
    lab.exec("node3", &format!("timeout 60 sh -c '{undone}'"));
    assert_eq!(serial(&lab), before);
    nothing_of_ours(&lab, "node3");
}

fn proves(stdout: &str, checks: &[&str]) {
    for check in checks {
        let line = stdout.lines().find(|line| line.contains(check));
        assert!(
            line.is_some_and(|line| line.starts_with("ok ")),
            "{check}: {stdout}"
        );
    }
}

/// Someone else takes the port as soon as docker leaves it.
#[test]
fn remove_says_that_the_port_still_answers() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    lab.exec(
        "node3",
        "systemd-run --quiet --unit=other perl -MIO::Socket::INET -e \
         'select(undef, undef, undef, 0.02) until $s = IO::Socket::INET->new(Listen => 5, LocalPort => 2376, ReuseAddr => 1); sleep 600'",
    );
    let run = lab.run(&["remove", &inventory]);
    lab.exec("node3", "systemctl stop other");
    assert_eq!(run.code, 6, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains("something listens on tcp://10.0.0.12:2376"),
        "{}",
        run.stdout
    );
}

/// A firewall that drops packets does not show that the port is closed.
#[test]
fn remove_does_not_take_silence_for_a_closed_port() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let rule = "INPUT -i eth0 -p tcp --dport 2376 -j DROP";
    lab.exec("node3", &format!("iptables -I {rule}"));
    let run = lab.run(&["remove", &inventory]);
    lab.exec("node3", &format!("iptables -D {rule}"));
    assert_eq!(run.code, 6, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("not-checked=1"), "{}", run.stdout);
}

#[test]
fn remove_with_a_file_missing_removes_the_rest() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    for (node, gone) in [
        ("node1", "/home/ubuntu/.docker/cert.pem"),
        ("node1", "/home/ubuntu/.docker/key.pem"),
        ("node3", "/etc/docker/tls/ca.pem"),
        ("node3", "/etc/docker/tls/key.pem"),
    ] {
        lab.deploy(&[&inventory]);
        lab.exec(node, &format!("rm {gone}"));
        lab.deploy(&["remove", &inventory]);
        for node in ["node1", "node3"] {
            nothing_of_ours(&lab, node);
        }
        let history = lab.deploy(&["history"]);
        let newest = history.stdout.lines().find(|line| line.contains("remove"));
        assert!(newest.is_some(), "{}", history.stdout);
    }
}

/// A check counts on the daemon that it is about, not on the client that tried.
#[test]
fn a_failed_check_counts_on_its_daemon() {
    let lab = Lab::with_two_daemons();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    lab.exec("node4", "systemctl stop docker.socket docker");
    let run = lab.run(&["verify", &inventory]);
    assert_eq!(run.code, 6, "{}{}", run.stdout, run.stderr);
    let counts = |node: &str| {
        let line = run
            .stdout
            .lines()
            .find(|line| line.split_whitespace().next() == Some(node) && line.contains("failed="));
        let line = line.unwrap_or_else(|| panic!("{node}: {}", run.stdout));
        let word = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("failed="));
        word.unwrap().parse::<usize>().unwrap()
    };
    assert!(counts("node4") > 0, "{}", run.stdout);
    assert_eq!((counts("node1"), counts("node3")), (0, 0), "{}", run.stdout);
}
