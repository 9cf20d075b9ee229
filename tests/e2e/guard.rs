//! The guard on a real dockerd: roles, revocation, and what happens to the local
//! socket and to a revoked client while the guard is in trouble.

use policy::{Role, endpoints};

use crate::containers::IMAGE;
use crate::lab::Lab;
use crate::revoke::said;

const SOCKET: &str = "/run/docker/plugins/dtls-deploy-guard.sock";

/// What curl needs on a client; a request that streams ends after a second.
const CURL: &str =
    "cd ~/.docker; curl -s -m 1 --cacert ca.pem --cert cert.pem --key key.pem -w '%{http_code}\\n'";

/// The laptop, node2, has this role on a daemon that has a guard.
fn with_role(lab: &Lab, role: &str) -> String {
    let text = std::fs::read_to_string(lab.inventory("dtls_guard: true")).unwrap();
    lab.file(
        "guarded.yaml",
        &format!("{text}        node2: {{dtls_role: {role}}}\n"),
    )
}

/// Every file is as it should be, and dockerd was told in between to ask no guard; `docker info`
/// still names it.
fn a_reload_without_it_is_noticed(lab: &Lab, guarded: &str) {
    let file = "/etc/docker/daemon.json";
    lab.exec(
        "node3",
        &format!("cp -p {file} /root/kept; sed -i 's/\\[\"dtls-deploy-guard\"]/[]/' {file}; systemctl reload docker.service; sleep 1; cp -p /root/kept {file}"),
    );
    for (command, code) in [("verify", 6), ("status", 6), ("doctor", 6)] {
        let run = lab.run(&[command, guarded]);
        assert_eq!(run.code, code, "{}", said(&run));
        assert!(
            said(&run).contains("dockerd does not ask it"),
            "{}",
            said(&run)
        );
    }
    let run = lab.deploy(&[guarded]);
    assert!(
        said(&run).contains("dockerd does not ask its guard"),
        "{}",
        said(&run)
    );
    let run = lab.deploy(&[guarded]);
    assert!(said(&run).contains("Nothing to change"), "{}", said(&run));
}

/// A daemon without a part of its guard is an error of every command that looks,
/// also where all clients have the role full.
fn each_part_of_it_is_missed(lab: &Lab, guarded: &str) {
    let stop = "systemctl stop dtls-deploy-guard.path dtls-deploy-guard.socket dtls-deploy-guard.service 2>/dev/null";
    let start = "systemctl start dtls-deploy-guard.socket dtls-deploy-guard.path";
    let mv = |path: &str| {
        (
            format!("mv {path} /root/kept"),
            format!("mv /root/kept {path}"),
        )
    };
    let entry = "/etc/docker/daemon.json";
    for (part, (remove, restore)) in [
        (
            "dtls-deploy-guard",
            mv("/opt/dtls-deploy/bin/dtls-deploy-guard"),
        ),
        ("policy.json", mv("/etc/dtls-deploy-guard/policy.json")),
        (
            "40-dtls-deploy-guard.conf",
            mv("/etc/systemd/system/docker.service.d/40-dtls-deploy-guard.conf"),
        ),
        (
            "daemon.json does not name it",
            (
                format!("cp -p {entry} /root/kept; sed -i s/dtls-deploy-guard/other/ {entry}"),
                format!("mv /root/kept {entry}"),
            ),
        ),
        (
            "dtls-deploy-guard.socket does not run",
            (stop.to_owned(), start.to_owned()),
        ),
    ] {
        lab.exec("node3", &remove);
        let is_quick = part == "policy.json";
        let all = ["verify", "doctor", "status"];
        for command in all.into_iter().take(if is_quick { 3 } else { 1 }) {
            let run = lab.run(&[command, guarded]);
            assert_eq!(run.code, 6, "{command}: {part}: {}", said(&run));
            // A sentence may be wrapped.
            let words: Vec<&str> = run.stdout.split_whitespace().collect();
            let text = words.join(" ");
            let last = part.rsplit(' ').next().unwrap();
            assert!(
                text.contains(last) && text.contains("guard"),
                "{command}: {part}: {text}"
            );
        }
        lab.exec("node3", &restore);
    }
    lab.deploy(&["verify", guarded]);
    let run = lab.run(&["doctor", "-v", guarded]);
    assert!(
        said(&run).contains("node1 has the role full"),
        "{}",
        said(&run)
    );
    let status = lab.deploy(&["status", guarded]);
    assert!(status.stdout.contains("role full"), "{}", status.stdout);
}

/// The daemon's process, which neither a role nor a revocation restarts.
fn process(lab: &Lab) -> String {
    lab.exec("node3", "systemctl show docker.service -p MainPID --value")
}

/// Whatever a guard is made of.
const TRACES: &str = "ls -d /opt/dtls-deploy /etc/dtls-deploy-guard /etc/systemd/system/dtls-deploy-guard* /etc/systemd/system/docker.service.d/40-* /run/docker/plugins/dtls-deploy-guard.sock 2>/dev/null; systemctl list-units --all --plain --no-legend 'dtls-deploy-guard*'; grep -s authorization /etc/docker/daemon.json; true";

/// One request to every endpoint with the laptop's certificate. dockerd answers 404
/// by itself for routes that its version does not have.
fn every_endpoint(lab: &Lab, role: Role) {
    let all: Vec<_> = endpoints::all().collect();
    let (directory, curl) = CURL.split_once("curl ").unwrap();
    let requests = all.iter().map(|endpoint| {
        let method = match endpoint.method {
            "HEAD" => "-I".to_owned(),
            method => format!("-X {method}"),
        };
        let path = endpoint.example();
        format!("{curl} -o /dev/null {method} https://10.0.0.12:2376{path}")
    });
    let requests: Vec<String> = requests.collect();
    let command = format!("{directory} curl {}", requests.join(" --next "));
    let (_, answers) = lab.try_exec_as("node2", "ubuntu", &command);
    let codes: Vec<&str> = answers.lines().collect();
    assert_eq!(codes.len(), all.len(), "{answers}");
    for (endpoint, code) in all.iter().zip(&codes) {
        let is_good = if endpoint.is_allowed(role) {
            *code != "403" && *code != "000"
        } else {
            *code == "403" || *code == "404"
        };
        assert!(is_good, "{}: {endpoint:?}: {code}", role.name());
    }
    let rejected = codes.iter().filter(|code| **code == "403").count();
    assert!(rejected > 70, "{rejected}");
}

/// What the laptop was denied is in the log of its daemon, without what it asked for besides the
/// path; and nothing else of this hour is.
fn audited(lab: &Lab, inventory: &str) {
    // More often than the entries that a journal under load may lose.
    let secret = format!(
        "for one in 1 2 3 4 5; do {CURL} 'https://10.0.0.12:2376/info?token=hidden'; sleep 0.2; done"
    );
    lab.exec_as("node2", "ubuntu", &secret);
    // What is listed is the newest, however much there is.
    let denied = ["audit", inventory, "--denied", "--identity", "node2", "-n"];
    for count in ["3", "1000"] {
        let run = lab.deploy(&[&denied[..], &[count, "--json"]].concat());
        let entries: Vec<serde_json::Value> = run
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|event: &serde_json::Value| event["event"] == "audited")
            .filter(|event| !event["decision"].is_null())
            .collect();
        let last = entries.last().unwrap();
        assert_eq!(last["path"], "/info", "{entries:?}");
        assert_eq!(last["reason"], "revoked");
        assert!(entries.iter().all(|entry| entry["identity"] == "node2"
            && entry["decision"] == "rejected"
            && entry["host"] == "node3"));
        assert!(!run.stdout.contains("hidden"), "{}", run.stdout);
    }
    let run = lab.deploy(&["audit", inventory, "--since", "10m", "-n", "5"]);
    assert!(
        said(&run).contains("its newest 5 entries"),
        "{}",
        said(&run)
    );
    assert!(run.stdout.contains("\n5 entries"), "{}", run.stdout);
}

/// A revocation is undone, and made again; nothing is undone twice.
fn undone(lab: &Lab, inventory: &str, ping: &str) {
    let undo = ["revoke", inventory, "node2", "--undo"];
    let run = lab.deploy(&[&undo[..], &["--check"]].concat());
    assert!(
        said(&run).contains("accepts it with its next request"),
        "{}",
        said(&run)
    );
    assert!(lab.exec_as("node2", "ubuntu", ping).ends_with("403"));
    let run = lab.deploy(&[&undo[..], &["--yes"]].concat());
    assert!(
        said(&run).contains("accepts the client's certificate"),
        "{}",
        said(&run)
    );
    assert_eq!(lab.exec_as("node2", "ubuntu", ping), "OK200");
    let run = lab.run(&[&undo[..], &["--yes"]].concat());
    assert_eq!(run.code, 2, "{}", said(&run));
    assert!(
        said(&run).contains("no valid certificate of node2 is revoked"),
        "{}",
        said(&run)
    );
    lab.deploy(&["revoke", inventory, "node2", "--yes"]);
    assert!(lab.exec_as("node2", "ubuntu", ping).ends_with("403"));
}

/// A session that is open is named, and ends with a restart of Docker that leaves the
/// container running.
#[test]
fn open_sessions_of_a_revoked_client_are_named_and_cut() {
    let lab = Lab::fresh();
    let text = std::fs::read_to_string(lab.inventory("dtls_guard: true\ndtls_live_restore: true"));
    let inventory = lab.file(
        "guarded.yaml",
        &format!("{}        node2: {{}}\n", text.unwrap()),
    );
    lab.deploy(&[&inventory]);
    let run = format!("{IMAGE} && docker run -d --name web busybox /bin/busybox sleep 100000");
    lab.exec("node3", &run);
    let tls = "--tlsverify --tlscacert ~/.docker/ca.pem --tlscert ~/.docker/cert.pem --tlskey ~/.docker/key.pem -H tcp://10.0.0.12:2376";
    let exec = format!("docker {tls} exec web /bin/busybox sleep 300");
    let mut session = lab.begin("node2", "ubuntu", &["bash", "-c", &exec]);
    let is_begun = (0..50).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        lab.exec("node3", "docker inspect web --format '{{.ExecIDs}}'") != "[]"
    });
    assert!(is_begun, "{session:?}");

    let run = lab.deploy(&["revoke", &inventory, "node2", "--yes"]);
    let words: Vec<&str> = run.stdout.split_whitespace().collect();
    let text = words.join(" ");
    assert!(
        text.contains("node2 has sessions that no guard ends: exec in web"),
        "{text}"
    );
    assert!(session.try_wait().unwrap().is_none());
    let process = "docker inspect web --format '{{.State.Pid}}'";
    let before = lab.exec("node3", process);
    let run = lab.deploy(&["revoke", &inventory, "node2", "--cut-sessions", "--yes"]);
    assert!(
        said(&run).contains("restart docker.service"),
        "{}",
        said(&run)
    );
    assert!(session.wait().is_ok());
    assert_eq!(lab.exec("node3", process), before, "the container goes on");
}

/// Causes trouble while the laptop, which is revoked, tries to get in all the
/// time: the local socket answers again by itself, and the laptop never gets in.
fn in_trouble(lab: &Lab, trouble: &str) {
    let knock = format!(
        "end=$(($(date +%s) + 3)); while [ $(date +%s) -lt $end ]; do ({CURL} -o /dev/null https://10.0.0.12:2376/_ping); done"
    );
    let knocking = lab.begin("node2", "ubuntu", &["bash", "-c", &knock]);
    // dockerd itself may have been restarted.
    let local = format!(
        "{trouble}; begun=$(date +%s%3N); timeout 10 docker version >/dev/null; echo took $(($(date +%s%3N) - begun)); timeout 2 docker version"
    );
    let version = lab.exec("node3", &local);
    println!("{trouble}: {}", version.lines().next().unwrap_or_default());
    assert!(version.contains("Server"), "{trouble}: {version}");
    let output = knocking.wait_with_output().unwrap();
    let codes = String::from_utf8(output.stdout).unwrap();
    assert!(codes.contains("403"), "{trouble}: {codes}");
    assert!(!codes.contains("200"), "{trouble}: {codes}");
}

/// Everything that keeps a guard from answering, and a node from having one.
fn in_all_troubles(lab: &Lab) {
    let kill = "systemctl kill --signal KILL dtls-deploy-guard.service";
    let policy = "/etc/dtls-deploy-guard/policy.json";
    let full = "mkdir -p /root/full && mount -t tmpfs -o size=4k tmpfs /root/full && cp /bin/busybox /root/full/ 2>/dev/null; mount --bind /root/full /etc/dtls-deploy-guard; mount --bind /root/full /tmp";
    for (trouble, repair) in [
        (kill.to_owned(), String::new()),
        (kill.replace("KILL", "STOP"), String::new()),
        (format!("rm {SOCKET}"), String::new()),
        // A copy of the program is put back.
        (
            format!("rm /opt/dtls-deploy/bin/dtls-deploy-guard; {kill}"),
            "cmp /opt/dtls-deploy/bin/dtls-deploy-guard /etc/dtls-deploy-guard/program".to_owned(),
        ),
        // Without a policy every certificate is rejected, also after a restart.
        (
            format!("mv {policy} /root/policy; : >{policy}; {kill}"),
            format!("mv /root/policy {policy}"),
        ),
        (
            format!("{full}; {kill}"),
            "umount /tmp /etc/dtls-deploy-guard /root/full".to_owned(),
        ),
        ("systemctl daemon-reload".to_owned(), String::new()),
        (format!("systemctl daemon-reexec; {kill}"), String::new()),
        // As the scripts of Docker's packages do at an upgrade.
        (
            "systemctl stop docker.socket docker.service; systemctl start docker.socket docker.service".to_owned(),
            String::new(),
        ),
    ] {
        in_trouble(lab, &trouble);
        lab.exec("node3", &format!("true; {repair}"));
    }
}

#[test]
fn a_certificate_does_what_its_role_says_and_a_revoked_one_nothing() {
    let lab = Lab::fresh();
    let inventory = with_role(&lab, "read");
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("read: may not change the daemon"),
        "{}",
        run.stdout
    );
    let before = process(&lab);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
    every_endpoint(&lab, Role::Read);
    let run = lab.deploy(&[&with_role(&lab, "logs")]);
    assert!(run.stdout.contains("1 changed"), "{}", run.stdout);
    every_endpoint(&lab, Role::Logs);
    let inventory = with_role(&lab, "full");
    lab.deploy(&[&inventory]);

    let run = lab.deploy(&["revoke", &inventory, "node2", "--yes"]);
    assert!(
        run.stdout.contains("rejects the revoked certificate"),
        "{}",
        run.stdout
    );
    assert_eq!(process(&lab), before, "docker is not restarted");
    let ping = format!("{CURL} https://10.0.0.12:2376/_ping");
    let answer = lab.exec_as("node2", "ubuntu", &ping);
    assert!(
        answer.contains("the certificate of node2 (serial"),
        "{answer}"
    );
    assert!(answer.ends_with("403"), "{answer}");
    assert_eq!(lab.exec_as("node1", "ubuntu", &ping), "OK200");
    let status = lab.run(&["status", &inventory]);
    assert!(!said(&status).contains("STILL ACCEPTED"), "{status:?}");
    lab.deploy(&["verify", &inventory]);

    undone(&lab, &inventory, &ping);
    assert_eq!(process(&lab), before, "docker is not restarted");

    in_all_troubles(&lab);
    let before = process(&lab);

    lab.exec("node3", "echo '{' >/etc/dtls-deploy-guard/policy.json");
    let answer = lab.exec_as("node2", "ubuntu", &ping);
    assert!(answer.ends_with("403"), "{answer}");
    let journal = lab.exec(
        "node3",
        "journalctl -q -t dtls-deploy-guard -p warning -o cat",
    );
    assert!(
        journal.contains("the last good policy stays in force"),
        "{journal}"
    );
    audited(&lab, &inventory);

    // A scheduled run repairs the policy, and gives a host of the inventory another certificate.
    lab.exec("node2", "cp -a /home/ubuntu/.docker /home/ubuntu/old");
    lab.deploy(&["rotate", &inventory]);
    let old = ping.replace("~/.docker", "~/old");
    let answer = lab.exec_as("node2", "ubuntu", &old);
    assert!(answer.ends_with("403"), "{answer}");
    assert_eq!(lab.exec_as("node2", "ubuntu", &ping), "OK200");
    assert_eq!(process(&lab), before, "docker is not restarted");

    // Nothing accepts the old certificate again unasked.
    lab.run(&["rollback", &inventory]);
    let answer = lab.exec_as("node2", "ubuntu", &old);
    assert!(answer.ends_with("403"), "{answer}");
    let run = lab.run(&[&inventory, "-e", "dtls_guard=false"]);
    assert_eq!(run.code, 4, "{}", said(&run));
    let why = "without its guard it would accept again what is revoked";
    assert!(said(&run).contains(why), "{}", said(&run));
    let answer = lab.exec_as("node2", "ubuntu", &old);
    assert!(answer.ends_with("403"), "{answer}");
    let run = lab.run(&["verify", &inventory]);
    assert!(!said(&run).contains("REVOKED"), "{}", said(&run));
}

/// The CA node's ledger without some of its lines, as an older backup would have it.
fn lose(lab: &Lab, lines: &str) {
    let ledger = "/etc/dtls-deploy/ca/.ledger.jsonl";
    lab.exec("node2", &format!("sed -i '/{lines}/d' {ledger}"));
}

#[test]
fn what_a_restored_ledger_lost_stays_rejected_and_leads_on() {
    let lab = Lab::fresh();
    let inventory = with_role(&lab, "full");
    lab.deploy(&[&inventory]);
    let ping = format!("{CURL} https://10.0.0.12:2376/_ping");
    let revoke = ["revoke", &inventory, "node2", "--yes"];
    let undo = [&revoke[..], &["--undo"]].concat();

    // The backup is older than the revocation.
    lab.deploy(&revoke);
    lose(&lab, "\"event\":\"revoked\"");
    lab.deploy(&undo);
    assert_eq!(lab.exec_as("node2", "ubuntu", &ping), "OK200");

    // And older than the certificate.
    let serial = "openssl x509 -noout -serial -in ~/.docker/cert.pem";
    let serial = lab.exec_as("node2", "ubuntu", serial);
    let serial = serial.trim().trim_start_matches("serial=");
    lab.deploy(&revoke);
    lose(&lab, serial);
    let run = lab.run(&undo);
    assert_eq!(run.code, 2, "{}", said(&run));
    assert!(said(&run).contains("adopt"), "{}", said(&run));
    lab.exec("node2", "cp -a /home/ubuntu/.docker /home/ubuntu/old");
    let run = lab.deploy(&["rotate", &inventory]);
    assert!(said(&run).contains("a new one is issued"), "{}", said(&run));
    assert_eq!(lab.exec_as("node2", "ubuntu", &ping), "OK200");
    let old = ping.replace("~/.docker", "~/old");
    let answer = lab.exec_as("node2", "ubuntu", &old);
    assert!(answer.ends_with("403"), "{answer}");
}

#[test]
fn a_daemon_that_was_away_rejects_what_is_revoked_after_the_next_run() {
    let lab = Lab::with_two_daemons();
    let with = with_role(&lab, "full");
    lab.deploy(&[&with]);
    lab.control(&["stop", "node4"]);
    let run = lab.run(&["revoke", &with, "node2", "--yes", "-e", "ansible_timeout=3"]);
    assert_eq!(run.code, 5, "{}", said(&run));
    let not_yet = "not every daemon rejects it yet";
    assert!(said(&run).contains(not_yet), "{}", said(&run));
    lab.control(&["start", "node4"]);
    let knock = |address: &str| {
        let ping = format!("{CURL} https://{address}:2376/_ping");
        lab.exec_as("node2", "ubuntu", &ping)
    };
    assert!(knock("10.0.0.12").ends_with("403"));
    assert_eq!(knock("10.0.0.13"), "OK200");

    // Without node2, which would get another certificate.
    let text = std::fs::read_to_string(&with).unwrap();
    let text = text.replace("        node2: {dtls_role: full}\n", "");
    let without = lab.file("without.yaml", &text);
    let run = lab.deploy(&["rotate", &without]);
    assert!(!said(&run).contains("STILL ACCEPTED"), "{}", said(&run));
    assert!(knock("10.0.0.13").ends_with("403"));
}

/// A daemon that accepts no certificate yet holds no revocation back, and rejects what is revoked
/// from its first deployment on.
#[test]
fn a_daemon_that_is_not_deployed_has_nothing_to_reject() {
    let lab = Lab::with_two_daemons();
    let with = with_role(&lab, "full");
    lab.deploy(&[&with, "--limit", "node1:node2:node3"]);
    let text = std::fs::read_to_string(&with).unwrap();
    let text = text.replace("        node2: {dtls_role: full}\n", "");
    let without = lab.file("without.yaml", &text);

    let of_node4 = "node4: it is not deployed and has nothing to reject";
    let unguarded = ["-e", "dtls_guard=false", "--limit", "node4"];
    for more in [&["--check"][..], &["--yes"]] {
        let run = lab.deploy(&[&["revoke", &without, "node2"][..], more].concat());
        let text = said(&run);
        assert!(text.contains(of_node4), "{text}");
        assert!(text.contains("its first deployment brings"), "{text}");
        for wrong in ["rollover", "restarted twice", "a mark alone"] {
            assert!(!text.contains(wrong), "{wrong}: {text}");
        }
    }
    let ping = |address: &str| format!("{CURL} https://{address}:2376/_ping");
    let answer = lab.exec_as("node2", "ubuntu", &ping("10.0.0.12"));
    assert!(answer.ends_with("403"), "{answer}");
    for command in ["rotate", "verify", "status", "doctor"] {
        let run = lab.run(&[command, &without]);
        assert!(
            !said(&run).contains("ACCEPTED"),
            "{command}: {}",
            said(&run)
        );
    }

    // Without a guard it would accept it, which every run says before and after.
    let run = lab.deploy(&[&[&without[..]][..], &unguarded, &["--check"]].concat());
    assert!(said(&run).contains("STILL ACCEPTED"), "{}", said(&run));
    lab.deploy(&[&without]);
    let answer = lab.exec_as("node2", "ubuntu", &ping("10.0.0.13"));
    assert!(answer.ends_with("403"), "{answer}");
}

/// The ledger was restored from before a revocation, and a daemon is installed again: the policy of
/// another daemon still has the mark.
#[test]
fn a_mark_that_the_ledger_lost_comes_back_from_a_policy() {
    let lab = Lab::with_two_daemons();
    let with = with_role(&lab, "full");
    lab.deploy(&[&with]);
    let ledger = "/etc/dtls-deploy/ca/.ledger.jsonl";
    lab.exec("node2", &format!("cp -a {ledger} /root/ledger"));
    lab.exec("node2", "cp -a /home/ubuntu/.docker /home/ubuntu/old");
    lab.deploy(&["revoke", &with, "node2", "--yes"]);
    lab.exec("node2", &format!("cp -a /root/ledger {ledger}"));
    lab.control(&["reset", "node4"]);
    let run = lab.run(&["verify", &with]);
    let lost = "is revoked in the policy of node3, and not in the ledger";
    assert!(said(&run).contains(lost), "{}", said(&run));
    lab.exec("node2", &format!("! grep -q revoked {ledger}"));
    let run = lab.deploy(&[&with]);
    assert!(said(&run).contains("it is marked again"), "{}", said(&run));
    lab.exec("node2", &format!("grep -q revoked {ledger}"));
    for address in ["10.0.0.12", "10.0.0.13"] {
        let ping = format!("{CURL} https://{address}:2376/_ping");
        assert_eq!(lab.exec_as("node2", "ubuntu", &ping), "OK200");
        let old = ping.replace("~/.docker", "~/old");
        let answer = lab.exec_as("node2", "ubuntu", &old);
        assert!(answer.ends_with("403"), "{address}: {answer}");
    }
    let run = lab.deploy(&[&with]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
}

/// A run with `--limit` does not change the policies of other daemons. That a new client is rejected
/// until that is done is reported by this run and all later ones, with any limit.
#[test]
fn a_client_that_no_policy_names_is_reported_until_one_does() {
    let lab = Lab::with_two_daemons();
    lab.deploy(&[&lab.inventory("dtls_guard: true")]);
    let with = with_role(&lab, "full");
    let next = format!("dtls-deploy rotate {with}");
    let words = |run: &crate::lab::Run| {
        let words: Vec<String> = said(run).split_whitespace().map(str::to_owned).collect();
        words.join(" ")
    };
    let limited = ["--limit", "node2"];
    for command in ["deploy", "deploy", "verify", "status", "doctor"] {
        for more in [&limited[..], &[]] {
            if command == "deploy" && more.is_empty() {
                continue;
            }
            let run = lab.run(&[&[command, &with][..], more].concat());
            let text = words(&run);
            assert_eq!(run.code, 6, "{command} {more:?}: {text}");
            let named = "the guards of node3, node4 reject node2";
            assert!(text.contains(named), "{command} {more:?}: {text}");
            assert!(text.contains(&next), "{command} {more:?}: {text}");
            assert!(!text.contains("Done:"), "{command} {more:?}: {text}");
            if ["deploy", "verify"].contains(&command) {
                let last = format!("Next: {next}");
                assert!(text.ends_with(&last), "{command} {more:?}: {text}");
            }
        }
    }
    lab.deploy(&["rotate", &with]);
    for command in ["deploy", "verify", "status", "doctor"] {
        for more in [&limited[..], &[]] {
            let run = lab.deploy(&[&[command, &with][..], more].concat());
            assert!(!words(&run).contains("reject node2"), "{}", said(&run));
        }
    }
    let ping = format!("{CURL} https://10.0.0.13:2376/_ping");
    assert_eq!(lab.exec_as("node2", "ubuntu", &ping), "OK200");
}

/// The CA has to be replaced for a daemon without a guard. If that cannot begin, the guards reject
/// the certificate all the same, and the report says so.
#[test]
fn guards_reject_what_is_revoked_also_if_the_ca_cannot_be_replaced() {
    let lab = Lab::with_three_daemons();
    let with = with_role(&lab, "full");
    let text = std::fs::read_to_string(&with).unwrap();
    let node4 = "        node4:\n          ansible_host: 10.0.0.13\n";
    let more = format!(
        "{node4}          dtls_guard: false\n{}",
        node4.replace("node4", "node5").replace(".13", ".14")
    );
    assert!(text.contains(node4));
    let with = lab.file("with.yaml", &text.replace(node4, &more));
    lab.deploy(&[&with, "--limit", "!node5"]);
    let text = std::fs::read_to_string(&with).unwrap();
    let text = text.replace("        node2: {dtls_role: full}\n", "");
    let without = lab.file("without.yaml", &text);
    for more in [&["--check"][..], &["--yes"]] {
        let run = lab.run(&[&["revoke", &without, "node2"][..], more].concat());
        let text = said(&run);
        assert_eq!(run.code, 4, "{text}");
        let why = "it does not begin, because node5 is not deployed yet";
        assert!(text.contains(why), "{text}");
        for wrong in ["nothing was changed", "restarted twice", "step by step"] {
            assert!(!text.contains(wrong), "{wrong}: {text}");
        }
    }
    let ping = |address: &str| format!("{CURL} https://{address}:2376/_ping");
    let answer = lab.exec_as("node2", "ubuntu", &ping("10.0.0.12"));
    assert!(answer.ends_with("403"), "{answer}");
    assert_eq!(lab.exec_as("node2", "ubuntu", &ping("10.0.0.13")), "OK200");

    lab.deploy(&[&without, "--limit", "node5:node1"]);
    lab.deploy(&["revoke", &without, "node2", "--yes"]);
    let answer = lab.try_exec_as("node2", "ubuntu", &ping("10.0.0.13")).1;
    assert!(!answer.contains("OK200"), "{answer}");
}

#[test]
fn a_guard_comes_and_goes_with_everything_that_belongs_to_it() {
    let lab = Lab::fresh();
    let text = std::fs::read_to_string(lab.inventory("dtls_guard: true")).unwrap();
    let guarded = lab.file("guarded.yaml", &text);
    let plain = lab.inventory("");
    lab.deploy(&[&plain]);

    // Where its program cannot run, nothing of it is left, and docker goes on.
    lab.exec("node3", "mount -t tmpfs -o noexec tmpfs /opt");
    let run = lab.run(&[&guarded]);
    assert_eq!(run.code, 4, "{}", said(&run));
    assert!(
        said(&run).contains("everything is as it was"),
        "{}",
        said(&run)
    );
    lab.exec("node3", "umount /opt");
    assert_eq!(lab.exec("node3", TRACES), "");
    lab.deploy(&["verify", &plain]);

    lab.deploy(&[&guarded]);
    assert!(lab.exec("node3", TRACES).contains("authorization-plugins"));
    lab.deploy(&["rollback", &guarded]);
    assert_eq!(lab.exec("node3", TRACES), "");
    lab.deploy(&[&guarded]);

    // At the next boot docker has its guard again, without anything that is enabled.
    lab.control(&["stop", "node3"]);
    lab.control(&["start", "node3"]);
    let ping = format!("{CURL} https://10.0.0.12:2376/_ping");
    assert_eq!(lab.exec_as("node1", "ubuntu", &ping), "OK200");
    lab.exec("node3", "systemctl is-active dtls-deploy-guard.socket");

    each_part_of_it_is_missed(&lab, &guarded);
    a_reload_without_it_is_noticed(&lab, &guarded);
    // An inventory that does not name it leaves it in place, and holds it to that.
    a_reload_without_it_is_noticed(&lab, &plain);

    // Without a word about it, it stays.
    let run = lab.deploy(&[&plain]);
    assert!(said(&run).contains("Nothing to change"), "{}", said(&run));
    lab.deploy(&[&plain, "-e", "dtls_guard=false"]);
    assert_eq!(lab.exec("node3", TRACES), "");
    lab.deploy(&[&guarded]);
    lab.deploy(&["remove", &guarded]);
    assert_eq!(lab.exec("node3", TRACES), "");
}
